"""Masks cropped to their bounding box, so that small objects in large images take little memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .binary import as_binary_mask
from .connected_components import fill_small_holes, remove_small_components
from .rle import mask_extent, run_lengths


@dataclass(frozen=True)
class CroppedMask:
    """A mask of an image, cropped to its bounding box.

    bits: the cropped mask (height, width), packed to one bit per pixel.
    x, y: the image pixel (column, row) of its upper left corner.
    """

    bits: np.ndarray
    height: int
    width: int
    x: int
    y: int

    @classmethod
    def of(cls, mask: Any, x: int = 0, y: int = 0) -> "CroppedMask":
        """Crop a mask.

        mask: (height, width), of the image or of a part of it; see `binary`.
        x, y: the image pixel (column, row) of the mask's upper left corner.
        """
        mask = as_binary_mask(mask)
        extent = mask_extent(mask)
        if extent is None:
            return cls(np.zeros(0, dtype=np.uint8), 0, 0, x, y)
        left, top, right, bottom = extent
        inner = mask[top : bottom + 1, left : right + 1]
        return cls(np.packbits(inner), inner.shape[0], inner.shape[1], x + left, y + top)

    @property
    def pixels(self) -> np.ndarray:
        """The cropped mask, bool (height, width)."""
        flat = np.unpackbits(self.bits, count=self.height * self.width)
        return flat.view(bool).reshape(self.height, self.width)

    @property
    def area(self) -> int:
        """The number of pixels."""
        return int(self.pixels.sum())

    @property
    def box(self) -> list[int]:
        """The first and last column and row in the image, [x1, y1, x2, y2], as in SAM's automatic masks."""
        return [self.x, self.y, self.x + max(self.width - 1, 0), self.y + max(self.height - 1, 0)]

    def moved(self, x: int, y: int) -> "CroppedMask":
        """The mask moved by x pixels to the right and y down, for example from a crop of the image to the image."""
        return CroppedMask(self.bits, self.height, self.width, self.x + x, self.y + y)

    def full(self, size: tuple[int, int]) -> np.ndarray:
        """The mask of the whole image, bool with the image's size (height, width)."""
        mask = np.zeros(size, dtype=bool)
        mask[self.y : self.y + self.height, self.x : self.x + self.width] = self.pixels
        return mask

    def run_lengths(self, size: tuple[int, int]) -> list[int]:
        """COCO's uncompressed counts for the image's size (height, width); see `rle.run_lengths`."""
        return run_lengths(self.pixels, self.x, self.y, size)

    def without_small_regions(self, size: tuple[int, int], min_area: float) -> tuple["CroppedMask", bool]:
        """Fill the holes, then remove the components that have less than min_area pixels.

        size: (height, width) of the image. Background outside of the crop counts towards the area of a hole.

        Returns the new mask and whether anything changed.
        """
        top, left, bottom, right = self.y, self.x, self.y + self.height, self.x + self.width
        # The part of the image beyond one side of the crop is one component. If it is small enough to be a hole, the
        # crop is extended by it.
        top = 0 if top * size[1] < min_area else top
        left = 0 if left * size[0] < min_area else left
        bottom = size[0] if (size[0] - bottom) * size[1] < min_area else bottom
        right = size[1] if (size[1] - right) * size[0] < min_area else right
        mask = np.zeros((bottom - top, right - left), dtype=bool)
        y, x = self.y - top, self.x - left
        mask[y : y + self.height, x : x + self.width] = self.pixels
        is_open = {"top": top > 0, "left": left > 0, "bottom": bottom < size[0], "right": right < size[1]}
        mask, filled = fill_small_holes(mask, min_area, [side for side, continues in is_open.items() if continues])
        mask, removed = remove_small_components(mask, min_area)
        return (CroppedMask.of(mask, left, top), True) if filled or removed else (self, False)


__all__ = ["CroppedMask"]
