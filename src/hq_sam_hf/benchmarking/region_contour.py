"""J and F of objects in videos, as DAVIS 2017 defines them for semi-supervised methods.

J, the region similarity, is the IoU of prediction and ground truth in a frame. F, the contour accuracy, is the
F-measure of the precision and recall of contour pixels, which count as found within a radius of 0.8 % of the image
diagonal (Perazzi et al., CVPR 2016, and Pont-Tuset et al., arXiv 1704.00675). The first frame, which a method is
given, and the last do not count.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..masks.rle import rle_to_mask
from .parts import annotation_mask

TOLERANCE = 0.008  # of contours, as a share of the image diagonal
RECALL_FROM = 0.5  # frames above it count for the recall of J and F


@dataclass(frozen=True)
class JAndF:
    """Results in per cent.

    metrics: J&F, J and F, the means of all objects; J_recall and F_recall, the share of frames above 0.5; J_decay and
        F_decay, the mean of the first quarter of the frames less that of the last.
    by_object: per object video, object, J and F.
    """

    metrics: dict[str, float | None]
    by_object: list[dict[str, Any]]


def j_and_f(ground_truth: Mapping[str, Any], predictions: Iterable[Mapping[str, Any]]) -> JAndF:
    """J and F of the objects of videos.

    ground_truth: of videos, as in `parts`. predictions: rows of one output, as in `predictions`. A row belongs to the
        object whose `label`, or id where there is none, is its track_id. Where masks of a frame overlap, the pixels
        belong to the one with the higher score, and of equal scores to the one with the higher predicted IoU, because
        DAVIS has one object per pixel.

    Raises ValueError for predictions of another size than their video.
    """
    rows: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for row in predictions:
        rows.setdefault((row["video_id"], row["frame"]), []).append(row)
    names, by_object, curves = {}, [], []
    for video in ground_truth["videos"]:
        names[video["id"]] = video.get("name", str(video["id"]))
        objects = [one for one in ground_truth["annotations"] if one["video_id"] == video["id"]]
        values = np.zeros((2, len(objects), max(0, len(video["file_names"]) - 2)))
        for i in range(values.shape[2]):
            masks = _disjoint_masks(rows.get((video["id"], i + 1), []), (video["height"], video["width"]))
            for k, one in enumerate(objects):
                values[:, k, i] = _frame_values(one, i + 1, masks.get(_label(one)), video)
        curves += list(values.transpose(1, 0, 2))
        by_object += [
            {"video": names[video["id"]], "object": _label(one), **_percent({"J": own[0].mean(), "F": own[1].mean()})}
            for one, own in zip(objects, values.transpose(1, 0, 2))
            if own.size
        ]
    return JAndF(_means([one for one in curves if one.size]), by_object)


def _label(annotation: Mapping[str, Any]) -> int:
    return annotation.get("label", annotation["id"])


def _disjoint_masks(rows: list[Mapping[str, Any]], size: tuple[int, int]) -> dict[int, np.ndarray]:
    """The masks of a frame by track, bool (height, width), without overlaps."""
    free = np.ones(size, dtype=bool)
    masks = {}
    for row in sorted(rows, key=lambda row: (-row["score"], -row["predicted_iou"])):
        if tuple(row["size"]) != tuple(size):
            raise ValueError(
                f"A prediction must have the (height, width) of its video, {tuple(size)}, got {tuple(row['size'])} in "
                f"the video {row['video_id']}. Evaluate with the frames that the predictions were made for."
            )
        mask = rle_to_mask({"size": row["size"], "counts": row["counts"]}, max_pixels=None)
        masks[row["track_id"]] = mask & free
        free &= ~mask
    return masks


def _frame_values(
    annotation: Mapping[str, Any], frame: int, predicted: np.ndarray | None, video: Mapping[str, Any]
) -> tuple[float, float]:
    size = (video["height"], video["width"])
    true = annotation_mask(annotation, size, frame)
    empty = np.zeros(size, dtype=bool)
    true, predicted = (empty if mask is None else mask for mask in (true, predicted))
    union = np.count_nonzero(true | predicted)
    return (np.count_nonzero(true & predicted) / union if union else 1.0), contour_accuracy(predicted, true)


def contour_accuracy(predicted: np.ndarray, true: np.ndarray) -> float:
    """F of two masks, bool (height, width), from 0 to 1. Without contours in both it is 1."""
    radius = math.ceil(TOLERANCE * math.hypot(*true.shape))
    found, expected = contour(predicted), contour(true)
    if not found.any() or not expected.any():
        return float(not found.any() and not expected.any())
    precision = np.count_nonzero(found & dilate(expected, radius)) / np.count_nonzero(found)
    recall = np.count_nonzero(expected & dilate(found, radius)) / np.count_nonzero(expected)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def contour(mask: np.ndarray) -> np.ndarray:
    """The contour of a mask, one pixel wide: pixels that differ from one to the right, below or diagonally below."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    edge = (mask ^ right) | (mask ^ below) | (mask ^ diagonal)
    edge[-1, -1] = False
    return edge


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """The pixels whose Euclidean distance to a pixel of the mask is at most `radius`."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    result = np.zeros_like(mask)
    if not len(rows):
        return result
    height, width = mask.shape
    top, bottom = max(0, rows[0] - radius), min(height, rows[-1] + radius + 1)
    left, right = max(0, columns[0] - radius), min(width, columns[-1] + radius + 1)
    part = np.pad(mask[top:bottom, left:right], ((radius, radius), (0, 0)))
    out = result[top:bottom, left:right]
    for reach in {math.isqrt(radius**2 - dy**2) for dy in range(radius + 1)}:
        wide = _dilate_rows(part, reach)
        for dy in range(-radius, radius + 1):
            if math.isqrt(radius**2 - dy**2) == reach:
                out |= wide[radius + dy : radius + dy + out.shape[0]]
    return result


def _dilate_rows(mask: np.ndarray, reach: int) -> np.ndarray:
    """The pixels with one of the mask in their row at most `reach` away."""
    sums = np.pad(np.cumsum(mask, axis=1, dtype=np.int32), ((0, 0), (1, 0)))
    index = np.arange(mask.shape[1])
    return sums[:, np.minimum(index + reach + 1, mask.shape[1])] > sums[:, np.maximum(index - reach, 0)]


def _means(curves: list[np.ndarray]) -> dict[str, float | None]:
    """curves: J and F per frame, (2, frames), of each object."""
    if not curves:
        return dict.fromkeys(("J&F", "J", "F", "J_recall", "F_recall", "J_decay", "F_decay"))
    mean = np.mean([one.mean(axis=1) for one in curves], axis=0)
    recall = np.mean([(one > RECALL_FROM).mean(axis=1) for one in curves], axis=0)
    decay = np.mean([_decay(one) for one in curves], axis=0)
    values = {"J&F": mean.mean(), "J": mean[0], "F": mean[1], "J_recall": recall[0], "F_recall": recall[1]}
    return _percent({**values, "J_decay": decay[0], "F_decay": decay[1]})


def _decay(curve: np.ndarray) -> np.ndarray:
    """The mean of the first quarter of the frames less that of the last. Quarters share the frames at their ends."""
    ends = np.round(np.linspace(1, curve.shape[1], 5) + 1e-10).astype(int) - 1
    return curve[:, : ends[1] + 1].mean(axis=1) - curve[:, ends[3] :].mean(axis=1)


def _percent(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: float(100 * value) for name, value in values.items()}


__all__ = ["JAndF", "contour", "contour_accuracy", "dilate", "j_and_f"]
