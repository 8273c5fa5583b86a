"""COCO run-length encoding of binary masks, and their bounding boxes."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from ..model.mask_reading import FOREGROUND
from .binary import MAX_PIXELS, as_binary_array, as_binary_mask, check_size
from .polygon_filling import polygons_to_mask


class RLE(TypedDict):
    """COCO's run-length encoding: size [height, width] and counts, as compressed text or bytes, or as a list."""

    size: Sequence[int]
    counts: str | bytes | Sequence[int]


# How far resizing may take soft masks out of [0, 1].
ROUNDING = 1e-3


def foreground(mask: np.ndarray) -> np.ndarray:
    """Threshold a soft mask (..., height, width) in [0, 1] to bool. Other dtypes are read by the rule of `binary`.

    Raises ValueError for floats that are no soft mask, such as logits.
    """
    mask = np.asarray(mask)
    is_soft = mask.dtype.kind == "f"
    if is_soft and (mask.size == 0 or (mask.min() >= -ROUNDING and mask.max() <= 1 + ROUNDING)):
        return mask > FOREGROUND
    return as_binary_array(mask)


def mask_extent(mask: Any) -> tuple[int, int, int, int] | None:
    """The first and last column and row of a mask, as pixel indices (x1, y1, x2, y2).

    mask: (height, width), see `binary`. Returns None for an empty mask.
    """
    mask = as_binary_mask(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def mask_to_bbox(mask: Any) -> list[int]:
    """The bounding box of a mask as COCO's `bbox`: [x, y, width, height] in pixels of the mask.

    mask: (height, width), see `binary`. Returns zeros for an empty mask.
    """
    extent = mask_extent(mask)
    if extent is None:
        return [0, 0, 0, 0]
    x1, y1, x2, y2 = extent
    return [x1, y1, x2 + 1 - x1, y2 + 1 - y1]


def mask_to_rle(mask: Any) -> RLE:
    """Encode a mask as pycocotools does, but with counts as text, which JSON can hold; pycocotools reads both.

    mask: (height, width), see `binary`.
    """
    mask = as_binary_mask(mask)
    height, width = mask.shape
    return {"size": [height, width], "counts": compress_counts(run_lengths(mask, 0, 0, (height, width)))}


def run_lengths(pixels: Any, x: int, y: int, size: tuple[int, int]) -> list[int]:
    """The uncompressed counts of COCO for a mask that is empty outside of a rectangle.

    pixels: the mask (h, w) of the rectangle. x, y: the mask pixel (column, row) of its upper left corner.
    size: (height, width) of the mask.

    Returns the lengths in pixels of alternating runs of background and object, column by column. The first is of
    background and may be 0.
    """
    height, width = size
    pixels = as_binary_mask(pixels, "pixels")
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


def rle_to_mask(rle: RLE | Mapping[str, Any], max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
    """Decode a run-length encoding to a bool mask (height, width).

    rle: counts may be compressed text or bytes, as pycocotools gives them, or a list of run lengths.
    max_pixels: of the mask, which takes a byte per pixel. None for any size.

    Raises ValueError for a larger mask, and for counts that are damaged or do not add up to the size.
    """
    if not isinstance(rle, Mapping) or "size" not in rle or "counts" not in rle:
        got = f"the keys {', '.join(map(str, rle))}" if isinstance(rle, Mapping) else f"a {type(rle).__name__}"
        raise ValueError(f"An RLE must be a dict with `size` and `counts`, got {got}. {_RLE_ADVICE}")
    height, width = check_size(rle["size"], "size", max_pixels)
    counts = counts_to_list(rle["counts"])
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(
            f"The counts of an RLE must cover its size of {height} x {width} pixels, but they cover {sum(counts)}. "
            "Pass the [height, width] of the mask that was encoded."
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


_RLE_ADVICE = "Encode a mask with `mask_to_rle`, or with pycocotools."


def counts_to_list(counts: str | bytes | Sequence[int]) -> list[int]:
    """The run lengths of COCO's counts in any form.

    Raises ValueError if they are not numbers, or text that is none of COCO's compressed counts.
    """
    if isinstance(counts, str | bytes | bytearray):
        return _decompress(counts.encode("utf-8", "replace") if isinstance(counts, str) else bytes(counts))
    try:
        array = np.asarray(counts)
        is_whole = array.ndim == 1 and array.dtype.kind in "iuf" and bool(np.isfinite(array).all())
        is_whole = is_whole and bool((array == np.floor(array)).all())
    except (ValueError, TypeError):
        is_whole = False
    if not is_whole:
        raise ValueError(
            f"The counts of an RLE must be text, bytes or a list of whole numbers, got {counts!r:.60}. {_RLE_ADVICE}"
        )
    return [int(count) for count in array.tolist()]


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


def _decompress(text: bytes) -> list[int]:
    counts: list[int] = []
    value = shift = 0
    for place, character in enumerate(text):
        group = character - 48
        if not 0 <= group < 64 or shift > 60:  # no count needs more than 64 bits
            raise ValueError(
                f"The compressed counts of an RLE are damaged at character {place + 1} of {len(text)}. {_RLE_ADVICE}"
            )
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError(f"The compressed counts of an RLE end in the middle of a number. {_RLE_ADVICE}")
    return counts


__all__ = [
    "FOREGROUND",
    "RLE",
    "compress_counts",
    "counts_to_list",
    "foreground",
    "mask_extent",
    "mask_to_bbox",
    "mask_to_rle",
    "polygons_to_mask",
    "rle_to_mask",
    "run_lengths",
]
