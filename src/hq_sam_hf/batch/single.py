"""From a photo and prompts to mask files: the work behind `hq-sam segment`."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers.feature_extraction_utils import BatchFeature

from ..masks.drawing import cutout, overlay
from ..masks.rle import mask_to_bbox, mask_to_rle
from ..model.files import check_parent, write_atomically
from ..model.image_reading import load_image, read_binary_mask
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor


@dataclass
class Prompts:
    """What to segment in one photo, in its pixels: several boxes are several objects, all points are one object."""

    boxes: list[list[float]] = field(default_factory=list)
    points: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    mask: Path | None = None
    found: list[dict] = field(default_factory=list)  # per box, what else is to be known of where it comes from

    def __post_init__(self) -> None:
        if self.points and len(self.boxes) > 1:
            raise ValueError(
                f"Points describe one object and go with at most one `--box`, got {len(self.boxes)} boxes. "
                "Run once per object, or leave the points out."
            )


@dataclass
class Outputs:
    """Files to write; of `mask` and `cutout` one per object, numbered from 1 where there are several."""

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
                expected = "a picture" if name == "overlay" else f"a {allowed[0]} file"
                raise ValueError(f"The {name} must be {expected}, got {str(path)!r}.")


def segment_photo(
    photo: str | os.PathLike,
    prompts: Prompts,
    outputs: Outputs,
    model: HQSamModel,
    processor: HQSamProcessor,
    multimask_output: bool = False,
    hq_token_only: bool = False,
) -> list[dict]:
    """Segment one photo and write the outputs.

    Gives a record per object: prompt, bbox (x, y, width, height), area, score, segmentation (COCO RLE).
    With multimask_output the best scored of SAM's three candidates is taken, as the original does.
    """
    image = load_image(photo)
    inputs = _prepare(image, prompts, processor)
    arguments = inputs.to(model.device)
    with torch.inference_mode():
        result = model(**arguments, multimask_output=multimask_output, hq_token_only=hq_token_only)
    result.pred_masks = result.pred_masks[:, :, :1]  # the best candidate stands first
    masks = processor.post_process_masks(result, inputs)[0][:, 0].cpu().numpy()
    scores = result.iou_scores[0, : len(masks), 0].float().tolist()
    records = [_record(mask, score, prompts, i) for i, (mask, score) in enumerate(zip(masks, scores))]
    _write(
        outputs,
        np.asarray(image),
        masks,
        prompts,
        {"image": str(photo), "size": list(masks.shape[1:]), "masks": records},
    )
    return records


def _prepare(image: Image.Image, prompts: Prompts, processor: HQSamProcessor) -> BatchFeature:
    mask = None
    if prompts.mask is not None:
        mask = [read_binary_mask(prompts.mask, "input_masks")]
    return processor(
        image,
        input_boxes=[prompts.boxes] if prompts.boxes else None,
        input_points=[prompts.points] if prompts.points else None,
        input_labels=[prompts.labels] if prompts.points else None,
        input_masks=mask,
    )


def _record(mask: np.ndarray, score: float, prompts: Prompts, index: int) -> dict:
    prompt: dict = {}
    if prompts.boxes:
        prompt["box"] = prompts.boxes[index]
    if prompts.found:
        prompt |= prompts.found[index]
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


def _write(outputs: Outputs, image: np.ndarray, masks: np.ndarray, prompts: Prompts, report: dict) -> None:
    for i, mask in enumerate(masks):
        if outputs.mask is not None:
            _save_picture(Image.fromarray(mask), _numbered(outputs.mask, i, len(masks)))
        if outputs.cutout is not None:
            _save_picture(cutout(image, mask), _numbered(outputs.cutout, i, len(masks)))
    if outputs.overlay is not None:
        picture = overlay(image, masks, prompts.boxes, prompts.points, prompts.labels)
        _save_picture(picture, outputs.overlay)
    if outputs.json is not None:
        write_atomically(outputs.json, lambda file: file.write(json.dumps(report, indent=1).encode()))


def _numbered(path: Path, index: int, count: int) -> Path:
    return path if count == 1 else path.with_name(f"{path.stem}_{index + 1}{path.suffix}")


def _save_picture(picture: Image.Image, path: Path) -> None:
    file_format = Image.registered_extensions()[path.suffix.lower()]
    write_atomically(path, lambda file: picture.save(file, format=file_format))


__all__ = ["Outputs", "Prompts", "segment_photo"]
