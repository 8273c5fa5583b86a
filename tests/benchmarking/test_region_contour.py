import cv2
import numpy as np
import pytest

from hq_sam_hf.benchmarking.region_contour import contour, contour_accuracy, dilate, j_and_f
from hq_sam_hf.masks import rle_to_mask
from support.coco_objects import random_mask, row, shifted
from support.video_objects import track_rows, video_objects


def disk(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (x**2 + y**2 <= radius**2).astype(np.uint8)


def contour_by_neighbours(mask: np.ndarray) -> np.ndarray:
    """Pixel by pixel: one of the three neighbours to the right and below, as far as they exist, differs."""
    height, width = mask.shape
    edge = np.zeros_like(mask)
    for y, x in np.ndindex(height, width):
        inside = [(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (1, 1)) if y + dy < height and x + dx < width]
        edge[y, x] = any(mask[other] != mask[y, x] for other in inside)
    return edge


def f_by_opencv(predicted: np.ndarray, true: np.ndarray) -> float:
    """F by the definition of DAVIS, with OpenCV's dilation."""
    edges = [contour_by_neighbours(mask) for mask in (predicted, true)]
    kernel = disk(int(np.ceil(0.008 * np.linalg.norm(true.shape))))
    near = [cv2.dilate(edge.astype(np.uint8), kernel).astype(bool) for edge in edges]
    counts = [edge.sum() for edge in edges]
    if 0 in counts:
        return float(counts == [0, 0])
    precision, recall = (edges[0] & near[1]).sum() / counts[0], (edges[1] & near[0]).sum() / counts[1]
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_contours_and_f_equal_the_definition():
    random = np.random.default_rng(0)
    size = (60, 120)  # a radius of 2 pixels
    empty = np.zeros(size, dtype=bool)
    pairs = [(empty, empty), (empty, ~empty), (~empty, empty), (random_mask(random, size), empty)]
    for _ in range(2):
        mask = random_mask(random, size)
        other = random_mask(random, size)
        pairs += [(mask, shifted(mask, *(int(one) for one in random.integers(-5, 6, 2)))), (mask, other)]
    for predicted, true in pairs:
        assert np.array_equal(contour(predicted), contour_by_neighbours(predicted))
        assert contour_accuracy(predicted, true) == pytest.approx(f_by_opencv(predicted, true), abs=1e-12)


@pytest.mark.parametrize("radius", [1, 2, 3, 5, 8])
def test_dilation_reaches_as_far_as_a_disk(radius):
    points = np.zeros((40, 50), dtype=bool)
    points[[0, 17, 18, 39], [0, 30, 33, 49]] = True
    assert np.array_equal(dilate(points, radius), cv2.dilate(points.astype(np.uint8), disk(radius)).astype(bool))
    assert not dilate(np.zeros((4, 5), dtype=bool), radius).any()


def test_j_and_f_of_videos_are_the_means_of_their_objects():
    """Against the definition, object by object and frame by frame, without the first and the last frame."""
    truth, _ = video_objects(3)
    rows, expected = [], []
    random = np.random.default_rng(1)
    for one in truth["annotations"]:
        masks = [np.zeros((90, 120), bool) if rle is None else rle_to_mask(rle) for rle in one["segmentations"]]
        guesses = [shifted(mask, *(int(step) for step in random.integers(-2, 3, 2))) for mask in masks]
        # One object per video, because masks of a frame may not overlap.
        if one["id"] != min(other["id"] for other in truth["annotations"] if other["video_id"] == one["video_id"]):
            continue
        rows += track_rows(guesses, one["video_id"], one["id"], 1, 1.0)
        pairs = list(zip(guesses, masks))[1:-1]
        regions = [(a & b).sum() / (a | b).sum() if (a | b).any() else 1.0 for a, b in pairs]
        expected.append((np.mean(regions), np.mean([f_by_opencv(a, b) for a, b in pairs])))
    kept = {one["track_id"] for one in rows}
    truth["annotations"] = [one for one in truth["annotations"] if one["id"] in kept]
    result = j_and_f(truth, rows)
    assert [(one["J"], one["F"]) for one in result.by_object] == [
        pytest.approx((100 * j, 100 * f), abs=1e-9) for j, f in expected
    ]
    j, f = 100 * np.mean(expected, axis=0)
    assert result.metrics["J"] == pytest.approx(j)
    assert result.metrics["F"] == pytest.approx(f)
    assert result.metrics["J&F"] == pytest.approx((j + f) / 2)


def strip(start: int, length: int = 10) -> np.ndarray:
    mask = np.zeros((20, 60), dtype=bool)
    mask[5:15, start : start + length] = True
    return mask


def strip_video(frames: int, label: int = 1) -> dict:
    from hq_sam_hf.masks import mask_to_rle

    annotation = {"id": 8, "video_id": 1, "category_id": 1, "label": label, "iscrowd": 0}
    return {
        "videos": [{"id": 1, "name": "bike", "file_names": ["f"] * frames, "height": 20, "width": 60}],
        "annotations": [{**annotation, "segmentations": [mask_to_rle(strip(10))] * frames}],
        "categories": [{"id": 1, "name": "object"}],
    }


def test_the_first_and_the_last_frame_do_not_count():
    rows = track_rows([strip(40), strip(10), strip(10), strip(40)], 1, 1, 1, 1.0)
    assert j_and_f(strip_video(4), rows).metrics["J&F"] == 100


def test_decay_is_the_first_quarter_less_the_last():
    """J of eight frames is 1 in the first four and 1/3 in the last four, where the strip has moved by half its
    length. The quarters share the frames at their ends: frames 1 to 3 and 6 to 8."""
    rows = track_rows([strip(10)] * 5 + [strip(15)] * 5, 1, 1, 1, 1.0)
    result = j_and_f(strip_video(10), rows).metrics
    assert result["J"] == pytest.approx(100 * (4 + 4 / 3) / 8)
    assert result["J_recall"] == 50
    assert result["J_decay"] == pytest.approx(100 * 2 / 3)


def test_pixels_of_several_masks_belong_to_the_one_with_the_higher_score():
    over = np.zeros((20, 60), dtype=bool)
    over[5:15, 15:40] = True  # half of the strip
    rows = track_rows([strip(10)] * 3, 1, 1, 1, 0.5)
    higher, lower = (track_rows([over] * 3, 1, 2, 1, score) for score in (0.9, 0.1))
    assert j_and_f(strip_video(3), rows + lower).metrics["J"] == 100
    assert j_and_f(strip_video(3), rows + higher).metrics["J"] == 50
    for one in lower:
        one |= {"score": 0.5, "predicted_iou": 0.9}  # equal scores, so the predicted IoU decides
    assert j_and_f(strip_video(3), rows + lower).metrics["J"] == 50


def test_a_track_belongs_to_the_object_with_its_label():
    rows = track_rows([strip(10)] * 3, 1, 4, 1, 1.0)
    assert j_and_f(strip_video(3, label=4), rows).by_object == [{"video": "bike", "object": 4, "J": 100, "F": 100}]
    assert j_and_f(strip_video(3, label=5), rows).metrics["J&F"] == 0


def test_videos_without_objects_have_no_values():
    empty = {**strip_video(3), "annotations": []}
    assert set(j_and_f(empty, []).metrics.values()) == {None}
    assert j_and_f(strip_video(2), []).metrics["J"] is None


def test_predictions_of_another_size_are_refused():
    wrong = row(np.ones((10, 10), bool), 1, 1, 1.0, video_id=1, frame=1, track_id=1)
    with pytest.raises(ValueError, match=r"\(20, 60\), got \(10, 10\) in the video 1. Evaluate with the frames"):
        j_and_f(strip_video(3), [wrong])
