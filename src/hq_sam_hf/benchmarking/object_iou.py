"""IoU and boundary IoU of single objects with what was predicted for them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from ..masks.metrics import DILATION_RATIO
from ..masks.rle import mask_to_rle
from .counting import THRESHOLDS, boundary_rle, coco_masks
from .parts import BenchmarkPart, annotation_mask
from .predictions import NONE

FOUND_FROM = 0.5  # IoU from which a detection without an annotation belongs to an object


@dataclass(frozen=True)
class ObjectRecord:
    """An object of an image or of a frame, and what was predicted for it from one prompt.

    image_id: as in the rows. frame: position in the video, -1 for images. annotation_id, category_id: of the object.
    place: of the prompt among those of the image, which tells the rows of the masks.
    iou, boundary_iou: per output, from 0 to 1.
    """

    image_id: int
    frame: int
    annotation_id: int
    category_id: int
    place: int
    iou: dict[str, float]
    boundary_iou: dict[str, float]


def object_records(
    part: BenchmarkPart,
    rows: Iterable[Mapping[str, Any]],
    use_categories: bool = True,
    ratio: float = DILATION_RATIO,
) -> Iterator[ObjectRecord]:
    """Compare the masks of an image's objects, an image at a time.

    rows: of all outputs, those of an image together. A row that was prompted by an annotation is compared with it. The
        boxes of a detector or tracker belong to the object of their category that they overlap most, and an object
        is compared with the prompt that is best for it in any output, if this IoU is at least 0.5.
    use_categories: False compares objects whatever their category.
    ratio: width of boundaries, as a share of the image diagonal.
    """
    objects = _ObjectsOfImages(part)
    for image_id, of_image in groupby(rows, key=lambda row: row["image_id"]):
        by_output: dict[str, list[Mapping[str, Any]]] = {}
        for row in of_image:
            by_output.setdefault(row["output"], []).append(row)
        first = next(iter(by_output.values()))
        true = objects.of(image_id, first[0])
        for annotation, rle, place in _pairs(true, by_output, use_categories):
            masks = {output: _rle(own[place]) for output, own in by_output.items()}
            edge = boundary_rle(rle, ratio)
            yield ObjectRecord(
                image_id,
                first[0]["frame"],
                annotation["id"],
                annotation["category_id"],
                place,
                {output: iou_of(mask, rle) for output, mask in masks.items()},
                {output: iou_of(boundary_rle(mask, ratio), edge) for output, mask in masks.items()},
            )


class _ObjectsOfImages:
    """The ground truth of an image or a frame, without crowds: annotations with their masks as RLE."""

    def __init__(self, part: BenchmarkPart) -> None:
        self.owner = "video_id" if part.is_video else "image_id"
        self.by_owner: dict[int, list[Mapping[str, Any]]] = {}
        for one in part.ground_truth["annotations"]:
            if not one.get("iscrowd"):
                self.by_owner.setdefault(one[self.owner], []).append(one)

    def of(self, image_id: int, row: Mapping[str, Any]) -> dict[int, tuple[Mapping[str, Any], dict[str, Any]]]:
        frame = row["frame"] if self.owner == "video_id" else None
        found = {}
        for one in self.by_owner.get(image_id if frame is None else row["video_id"], []):
            mask = annotation_mask(one, (row["size"][0], row["size"][1]), frame)
            if mask is not None and mask.any():
                found[one["id"]] = (one, dict(mask_to_rle(mask)))
        return found


def _pairs(
    true: Mapping[int, tuple[Mapping[str, Any], dict[str, Any]]],
    by_output: Mapping[str, Sequence[Mapping[str, Any]]],
    use_categories: bool,
) -> Iterator[tuple[Mapping[str, Any], dict[str, Any], int]]:
    """Objects, their masks, and the place of the prompt that they are compared with."""
    first = next(iter(by_output.values()))
    for place, row in enumerate(first):
        if row["annotation_id"] in true:
            yield (*true[row["annotation_id"]], place)
    places = [place for place, row in enumerate(first) if row["annotation_id"] == NONE]
    if not places or not true:
        return
    masks = [rle for _, rle in true.values()]
    ious = np.max(
        [
            np.asarray(coco_masks().iou([_rle(own[place]) for place in places], masks, [0] * len(masks)))
            for own in by_output.values()
        ],
        axis=0,
    )
    for i, (annotation, rle) in enumerate(true.values()):
        for k, place in enumerate(places):
            if use_categories and first[place]["category_id"] != annotation["category_id"]:
                ious[k, i] = 0
        best = int(ious[:, i].argmax())
        if ious[best, i] >= FOUND_FROM:
            yield annotation, rle, places[best]


def _rle(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"size": list(row["size"]), "counts": row["counts"]}


def iou_of(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """The IoU of two masks as RLEs with compressed counts; 1 if both are empty."""
    masks = coco_masks()
    if not int(masks.area(first)) and not int(masks.area(second)):
        return 1.0
    return float(np.asarray(masks.iou([first], [second], [0]))[0, 0])


def mean_iou(records: Sequence[ObjectRecord], output: str) -> dict[str, float | None]:
    """mIoU and mBIoU of an output in per cent, the means of the objects; None without objects."""
    if not records:
        return {"mIoU": None, "mBIoU": None}
    return {
        "mIoU": 100 * float(np.mean([one.iou[output] for one in records])),
        "mBIoU": 100 * float(np.mean([one.boundary_iou[output] for one in records])),
    }


def recall_of_objects(records: Sequence[ObjectRecord], output: str) -> dict[str, list[float | None]]:
    """The share of objects, in per cent, whose IoU ("") or boundary IoU ("_B") reaches each of COCO's thresholds."""
    kinds = {"": [one.iou[output] for one in records], "_B": [one.boundary_iou[output] for one in records]}
    return {
        suffix: [100 * float(np.mean(np.asarray(values) >= value)) if values else None for value in THRESHOLDS]
        for suffix, values in kinds.items()
    }


__all__ = ["ObjectRecord", "iou_of", "mean_iou", "object_records", "recall_of_objects"]
