import numpy as np
import pytest

from hq_sam_hf.data.augmentation import (
    MAX_ATTEMPTS,
    PADDING,
    Jitter,
    apply_jitter,
    augment,
    draw_jitter,
    scaled_size,
)
from support.golden_numbers import golden


def square(height: int = 40, width: int = 60) -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    masks = np.zeros((1, height, width), dtype=np.float32)
    masks[0, 10:20, 30:45] = 1
    return image, masks


def test_jitter_equals_that_of_the_original():
    data = golden()
    for i, (flip, scale, *offset) in enumerate(data["jitter_draws"]):
        image, mask = data[f"jitter_image_{i}"], data[f"jitter_mask_{i}"].astype(np.float32)
        jittered, masks = apply_jitter(image, mask[None], Jitter(bool(flip), scale, tuple(offset)), 24)
        expected = data["jitter_images"][i].transpose(1, 2, 0)
        assert np.abs(jittered - expected).max() < 1e-4
        assert np.array_equal(jittered.astype(np.uint8), expected.astype(np.uint8))
        assert np.abs(255 * masks[0] - data["jitter_masks"][i]).max() < 1e-4


def test_an_image_of_the_output_size_does_not_change():
    image, masks = square(32, 32)
    jittered, jittered_masks = apply_jitter(image, masks, Jitter(), 32)
    assert np.array_equal(jittered, image)
    assert np.array_equal(jittered_masks, masks)


def test_small_images_are_padded_below_and_on_the_right():
    image, masks = square(40, 60)
    jittered, jittered_masks = apply_jitter(image, masks, Jitter(scale=0.5), 60)
    assert (jittered[20:] == PADDING).all()
    assert (jittered[:, 30:] == PADDING).all()
    assert jittered_masks.shape == (1, 60, 60)
    assert jittered_masks.sum() == pytest.approx(masks.sum() / 4, rel=0.1)
    assert not jittered_masks[:, 20:].any()


def test_offsets_reach_all_crops_and_flip_mirrors():
    image, masks = square(40, 40)
    first, _ = apply_jitter(image, masks, Jitter(scale=2.0), 20)
    last, _ = apply_jitter(image, masks, Jitter(scale=2.0, offset=(0.999, 0.999)), 20)
    assert np.array_equal(first, image[:20, :20])
    assert np.array_equal(last, image[20:, 20:])
    mirrored, _ = apply_jitter(image, masks, Jitter(flip=True, scale=2.0), 20)
    assert np.array_equal(mirrored, image[:20, ::-1][:, :20])


def test_extreme_aspect_ratios_keep_at_least_one_pixel():
    assert scaled_size(1000, 4, 0.1, 100) == (10, 1)
    image, masks = square(40, 60)
    jittered, _ = apply_jitter(image[:1], masks[:, :1], Jitter(scale=0.1), 50)
    assert jittered.shape == (50, 50, 3)


def test_random_numbers_fill_their_ranges_and_repeat_with_the_seed():
    draws = [draw_jitter(np.random.default_rng(i), 0.5, 1.5, flip=0.25) for i in range(400)]
    assert draws == [draw_jitter(np.random.default_rng(i), 0.5, 1.5, flip=0.25) for i in range(400)]
    scales = np.array([one.scale for one in draws])
    assert 0.5 <= scales.min() < 0.52
    assert 1.48 < scales.max() <= 1.5
    assert sum(one.flip for one in draws) == pytest.approx(100, abs=35)
    assert np.mean([one.offset for one in draws], axis=0) == pytest.approx([0.5, 0.5], abs=0.06)


def test_augment_rounds_and_paper_exact_truncates():
    image, masks = square()
    exact, _ = apply_jitter(image, masks, draw_jitter(np.random.default_rng(3)), 32)
    rounded, _ = augment(image, masks, 32, np.random.default_rng(3))
    truncated, _ = augment(image, masks, 32, np.random.default_rng(3), paper_exact=True)
    assert rounded.dtype == truncated.dtype == np.uint8
    assert np.abs(rounded - exact).max() <= 0.5
    assert np.array_equal(truncated, np.floor(exact).astype(np.uint8))


def test_augment_draws_again_if_the_object_is_lost():
    image, masks = square()
    masks[:] = 0
    masks[0, :3, :3] = 1  # most crops miss this corner
    kept, lost = 0, 0
    for seed in range(60):
        kept += (augment(image, masks, 20, np.random.default_rng(seed))[1] > 0.5).any()
        lost += not (augment(image, masks, 20, np.random.default_rng(seed), paper_exact=True)[1] > 0.5).any()
    assert kept == 60
    assert lost > 15


def test_augment_uses_the_whole_image_after_the_last_attempt():
    image, masks = square()
    masks[:] = 0
    masks[0, 7, 7] = 1  # a single pixel is lost at a third of the size
    augmented, _ = augment(image, masks, 20, np.random.default_rng(0), scales=(0.3, 0.35))
    whole = [np.rint(apply_jitter(image, masks, Jitter(flip), 20)[0]) for flip in (False, True)]
    assert any(np.array_equal(augmented, one) for one in whole)


def test_augment_draws_once_for_empty_masks():
    image, masks = square()
    for empty in (np.zeros_like(masks), masks[:0]):
        rng, drawn_once = np.random.default_rng(5), np.random.default_rng(5)
        _, augmented = augment(image, empty, 32, rng)
        draw_jitter(drawn_once)
        assert rng.random() == drawn_once.random()
        assert augmented.shape == (len(empty), 32, 32)
        assert not augmented.any()
    assert MAX_ATTEMPTS > 1


def test_augment_accepts_read_only_arrays():
    image, masks = square()
    image.setflags(write=False)
    masks.setflags(write=False)
    augment(image, masks, 32, np.random.default_rng(0))


def test_arrays_of_the_wrong_type_or_shape_are_errors():
    image, masks = square()
    with pytest.raises(ValueError, match=r"`image` must be uint8 .* got float32 \(40, 60, 3\)"):
        augment(image.astype(np.float32), masks, 32, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"`masks` must be float32 \(masks, 40, 60\)"):
        augment(image, masks[0], 32, np.random.default_rng(0))
    with pytest.raises(ValueError, match="scales"):
        augment(image, masks, 32, np.random.default_rng(0), scales=(2.0, 0.1))
