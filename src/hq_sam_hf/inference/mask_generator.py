"""`HQSamMaskGenerator`: automatic masks of everything in an image, from a grid of points."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..masks.nms import box_nms
from ..model.checkpoint_format import family_of
from ..model.image_reading import ImageLike, read_image
from ..model.processing_hq_sam import HQSamProcessor
from ..model.prompt_preparation import prepare_prompts
from .crops import Box, checked_grids, crop_boxes, layer_grids, near_crop_edge
from .embeddings import AnyFeatures
from .found_masks import OUTPUT_MODES, FoundMasks
from .loading import AnyModel, load_model, split_options
from .option_checks import check_at_least, check_number
from .stability import stable_masks

# Defaults of the original's generators that differ, by family: `pred_iou_thresh` and `candidates`.
DEFAULTS: dict[str, tuple[float, int]] = {"sam": (0.88, 1), "sam2": (0.8, 3)}


class HQSamMaskGenerator:
    """Automatic masks with the options, defaults and records of the original's `SamAutomaticMaskGenerator`.

    With an HQ-SAM 2, the defaults are those of `SAM2AutomaticMaskGenerator`. The three masks of a point are near
    copies then, because the same HQ mask is added to each of SAM's. The IoU of boxes removes most copies.

    model, processor: an HQ-SAM or HQ-SAM 2, as loaded by their `from_pretrained`. The model is put into evaluation
        mode.
    points_per_side: the grid has points_per_side ** 2 points. None if `point_grids` is given.
    points_per_batch: points per call of the model.
    pred_iou_thresh: drop masks whose predicted IoU is not above this. 0 keeps all. By default 0.88, with HQ-SAM 2 0.8.
    stability_score_thresh: drop masks whose stability score is below this. The score is the IoU of the masks at the
        thresholds stability_score_offset and -stability_score_offset.
    box_nms_thresh: within a crop, drop masks whose box has a larger IoU with that of a mask with a better score.
    crop_n_layers: also find masks in 4 ** i crops in layer i = 1, 2, ...
    crop_nms_thresh: between crops, drop masks whose box has a larger IoU with that of a mask of a smaller crop.
    crop_overlap_ratio: overlap of neighbouring crops of layer 1, as a share of the short side of the image.
    crop_n_points_downscale_factor: the grid of layer i has this ** i times fewer points per side.
    point_grids: instead of points_per_side, for the image and each layer an array (N, 2) of (x, y) in [0, 1].
    min_mask_region_area: fill holes and drop separate parts of fewer pixels.
    output_mode: "binary_mask" (bool array), "uncompressed_rle" or "coco_rle" (COCO's counts as a list or as text) or
        "polygons" (COCO's lists of x, y, along the edges of pixels).

    Options that the original does not have:

    hq_token_only: the HQ mask alone, instead of the sum of the HQ mask and SAM's mask.
    candidates: masks per point: 1 (the one with the best score, the default with HQ-SAM, as the original) or 3 (the
        default with HQ-SAM 2, as SAM).
    progress: show a progress bar.
    """

    def __init__(
        self,
        model: AnyModel,
        processor: HQSamProcessor,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[np.ndarray] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
        *,
        hq_token_only: bool = False,
        candidates: int | None = None,
        progress: bool = False,
    ) -> None:
        default_thresh, default_candidates = DEFAULTS[family_of(processor)]
        pred_iou_thresh = default_thresh if pred_iou_thresh is None else pred_iou_thresh
        candidates = default_candidates if candidates is None else candidates
        check_at_least("points_per_batch", points_per_batch, 1)
        check_at_least("crop_n_layers", crop_n_layers, 0)
        check_at_least("crop_n_points_downscale_factor", crop_n_points_downscale_factor, 1)
        check_at_least("min_mask_region_area", min_mask_region_area, 0)
        check_number("pred_iou_thresh", pred_iou_thresh)
        check_number("stability_score_thresh", stability_score_thresh)
        check_number("stability_score_offset", stability_score_offset, 0)
        check_number("box_nms_thresh", box_nms_thresh, 0, 1)
        check_number("crop_nms_thresh", crop_nms_thresh, 0, 1)
        if not 0 <= crop_overlap_ratio < 1:
            raise ValueError(f"`crop_overlap_ratio` must be from 0 to below 1, got {crop_overlap_ratio!r}.")
        if output_mode not in OUTPUT_MODES:
            raise ValueError(f"`output_mode` must be one of {', '.join(OUTPUT_MODES)}, got {output_mode!r}.")
        if candidates not in (1, 3):
            raise ValueError(f"`candidates` must be 1 (the best) or 3 (as SAM), got {candidates!r}.")
        self.point_grids = _grids_of_layers(
            points_per_side, point_grids, crop_n_layers, crop_n_points_downscale_factor
        )
        self.model = model.eval()
        self.processor = processor
        self.points_per_batch = points_per_batch
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode
        self.hq_token_only = hq_token_only
        self.candidates = candidates
        self.progress = progress

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike | None = None,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        image_size: int | None = None,
        **options: Any,
    ) -> "HQSamMaskGenerator":
        """Load model and processor and make a mask generator of them.

        name: folder, Hub repository or checkpoint file; None for the small checkpoint inside the package.
        device: None for a GPU where there is one, else the CPU.
        dtype: torch.float32, torch.bfloat16 or torch.float16, or its name; None for the dtype in the configuration.
        image_size: side of the square model input in pixels; None for the size in the configuration.
        options: those of the class, and options of `HQSamModel.from_pretrained` such as `revision` and `token`.
        """
        own, loading = split_options(cls, options)
        return cls(*load_model(name, device, dtype, image_size, **loading), **own)

    @torch.no_grad()
    def generate(self, image: ImageLike, multimask_output: bool = True) -> list[dict[str, Any]]:
        """Find the masks of an image of H x W pixels, of any kind that the processor takes.

        multimask_output: take the best of SAM's three masks per point; False takes its single mask.

        Returns a record per mask, the best first:
            segmentation     by `output_mode`; a binary_mask is (H, W)
            area             in pixels
            bbox             [x, y, width, height], from the first to the last column and row. As in the original,
                             width and height are one less than the number of columns and rows.
            predicted_iou    SAM's estimate of the IoU of its own mask
            point_coords     [[x, y]], the point prompt of the mask
            stability_score  IoU of the masks at two thresholds
            crop_box         [x, y, width, height] of the crop in which the mask was found
        """
        pixels = read_image(image)
        size = (pixels.shape[0], pixels.shape[1])
        crops = crop_boxes(size, self.crop_n_layers, self.crop_overlap_ratio)
        found = FoundMasks.concatenate(list(self._masks_of_crops(pixels, crops, multimask_output)))
        if len(crops) > 1:
            x1, y1, x2, y2 = found.crops.T
            keep = box_nms(
                found.boxes, np.float32(1) / ((x2 - x1) * (y2 - y1)).astype(np.float32), self.crop_nms_thresh
            )
            found = found.select(keep)
        return self._records(found, size)

    @torch.no_grad()
    def generate_from_features(
        self, features: AnyFeatures, size: tuple[int, int], multimask_output: bool = True
    ) -> list[dict[str, Any]]:
        """Like `generate`, for an image of (height, width) size that `HQSamModel.get_image_features` has encoded.

        features: of this image alone. Raises ValueError if crops are searched too, which need the image itself.
        """
        if self.crop_n_layers > 0:
            raise ValueError("`crop_n_layers` must be 0 for an encoded image. Call `generate` with the image instead.")
        box = (0, 0, size[1], size[0])
        return self._records(self._masks_of_features(features, size, box, self.point_grids[0], multimask_output), size)

    def _records(self, found: FoundMasks, size: tuple[int, int]) -> list[dict[str, Any]]:
        if self.min_mask_region_area > 0:
            found = self._without_small_parts(found, size)
        return [found.record(i, size, self.output_mode) for i in range(len(found.masks))]

    def _masks_of_crops(
        self, pixels: np.ndarray, crops: list[tuple[Box, int]], multimask_output: bool
    ) -> Iterator[FoundMasks]:
        from tqdm.auto import tqdm

        batches = [-(-len(self.point_grids[layer]) // self.points_per_batch) for _, layer in crops]
        with tqdm(total=sum(batches), desc="points", unit="batch", disable=not self.progress) as bar:
            for box, layer in crops:
                yield self._masks_of_crop(pixels, box, self.point_grids[layer], multimask_output, bar)

    def _masks_of_crop(
        self, pixels: np.ndarray, box: Box, grid: np.ndarray, multimask_output: bool, bar: Any
    ) -> FoundMasks:
        x1, y1, x2, y2 = box
        pixel_values = self.processor(pixels[y1:y2, x1:x2])["pixel_values"]
        features = self.model.get_image_features(pixel_values.to(self.model.device))
        return self._masks_of_features(features, pixels.shape[:2], box, grid, multimask_output, bar)

    def _masks_of_features(
        self,
        features: AnyFeatures,
        image_size: tuple[int, ...],
        box: Box,
        grid: np.ndarray,
        multimask_output: bool,
        bar: Any = None,
    ) -> FoundMasks:
        """The masks of an encoded crop, without duplicates, in coordinates of the whole image."""
        x1, y1, x2, y2 = box
        size = (y2 - y1, x2 - x1)
        points = grid * np.array([x2 - x1, y2 - y1])
        parts = []
        for start in range(0, len(points), self.points_per_batch):
            batch = points[start : start + self.points_per_batch]
            prompts = prepare_prompts(
                self.processor.image_processor, [size], points=[batch[:, None]], are_computed=True
            )
            outputs = self.model(
                image_features=features,
                **prompts.to(self.model.device),
                multimask_output=multimask_output,
                hq_token_only=self.hq_token_only,
                min_iou_score=self.pred_iou_thresh if self.pred_iou_thresh > 0 else None,
            )
            logits = outputs.pred_masks[0, :, : self.candidates]
            scores = outputs.iou_scores[0, :, : self.candidates].float()
            batch = batch.repeat(scores.shape[1], axis=0)
            found = self._good_masks(logits.flatten(0, 1), scores.flatten(), batch, size)
            found = found.moved(box)
            keep = np.flatnonzero(~near_crop_edge(found.boxes, box, (image_size[0], image_size[1])))
            parts.append(found.select(keep))
            if bar is not None:
                bar.update()
        found = FoundMasks.concatenate(parts)
        return found.select(box_nms(found.boxes, found.predicted_ious, self.box_nms_thresh))

    def _good_masks(
        self, logits: torch.Tensor, scores: torch.Tensor, points: np.ndarray, size: tuple[int, int]
    ) -> FoundMasks:
        """The full-size masks of a batch of points that pass the thresholds of both scores."""
        passes = torch.ones_like(scores, dtype=torch.bool)
        if self.pred_iou_thresh > 0:
            passes = scores > self.pred_iou_thresh
        kept, stability, masks = stable_masks(
            logits[passes],
            self.processor.image_processor,
            size,
            self.stability_score_offset,
            self.stability_score_thresh,
        )
        good = passes.cpu().numpy()
        return FoundMasks(
            masks=masks,
            predicted_ious=scores.cpu().numpy()[good][kept],
            stability_scores=stability,
            points=points[good][kept],
            boxes=np.array([mask.box for mask in masks], dtype=np.int64).reshape(-1, 4),
            crops=np.zeros((len(masks), 4), dtype=np.int64),
        )

    def _without_small_parts(self, found: FoundMasks, size: tuple[int, int]) -> FoundMasks:
        """Fill small holes, drop small parts, then drop duplicates, preferring masks that did not change."""
        cleaned = [mask.without_small_regions(size, self.min_mask_region_area) for mask in found.masks]
        found.masks = [mask for mask, _ in cleaned]
        found.boxes = np.array([mask.box for mask in found.masks], dtype=np.int64).reshape(-1, 4)
        unchanged = np.array([not changed for _, changed in cleaned], dtype=np.float64)
        return found.select(box_nms(found.boxes, unchanged, max(self.box_nms_thresh, self.crop_nms_thresh)))


def _grids_of_layers(
    points_per_side: int | None, point_grids: Sequence[np.ndarray] | None, n_layers: int, downscale_factor: int
) -> list[np.ndarray]:
    """The grid of the whole image and those of the layers of crops."""
    if (points_per_side is None) == (point_grids is None):
        raise ValueError("Exactly one of `points_per_side` and `point_grids` must be given. Pass None for the other.")
    if points_per_side is None:
        return checked_grids(point_grids or [], n_layers)
    check_at_least("points_per_side", points_per_side, 1)
    return layer_grids(points_per_side, n_layers, downscale_factor)


__all__ = ["OUTPUT_MODES", "HQSamMaskGenerator"]
