import io

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.masks.drawing import side_by_side, transparent_overlay


def test_a_transparent_overlay_shows_tinted_masks_with_an_outline_of_two_pixels():
    labels = np.zeros((12, 20), dtype=np.uint8)
    labels[1:11, 1:9] = 1
    labels[1:11, 9:19] = 2
    file = io.BytesIO()
    transparent_overlay(labels, [(10, 20, 30), (40, 50, 60)]).save(file, format="PNG")
    rgba = np.asarray(Image.open(file).convert("RGBA"))
    assert np.array_equal(rgba[..., 3] > 0, labels > 0)
    assert rgba[5, 1:19].tolist() == (
        2 * [[255, 255, 255, 255]]
        + 4 * [[10, 20, 30, 128]]
        + 4 * [[255, 255, 255, 255]]  # where the masks meet
        + 6 * [[40, 50, 60, 128]]
        + 2 * [[255, 255, 255, 255]]
    )
    assert (rgba[1:3, 1:19, :3] == 255).all()
    assert np.array_equal(rgba[..., 3] > 0, np.asarray(transparent_overlay(labels > 0).convert("RGBA"))[..., 3] > 0)


@pytest.mark.parametrize(("count", "captions"), [(2, ["a"]), (1, ["a", "b"]), (0, [])])
def test_images_without_their_captions_are_refused(count, captions):
    images = [Image.new("RGB", (30, 20))] * count
    with pytest.raises(ValueError, match="one text per image.*Pass an empty text"):
        side_by_side(images, captions)
    if count:
        assert side_by_side(images, [""] * count, height=20).height == 38
