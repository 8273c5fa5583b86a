import itertools

import numpy as np
import pytest
from pycocotools import mask as coco

from hq_sam_hf.masks.coco import coco_annotation
from hq_sam_hf.masks.polygon_filling import polygons_to_mask
from hq_sam_hf.masks.rle import mask_to_bbox, mask_to_rle, rle_to_mask


def random_masks():
    generator = np.random.default_rng(0)
    yield np.zeros((7, 5), dtype=bool)
    yield np.ones((7, 5), dtype=bool)
    yield np.eye(6, 9, dtype=bool)
    yield np.ones((1, 1), dtype=bool)
    for _ in range(60):
        height, width = generator.integers(1, 300, 2)
        yield generator.random((height, width)) < generator.random()
        box = np.zeros((height, width), dtype=bool)
        box[generator.integers(height) :, : generator.integers(width) + 1] = True
        yield box


def test_rles_equal_pycocotools_and_decode_to_the_same_mask():
    for mask in random_masks():
        rle = mask_to_rle(mask)
        expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle == {"size": list(mask.shape), "counts": expected["counts"].decode()}
        assert np.array_equal(rle_to_mask(rle), mask)


def test_bounding_boxes_equal_pycocotools():
    for mask in random_masks():
        expected = coco.toBbox(coco.encode(np.asfortranarray(mask.astype(np.uint8)))).tolist()
        assert mask_to_bbox(mask) == expected


def test_the_bounding_box_of_one_pixel():
    mask = np.zeros((4, 6), dtype=bool)
    mask[2, 5] = True
    assert mask_to_bbox(mask) == [5, 2, 1, 1]


def test_an_rle_of_the_wrong_size_raises():
    rle = mask_to_rle(np.ones((2, 3), dtype=bool))
    with pytest.raises(ValueError, match="size of 4 x 4 pixels, but they cover 6"):
        rle_to_mask({**rle, "size": [4, 4]})
    assert rle_to_mask({**rle, "size": [2, 3]}).all()  # the size of the mask that was encoded


@pytest.mark.parametrize(
    ("polygon", "rows", "columns"),
    [
        ([1, 1, 4, 1, 4, 3, 1, 3], range(1, 3), range(1, 4)),  # from pixel edge to pixel edge: 3 x 2 pixels
        ([4, 3, 1, 3, 1, 1, 4, 1], range(1, 3), range(1, 4)),  # in the opposite direction
        ([-9, -9, 99, -9, 99, 99, -9, 99], range(5), range(6)),  # beyond the image on all sides
        ([7, 1, 9, 1, 9, 3, 7, 3], [], []),  # outside the image
        ([1, 2, 1, 2, 1, 2], [], []),  # a single point
    ],
)
def test_a_polygon_fills_the_expected_pixels(polygon, rows, columns):
    expected = np.zeros((5, 6), dtype=bool)
    expected[np.ix_(rows, columns)] = True
    assert np.array_equal(polygons_to_mask([polygon], (5, 6)), expected)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools with NumPy 2
def test_polygons_of_one_object_are_merged_as_in_pycocotools():
    polygons = [[0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 6.5, 2.2, 6, 7, 2, 6]]
    merged = coco.merge(coco.frPyObjects(polygons, 8, 9))
    assert np.array_equal(polygons_to_mask(polygons, (8, 9)), coco.decode(merged).astype(bool))
    assert np.array_equal(polygons_to_mask([], (8, 9)), np.zeros((8, 9), dtype=bool))


def test_a_polygon_of_two_points_raises():
    with pytest.raises(ValueError, match="at least 3 points, got 4 numbers"):
        polygons_to_mask([[1, 1, 2, 2]], (5, 6))


def test_rles_with_counts_as_a_list():
    assert rle_to_mask({"size": [2, 3], "counts": [1, 2, 3]}).tolist() == [[False, True, False], [True, False, False]]
    for counts in ([1, 2], [-1, 7], []):
        with pytest.raises(ValueError, match="size of 2 x 3 pixels, but they cover"):
            rle_to_mask({"size": [2, 3], "counts": counts})


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools with NumPy 2
def test_rles_are_read_with_counts_in_any_form():
    for mask in itertools.islice(random_masks(), 30):
        of_pycocotools = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        text, runs = mask_to_rle(mask), uncompressed(mask)
        assert isinstance(of_pycocotools["counts"], bytes)
        for counts in (of_pycocotools["counts"], bytearray(of_pycocotools["counts"]), text["counts"], runs):
            rle = {"size": of_pycocotools["size"], "counts": counts}
            assert np.array_equal(rle_to_mask(rle), mask)
            assert coco_annotation({"segmentation": rle}, mask.shape)["segmentation"] == text
        for counts in (np.array(runs), tuple(runs), [float(run) for run in runs]):
            assert np.array_equal(rle_to_mask({"size": np.array(mask.shape), "counts": counts}), mask)


def uncompressed(mask):
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flat])))
    return np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (b"06 ", "damaged at character 3 of 3"),
        ("06\u00e9", "damaged at character 3"),
        (b"\xff\xfe", "damaged at character 1 of 2"),
        ("P" * 1000, "damaged at character 14 of 1000"),  # a number without an end
        ("06P", "end in the middle of a number"),
        ([1.5, 4.5], "list of whole numbers, got"),
        ([float("nan"), 6], "list of whole numbers, got"),
        (["1", "5"], "list of whole numbers, got"),
        ([[1, 5]], "list of whole numbers, got"),
        ([1, [5]], "list of whole numbers, got"),
        (None, "list of whole numbers, got None"),
        (6, "list of whole numbers, got 6"),
        ([10**30], "list of whole numbers, got"),
    ],
)
def test_damaged_counts_are_named(counts, message):
    for decode in (rle_to_mask, lambda rle: coco_annotation({"segmentation": rle}, (2, 3))):
        with pytest.raises(ValueError, match=f"RLE.*{message}.*`mask_to_rle`"):
            decode({"size": [2, 3], "counts": counts})


@pytest.mark.parametrize("rle", [{"counts": "06"}, {"size": [2, 3]}, "06", None, [2, 3]])
def test_what_is_no_rle_is_named(rle):
    with pytest.raises(ValueError, match="An RLE must be a dict with `size` and `counts`, got"):
        rle_to_mask(rle)
