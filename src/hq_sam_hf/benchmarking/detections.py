"""Boxes of a detector, from COCO result files: [{"image_id", "category_id", "bbox": [x, y, w, h], "score"}, ...]."""

import math
import os
from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.coco_files import id_key, listed_names
from ..masks.rle import mask_to_bbox, rle_to_mask
from .json_lists import read_json_list

WHAT = "detections as COCO results (image_id, category_id, bbox, score)"


@dataclass(frozen=True)
class Detections:
    """The boxes of all images, those of an image together and the best score first.

    boxes: (N, 4) as x1, y1, x2, y2 in pixels. scores, category_ids: (N,). rows: the range of rows of each image.
    left_out: number of boxes that are not among the best of their image.
    """

    boxes: np.ndarray
    scores: np.ndarray
    category_ids: np.ndarray
    rows: Mapping[int, slice]
    left_out: int

    def of_image(self, image_id: int) -> slice:
        """The rows of an image, which may be none."""
        return self.rows.get(image_id, slice(0, 0))


def read_detections(
    path: str | os.PathLike,
    image_ids: Collection[int],
    category_ids: Collection[int] | None,
    max_dets: int,
) -> Detections:
    """Read the boxes of a detector.

    image_ids: those of the benchmark. category_ids: those that a box may have; None if categories do not count.
    max_dets: boxes to keep per image, by their scores. Equal scores keep their order.

    An entry without `bbox` may have a `segmentation` as RLE, whose box is taken. Raises ValueError, with the number of
    the entry, for what is no detection, and for images and categories that the benchmark does not have.
    """
    images, categories, numbers, unknown = array("q"), array("q"), array("d"), set()
    known_images = set(image_ids)
    for number, entry in enumerate(read_json_list(path, WHAT)):
        try:
            image_id, category_id, box, score = _values(entry, category_ids)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{os.fspath(path)!r}: entry {number} is no detection: {error}.") from error
        if image_id not in known_images:
            unknown.add(image_id)
            continue
        images.append(image_id)
        categories.append(category_id)
        numbers.extend((*box, score))
    if unknown:
        raise ValueError(
            f"{os.fspath(path)!r} has boxes of {len(unknown)} images that the annotations do not list, such as "
            f"{listed_names(sorted(unknown))}. Use the detections of the benchmark's own images."
        )
    return _sorted(path, np.array(images), np.array(categories), np.array(numbers).reshape(-1, 5), max_dets)


def _values(entry: Mapping[str, Any], category_ids: Collection[int] | None) -> tuple[int, int, list[float], float]:
    """Image, category, box (x1, y1, x2, y2) and score of an entry."""
    missing = [name for name in ("image_id", "category_id", "score") if entry.get(name) is None]
    if entry.get("bbox") is None and not isinstance(entry.get("segmentation"), Mapping):
        missing.append("bbox")
    if missing and not (missing == ["category_id"] and category_ids is None):
        raise ValueError(f"it lacks {', '.join(missing)}")
    image_id, category_id = id_key(entry["image_id"]), 1 if category_ids is None else id_key(entry["category_id"])
    if not isinstance(image_id, int) or not isinstance(category_id, int):
        raise ValueError(f"ids must be whole numbers, got {image_id!r} and {category_id!r}")
    if category_ids is not None and category_id not in category_ids:
        raise ValueError(f"the category {category_id} is not among those of the annotations")
    box = entry["bbox"] if entry.get("bbox") is not None else mask_to_bbox(rle_to_mask(entry["segmentation"]))
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"bbox must be [x, y, width, height], got {box!r:.60}")
    x, y, width, height = (float(value) for value in box)
    score = float(entry["score"])
    if not all(map(math.isfinite, (x, y, width, height, score))) or width < 0 or height < 0:
        raise ValueError(f"bbox must be [x, y, width, height] and score a number, got {box!r:.60} and {score}")
    return image_id, category_id, [x, y, x + width, y + height], score


def _sorted(
    path: str | os.PathLike, images: np.ndarray, categories: np.ndarray, numbers: np.ndarray, max_dets: int
) -> Detections:
    if len(numbers) and (numbers[:, :4] <= 1).all() and (numbers[:, :4] >= 0).all():
        raise ValueError(
            f"{os.fspath(path)!r}: all boxes lie between 0 and 1. COCO results have boxes in pixels of the image; "
            "multiply x and width by its width, y and height by its height."
        )
    order = np.lexsort((-numbers[:, 4], images))
    images = images[order]
    starts = np.flatnonzero(np.diff(images, prepend=np.nan)) if len(images) else np.zeros(0, np.int64)
    rank = np.arange(len(images)) - np.repeat(starts, np.diff(starts, append=len(images)))
    kept = rank < max_dets
    order, images = order[kept], images[kept]
    ids, first, counts = np.unique(images, return_index=True, return_counts=True)
    rows = {int(one): slice(int(start), int(start + count)) for one, start, count in zip(ids, first, counts)}
    return Detections(
        numbers[order, :4], numbers[order, 4], categories[order], rows, left_out=int(np.count_nonzero(~kept))
    )


__all__ = ["WHAT", "Detections", "read_detections"]
