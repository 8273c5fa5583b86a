import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.cutouts import Backgrounds, CutoutObjects, compose, composition
from hq_sam_hf.cutouts.image_pyramid import ImagePyramid
from hq_sam_hf.cutouts.placing import Placed, cast_shadow, paste, place
from support.cutout_objects import write_objects, write_photos


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    return CutoutObjects(write_objects(tmp_path_factory.mktemp("objects")), split="all")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return Backgrounds(write_photos(tmp_path_factory.mktemp("photos")))


def white_square(side: int = 40) -> ImagePyramid:
    return ImagePyramid(Image.new("RGBA", (side, side), (255, 255, 255, 255)))


def test_pasting_mixes_colours_by_the_share_that_the_object_covers():
    image = np.full((4, 4, 3), 100, np.float32)
    alpha = np.array([[0, 0.5], [1, 1]], np.float32)
    colours = np.full((2, 2, 3), 200, np.float32)
    colours[1, 1] = 300  # above white
    paste(image, Placed(slice(1, 3), slice(2, 4), colours, alpha))
    assert image[1:3, 2:4, 0].tolist() == [[100, 150], [200, 255]]
    assert image[0].tolist() == image[3].tolist() == [[100] * 3] * 4


def test_a_placed_object_has_about_the_area_of_its_length():
    """A square of 40 pixels, turned and stretched at will, keeps its area: stretching and shearing preserve it."""
    areas = []
    for seed in range(20):
        placed = place(np.random.default_rng(seed), white_square(), 200, 40, centre=(100, 100))
        areas.append(placed.alpha.sum())
    assert np.mean(areas) == pytest.approx(1600, rel=0.1)
    assert np.std(areas) < 160


def test_a_white_object_on_black_is_the_image_of_its_mask():
    for seed in range(10):
        image = np.zeros((96, 96, 3), np.float32)
        placed = place(np.random.default_rng(seed), white_square(), 96, 60)
        paste(image, placed)
        mask = np.zeros((96, 96), np.float32)
        mask[placed.window] = placed.alpha
        inside = mask > 0.5
        assert inside.any()
        assert (image[inside] > 127).all()
        assert (image[~inside] <= 128).all()


def test_a_small_copy_is_made_from_a_reduced_image():
    pyramid = white_square(256)
    assert [level.width for level in pyramid.levels] == [256, 128, 64, 32]
    assert pyramid.level(1.0)[0].width == pyramid.level(0.6)[0].width == 256
    level, scale = pyramid.level(0.3)  # 0.3 of 256 is 77 pixels, less than 128
    assert (level.width, scale) == (128, 0.5)
    assert pyramid.level(0.01)[0].width == 32


def test_objects_may_be_cut_off_by_the_border():
    touching = 0
    for seed in range(40):
        placed = place(np.random.default_rng(seed), white_square(), 100, 60)
        assert placed.alpha.shape == (
            placed.rows.stop - placed.rows.start,
            placed.columns.stop - placed.columns.start,
        )
        touching += placed.rows.start == 0 or placed.columns.start == 0
    assert 0 < touching < 40


def test_a_shadow_darkens_the_image_and_stays_within_it():
    for centre in ((50, 50), (2, 98)):
        image = np.full((100, 100, 3), 200, np.float32)
        rng = np.random.default_rng(1)
        cast_shadow(rng, image, place(rng, white_square(), 100, 40, centre=centre))
        assert image.min() < 180
        assert image.max() == 200


def test_pixels_belong_to_the_object_in_front(objects, photos, monkeypatch):
    monkeypatch.setattr(composition, "PART", 0.0)
    several = 0
    for seed in range(30):
        composed = compose(np.random.default_rng(seed), objects, photos, 64)
        assert composed.masks.sum(axis=0).max() <= 1 + 1e-5
        several += len(composed.masks) > 1
    assert several > 5


def test_the_pixels_of_a_part_belong_to_the_object_that_carries_it_too(objects, photos, monkeypatch):
    monkeypatch.setattr(composition, "PART", 1.0)
    monkeypatch.setattr(composition, "COUNT_PROBABILITIES", (1.0,))
    shared = 0
    for seed in range(20):
        masks = compose(np.random.default_rng(seed), objects, photos, 64).masks
        if len(masks) == 2:
            host, part = masks
            assert (part <= host + 1e-5).all()
            shared += 1
    assert shared > 3


def test_every_mask_is_large_enough_and_every_object_has_a_name(objects, photos):
    for seed in range(30):
        composed = compose(np.random.default_rng(seed), objects, photos, 64)
        assert composed.image.shape == (64, 64, 3)
        assert composed.image.dtype == np.uint8
        assert len(composed.masks) == len(composed.names) >= 1
        assert (composed.masks.sum(axis=(1, 2)) >= 0.002 * 64 * 64).all()
        assert composed.masks.min() >= 0
        assert composed.masks.max() <= 1
        assert set(composed.names) <= {f"thing_{number}" for number in range(8)}


def test_looks_change_but_masks_do_not_without_an_object_in_front(objects, photos, monkeypatch):
    """The same random numbers place an object; `change_appearance` alone decides its colours."""
    monkeypatch.setattr(composition, "COUNT_PROBABILITIES", (1.0,))
    monkeypatch.setattr(composition, "PART", 0.0)
    monkeypatch.setattr(composition, "CLUTTER", 0.0)
    before = compose(np.random.default_rng(5), objects, photos, 64)
    monkeypatch.setattr(composition, "change_appearance", lambda rng, colours, *rest: 255 - colours)
    after = compose(np.random.default_rng(5), objects, photos, 64)
    assert (before.masks == after.masks).all()
    assert (before.image != after.image).any()


def test_objects_that_are_never_visible_are_reported(objects, photos, monkeypatch):
    monkeypatch.setattr(composition, "place", lambda *arguments, **options: None)
    with pytest.raises(ValueError, match="No object of 8 attempts covers 0.2% of an image"):
        compose(np.random.default_rng(0), objects, photos, 64)
