import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from hq_sam_hf.masks.polygons import mask_to_polygons
from hq_sam_hf.masks.rle import polygons_to_mask


@pytest.mark.parametrize(
    ("rows", "polygons"),
    [
        (["...", "...", "..."], []),
        (["...", ".#.", "..."], [[1, 1, 2, 1, 2, 2, 1, 2]]),
        (
            ["##.", "#.#"],
            [[0, 0, 2, 0, 2, 1, 1, 1, 1, 2, 0, 2], [2, 1, 3, 1, 3, 2, 2, 2]],
        ),  # two components that touch at corners
        # The outline of the hole starts at (1, 1). Its slit goes to (0, 1) on the left edge and back.
        (["###", "#.#", "###"], [[0, 0, 3, 0, 3, 3, 0, 3, 0, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 0, 1]]),
    ],
)
def test_polygons_of_small_masks_drawn_by_hand(rows, polygons):
    mask = np.array([[character == "#" for character in row] for row in rows])
    assert mask_to_polygons(mask) == polygons
    moved = [[value + (10, 20)[i % 2] for i, value in enumerate(polygon)] for polygon in polygons]
    assert mask_to_polygons(mask, x=10, y=20) == moved


def masks_with_holes():
    random = np.random.default_rng(0)
    yield np.ones((6, 7), dtype=bool)
    for share in np.linspace(0.02, 0.98, 40):
        yield random.random((13, 17)) < share
        coarse = random.random((7, 8)) < share
        yield coarse[np.arange(20) // 3][:, np.arange(22) // 3]


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools with NumPy 2
def test_polygons_filled_again_give_the_same_mask_with_its_holes():
    for mask in masks_with_holes():
        polygons = mask_to_polygons(mask)
        assert np.array_equal(polygons_to_mask(polygons, mask.shape), mask)
        if polygons:
            joined = coco.merge(coco.frPyObjects(polygons, *mask.shape))
            assert np.array_equal(coco.decode(joined).astype(bool), mask)


def test_a_slit_encloses_nothing():
    ring = np.zeros((60, 60), dtype=bool)
    ring[10:50, 10:50] = True
    ring[20:40, 20:40] = False
    (polygon,) = mask_to_polygons(ring)
    x, y = np.array(polygon).reshape(-1, 2).T
    assert abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2 == ring.sum()
    image = Image.new("1", (600, 600))  # ten times as large, because Pillow also fills the pixels of the outline
    ImageDraw.Draw(image).polygon([10 * value for value in polygon], fill=1)
    assert np.array_equal(np.asarray(image)[5::10, 5::10], ring)
