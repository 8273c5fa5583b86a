import numpy as np
import pytest

from hq_sam_hf.data.prompt_simulation import (
    add_outline_noise,
    box_noise,
    centre_point,
    draw_prompt,
    mask_to_box,
    noisy_mask,
    paper_kinds,
    random_negative_points,
    random_points,
    shift_box,
)
from hq_sam_hf.masks.rle import FOREGROUND, foreground
from support.golden_numbers import golden, metric_cases


@pytest.fixture
def mask() -> np.ndarray:
    """A soft mask: 1 in the rectangle of x 5..14 and y 3..8, and 0.5 in the row below it."""
    soft = np.zeros((20, 30), dtype=np.float32)
    soft[3:9, 5:15] = 1
    soft[9, 5:15] = 0.5
    return soft


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_soft_masks_are_thresholded_like_the_original():
    grey = np.arange(256)
    assert np.array_equal(foreground(grey.astype(np.float32) / np.float32(255)), grey > 128)
    assert FOREGROUND.dtype == np.float32


def test_boxes_equal_those_of_the_original_on_200_masks():
    for _, ground_truth, _, box in metric_cases():
        if not ground_truth.any():  # the original gives the box (1e8, 1e8, 0, 0)
            assert mask_to_box(ground_truth) is None
            continue
        assert np.array_equal(mask_to_box(ground_truth), box)
        assert np.array_equal(mask_to_box(ground_truth.astype(np.float32)), box)


def test_boxes_end_at_the_last_pixel_and_empty_masks_have_no_box(mask):
    assert mask_to_box(mask).tolist() == [5, 3, 14, 8]
    assert mask_to_box(0.5 * mask) is None


def test_noisy_boxes_equal_those_of_the_original():
    data = golden()
    for scale, draws, moved in zip((0.2, 0.4), data["box_draws"], data["boxes_moved"]):
        shifted = [shift_box(box, draw, scale, 1024) for box, draw in zip(data["boxes"], draws)]
        assert np.abs(np.stack(shifted) - moved).max() < 1e-4


def test_noisy_boxes_stay_in_the_image_and_within_the_scale():
    box = np.array([10, 20, 110, 60], dtype=np.float32)
    moved = np.stack([box_noise(box, 0.4, (70, 120), rng(i)) for i in range(300)])
    assert moved.dtype == np.float32
    assert moved[:, 0].min() >= 0
    assert moved[:, 1].min() >= 20 - 8 - 8  # the centre moves by up to 8, and the top edge by up to 8 more
    assert moved[:, 2].max() == 120
    assert moved[:, 3].max() == 70
    centres = (moved[:, 0] + moved[:, 2]) / 2
    assert 50 < centres.mean() < 65
    assert np.array_equal(box_noise(box, 0, (70, 120), rng()), box)
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1.5"):
        box_noise(box, 1.5, 1024, rng())


def test_random_points_are_different_pixels_of_the_object(mask):
    points = random_points(mask, 59, rng())
    assert points.dtype == np.float32
    assert len({tuple(point) for point in points}) == 59
    assert foreground(mask)[points[:, 1].astype(int), points[:, 0].astype(int)].all()
    assert len(random_points(mask, 100, rng())) == 60
    assert random_points(np.zeros_like(mask), 5, rng()).shape == (0, 2)


def test_random_negative_points_are_different_background_pixels(mask):
    points = random_negative_points(mask, 200, rng())
    assert len({tuple(point) for point in points}) == 200
    assert not foreground(mask)[points[:, 1].astype(int), points[:, 0].astype(int)].any()


def test_random_points_are_uniform(mask):
    counts = np.zeros(mask.shape)
    for i in range(600):
        for x, y in random_points(mask, 10, rng(i)).astype(int):
            counts[y, x] += 1
    inside = counts[3:9, 5:15]
    assert inside.sum() == 6000
    assert inside.min() > 60
    assert inside.max() < 145


def test_the_centre_point_is_farthest_from_the_background(mask):
    assert centre_point(mask).tolist() in ([9, 5], [10, 5], [9, 6], [10, 6])
    disc = np.hypot(*np.mgrid[-20:30, -30:40]) < 15
    assert centre_point(disc).tolist() == [30, 20]
    assert centre_point(np.zeros((5, 5))) is None


def test_noisy_masks_equal_those_of_the_original():
    data = golden()
    for mask, draws, noisy in zip(data["noise_masks"], data["noise_draws"], data["noisy_masks"]):
        result = add_outline_noise(mask, draws)
        assert result.dtype == np.float32
        assert np.array_equal(result, noisy)


def test_noisy_masks_change_only_along_the_outline():
    mask = np.zeros((64, 64), dtype=np.float32)
    mask[16:48, 16:48] = 1
    noisy = noisy_mask(mask, 64, rng()) / 255
    changed = noisy != mask
    assert 50 < changed.sum() < 1000
    assert not changed[28:36, 28:36].any()
    assert not changed[:4].any()
    assert np.array_equal(noisy_mask(mask, 4, rng()).shape, (4, 4))


def test_all_kinds_of_prompts_are_drawn(mask):
    prompts = [draw_prompt(mask, rng(i), mask_side=16) for i in range(300)]
    kinds = [next(iter(prompt)) for prompt in prompts]
    assert all(80 < kinds.count(kind) < 120 for kind in ("box", "points", "mask"))
    for prompt in prompts:
        if "points" in prompt:
            assert prompt["points"].shape == (10, 2)
            assert prompt["labels"].tolist() == [1] * 10
        elif "box" in prompt:
            assert prompt["box"].tolist() == [5, 3, 14, 8]
        else:
            assert prompt["mask"].shape == (16, 16)
            assert set(np.unique(prompt["mask"])) <= {0, 255}


def test_the_kind_point_draws_a_single_point(mask):
    prompts = [draw_prompt(mask, rng(i), kinds=("point", "box")) for i in range(40)]
    points = [prompt for prompt in prompts if "points" in prompt]
    assert 10 < len(points) < 30
    for prompt in points:
        ((x, y),) = prompt["points"].astype(int)
        assert mask[y, x] > 0.5
        assert prompt["labels"].tolist() == [1]


def test_small_objects_have_fewer_points_and_empty_masks_no_prompt(mask):
    small = np.zeros_like(mask)
    small[2, 3:6] = 1
    assert draw_prompt(small, rng(), kinds=("points",))["points"].shape == (3, 2)
    assert draw_prompt(np.zeros_like(mask), rng()) is None
    with pytest.raises(ValueError, match=r"among box, points, mask, point, got \['circle'\]"):
        draw_prompt(mask, rng(), kinds=("circle",))


def test_paper_exact_treats_small_and_empty_masks_like_the_original(mask):
    empty, small = np.zeros_like(mask), np.zeros_like(mask)
    small[2, 3:6] = 1
    assert draw_prompt(empty, rng(), ("box",), paper_exact=True)["box"].tolist() == [1e8, 1e8, 0, 0]
    assert draw_prompt(empty, rng(), ("points",), paper_exact=True)["points"].shape == (0, 2)
    assert not draw_prompt(empty, rng(), ("mask",), paper_exact=True)["mask"].any()
    assert paper_kinds([mask, small]) == ("box", "mask")
    assert paper_kinds([small, small]) == ("box", "points", "mask") == paper_kinds([mask, mask])


def test_the_same_seed_gives_the_same_prompt(mask):
    for i in range(10):
        first, second = draw_prompt(mask, rng(i)), draw_prompt(mask, rng(i))
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[key], second[key]) for key in first)
