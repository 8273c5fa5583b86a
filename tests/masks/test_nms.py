import numpy as np
import pytest

from hq_sam_hf.masks.nms import box_nms


@pytest.mark.parametrize(
    ("threshold", "kept"),
    [(0.0, [1, 3]), (0.3, [1, 2, 3]), (0.6, [1, 2, 3, 0])],
)
def test_nms_keeps_the_best_of_overlapping_boxes(threshold, kept):
    # Box 1 covers 50 pixels. Box 0 shares 25 of them (IoU 25 / 50 = 0.5), box 2 shares 20 (IoU 20 / 80 = 0.25).
    boxes = [[0, 0, 5, 5], [0, 0, 10, 5], [0, 3, 10, 8], [50, 50, 50, 60]]
    assert box_nms(np.array(boxes), np.array([0.5, 0.9, 0.8, 0.7]), threshold).tolist() == kept


def test_nms_of_many_boxes_equals_the_definition():
    random = np.random.default_rng(0)
    corners = np.sort(random.integers(0, 60, (300, 2, 2)), axis=1)
    boxes = corners.reshape(300, 4)
    scores = random.integers(0, 40, 300) / 40  # with equal scores
    for threshold in (0.1, 0.5, 0.9):
        kept: list[int] = []
        for i in np.argsort(-scores, kind="stable"):
            if all(plain_iou(boxes[i], boxes[k]) <= threshold for k in kept):
                kept.append(int(i))
        assert box_nms(boxes, scores, threshold).tolist() == kept
    assert box_nms(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []


def plain_iou(a, b) -> float:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    intersection = width * height
    union = sum(areas) - intersection
    return float(np.float32(intersection) / np.float32(union)) if union else 0.0


@pytest.mark.parametrize(
    ("boxes", "scores"),
    [(np.ones((4, 5)), np.ones(4)), (np.ones(4), np.ones(1)), (np.ones((3, 4)), np.ones(2)), (np.ones((1, 4)), 1.0)],
)
def test_boxes_and_scores_of_other_shapes_are_refused(boxes, scores):
    with pytest.raises(ValueError, match=r"`boxes` must have shape \(N, 4\) and `scores` \(N,\).*`boxes\[:, :4\]`"):
        box_nms(boxes, scores, 0.5)
    detections = np.array([[0, 0, 5, 5, 0.9], [0, 0, 5, 4, 0.8]])
    assert box_nms(detections[:, :4], detections[:, 4], 0.5).tolist() == [0]
    assert box_nms([], [], 0.5).tolist() == []
