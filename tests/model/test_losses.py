import math

import pytest
import torch
from golden.make import even_points

from hq_sam_hf.model.losses import (
    IMPORTANCE_RATIO,
    NUM_POINTS,
    OVERSAMPLE_RATIO,
    choose_points,
    mask_loss,
    sample_at_points,
    uncertain_points,
)
from support.golden_numbers import golden


def test_loss_and_gradient_equal_the_original_for_the_same_points():
    # Four masks: a disc, an empty and a full one, and a soft disc.
    logits, masks, values, grad = (
        torch.from_numpy(golden()[f"loss_{name}"]) for name in ("logits", "masks", "values", "grad")
    )
    logits.requires_grad_()
    num_uncertain = int(IMPORTANCE_RATIO * NUM_POINTS)
    candidates = even_points(4, OVERSAMPLE_RATIO * NUM_POINTS)
    points = choose_points(
        logits.detach(), candidates, even_points(4, NUM_POINTS - num_uncertain, start=10**6), num_uncertain
    )
    loss, bce, dice = mask_loss(logits, masks, points=points)
    loss.backward()
    assert torch.stack([bce, dice]).tolist() == pytest.approx(values.tolist(), rel=1e-6)
    assert ((logits.grad - grad).norm() / grad.norm()).item() < 1e-6


def test_points_are_drawn_from_the_generator():
    logits = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(0)
    candidates = torch.rand(2, 3 * 40, 2, generator=generator)
    expected = choose_points(logits, candidates, torch.rand(2, 10, 2, generator=generator), 30)
    assert torch.equal(uncertain_points(logits, 40, torch.Generator().manual_seed(0)), expected)


def test_with_a_generator_per_mask_a_mask_does_not_depend_on_its_batch():
    logits, masks = torch.randn(3, 1, 8, 8), torch.rand(3, 1, 20, 20)
    generators = [torch.Generator().manual_seed(i) for i in range(3)]
    together = mask_loss(logits, masks, generators)[0]
    alone = [mask_loss(logits[i : i + 1], masks[i : i + 1], [torch.Generator().manual_seed(i)])[0] for i in range(3)]
    assert together.item() == pytest.approx(torch.stack(alone).mean().item(), rel=1e-6)
    with pytest.raises(ValueError, match="one per mask, got 2 for 3"):
        mask_loss(logits, masks, generators[:2])


@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("ground_truth", [0.0, 1.0])
def test_empty_and_full_masks_have_a_finite_loss_and_gradient(logit, ground_truth):
    logits = torch.full((1, 1, 8, 8), logit, requires_grad=True)
    losses = mask_loss(logits, torch.full((1, 1, 16, 16), ground_truth))
    losses[0].backward()
    assert torch.isfinite(torch.stack(losses)).all()
    assert torch.isfinite(logits.grad).all()


def test_sampling_gives_the_values_at_cell_centres_and_zero_outside():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    points = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.5, 0.5], [-1.0, 0.5]]])
    assert sample_at_points(maps, points)[0].tolist() == pytest.approx([1, 2, 3, 2.5, 0])


def test_most_points_lie_where_the_prediction_is_uncertain():
    logits = torch.full((1, 1, 10, 10), 8.0)
    logits[..., :5] = 0.0  # the left half is uncertain
    points = uncertain_points(logits, 1000, torch.Generator().manual_seed(0))
    assert points.shape == (1, 1000, 2)
    # 750 uncertain ones on the left, and half of the 250 uniform ones
    assert (points[0, :, 0] < 0.5).sum().item() == pytest.approx(875, abs=40)


def test_loss_of_constant_logits_by_hand():
    logits, masks = torch.zeros(2, 1, 16, 16), torch.ones(2, 1, 64, 64)
    # Near the edge, sampling mixes in zeros from outside. A ground truth of 0 and logits of 0 (p = 1/2) stay the same.
    total, bce, dice = mask_loss(logits, torch.zeros_like(masks))
    assert bce.item() == pytest.approx(math.log(2), rel=1e-6)
    assert dice.item() == pytest.approx(1 - 1 / (112 * 112 / 2 + 1), rel=1e-6)
    assert total.item() == pytest.approx((bce + dice).item())


def test_loss_is_lower_for_the_better_mask_and_its_gradient_improves_the_worse():
    masks = torch.zeros(1, 1, 32, 32)
    masks[..., 8:24, 8:24] = 1
    good = (8 * masks - 4).requires_grad_()
    bad = (4 - 8 * masks).requires_grad_()
    losses = [mask_loss(logits, masks, torch.Generator().manual_seed(0))[0] for logits in (good, bad)]
    assert losses[0] < 0.3 < 2 < losses[1]
    losses[1].backward()
    assert (bad.grad[masks == 1] <= 0).all()
    assert (bad.grad[masks == 0] >= 0).all()


def test_the_same_generator_state_gives_the_same_loss():
    logits, masks = torch.randn(3, 1, 16, 16), torch.rand(3, 1, 40, 40)
    first, second = (mask_loss(logits, masks, torch.Generator().manual_seed(7))[0] for _ in range(2))
    assert first.item() == second.item()


def test_shapes_that_do_not_match_raise():
    with pytest.raises(ValueError, match=r"`logits` and `masks`.*\(2, 1, 8, 8\) and \(1, 1, 8, 8\)"):
        mask_loss(torch.zeros(2, 1, 8, 8), torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    ("value", "text"), [(255.0, "from 0 to 255"), (2.0, "from 0 to 2"), (-1.0, "from -1 to 0"), (math.nan, "nan")]
)
def test_ground_truth_outside_of_0_to_1_raises(value, text):
    masks = torch.zeros(1, 1, 8, 8)
    masks[..., 2:5, 2:5] = value
    with pytest.raises(ValueError, match=rf"`masks` must lie in \[0, 1\], got values .*{text}.*`masks / 255`"):
        mask_loss(torch.zeros(1, 1, 8, 8), masks)


def test_ground_truth_may_be_bool_soft_and_a_little_out_of_range():
    logits = torch.zeros(1, 1, 8, 8)
    for masks in (logits > 1, torch.full_like(logits, 0.5), torch.full_like(logits, 1.0005), logits - 0.0005):
        assert torch.isfinite(mask_loss(logits, masks)[0])
