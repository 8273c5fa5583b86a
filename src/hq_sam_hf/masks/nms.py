"""Non-maximum suppression of boxes, without torchvision."""

import numpy as np


def box_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the boxes to keep, from the highest score to the lowest. Equal scores keep their order.

    A box is removed if its IoU with a kept box of a higher score is above the threshold. Areas are
    (x2 - x1) * (y2 - y1) and arithmetic is in float32, as in `torchvision.ops.nms`.

    boxes: (N, 4) as (x1, y1, x2, y2). scores: (N,). Returns int64 (kept boxes,).

    Raises ValueError for other shapes.
    """
    boxes, scores = np.asarray(boxes, dtype=np.float32), np.asarray(scores, dtype=np.float64)
    boxes = boxes.reshape(-1, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(
            "`boxes` must have shape (N, 4) and `scores` (N,), with x1, y1, x2, y2 of each box, got "
            f"{boxes.shape} and {scores.shape}. If a column of the boxes holds the scores, pass `boxes[:, :4]`."
        )
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    keep = np.ones(len(boxes), dtype=bool)
    for i in range(len(boxes)):
        if not keep[i]:
            continue
        rest = np.flatnonzero(keep[i + 1 :]) + i + 1
        upper_left = np.maximum(boxes[i, :2], boxes[rest, :2])
        lower_right = np.minimum(boxes[i, 2:], boxes[rest, 2:])
        width, height = (lower_right - upper_left).clip(min=0).T
        intersection = width * height
        with np.errstate(invalid="ignore"):  # for boxes without area, 0 / 0 is NaN, which is above no threshold
            iou = intersection / (areas[i] + areas[rest] - intersection)
        keep[rest[iou.astype(np.float64) > threshold]] = False
    return order[keep]


__all__ = ["box_nms"]
