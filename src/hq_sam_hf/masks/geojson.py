"""Masks as GeoJSON: polygons with interior rings, by the right-hand rule (RFC 7946), valid for shapely."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from ..model.files import write_atomically
from .binary import as_binary_mask
from .json_values import json_value
from .rings import Ring, edge_left_of_hole, left_edges, outlines

# x = a column + b row + c, y = d column + e row + f
PIXELS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def mask_to_geojson(mask: Any, transform: Sequence[float] = PIXELS, x: int = 0, y: int = 0) -> dict[str, Any]:
    """Convert a mask to a GeoJSON geometry of type MultiPolygon, with a polygon per 4-connected component.

    The polygons follow the edges of the pixels exactly. Holes are interior rings. No ring touches itself; rings touch
    each other only in single points, so the geometry is valid. Exterior rings run counterclockwise, interior rings
    clockwise, seen on a map with x to the right and y upwards.

    mask: (height, width), of the raster or of a part of it; see `binary`.
    transform: a, b, c, d, e, f of the map's x = a column + b row + c and y = d column + e row + f, as the affine
        transform of rasterio. GDAL has another order: c, a, b, f, d, e. By default x and y are column and row.
    x, y: the raster's pixel (column, row) of the mask's upper left corner.

    Raises ValueError for a transform that is none.
    """
    a, b, c, d, e, f = _check_transform(transform)
    mask = as_binary_mask(mask)
    # The rings of a mask have the mask on the right in images, where y grows downwards. That is the left on maps.
    keep = a * e - b * d > 0
    coordinates = []
    for polygon in _polygons(mask):
        moved = [[(px + x, py + y) for px, py in [*ring, ring[0]]] for ring in polygon]
        placed = [[[a * px + b * py + c, d * px + e * py + f] for px, py in ring] for ring in moved]
        coordinates.append(placed if keep else [ring[::-1] for ring in placed])
    return {"type": "MultiPolygon", "coordinates": coordinates}


def save_geojson(path: str | os.PathLike, features: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Write a GeoJSON file: a FeatureCollection.

    features: (geometry, properties) each, such as `mask_to_geojson(mask)` and {"score": 0.9}. Properties may be
        scalars and arrays of NumPy and torch, and paths.

    Raises ValueError for a property that JSON cannot hold. Then no file is written.
    """

    def write(file: BinaryIO) -> None:
        file.write(b'{"type": "FeatureCollection", "features": [')
        for i, (geometry, properties) in enumerate(features):
            feature = {
                "type": "Feature",
                "geometry": dict(geometry),
                "properties": json_value(properties, "properties"),
            }
            file.write(b",\n" if i else b"\n")
            file.write(json.dumps(feature).encode())
        file.write(b"\n]}\n")

    write_atomically(path, write)


def _check_transform(transform: Sequence[float]) -> list[float]:
    try:
        values = np.asarray([float(value) for value in transform])
    except (TypeError, ValueError):
        values = np.zeros(0)
    is_affine = len(values) == 6 or (len(values) == 9 and values[6:].tolist() == [0, 0, 1])  # rasterio's has 9
    if not is_affine or not np.isfinite(values).all() or values[0] * values[4] == values[1] * values[3]:
        raise ValueError(
            "`transform` must be six numbers a, b, c, d, e, f with x = a column + b row + c, y = d column + e row + f "
            f"and a e - b d other than 0, got {transform!r:.120}. Pass the `transform` of "
            "rasterio, or a, b, c, d, e, f of GDAL's (c, a, b, f, d, e)."
        )
    return values[:6].tolist()


def _polygons(mask: np.ndarray) -> list[list[Ring]]:
    """Per 4-connected component its outline and the outlines of its holes, with the mask on their right."""
    rings = outlines(mask)
    edges = left_edges(rings)
    polygon_of: list[int] = []  # per ring
    polygons: list[list[Ring]] = []
    for ring in rings:
        # The outline of a component may touch itself at a corner and so close off a part of the background.
        simple = sorted(_split_where_it_touches_itself(ring), key=_doubled_area, reverse=True)
        column, row = ring[0]
        if mask[row, column]:
            polygon_of.append(len(polygons))
            polygons.append(simple)
        else:
            other, _ = edge_left_of_hole(mask, edges, column, row)
            polygon_of.append(polygon_of[other])
            polygons[polygon_of[-1]] += simple
    return polygons


def _split_where_it_touches_itself(ring: Ring) -> list[Ring]:
    """The parts of a ring between visits to the same corner: rings that visit each corner once."""
    parts: list[Ring] = []
    path: Ring = []
    place: dict[tuple[int, int], int] = {}
    for point in ring:
        if point in place:
            start = place[point]
            parts.append(path[start:])
            for visited in path[start:]:
                del place[visited]
            del path[start:]
        place[point] = len(path)
        path.append(point)
    return [*parts, path]


def _doubled_area(ring: Ring) -> int:
    """Twice the area, positive for an outline and negative for that of a hole."""
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in zip(ring, [*ring[1:], ring[0]]))


__all__ = ["mask_to_geojson", "save_geojson"]
