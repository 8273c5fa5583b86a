"""Regions, their removal, and masks as windows, against the plain definitions on whole pictures."""

import numpy as np
import pytest

from hq_sam_hf.masks.connected_components import find_components
from hq_sam_hf.masks.cropped_mask import CroppedMask
from hq_sam_hf.masks.nms import box_nms
from hq_sam_hf.masks.rle import mask_to_bbox, rle_to_mask
from support.plain_components import flood_components, plainly_without_small_regions


def random_masks(number: int):
    """Noise, blobs with holes, and both inside a part of the picture, which may lie at its borders."""
    random = np.random.default_rng(0)
    yield np.zeros((4, 5), dtype=bool)
    yield np.ones((4, 5), dtype=bool)
    yield np.eye(7, dtype=bool)
    yield ~np.eye(7, dtype=bool)
    for i in range(number):
        height, width = random.integers(1, 26, 2)
        mask = np.zeros((height, width), dtype=bool)
        top, left = random.integers(0, height), random.integers(0, width)
        part = mask[top : random.integers(top, height) + 1, left : random.integers(left, width) + 1]
        if i % 2:
            part[:] = random.random(part.shape) < random.random()
        else:
            rows, columns = (np.arange(side) // random.integers(1, 5) for side in part.shape)
            part[:] = (random.random((26, 26)) < 0.6)[rows][:, columns]
        yield mask


def test_regions_are_those_of_a_flood():
    for mask in random_masks(150):
        labels, regions = flood_components(mask), find_components(mask)
        assert regions.areas.tolist() == [(labels == number).sum() for number in range(1, labels.max() + 1)]
        for number in range(len(regions.areas)):
            assert np.array_equal(regions.paint(np.arange(len(regions.areas)) == number), labels == number + 1)


def test_a_spiral_is_one_region():
    spiral = np.zeros((41, 41), dtype=bool)
    x, y, dx, dy, length = 20, 20, 1, 0, 2
    spiral[y, x] = True
    while length < 40:
        for _ in range(2):
            for _ in range(length):
                x, y = x + dx, y + dy
                spiral[y, x] = True
            dx, dy = -dy, dx
        length += 2
    assert find_components(spiral).areas.tolist() == [spiral.sum()]


@pytest.mark.parametrize("min_area", [1, 2, 5, 20, 1000])
def test_small_holes_and_regions_go_as_on_the_whole_picture(min_area):
    for mask in random_masks(150):
        window, changed = CroppedMask.of(mask).without_small_regions(mask.shape, min_area)
        expected, has_small_parts = plainly_without_small_regions(mask, min_area)
        if mask.any():
            assert np.array_equal(window.full(mask.shape), expected)
            assert changed == has_small_parts


def test_an_empty_mask_stays_empty():
    window, changed = CroppedMask.of(np.zeros((40, 50), dtype=bool)).without_small_regions((40, 50), 100)
    assert not changed
    assert not window.full((40, 50)).any()


def test_a_window_is_its_mask():
    for mask in random_masks(150):
        size = (mask.shape[0] + 3, mask.shape[1] + 2)
        whole = np.zeros(size, dtype=bool)
        whole[2:-1, 1:-1] = mask
        window = CroppedMask.of(mask).moved(1, 2)
        assert np.array_equal(window.full(size), whole)
        assert np.array_equal(rle_to_mask({"size": list(size), "counts": window.run_lengths(size)}), whole)
        assert window.area == mask.sum()
        x, y, width, height = mask_to_bbox(whole)
        if mask.any():
            assert window.box == [x, y, x + width - 1, y + height - 1]
        assert window.pixels.shape == (height, width)


def test_run_lengths_begin_with_background_and_end_without_an_empty_run():
    for rows, counts in [
        ([[0, 1], [0, 1]], [2, 2]),
        ([[1, 0], [1, 0]], [0, 2, 2]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 0], [0, 0]], [4]),
        ([[0, 1], [1, 0]], [1, 2, 1]),
    ]:
        assert CroppedMask.of(np.array(rows, dtype=bool)).run_lengths((2, 2)) == counts


@pytest.mark.parametrize(
    ("threshold", "kept"),
    [(0.0, [1, 3]), (0.3, [1, 2, 3]), (0.6, [1, 2, 3, 0])],
)
def test_nms_keeps_the_best_of_overlapping_boxes(threshold, kept):
    # box 1 against 0: 40 of 60 shared, IoU 0.5; against 2: 20 of 80, IoU 0.25
    boxes = [[0, 0, 10, 5], [0, 0, 10, 5], [0, 3, 10, 8], [50, 50, 50, 60]]
    boxes[0] = [0, 0, 5, 5]
    assert box_nms(np.array(boxes), np.array([0.5, 0.9, 0.8, 0.7]), threshold).tolist() == kept


def test_nms_of_many_boxes_equals_the_definition():
    random = np.random.default_rng(0)
    corners = np.sort(random.integers(0, 60, (300, 2, 2)), axis=1)
    boxes = corners.reshape(300, 4)
    scores = random.integers(0, 40, 300) / 40  # with ties
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
    shared = width * height
    union = sum(areas) - shared
    return float(np.float32(shared) / np.float32(union)) if union else 0.0
