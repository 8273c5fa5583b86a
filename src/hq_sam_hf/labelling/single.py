"""Segment one image file by prompts and write mask files, for `hq-sam segment`."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers.feature_extraction_utils import BatchFeature

from ..masks.drawing import cutout, overlay
from ..masks.rle import mask_to_bbox, mask_to_rle
from ..model.destinations import check_output_file
from ..model.files import check_parent, write_atomically
from ..model.image_reading import DEFAULT_OPTIONS, ImageOptions
from ..model.mask_reading import read_binary_mask
from ..model.modeling_hq_sam import HQSamModel
from ..model.normalised_coordinates import describe_normalised
from ..model.processing_hq_sam import HQSamProcessor


@dataclass
class ImagePrompts:
    """The prompts for one image, in its pixels.

    boxes: (x1, y1, x2, y2) each; several boxes are several objects.
    points, labels: (x, y) each, all on one object; labels are 1 on the object and 0 on the background.
    mask: file of a rough mask of the object.
    detections: label and score of each box, where a detector found the boxes.
    """

    boxes: list[list[float]] = field(default_factory=list)
    points: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    mask: Path | None = None
    detections: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.points and len(self.boxes) > 1:
            raise ValueError(
                f"Points describe one object and can be combined with at most one `--box`, got {len(self.boxes)} "
                "boxes. Run once per object, or omit the points."
            )

    def check_pixels(self, size: tuple[int, int]) -> None:
        """Raise ValueError for coordinates that look normalised, for an image of (height, width) size."""
        objects = [] if self.detections else [("boxes", np.array([box])) for box in self.boxes]
        objects += [("points", np.array(self.points))] if self.points else []
        for kind, coordinates in objects:
            message = describe_normalised(kind, coordinates, size, _as_arguments)
            if message is not None:
                raise ValueError(f"{message} For the first pixel itself, give whole numbers.")


@dataclass
class OutputFiles:
    """Files to write. For several objects, `mask` and `cutout` become one numbered file per object, from 1."""

    mask: Path | None = None
    overlay: Path | None = None
    cutout: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        for name in ("mask", "overlay", "cutout", "json"):
            path = getattr(self, name)
            if path is None:
                continue
            check_parent(path)
            allowed = {"json": (".json",), "overlay": tuple(Image.registered_extensions())}.get(name, (".png",))
            if path.suffix.lower() not in allowed:
                expected = "an image file, such as .png or .jpg" if name == "overlay" else f"a {allowed[0]} file"
                raise ValueError(f"The {name} must be {expected}, got {str(path)!r}.")

    def check(self, inputs: Sequence[str | os.PathLike | None], count: int) -> None:
        """Raise ValueError if an output cannot be written, is an input or is also another output.

        count: number of objects.
        """
        files = [_numbered(path, i, count) for path in (self.mask, self.cutout) if path for i in range(count)]
        files += [path for path in (self.overlay, self.json) if path]
        known: set[str] = set()
        for path in files:
            check_output_file(path, "an output", inputs=inputs)
            place = os.path.realpath(path).casefold()  # some file systems ignore case
            if place in known:
                raise ValueError(f"Two outputs have the name {str(path)!r}. Give each output its own name.")
            known.add(place)


def segment_image(
    path: str | os.PathLike,
    prompts: ImagePrompts,
    outputs: OutputFiles,
    model: HQSamModel,
    processor: HQSamProcessor,
    multimask_output: bool = False,
    hq_token_only: bool = False,
    image_options: ImageOptions = DEFAULT_OPTIONS,
) -> list[dict]:
    """Segment one image file and write the outputs.

    multimask_output: take the best of SAM's three candidates, as the original does.
    hq_token_only: the HQ mask alone, instead of its sum with SAM's mask.
    image_options: how image files are read, as in `load_image`.

    Returns a record per object: prompt, bbox (x, y, width, height), area, score, segmentation (COCO RLE).
    """
    outputs.check([path, prompts.mask], max(1, len(prompts.boxes)))
    image = image_options.load(path)
    prompts.check_pixels((image.height, image.width))
    inputs = _prepare(image, prompts, processor, image_options.max_pixels)
    arguments = inputs.to(model.device)
    with torch.inference_mode():
        result = model(**arguments, multimask_output=multimask_output, hq_token_only=hq_token_only)
    result.pred_masks = result.pred_masks[:, :, :1]  # the best candidate comes first
    masks = processor.post_process_masks(result, inputs)[0][:, 0].cpu().numpy()
    scores = result.iou_scores[0, : len(masks), 0].float().tolist()
    records = [_record(mask, score, prompts, i) for i, (mask, score) in enumerate(zip(masks, scores))]
    content = {"image": str(path), "size": list(masks.shape[1:]), "masks": records}
    _write(outputs, np.asarray(image), masks, prompts, content)
    return records


def _as_arguments(rows: list[list[float]]) -> str:
    """Coordinates as on the command line."""
    return " ".join(",".join(f"{value:.10g}" for value in row) for row in rows)


def _prepare(
    image: Image.Image, prompts: ImagePrompts, processor: HQSamProcessor, max_pixels: int | None
) -> BatchFeature:
    mask = None
    if prompts.mask is not None:
        mask = [read_binary_mask(prompts.mask, "input_masks", max_pixels)]
    return processor(
        image,
        input_boxes=[prompts.boxes] if prompts.boxes else None,
        input_points=[prompts.points] if prompts.points else None,
        input_labels=[prompts.labels] if prompts.points else None,
        input_masks=mask,
    )


def _record(mask: np.ndarray, score: float, prompts: ImagePrompts, index: int) -> dict:
    prompt: dict = {}
    if prompts.boxes:
        prompt["box"] = prompts.boxes[index]
    if prompts.detections:
        prompt |= prompts.detections[index]
    if prompts.points:
        prompt["points"], prompt["labels"] = prompts.points, prompts.labels
    if prompts.mask is not None:
        prompt["mask"] = str(prompts.mask)
    return {
        "prompt": prompt,
        "bbox": mask_to_bbox(mask),
        "area": int(mask.sum()),
        "score": score,
        "segmentation": mask_to_rle(mask),
    }


def _write(
    outputs: OutputFiles, image: np.ndarray, masks: np.ndarray, prompts: ImagePrompts, json_content: dict
) -> None:
    for i, mask in enumerate(masks):
        if outputs.mask is not None:
            _save_image(Image.fromarray(mask), _numbered(outputs.mask, i, len(masks)))
        if outputs.cutout is not None:
            _save_image(cutout(image, mask), _numbered(outputs.cutout, i, len(masks)))
    if outputs.overlay is not None:
        drawn = overlay(image, masks, prompts.boxes, prompts.points, prompts.labels)
        _save_image(drawn, outputs.overlay)
    if outputs.json is not None:
        write_atomically(outputs.json, lambda file: file.write(json.dumps(json_content, indent=1).encode()))


def _numbered(path: Path, index: int, count: int) -> Path:
    return path if count == 1 else path.with_name(f"{path.stem}_{index + 1}{path.suffix}")


def _save_image(image: Image.Image, path: Path) -> None:
    file_format = Image.registered_extensions()[path.suffix.lower()]
    write_atomically(path, lambda file: image.save(file, format=file_format))


__all__ = ["ImagePrompts", "OutputFiles", "segment_image"]
