import numpy as np
import pytest

from hq_sam_hf.masks.cropped_mask import CroppedMask
from hq_sam_hf.masks.rle import mask_to_bbox, rle_to_mask
from support.plain_components import masks_of_many_kinds, plainly_without_small_regions


@pytest.mark.parametrize("min_area", [1, 2, 5, 20, 1000])
def test_small_holes_and_components_are_removed_as_in_the_whole_image(min_area):
    for mask in masks_of_many_kinds():
        cropped, changed = CroppedMask.of(mask).without_small_regions(mask.shape, min_area)
        expected, expected_change = plainly_without_small_regions(mask, min_area)
        if mask.any():
            assert np.array_equal(cropped.full(mask.shape), expected)
            assert changed == expected_change


def test_an_empty_mask_stays_empty():
    cropped, changed = CroppedMask.of(np.zeros((40, 50), dtype=bool)).without_small_regions((40, 50), 100)
    assert not changed
    assert not cropped.full((40, 50)).any()


def test_a_cropped_mask_gives_the_mask_of_the_whole_image():
    for mask in masks_of_many_kinds():
        size = (mask.shape[0] + 3, mask.shape[1] + 2)
        whole = np.zeros(size, dtype=bool)
        whole[2:-1, 1:-1] = mask
        cropped = CroppedMask.of(mask).moved(1, 2)
        assert np.array_equal(cropped.full(size), whole)
        assert np.array_equal(rle_to_mask({"size": list(size), "counts": cropped.run_lengths(size)}), whole)
        assert cropped.area == mask.sum()
        x, y, width, height = mask_to_bbox(whole)
        if mask.any():
            assert cropped.box == [x, y, x + width - 1, y + height - 1]
        assert cropped.pixels.shape == (height, width)


def test_run_lengths_start_with_background_and_end_without_an_empty_run():
    for rows, counts in [
        ([[0, 1], [0, 1]], [2, 2]),
        ([[1, 0], [1, 0]], [0, 2, 2]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 0], [0, 0]], [4]),
        ([[0, 1], [1, 0]], [1, 2, 1]),
    ]:
        assert CroppedMask.of(np.array(rows, dtype=bool)).run_lengths((2, 2)) == counts
