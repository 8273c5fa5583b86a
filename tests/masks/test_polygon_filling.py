import math
import tracemalloc

import numpy as np
import pytest
from pycocotools import mask as coco

from hq_sam_hf.masks import mask_to_rle, polygons_to_mask, rle_to_mask

TRIANGLE = [1, 1, 7, 1, 4, 6]
SIZE = (8, 9)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools with NumPy 2
def test_random_polygons_are_filled_as_by_pycocotools():
    random = np.random.default_rng(0)
    for case in range(400):
        height, width = (int(side) for side in random.integers(1, 40, 2))
        polygons = []
        for _ in range(random.integers(1, 4)):
            # Far beyond the image too, with whole numbers, tenths and any fractions.
            points = random.normal(20, random.choice([5, 20, 300]), (random.integers(3, 12), 2))
            polygons.append((points if case % 3 == 2 else np.round(points, case % 3)).ravel().tolist())
        expected = coco.decode(coco.merge(coco.frPyObjects(polygons, height, width)))
        assert np.array_equal(polygons_to_mask(polygons, (height, width)), expected), polygons


def test_polygons_in_any_form_are_read():
    expected = polygons_to_mask([TRIANGLE], SIZE)
    assert expected.sum() > 10
    points = np.array(TRIANGLE, dtype=np.float32).reshape(-1, 2)
    contour = points.astype(np.int32)[:, None]  # as cv2.findContours gives it
    for form in (TRIANGLE, tuple(TRIANGLE), np.array(TRIANGLE), [points], [points.tolist()], [contour], (TRIANGLE,)):
        assert np.array_equal(polygons_to_mask(form, SIZE), expected)


@pytest.mark.parametrize(
    ("polygons", "message"),
    [
        ([[1, 1, 7, float("nan"), 4, 6]], "must be pixels, got nan as number 4 of 6"),
        ([TRIANGLE, [float("inf"), *TRIANGLE[1:]]], "must be pixels, got inf as number 1"),
        ([[*TRIANGLE[:-1], 1e300]], "must be pixels, got 1e.300 as number 6"),
        ([1, 1, 7, 1, 4], "at least 3 points, got 5 numbers"),
        ([[1, 1], [7, 1], [4, 6]], r"at least 3 points, got 2 numbers.*`\[points\]`"),
        ([[1, 1, None, 1, 4, 6]], "must be pixels, got nan as number 3"),
        ([[1, 1, "a", 1, 4, 6]], "must hold only numbers"),
        ([[[1, 1], [7]]], "must hold only numbers"),
        (None, r"lists \[x1, y1, x2, y2, ...\], got None"),
        ("1 1 7 1 4 6", "lists"),
    ],
)
def test_what_is_no_polygon_is_refused(polygons, message):
    with pytest.raises(ValueError, match=message):
        polygons_to_mask(polygons, SIZE)


def test_the_advice_for_the_points_of_one_polygon_helps():
    points = [[1, 1], [7, 1], [4, 6]]
    with pytest.raises(ValueError, match="points"):
        polygons_to_mask(points, SIZE)
    assert np.array_equal(polygons_to_mask([points], SIZE), polygons_to_mask([TRIANGLE], SIZE))


@pytest.mark.parametrize(
    "decode",
    [
        lambda size, **options: polygons_to_mask([TRIANGLE], size, **options),
        lambda size, **options: rle_to_mask({"size": size, "counts": [math.prod(size)]}, **options),
        lambda size, **options: rle_to_mask({"size": size, "counts": [5, math.prod(size) - 5]}, **options),
    ],
)
def test_a_size_that_a_file_claims_is_checked_before_memory_is_taken(decode):
    for size in ([1_000_000, 640], [10**6, 10**6], (10**12, 2), [2**31, 2**31]):
        tracemalloc.start()
        with pytest.raises(ValueError, match="pixels, and masks may have 178,956,970.*`max_pixels`"):
            decode(size)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()
    for size in ([-1, 640], [4.5, 3], [4], []):
        with pytest.raises(ValueError, match=r"`size` must be \(height, width\)"):
            decode(size)
    with pytest.raises(ValueError, match="masks may have 70"):
        decode(SIZE, max_pixels=70)
    for limit in (72, None):
        assert decode(SIZE, max_pixels=limit).shape == SIZE


def test_points_far_away_take_no_memory():
    tracemalloc.start()
    mask = polygons_to_mask([[-1e9, 2, 1e9, 2, 1e9, 4, -1e9, 4]], (6, 50))
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert mask_to_rle(mask) == mask_to_rle(np.repeat([[0], [0], [1], [1], [0], [0]], 50, axis=1))


def test_polygons_of_many_crossings_are_filled_in_parts(monkeypatch):
    random = np.random.default_rng(1)
    polygons = [random.uniform(-5, 45, 60).tolist() for _ in range(3)]
    expected = polygons_to_mask(polygons, (40, 40))
    monkeypatch.setattr("hq_sam_hf.masks.polygon_filling._CHUNK", 7)
    assert np.array_equal(polygons_to_mask(polygons, (40, 40)), expected)
