import numpy as np
import pytest
from pycocotools import mask as coco

from hq_sam_hf.masks import mask_to_box, mask_to_rle, rle_to_mask


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


def test_rle_is_that_of_pycocotools_and_comes_back():
    for mask in random_masks():
        rle = mask_to_rle(mask)
        expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle == {"size": list(mask.shape), "counts": expected["counts"].decode()}
        assert np.array_equal(rle_to_mask(rle), mask)


def test_box_is_that_of_pycocotools():
    for mask in random_masks():
        expected = coco.toBbox(coco.encode(np.asfortranarray(mask.astype(np.uint8)))).tolist()
        assert mask_to_box(mask) == expected


def test_box_of_one_pixel():
    mask = np.zeros((4, 6), dtype=bool)
    mask[2, 5] = True
    assert mask_to_box(mask) == [5, 2, 1, 1]


def test_rle_of_the_wrong_size_is_refused():
    rle = mask_to_rle(np.ones((2, 3), dtype=bool))
    with pytest.raises(ValueError, match="cover 6 pixels, but its size is 4 x 4"):
        rle_to_mask({**rle, "size": [4, 4]})
