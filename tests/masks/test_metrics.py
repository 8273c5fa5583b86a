import numpy as np
import pytest
import torch

from hq_sam_hf.masks.metrics import boundary, boundary_iou, boundary_width, mask_iou
from support.golden_numbers import metric_cases


def test_iou_and_boundary_iou_are_the_originals_on_200_masks():
    cases = list(metric_cases())
    assert len(cases) == 200
    for pred, truth, (iou, of_boundary), _ in cases:
        assert mask_iou(pred, truth) == iou
        assert boundary_iou(pred, truth) == of_boundary
    # The cases are worth something: all kinds of agreement, and boundaries of one pixel and of two.
    values = np.array([values for _, _, values, _ in cases])
    assert ((values > 0.05) & (values < 0.95)).sum(axis=0).min() > 50
    assert {boundary_width(*truth.shape) for _, truth, _, _ in cases} == {1, 2}


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (2, 1 / 3), (4, 0.0)])
def test_mask_iou_of_two_4x4_squares(shift, expected):
    truth, predicted = torch.zeros(2, 8, 8, dtype=torch.bool)
    truth[2:6, 0:4] = True
    predicted[2:6, shift : shift + 4] = True  # a shift of 2 shares 8 of 24 pixels
    assert mask_iou(predicted, truth) == pytest.approx(expected)


def test_boundary_is_the_rim_also_along_the_edge_of_the_picture():
    mask = np.zeros((7, 8), dtype=bool)
    mask[0:5, 1:7] = True
    expected = mask.copy()
    expected[1:4, 2:6] = False
    assert np.array_equal(boundary(mask), expected)


@pytest.mark.parametrize(("size", "ratio", "width"), [((3, 4), 0.02, 1), ((300, 400), 0.02, 10), ((30, 40), 0.05, 2)])
def test_boundary_width_follows_the_diagonal(size, ratio, width):
    # 50 * 0.05 is 2.5, which rounds to even as in the original
    assert boundary_width(*size, ratio) == width


def test_wide_boundaries_equal_erosion_step_by_step():
    mask = np.random.default_rng(0).random((40, 60)) < 0.97
    mask[10:30, 20:50] = True
    for ratio in (0.02, 0.05, 0.1, 0.5):
        eroded = np.pad(mask, 1)
        for _ in range(boundary_width(40, 60, ratio)):
            grown = np.pad(eroded, 1)
            windows = [grown[y : y + 42, x : x + 62] for y in range(3) for x in range(3)]
            eroded = np.logical_and.reduce(windows)
        assert np.array_equal(boundary(mask, ratio), mask & ~eroded[1:-1, 1:-1])


@pytest.mark.parametrize("metric", [mask_iou, boundary_iou])
def test_empty_masks_have_finite_values(metric):
    empty, full = np.zeros((5, 6), dtype=bool), np.ones((5, 6), dtype=bool)
    assert [metric(a, b) for a in (empty, full) for b in (empty, full)] == [1, 0, 0, 1]


@pytest.mark.parametrize("metric", [mask_iou, boundary_iou])
def test_leading_dimensions_broadcast_and_kinds_are_kept(metric):
    masks = np.random.default_rng(0).random((4, 3, 20, 30)) < 0.5
    each = np.array([[metric(mask, row[0]) for mask in row] for row in masks])
    together = metric(masks, masks[:, :1])
    assert isinstance(together, np.ndarray)
    assert np.array_equal(together, each)
    tensor = metric(torch.from_numpy(masks), torch.from_numpy(masks[:, :1]))
    assert isinstance(tensor, torch.Tensor)
    assert np.array_equal(tensor.numpy(), each)


@pytest.mark.parametrize("metric", [mask_iou, boundary_iou])
def test_masks_that_cannot_be_compared_are_refused(metric):
    mask = np.zeros((5, 6), dtype=bool)
    with pytest.raises(ValueError, match="`pred` must be a bool array.*uint8.*Threshold"):
        metric(mask.astype(np.uint8), mask)
    with pytest.raises(ValueError, match=r"same height and width, got \(5, 6\) and \(6, 5\)"):
        metric(mask, mask.T)
    with pytest.raises(ValueError, match="`truth` must be a bool array.* a list"):
        metric(mask, [[True]])
