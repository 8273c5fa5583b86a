"""Binary masks as boxes and COCO run lengths."""

from typing import TypedDict

import numpy as np


class RLE(TypedDict):
    """COCO's run-length encoding: size [height, width] and compressed counts."""

    size: list[int]
    counts: str


def mask_to_box(mask: np.ndarray) -> list[int]:
    """The tight box of a bool mask (height, width) as COCO's [x, y, width, height] in pixels; zeros if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return [0, 0, 0, 0]
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]


def mask_to_rle(mask: np.ndarray) -> RLE:
    """Encode a bool mask (height, width) as pycocotools does, which reads column by column."""
    pixels = np.asarray(mask, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    edges = np.concatenate([[0], changes, [pixels.size]])
    counts = np.diff(edges).tolist()
    if pixels.size and pixels[0]:
        counts.insert(0, 0)  # the first run is background, if need be of length 0
    return {"size": list(mask.shape), "counts": _compress(counts)}


def rle_to_mask(rle: RLE) -> np.ndarray:
    """Decode COCO's compressed run lengths to a bool mask (height, width)."""
    height, width = rle["size"]
    counts = _decompress(rle["counts"])
    if sum(counts) != height * width:
        raise ValueError(f"The runs of the RLE cover {sum(counts)} pixels, but its size is {height} x {width}.")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


# COCO's text form (maskApi.c, rleToString): from the third run on the difference to the run two before, in groups of
# 5 bits, lowest first; bit 6 says that more follow, and 48 makes it a printable character.


def _compress(counts: list[int]) -> str:
    text = []
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            group = value & 31
            value >>= 5
            more = value != (-1 if group & 16 else 0)
            text.append(chr((group | 32 if more else group) + 48))
    return "".join(text)


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


__all__ = ["RLE", "mask_to_box", "mask_to_rle", "rle_to_mask"]
