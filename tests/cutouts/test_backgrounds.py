import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.cutouts import Backgrounds
from support.cutout_objects import write_photos


def test_a_crop_has_the_asked_size_and_colours_of_the_photo(tmp_path):
    Image.new("RGB", (90, 60), (10, 200, 30)).save(tmp_path / "green.png")
    for height, width in ((32, 32), (20, 70), (200, 100)):
        crop = Backgrounds(tmp_path).crop(np.random.default_rng(0), height, width)
        assert crop.size == (width, height)
        assert np.asarray(crop).reshape(-1, 3).std(axis=0).max() == 0
        assert crop.getpixel((5, 5)) == (10, 200, 30)


def test_crops_differ_and_depend_on_the_random_numbers_only(tmp_path):
    backgrounds = Backgrounds(write_photos(tmp_path))
    first, again = (backgrounds.crop(np.random.default_rng(3), 32, 32).tobytes() for _ in range(2))
    assert first == again
    assert first != backgrounds.crop(np.random.default_rng(4), 32, 32).tobytes()


def test_folders_are_chosen_equally_often(tmp_path):
    for name, colour, count in (("few", "red", 1), ("many", "blue", 9)):
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.new("RGB", (64, 64), colour).save(tmp_path / name / f"{number}.png")
    backgrounds = Backgrounds([tmp_path / "few", tmp_path / "many"])
    rng = np.random.default_rng(0)
    red = sum(backgrounds.crop(rng, 8, 8).getpixel((0, 0)) == (255, 0, 0) for _ in range(200))
    assert 70 < red < 130


def test_a_photo_of_16_bits_keeps_its_brightness(tmp_path):
    Image.fromarray(np.full((60, 90), 257 * 100, np.uint16)).save(tmp_path / "grey.png")
    assert Backgrounds(tmp_path).crop(np.random.default_rng(0), 16, 16).getpixel((3, 3)) == (100, 100, 100)


def test_without_photos_backgrounds_are_generated():
    backgrounds = Backgrounds()
    crops = [np.asarray(backgrounds.crop(np.random.default_rng(seed), 64, 64)) for seed in range(2)]
    assert crops[0].shape == (64, 64, 3)
    assert (crops[0] != crops[1]).any()


def test_folders_that_are_missing_or_empty_and_unreadable_photos_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        Backgrounds(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no photos; expected files ending in \.jpg"):
        Backgrounds(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"not a JPEG")
    with pytest.raises(ValueError, match=r"broken\.jpg is not a readable photo"):
        Backgrounds(tmp_path).load()
