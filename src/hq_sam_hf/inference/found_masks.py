"""The masks that `HQSamMaskGenerator` has found, and the records that it returns of them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..masks.cropped_mask import CroppedMask
from ..masks.polygons import mask_to_polygons
from ..masks.rle import compress_counts
from .crops import Box

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle", "polygons")


@dataclass
class FoundMasks:
    """N masks with the columns of their records. Boxes are (x1, y1, x2, y2): first and last column and row."""

    masks: list[CroppedMask]
    predicted_ious: np.ndarray  # (N,)
    stability_scores: np.ndarray  # (N,)
    points: np.ndarray  # (N, 2)
    boxes: np.ndarray  # (N, 4)
    crops: np.ndarray  # (N, 4)

    def select(self, indices: Sequence[int] | np.ndarray) -> "FoundMasks":
        arrays = {field.name: getattr(self, field.name)[indices] for field in fields(self) if field.name != "masks"}
        return FoundMasks(masks=[self.masks[i] for i in indices], **arrays)

    @classmethod
    def concatenate(cls, parts: Sequence["FoundMasks"]) -> "FoundMasks":
        arrays = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(cls)
            if field.name != "masks"
        }
        return cls(masks=[mask for part in parts for mask in part.masks], **arrays)

    def moved(self, crop: Box) -> "FoundMasks":
        """Masks of a crop in coordinates of the whole image."""
        x, y = crop[:2]
        return FoundMasks(
            masks=[mask.moved(x, y) for mask in self.masks],
            predicted_ious=self.predicted_ious,
            stability_scores=self.stability_scores,
            points=self.points + np.array([x, y]),
            boxes=self.boxes + np.array([x, y, x, y]),
            crops=np.tile(np.array(crop), (len(self.masks), 1)),
        )

    def record(self, i: int, size: tuple[int, int], output_mode: str) -> dict[str, Any]:
        """The record of mask i of an image of (height, width) size; see `HQSamMaskGenerator.generate`."""
        mask = self.masks[i]
        return {
            "segmentation": _segmentation(mask, size, output_mode),
            "area": mask.area,
            "bbox": _xywh(self.boxes[i]),
            "predicted_iou": float(self.predicted_ious[i]),
            "point_coords": [self.points[i].tolist()],
            "stability_score": float(self.stability_scores[i]),
            "crop_box": _xywh(self.crops[i]),
        }


def _segmentation(mask: CroppedMask, size: tuple[int, int], output_mode: str) -> Any:
    if output_mode == "binary_mask":
        return mask.full(size)
    if output_mode == "polygons":
        return mask_to_polygons(mask.pixels, mask.x, mask.y)
    counts = mask.run_lengths(size)
    return {"size": list(size), "counts": compress_counts(counts) if output_mode == "coco_rle" else counts}


def _xywh(box: np.ndarray) -> list[int]:
    x1, y1, x2, y2 = box.tolist()
    return [x1, y1, x2 - x1, y2 - y1]


__all__ = ["OUTPUT_MODES", "FoundMasks"]
