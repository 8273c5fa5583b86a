import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hq_sam_hf.masks import mask_to_geojson, save_geojson

NORTH_UP = (0.2, 0.0, 600_000.0, 0.0, -0.2, 5_200_000.0)
TRANSFORMS = [
    (1, 0, 0, 0, 1, 0),
    NORTH_UP,
    (0.1, 0.2, 5, 0.3, -0.1, 7),  # rotated
    (0, 2, 0, 2, 0, 0),  # rows along x
    (*NORTH_UP, 0, 0, 1),  # as rasterio's transform is iterated
]


def random_masks(count):
    random = np.random.default_rng(2)
    for number in range(count):
        size = random.integers(1, 30, 2)
        mask = random.random(size) < random.random()
        if number % 2:
            mask = mask.repeat(3, 0).repeat(3, 1) ^ (random.random(size * 3) < 0.03)
        yield mask


def test_random_masks_are_valid_for_shapely_and_hold_exactly_their_pixels():
    shapely = pytest.importorskip("shapely", reason="needs shapely")
    from shapely.geometry import shape

    for number, mask in enumerate(random_masks(200)):
        transform = TRANSFORMS[number % len(TRANSFORMS)]
        a, b, c, d, e, f = transform[:6]
        geometry = shape(mask_to_geojson(mask, transform))
        assert geometry.is_valid
        assert geometry.area == pytest.approx(mask.sum() * abs(a * e - b * d))
        assert all(polygon.exterior.is_ccw for polygon in geometry.geoms)
        assert not any(ring.is_ccw for polygon in geometry.geoms for ring in polygon.interiors)
        rows, columns = np.indices(mask.shape) + 0.5  # the centres of the pixels
        inside = shapely.contains_xy(geometry, a * columns + b * rows + c, d * columns + e * rows + f)
        assert np.array_equal(inside, mask)


@pytest.mark.parametrize(
    ("rows", "polygons"),
    [
        (["..", ".."], []),
        ([".#"], [[[[1, 0], [2, 0], [2, 1], [1, 1], [1, 0]]]]),
        (
            ["###", "#.#", "###"],
            [[[[0, 0], [3, 0], [3, 3], [0, 3], [0, 0]], [[1, 1], [1, 2], [2, 2], [2, 1], [1, 1]]]],
        ),
        # The outline touches itself at (2, 1) and closes off the pixel in column 1 and row 1.
        (
            ["##.", "#.#", "###"],
            [
                [
                    [[0, 0], [2, 0], [2, 1], [3, 1], [3, 3], [0, 3], [0, 0]],
                    [[2, 1], [1, 1], [1, 2], [2, 2], [2, 1]],
                ]
            ],
        ),
    ],
)
def test_small_masks_drawn_by_hand(rows, polygons):
    mask = np.array([[character == "#" for character in row] for row in rows])
    assert mask_to_geojson(mask) == {"type": "MultiPolygon", "coordinates": polygons}
    moved = mask_to_geojson(mask, x=10, y=20)["coordinates"]
    assert moved == [[[[x + 10, y + 20] for x, y in ring] for ring in polygon] for polygon in polygons]


def test_an_island_in_a_hole_is_a_polygon_of_its_own():
    mask = np.ones((7, 7), dtype=bool)
    mask[1:6, 1:6] = False
    mask[3, 3] = True
    assert [len(polygon) for polygon in mask_to_geojson(mask)["coordinates"]] == [2, 1]


@pytest.mark.parametrize("transform", [(1, 0, 0), (0, 0, 0, 0, 0, 0), (1, 2, 0, 2, 4, 0), None, (1, 0, 0, 0, "a", 0)])
def test_what_is_no_transform_is_refused(transform):
    with pytest.raises(ValueError, match=r"`transform` must be six numbers.*rasterio"):
        mask_to_geojson(np.ones((2, 2), dtype=bool), transform)


def test_a_feature_collection_is_written_as_a_whole(tmp_path):
    path = tmp_path / "objects.geojson"
    geometry = mask_to_geojson(np.ones((2, 2), dtype=bool))
    properties = {"score": np.float32(0.5), "label": "roof", "file": Path("a") / "b.tif", "box": torch.tensor([1, 2])}
    save_geojson(path, [(geometry, properties), (geometry, {})])
    content = json.loads(path.read_text())
    assert content["type"] == "FeatureCollection"
    first, second = content["features"]
    assert first["type"] == "Feature"
    assert first["geometry"] == second["geometry"] == geometry
    assert first["properties"] == {"score": 0.5, "label": "roof", "file": "a/b.tif", "box": [1, 2]}
    with pytest.raises(ValueError, match=r"properties\['thing'\] must be a number"):
        save_geojson(path, [(geometry, {}), (geometry, {"thing": object()})])
    assert json.loads(path.read_text()) == content
    assert list(tmp_path.iterdir()) == [path]
    save_geojson(path, [])
    assert json.loads(path.read_text()) == {"type": "FeatureCollection", "features": []}
