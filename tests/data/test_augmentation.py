import numpy as np
import pytest

from hq_sam_hf.data.augmentation import ATTEMPTS, PADDING, Jitter, augment, draw_jitter, jitter, scaled_size
from support.golden_numbers import golden


def square(height: int = 40, width: int = 60) -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    masks = np.zeros((1, height, width), dtype=np.float32)
    masks[0, 10:20, 30:45] = 1
    return image, masks


def test_jitter_equals_the_originals():
    data = golden()
    for i, (flip, scale, *offset) in enumerate(data["jitter_draws"]):
        image, mask = data[f"jitter_image_{i}"], data[f"jitter_mask_{i}"].astype(np.float32)
        ours, masks = jitter(image, mask[None], Jitter(bool(flip), scale, tuple(offset)), 24)
        theirs = data["jitter_images"][i].transpose(1, 2, 0)
        assert np.abs(ours - theirs).max() < 1e-4
        assert np.array_equal(ours.astype(np.uint8), theirs.astype(np.uint8))
        assert np.abs(255 * masks[0] - data["jitter_masks"][i]).max() < 1e-4


def test_a_picture_of_the_size_of_the_frame_is_left_alone():
    image, masks = square(32, 32)
    ours, ours_masks = jitter(image, masks, Jitter(), 32)
    assert np.array_equal(ours, image)
    assert np.array_equal(ours_masks, masks)


def test_small_pictures_are_padded_below_and_right():
    image, masks = square(40, 60)
    ours, ours_masks = jitter(image, masks, Jitter(scale=0.5), 60)
    assert (ours[20:] == PADDING).all()
    assert (ours[:, 30:] == PADDING).all()
    assert ours_masks.shape == (1, 60, 60)
    assert ours_masks.sum() == pytest.approx(masks.sum() / 4, rel=0.1)
    assert not ours_masks[:, 20:].any()


def test_offsets_span_all_crops_and_flip_mirrors():
    image, masks = square(40, 40)
    first, _ = jitter(image, masks, Jitter(scale=2.0), 20)
    last, _ = jitter(image, masks, Jitter(scale=2.0, offset=(0.999, 0.999)), 20)
    assert np.array_equal(first, image[:20, :20])
    assert np.array_equal(last, image[20:, 20:])
    mirrored, _ = jitter(image, masks, Jitter(flip=True, scale=2.0), 20)
    assert np.array_equal(mirrored, image[:20, ::-1][:, :20])


def test_extreme_aspects_keep_a_pixel():
    assert scaled_size(1000, 4, 0.1, 100) == (10, 1)
    image, masks = square(40, 60)
    ours, _ = jitter(image[:1], masks[:, :1], Jitter(scale=0.1), 50)
    assert ours.shape == (50, 50, 3)


def test_draws_fill_their_ranges_and_repeat_with_the_seed():
    draws = [draw_jitter(np.random.default_rng(i), 0.5, 1.5, flip=0.25) for i in range(400)]
    assert draws == [draw_jitter(np.random.default_rng(i), 0.5, 1.5, flip=0.25) for i in range(400)]
    scales = np.array([one.scale for one in draws])
    assert 0.5 <= scales.min() < 0.52
    assert 1.48 < scales.max() <= 1.5
    assert sum(one.flip for one in draws) == pytest.approx(100, abs=35)
    assert np.mean([one.offset for one in draws], axis=0) == pytest.approx([0.5, 0.5], abs=0.06)


def test_augment_rounds_once_and_truncates_as_the_paper_if_asked():
    image, masks = square()
    exact, _ = jitter(image, masks, draw_jitter(np.random.default_rng(3)), 32)
    rounded, _ = augment(image, masks, 32, np.random.default_rng(3))
    truncated, _ = augment(image, masks, 32, np.random.default_rng(3), paper_exact=True)
    assert rounded.dtype == truncated.dtype == np.uint8
    assert np.abs(rounded - exact).max() <= 0.5
    assert np.array_equal(truncated, np.floor(exact).astype(np.uint8))


def test_augment_keeps_an_object_where_the_first_draw_loses_it():
    image, masks = square()
    masks[:] = 0
    masks[0, :3, :3] = 1  # a corner that most crops miss
    kept, lost = 0, 0
    for seed in range(60):
        kept += (augment(image, masks, 20, np.random.default_rng(seed))[1] > 0.5).any()
        lost += not (augment(image, masks, 20, np.random.default_rng(seed), paper_exact=True)[1] > 0.5).any()
    assert kept == 60
    assert lost > 15


def test_augment_gives_up_with_the_whole_picture():
    image, masks = square()
    masks[:] = 0
    masks[0, 7, 7] = 1  # no frame of a third of the size keeps one pixel
    picture, _ = augment(image, masks, 20, np.random.default_rng(0), scales=(0.3, 0.35))
    whole = [np.rint(jitter(image, masks, Jitter(flip), 20)[0]) for flip in (False, True)]
    assert any(np.array_equal(picture, one) for one in whole)


def test_augment_does_not_search_for_an_object_that_is_not_there():
    image, masks = square()
    for empty in (np.zeros_like(masks), masks[:0]):
        rng, once = np.random.default_rng(5), np.random.default_rng(5)
        _, ours = augment(image, empty, 32, rng)
        draw_jitter(once)
        assert rng.random() == once.random()
        assert ours.shape == (len(empty), 32, 32)
        assert not ours.any()
    assert ATTEMPTS > 1


def test_augment_takes_read_only_arrays():
    image, masks = square()
    image.setflags(write=False)
    masks.setflags(write=False)
    augment(image, masks, 32, np.random.default_rng(0))


def test_arrays_of_the_wrong_kind_are_refused():
    image, masks = square()
    with pytest.raises(ValueError, match=r"`image` must be uint8 .* got float32 \(40, 60, 3\)"):
        augment(image.astype(np.float32), masks, 32, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"`masks` must be float32 \(masks, 40, 60\)"):
        augment(image, masks[0], 32, np.random.default_rng(0))
    with pytest.raises(ValueError, match="scales"):
        augment(image, masks, 32, np.random.default_rng(0), scales=(2.0, 0.1))
