"""Distances inside binary masks, exact and on NumPy alone."""

from collections.abc import Iterator

import numpy as np

# Pixels whose distance is worked out at once; each costs a row of the picture.
_CHUNK = 256


def deepest_pixel(mask: np.ndarray) -> tuple[int, int, float] | None:
    """The pixel of a bool mask (height, width) that is farthest from its outside: (row, column, distance).

    The distance is Euclidean, between centres of pixels, to the nearest pixel outside the mask; all beyond the picture
    is outside. Of several such pixels the one nearest to the mask's centre of gravity is taken, then the uppermost,
    then the leftmost. None for an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    top, left = int(rows[0]), int(columns[0])
    inside = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    distance, deepest = _deepest(inside)
    row, column = _nearest_to_centre(inside, deepest)
    return row - 1 + top, column - 1 + left, distance


def _deepest(inside: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest distance and all pixels that have it, as flat indices; the mask's rim must be outside.

    The square of a pixel's distance is the smallest of dx^2 + v^2 over the pixels of its row, which are dx away and
    have the distance v to the outside along their column. Any part of the row gives an upper bound, so pixels whose
    bound lies below a distance already found need no further look.
    """
    vertical = _line_distances(inside, axis=0)
    squares = vertical**2
    pixels = np.flatnonzero(inside)
    bounds = np.minimum(vertical, _line_distances(inside, axis=1)).ravel()[pixels] ** 2
    best = 0
    for reach in _reaches(inside.shape[1]):
        first = np.argpartition(bounds, -_CHUNK)[-_CHUNK:] if len(bounds) > _CHUNK else np.arange(len(bounds))
        bounds[first] = _squared_distances(squares, pixels[first])
        best = max(best, int(bounds[first].max()))
        pixels, bounds = pixels[bounds >= best], bounds[bounds >= best]
        if len(pixels) <= _CHUNK:
            break
        for step in (reach, -reach):
            # A step beyond the row's end meets another row's outside; there the bound is kept by clipping.
            columns = np.clip(pixels % inside.shape[1] + step, 0, inside.shape[1] - 1)
            moved = columns - pixels % inside.shape[1]
            bounds = np.minimum(bounds, moved**2 + squares.ravel()[pixels + moved])
    order = np.argsort(-bounds, kind="stable")
    pixels, bounds = pixels[order], bounds[order]
    for start in range(0, len(pixels), _CHUNK):
        part = slice(start, start + _CHUNK)
        if bounds[start] < best:
            break
        bounds[part] = _squared_distances(squares, pixels[part])
        best = max(best, int(bounds[part].max()))
    # Bounds that were not worked out lie below the best one.
    return float(np.sqrt(best)), pixels[bounds == best]


def _reaches(width: int) -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, ... below the width, or 1."""
    yield 1
    power = 2
    while power < width:
        yield power
        if power + power // 2 < width:
            yield power + power // 2
        power *= 2


def _line_distances(inside: np.ndarray, axis: int) -> np.ndarray:
    """Per pixel the distance to the nearest pixel outside along one axis, int32; the rim must be outside."""
    length = inside.shape[axis]
    index = np.arange(length, dtype=np.int32).reshape((-1, 1) if axis == 0 else (1, -1))
    before = np.maximum.accumulate(np.where(inside, 0, index), axis=axis)
    behind = np.flip(np.where(inside, length - 1, index), axis)
    behind = np.flip(np.minimum.accumulate(behind, axis=axis), axis)
    return np.minimum(index - before, behind - index)


def _squared_distances(squares: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    rows, columns = np.divmod(pixels, squares.shape[1])
    along = (np.arange(squares.shape[1], dtype=np.int32) - columns[:, None].astype(np.int32)) ** 2
    along += squares[rows]
    return along.min(axis=1)


def _nearest_to_centre(inside: np.ndarray, pixels: np.ndarray) -> tuple[int, int]:
    rows, columns = np.divmod(pixels, inside.shape[1])
    # Whole numbers, so that no rounding decides between equals: coordinates times the number of pixels.
    count = int(inside.sum())
    row_sum = int(np.arange(inside.shape[0]) @ inside.sum(axis=1))
    column_sum = int(np.arange(inside.shape[1]) @ inside.sum(axis=0))
    squared = (rows * count - row_sum).astype(object) ** 2 + (columns * count - column_sum).astype(object) ** 2
    nearest = min(range(len(pixels)), key=lambda i: (squared[i], pixels[i]))
    return int(rows[nearest]), int(columns[nearest])


__all__ = ["deepest_pixel"]
