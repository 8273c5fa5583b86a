"""A mask as the part of a picture inside its box: small objects of large pictures stay small."""

from dataclasses import dataclass

import numpy as np

from .connected_components import fill_small_holes, remove_small_components
from .rle import mask_extent, run_lengths


@dataclass(frozen=True)
class CroppedMask:
    """A bool mask of (height, width), one bit per pixel, whose upper left pixel is (x, y) of the picture."""

    bits: np.ndarray
    height: int
    width: int
    x: int
    y: int

    @classmethod
    def of(cls, mask: np.ndarray, x: int = 0, y: int = 0) -> "CroppedMask":
        """From a bool mask (H, W) whose upper left pixel is (x, y) of the picture; empty rows and columns are cut."""
        extent = mask_extent(mask)
        if extent is None:
            return cls(np.zeros(0, dtype=np.uint8), 0, 0, x, y)
        left, top, right, bottom = extent
        inner = mask[top : bottom + 1, left : right + 1]
        return cls(np.packbits(inner), inner.shape[0], inner.shape[1], x + left, y + top)

    @property
    def pixels(self) -> np.ndarray:
        """The bool mask (height, width)."""
        flat = np.unpackbits(self.bits, count=self.height * self.width)
        return flat.view(bool).reshape(self.height, self.width)

    @property
    def area(self) -> int:
        return int(self.pixels.sum())

    @property
    def box(self) -> list[int]:
        """The first and the last column and row, (x1, y1, x2, y2), as SAM's automatic masks have it."""
        return [self.x, self.y, self.x + max(self.width - 1, 0), self.y + max(self.height - 1, 0)]

    def moved(self, x: int, y: int) -> "CroppedMask":
        """The same mask further right and down, as from a crop to its picture."""
        return CroppedMask(self.bits, self.height, self.width, self.x + x, self.y + y)

    def full(self, size: tuple[int, int]) -> np.ndarray:
        """The bool mask of the whole picture of (height, width) size."""
        mask = np.zeros(size, dtype=bool)
        mask[self.y : self.y + self.height, self.x : self.x + self.width] = self.pixels
        return mask

    def run_lengths(self, size: tuple[int, int]) -> list[int]:
        """COCO's counts for the picture of (height, width) size: runs column by column, the first of background."""
        return run_lengths(self.pixels, self.x, self.y, size)

    def without_small_regions(self, size: tuple[int, int], min_area: float) -> tuple["CroppedMask", bool]:
        """Fill holes, then drop regions of less than min_area pixels; also tells whether anything changed.

        size: (height, width) of the picture, where the outside of the mask goes on.
        """
        top, left, bottom, right = self.y, self.x, self.y + self.height, self.x + self.width
        # What lies outside the window on one side is one region. If it could count as a hole, look at it too.
        top = 0 if top * size[1] < min_area else top
        left = 0 if left * size[0] < min_area else left
        bottom = size[0] if (size[0] - bottom) * size[1] < min_area else bottom
        right = size[1] if (size[1] - right) * size[0] < min_area else right
        mask = np.zeros((bottom - top, right - left), dtype=bool)
        y, x = self.y - top, self.x - left
        mask[y : y + self.height, x : x + self.width] = self.pixels
        beyond = {"top": top > 0, "left": left > 0, "bottom": bottom < size[0], "right": right < size[1]}
        mask, filled = fill_small_holes(mask, min_area, [side for side, is_more in beyond.items() if is_more])
        mask, dropped = remove_small_components(mask, min_area)
        return (CroppedMask.of(mask, left, top), True) if filled or dropped else (self, False)


__all__ = ["CroppedMask"]
