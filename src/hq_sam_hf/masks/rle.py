"""COCO run-length encoding of binary masks, their bounding boxes, and polygons filled to masks."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np


class RLE(TypedDict):
    """COCO's run-length encoding: size [height, width] and counts, as compressed text or as a list."""

    size: list[int]
    counts: str | list[int]


# The original compares `> 128` on masks of 0..255, in training and in evaluation.
FOREGROUND = np.float32(128 / 255)


def foreground(mask: np.ndarray) -> np.ndarray:
    """Threshold a soft mask (..., height, width) in [0, 1] to bool. A bool mask is returned unchanged."""
    mask = np.asarray(mask)
    return mask if mask.dtype == np.bool_ else mask > FOREGROUND


def mask_extent(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """The first and last column and row of a mask, as pixel indices (x1, y1, x2, y2).

    mask: bool (height, width). Returns None for an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def mask_to_bbox(mask: np.ndarray) -> list[int]:
    """The bounding box of a mask as COCO's `bbox`: [x, y, width, height] in pixels of the mask.

    mask: bool (height, width). Returns zeros for an empty mask.
    """
    extent = mask_extent(mask)
    if extent is None:
        return [0, 0, 0, 0]
    x1, y1, x2, y2 = extent
    return [x1, y1, x2 + 1 - x1, y2 + 1 - y1]


def mask_to_rle(mask: np.ndarray) -> RLE:
    """Encode a mask as pycocotools does, with counts as compressed text.

    mask: bool (height, width).
    """
    height, width = mask.shape
    return {"size": [height, width], "counts": compress_counts(run_lengths(mask, 0, 0, (height, width)))}


def run_lengths(pixels: np.ndarray, x: int, y: int, size: tuple[int, int]) -> list[int]:
    """The uncompressed counts of COCO for a mask that is empty outside of a rectangle.

    pixels: bool (h, w), the rectangle. x, y: the mask pixel (column, row) of its upper left corner.
    size: (height, width) of the mask.

    Returns the lengths in pixels of alternating runs of background and object, column by column. The first is of
    background and may be 0.
    """
    height, width = size
    rows, columns = pixels.shape
    padded = np.zeros((rows + 2, columns), dtype=bool)
    padded[1:-1] = pixels
    # A run begins or ends where a pixel differs from the one above it.
    row, column = np.divmod(np.flatnonzero(padded[1:] != padded[:-1]), max(columns, 1))
    edges = np.sort((x + column) * height + y + row)
    # A run that continues from the bottom of a column at the top of the next ends and begins at the same position.
    is_single = np.ones(len(edges), dtype=bool)
    same = np.flatnonzero(edges[1:] == edges[:-1])
    is_single[same] = is_single[same + 1] = False
    counts = np.diff(np.concatenate([[0], edges[is_single], [height * width]])).tolist()
    if len(counts) > 1 and counts[-1] == 0:
        counts.pop()
    return counts


def rle_to_mask(rle: RLE) -> np.ndarray:
    """Decode a run-length encoding to a bool mask (height, width).

    Raises ValueError if the counts do not add up to the size.
    """
    height, width = rle["size"]
    counts = _decompress(rle["counts"]) if isinstance(rle["counts"], str) else rle["counts"]
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(
            f"The counts of an RLE must cover its size of {height} x {width} pixels, but they cover {sum(counts)}. "
            "The size is [height, width]."
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


# COCO rasterises outlines on a grid that is five times as fine (maskApi.c, rleFrPoly).
_POLYGON_SCALE = 5


def polygons_to_mask(polygons: Sequence[Sequence[float]], size: Sequence[int]) -> np.ndarray:
    """Fill the polygons of one object as pycocotools does.

    polygons: each [x1, y1, x2, y2, ...] in pixels of the mask, with at least three points.
    size: (height, width) of the mask.

    Returns bool (height, width). Raises ValueError for a polygon with fewer points.
    """
    height, width = size
    mask = np.zeros((height, width), dtype=bool)
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(
                f"A polygon must be a list [x1, y1, x2, y2, ...] of at least 3 points, got {len(polygon)} numbers."
            )
        mask |= _fill(np.asarray(polygon, dtype=np.float64).reshape(-1, 2), height, width)
    return mask


def _fill(points: np.ndarray, height: int, width: int) -> np.ndarray:
    x, y = _outline_points(points)
    # Where the outline steps from one fine column to the next, it may cross the centre of a pixel column. At this
    # crossing the inside begins or ends.
    steps = np.flatnonzero(x[1:] != x[:-1])
    column = (np.minimum(x[steps], x[steps + 1]) + 0.5) / _POLYGON_SCALE - 0.5
    row = (np.minimum(y[steps], y[steps + 1]) + 0.5) / _POLYGON_SCALE - 0.5
    is_crossing = (column == np.floor(column)) & (column >= 0) & (column <= width - 1)
    rows = np.ceil(np.clip(row[is_crossing], 0, height)).astype(np.int64)
    # Row `height` is the top of the next column, so an outline below the image fills a column to its end.
    crossings = column[is_crossing].astype(np.int64) * height + rows
    toggles = np.bincount(crossings, minlength=height * width + 1)[:-1]
    return (np.cumsum(toggles) % 2 == 1).reshape((height, width), order="F")


def _outline_points(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the closed outline on the fine grid: one point per step along the longer axis of each edge."""
    corners = (points * _POLYGON_SCALE + 0.5).astype(np.int64)
    xs, ys = [], []
    for start, end in zip(corners, np.roll(corners, -1, axis=0)):
        dx, dy = np.abs(end - start)
        along_x = dx >= dy
        major, minor = (0, 1) if along_x else (1, 0)
        # Start from the smaller coordinate, so that rounding is the same in both directions.
        low, high = (start, end) if start[major] <= end[major] else (end, start)
        length = high[major] - low[major]
        steps = np.arange(length + 1) if low is start else np.arange(length, -1, -1)
        slope = (high[minor] - low[minor]) / length if length else 0.0
        along = low[major] + steps
        across = (low[minor] + slope * steps + 0.5).astype(np.int64)
        xs.append(along if along_x else across)
        ys.append(across if along_x else along)
    return np.concatenate(xs), np.concatenate(ys)


# COCO's compressed counts (maskApi.c, rleToString): from the fourth count on, the difference to the count two before
# is stored. Numbers are split into groups of 5 bits, lowest first. The sixth bit is set if more groups follow, and 48
# is added to make a printable character.


def compress_counts(counts: list[int]) -> str:
    """Compress COCO's counts from a list to text."""
    values = np.array(counts, dtype=np.int64)
    values[3:] -= np.array(counts[1:-2], dtype=np.int64)
    characters = []
    unfinished = np.ones(len(values), dtype=bool)
    while unfinished.any():
        group = values & 31
        values >>= 5
        more = unfinished & (values != np.where(group & 16, -1, 0))
        characters.append(np.where(unfinished, np.where(more, group | 32, group) + 48, 0))
        unfinished = more
    columns = np.stack(characters, axis=1) if characters else np.zeros((0, 1), dtype=np.int64)
    return columns[columns > 0].astype(np.uint8).tobytes().decode("ascii")


def _decompress(text: str) -> list[int]:
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    return counts


__all__ = [
    "FOREGROUND",
    "RLE",
    "compress_counts",
    "foreground",
    "mask_extent",
    "mask_to_bbox",
    "mask_to_rle",
    "polygons_to_mask",
    "rle_to_mask",
    "run_lengths",
]
