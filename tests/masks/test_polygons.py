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


def masks_of_all_kinds(count: int = 200):
    """Random masks with holes, holes in holes, spurs, and single pixels, of 1 to 29 pixels a side."""
    random = np.random.default_rng(1)
    for number in range(count):
        size = random.integers(1, 30, 2)
        if number % 2:
            mask = random.random(size) < random.random()
        else:
            blocks = random.random(size // 3 + 1) < random.random()
            mask = blocks.repeat(3, 0).repeat(3, 1)[: size[0], : size[1]] ^ (random.random(size) < 0.05)
        yield mask


def filled_by_pillow(polygons, size):
    image = Image.new("1", size[::-1])
    for polygon in polygons:
        ImageDraw.Draw(image).polygon(polygon, fill=1)
    return np.asarray(image)


def test_polygons_through_pixel_centres_are_filled_exactly_by_pillow():
    for mask in masks_of_all_kinds():
        polygons = mask_to_polygons(mask, convention="pixel_centres")
        assert np.array_equal(filled_by_pillow(polygons, mask.shape), mask)
        assert all(len(polygon) >= 6 for polygon in polygons)
        assert len(polygons) == len(mask_to_polygons(mask))


def test_polygons_through_pixel_centres_are_filled_exactly_by_opencv():
    cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless")
    for mask in masks_of_all_kinds():
        contours = [np.array(p).reshape(-1, 2) for p in mask_to_polygons(mask, convention="pixel_centres")]
        together, one_by_one = np.zeros((2, *mask.shape), dtype=np.uint8)
        cv2.fillPoly(together, contours, 1)
        for contour in contours:
            cv2.fillPoly(one_by_one, [contour], 1)
        assert np.array_equal(together, mask)
        assert np.array_equal(one_by_one, mask)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools with NumPy 2
def test_polygons_along_pixel_corners_are_filled_exactly_by_pycocotools():
    for mask in masks_of_all_kinds():
        polygons = mask_to_polygons(mask, convention="pixel_corners")
        assert np.array_equal(polygons_to_mask(polygons, mask.shape), mask)
        if polygons:
            joined = coco.merge(coco.frPyObjects(polygons, *mask.shape))
            assert np.array_equal(coco.decode(joined).astype(bool), mask)


@pytest.mark.parametrize(
    ("rows", "polygons"),
    [
        (["....", ".###", ".###", ".###"], [[1, 1, 3, 1, 3, 3, 1, 3]]),  # 3 x 3 pixels
        (["..", ".#"], [[1, 1, 1, 1, 1, 1]]),  # a single pixel has three points too
        (["####"], [[0, 0, 3, 0, 3, 0]]),
        (["#.", "##"], [[0, 0, 0, 1, 1, 1, 0, 1]]),
        # The slit leads from the hole at (1, 1) along row 0, which is part of the mask.
        (["###", "#.#", "###"], [[0, 0, 2, 0, 2, 2, 0, 2, 0, 0, 0, 2, 2, 2, 2, 0]]),
    ],
)
def test_polygons_through_pixel_centres_drawn_by_hand(rows, polygons):
    mask = np.array([[character == "#" for character in row] for row in rows])
    assert mask_to_polygons(mask, convention="pixel_centres") == polygons
    assert np.array_equal(filled_by_pillow(polygons, mask.shape), mask)
    moved = [[value + (10, 20)[i % 2] for i, value in enumerate(polygon)] for polygon in polygons]
    assert mask_to_polygons(mask, 10, 20, "pixel_centres") == moved


def test_each_convention_is_wrong_under_the_other():
    mask = np.zeros((6, 6), dtype=bool)
    mask[1:4, 1:4] = True
    assert filled_by_pillow(mask_to_polygons(mask), mask.shape).sum() == 16
    assert polygons_to_mask(mask_to_polygons(mask, convention="pixel_centres"), mask.shape).sum() == 4


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="'pixel_corners', 'pixel_centres', got 'centers'"):
        mask_to_polygons(np.ones((2, 2), dtype=bool), convention="centers")
