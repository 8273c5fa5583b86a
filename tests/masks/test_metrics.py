import numpy as np
import pytest
import torch

from hq_sam_hf.masks.metrics import boundary, boundary_iou, boundary_width, mask_iou
from support.golden_numbers import metric_cases


def test_mask_iou_and_boundary_iou_equal_the_original_on_200_masks():
    cases = list(metric_cases())
    assert len(cases) == 200
    for pred, ground_truth, (expected_iou, expected_boundary_iou), _ in cases:
        assert mask_iou(pred, ground_truth) == expected_iou
        assert boundary_iou(pred, ground_truth) == expected_boundary_iou
    # The cases cover low, medium and high values, and boundaries of one and of two pixels.
    values = np.array([values for _, _, values, _ in cases])
    assert ((values > 0.05) & (values < 0.95)).sum(axis=0).min() > 50
    assert {boundary_width(*ground_truth.shape) for _, ground_truth, _, _ in cases} == {1, 2}


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (2, 1 / 3), (4, 0.0)])
def test_mask_iou_of_two_4x4_squares(shift, expected):
    ground_truth, predicted = torch.zeros(2, 8, 8, dtype=torch.bool)
    ground_truth[2:6, 0:4] = True
    predicted[2:6, shift : shift + 4] = True  # a shift of 2 shares 8 of 24 pixels
    assert mask_iou(predicted, ground_truth) == pytest.approx(expected)


def test_the_boundary_includes_pixels_along_the_edge_of_the_image():
    mask = np.zeros((7, 8), dtype=bool)
    mask[0:5, 1:7] = True
    expected = mask.copy()
    expected[1:4, 2:6] = False
    assert np.array_equal(boundary(mask), expected)


@pytest.mark.parametrize(("size", "ratio", "width"), [((3, 4), 0.02, 1), ((300, 400), 0.02, 10), ((30, 40), 0.05, 2)])
def test_boundary_width_is_proportional_to_the_image_diagonal(size, ratio, width):
    # 50 * 0.05 = 2.5 is rounded to even, as in the original
    assert boundary_width(*size, ratio) == width


def test_wide_boundaries_equal_those_of_repeated_erosion():
    mask = np.random.default_rng(0).random((40, 60)) < 0.97
    mask[10:30, 20:50] = True
    for ratio in (0.02, 0.05, 0.1, 0.5):
        eroded = np.pad(mask, 1)
        for _ in range(boundary_width(40, 60, ratio)):
            padded = np.pad(eroded, 1)
            windows = [padded[y : y + 42, x : x + 62] for y in range(3) for x in range(3)]
            eroded = np.logical_and.reduce(windows)
        assert np.array_equal(boundary(mask, ratio), mask & ~eroded[1:-1, 1:-1])


@pytest.mark.parametrize("metric", [mask_iou, boundary_iou])
def test_two_empty_masks_have_1_and_one_empty_mask_has_0(metric):
    empty, full = np.zeros((5, 6), dtype=bool), np.ones((5, 6), dtype=bool)
    assert [metric(a, b) for a in (empty, full) for b in (empty, full)] == [1, 0, 0, 1]


@pytest.mark.parametrize("metric", [mask_iou, boundary_iou])
def test_leading_dimensions_broadcast_and_arrays_stay_arrays(metric):
    masks = np.random.default_rng(0).random((4, 3, 20, 30)) < 0.5
    one_by_one = np.array([[metric(mask, row[0]) for mask in row] for row in masks])
    together = metric(masks, masks[:, :1])
    assert isinstance(together, np.ndarray)
    assert np.array_equal(together, one_by_one)
    tensor = metric(torch.from_numpy(masks), torch.from_numpy(masks[:, :1]))
    assert isinstance(tensor, torch.Tensor)
    assert np.array_equal(tensor.numpy(), one_by_one)


@pytest.mark.parametrize("metric", [mask_iou, boundary_iou])
def test_masks_that_cannot_be_compared_raise(metric):
    mask = np.zeros((5, 6), dtype=bool)
    with pytest.raises(ValueError, match="`pred` must be a bool array.*uint8.*Threshold"):
        metric(mask.astype(np.uint8), mask)
    with pytest.raises(ValueError, match=r"same height and width, got \(5, 6\) and \(6, 5\)"):
        metric(mask, mask.T)
    with pytest.raises(ValueError, match="`ground_truth` must be a bool array.* a list"):
        metric(mask, [[True]])
