import pytest
import torch

from hq_sam_hf.training.sam_objective import corrective_clicks, mask_ious, sam_losses, surroundings


def square(side: int = 16, first: int = 6, last: int = 9) -> torch.Tensor:
    """A mask (1, 1, side, side) of a square from row and column `first` to `last`."""
    mask = torch.zeros(1, 1, side, side)
    mask[..., first : last + 1, first : last + 1] = 1
    return mask


def test_ious_of_candidate_masks():
    target = square()
    logits = torch.full((1, 1, 3, 16, 16), -1.0)
    logits[0, 0, 0] = 2 * target[0, 0] - 1  # the target
    logits[0, 0, 1, 6:10, 8:12] = 1  # moved by half its side: 8 of 24 pixels are in both
    assert mask_ious(logits, target)[0, 0].tolist() == pytest.approx([1, 1 / 3, 0])


def test_surroundings_reach_a_quarter_of_the_longer_side_and_a_pixel_beyond_the_box():
    weights = surroundings(square())  # the margin of 1 + 0.25 * 3 pixels holds one more row or column on each side
    assert (weights == 1).sum() == 6 * 6
    assert weights[0, 0, 5:11, 5:11].min() == 1
    assert weights[0, 0, 0, 0] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [(1.0, 0), (-1.0, 1)],
    ids=["background taken for the object", "missed object"],
)
def test_a_corrective_click_is_where_the_mask_is_wrong(predicted, expected):
    target = square()
    logits = 2 * target - 1
    row, column = (2, 3) if predicted > 0 else (7, 8)
    logits[0, 0, row, column] = predicted
    points, labels = corrective_clicks(logits, target, torch.zeros(1, 1, dtype=torch.long))
    assert points.tolist() == [[[[column, row]]]]
    assert labels.tolist() == [[[expected]]]


def test_a_mask_without_errors_gets_a_padded_click():
    target = square()
    _, labels = corrective_clicks(2 * target - 1, target, torch.zeros(1, 1, dtype=torch.long))
    assert labels.tolist() == [[[-10]]]


def test_a_click_does_not_depend_on_the_rest_of_the_batch():
    target = square().expand(3, 2, 16, 16)
    seeds = torch.arange(6).reshape(3, 2)
    empty = torch.full_like(target, -1.0)
    points, _ = corrective_clicks(empty, target, seeds)
    alone, _ = corrective_clicks(empty[1:2, :1], target[1:2, :1], seeds[1:2, :1])
    assert torch.equal(alone[0, 0], points[1, 0])


def test_the_losses_are_those_of_the_best_candidate():
    target = square()
    wrong, right = 20 - 40 * target, 40 * target - 20
    scores = torch.tensor([[[0.0, 0.5]]])
    losses = sam_losses(torch.stack([wrong, right], dim=2), scores, target, torch.ones_like(target))
    assert losses["bce"].item() == pytest.approx(0, abs=1e-6)
    assert losses["dice"].item() == pytest.approx(0, abs=1e-6)
    assert losses["score"].item() == pytest.approx((0 + 0.5**2) / 2)  # the IoUs are 0 and 1
    assert losses["loss"].item() == pytest.approx(0.125, abs=1e-5)
