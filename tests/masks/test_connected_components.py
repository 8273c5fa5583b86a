import numpy as np
import pytest

from hq_sam_hf.masks.connected_components import fill_small_holes, find_components
from support.plain_components import flood_components, masks_of_many_kinds


def test_components_equal_those_of_a_flood():
    for mask in masks_of_many_kinds():
        labels, components = flood_components(mask), find_components(mask)
        count = len(components.areas)
        assert components.areas.tolist() == [(labels == number).sum() for number in range(1, labels.max() + 1)]
        for number in range(count):
            assert np.array_equal(components.to_mask(np.arange(count) == number), labels == number + 1)


def test_a_spiral_is_one_component():
    spiral = np.zeros((41, 41), dtype=bool)
    x, y, dx, dy, length = 20, 20, 1, 0, 2
    spiral[y, x] = True
    while length < 40:
        for _ in range(2):
            for _ in range(length):
                x, y = x + dx, y + dy
                spiral[y, x] = True
            dx, dy = -dy, dx
        length += 2
    assert find_components(spiral).areas.tolist() == [spiral.sum()]


def test_an_unknown_side_is_refused():
    with pytest.raises(ValueError, match="`open_sides` must be among 'top', 'bottom', 'left', 'right', got 'upper'"):
        fill_small_holes(np.ones((3, 3), dtype=bool), 4, ["upper"])
