"""What automatic masks are measured by, of many masks: stability, box, area and run lengths, inside their windows."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .mask_resizing import MaskResizer, Size
from .masks import RLE, window_to_rle


@dataclass(frozen=True)
class MaskRecord:
    """One mask of a picture, as the pixels of a window: bool (h, w), whose upper left one is (x, y) of the picture.

    stability_score: float32 share of the pixels with a logit over threshold - offset whose logit is also over
        threshold + offset; NaN where there is none.
    """

    pixels: np.ndarray
    x: int
    y: int
    size: Size
    stability_score: np.float32

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.pixels))

    @property
    def box(self) -> list[int]:
        """First and last column and row, [x1, y1, x2, y2], as of SAM's automatic masks; zeros if the mask is empty."""
        rows, columns = np.flatnonzero(self.pixels.any(axis=1)), np.flatnonzero(self.pixels.any(axis=0))
        if len(rows) == 0:
            return [0, 0, 0, 0]
        return [int(self.x + columns[0]), int(self.y + rows[0]), int(self.x + columns[-1]), int(self.y + rows[-1])]

    def mask(self) -> np.ndarray:
        """The bool mask (height, width) of the picture."""
        mask = np.zeros(self.size, dtype=bool)
        mask[self.y : self.y + self.pixels.shape[0], self.x : self.x + self.pixels.shape[1]] = self.pixels
        return mask

    def rle(self) -> RLE:
        """COCO's run lengths of the mask in the picture, with counts as a list."""
        return window_to_rle(self.pixels, self.x, self.y, self.size)


def mask_records(
    logits: Tensor,
    frame_size: int,
    used_size: Size,
    size: Size,
    mask_threshold: float = 0.0,
    stability_offset: float = 1.0,
) -> list[MaskRecord]:
    """Masks of a picture and their stability, exactly those of logits at the size of the picture, which are not made.

    logits (N, m, m): of the model's square frame. frame_size: side of that frame; used_size: (height, width) of the
    picture's resized copy in it, size: and of the picture.
    """
    if logits.ndim != 3 or logits.shape[1] != logits.shape[2]:
        raise ValueError(f"`logits` must have shape (masks, m, m), got {tuple(logits.shape)}.")
    if not stability_offset >= 0:
        raise ValueError(f"`stability_offset` must be 0 or more, got {stability_offset!r}.")
    resizer = MaskResizer(logits.shape[-1], frame_size, used_size, size)
    thresholds = (mask_threshold, mask_threshold + stability_offset, mask_threshold - stability_offset)
    return [_record(resizer, one, thresholds) for one in logits.detach().float().cpu().numpy()]


def _record(resizer: MaskResizer, logits: np.ndarray, thresholds: tuple[float, float, float]) -> MaskRecord:
    bands = list(resizer.bands(logits, thresholds))
    if not bands:
        return MaskRecord(np.zeros((0, 0), dtype=bool), 0, 0, resizer.size, np.float32("nan"))
    inner, outer = (sum(int(np.count_nonzero(band.passes[i])) for band in bands) for i in (1, 2))
    score = np.float32(inner) / np.float32(outer) if outer else np.float32("nan")
    pixels = np.concatenate([band.passes[0] for band in bands])
    return MaskRecord(pixels, bands[0].left, bands[0].top, resizer.size, score)


__all__ = ["MaskRecord", "mask_records"]
