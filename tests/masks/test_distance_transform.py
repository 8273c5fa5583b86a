import numpy as np
import pytest

from hq_sam_hf.masks.distance_transform import deepest_pixel


def squared_distances(mask: np.ndarray) -> np.ndarray:
    """By definition: the squared distance of every pixel to the nearest background pixel, (height, width)."""
    padded = np.pad(mask, 1)
    background, pixels = np.argwhere(~padded), np.argwhere(np.ones_like(padded))
    squares = ((pixels[:, None] - background) ** 2).sum(axis=2).min(axis=1)
    return squares.reshape(padded.shape)[1:-1, 1:-1]


def random_mask(rng: np.random.Generator) -> np.ndarray:
    height, width = rng.integers(1, 26, 2)
    y, x = np.mgrid[:height, :width]
    blob = (y - rng.uniform(0, height)) ** 2 + (x - rng.uniform(0, width)) ** 2 < rng.uniform(1, 200)
    speckled = rng.random((height, width)) < rng.choice([0.1, 0.5, 0.9, 0.98])
    return [blob, speckled, blob & speckled, blob | speckled, y >= 0][rng.integers(5)]


def test_the_deepest_pixel_has_the_largest_distance_by_definition():
    rng = np.random.default_rng(0)
    for _ in range(300):
        mask = random_mask(rng)
        found = deepest_pixel(mask)
        if not mask.any():
            assert found is None
            continue
        squares = squared_distances(mask)
        row, column, distance = found
        assert squares[row, column] == squares.max()
        assert distance == pytest.approx(np.sqrt(squares.max()))


def test_the_deepest_pixel_is_found_among_many_candidates():
    rng = np.random.default_rng(1)
    mask = rng.random((60, 70)) < 0.97  # more candidates remain than are computed at once
    squares = squared_distances(mask)
    row, column, distance = deepest_pixel(mask)
    assert squares[row, column] == squares.max()
    assert distance**2 == pytest.approx(squares.max())


def test_of_equally_deep_pixels_the_one_nearest_to_the_centre_of_gravity_is_returned():
    bar = np.zeros((9, 40), dtype=bool)
    bar[2:7, 3:36] = True  # rows 2..6 and columns 3..35: the middle row is 4, the middle column 19
    assert deepest_pixel(bar) == (4, 19, 3.0)
    assert deepest_pixel(bar.T) == (19, 4, 3.0)
    square = np.ones((4, 4), dtype=bool)  # of the four pixels in the middle, the upper left one
    assert deepest_pixel(square) == (1, 1, 2.0)
    assert deepest_pixel(np.ones((1, 1), dtype=bool)) == (0, 0, 1.0)
