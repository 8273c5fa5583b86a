"""Masks of a picture from low-resolution logits, without the logits at the size of the picture.

The original resizes logits twice, to the model's frame and from its used part to the picture, both bilinearly, and
then compares. Here the two resizings are one sparse matrix per axis, applied to a few rows at a time and only where
the result can pass. Its rounding differs in the last bits, so a value too close to the threshold to be sure of is
computed again with the weights of the two resizings and a bound of their rounding, and if need be by the resizings
themselves. The pixels are those of the original, every one.

In NumPy, whose comparisons are ten times as fast as PyTorch's on a CPU.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# What is computed at once: first columns, of so many rows of cells, then rows, of so many columns. With four pixels
# of the frame per cell the products have less than 2^18 multiplications, for which OpenBLAS starts no threads. Two
# threads that wait for each other take a hundred times as long where other processes want the processors, too.
COLUMNS_AT_ONCE, OF_CELLS = 64, 128
ROWS_AT_ONCE, OF_COLUMNS = 48, 256
# Bounds of the rounding in float32, relative to the sum of the sizes of what is added: of the products of two matrices
# with three terms per row, and of a bilinear resizing, which adds four terms in two steps.
_PRODUCT_ERROR, _RESIZING_ERROR = 10 * 2**-24, 6 * 2**-24

Size = tuple[int, int]


def resize_logits(logits: Tensor, frame_size: int, used_size: Size, size: Size) -> Tensor:
    """Logits (m, m) of the frame to logits (height, width) of a picture, as the original's `postprocess_masks`.

    frame_size: side S of the model's square frame; used_size: (height, width) of the picture's resized copy in it.
    """
    frame = F.interpolate(logits[None, None], (frame_size, frame_size), mode="bilinear", align_corners=False)
    frame = frame[..., : used_size[0], : used_size[1]]
    return F.interpolate(frame, size, mode="bilinear", align_corners=False)[0, 0]


@dataclass(frozen=True)
class Band:
    """Rows of a picture: per threshold, a bool array (rows, columns) whose upper left pixel is (left, top)."""

    top: int
    left: int
    passes: list[np.ndarray]


class MaskResizer:
    """Masks of pictures of one size, on a CPU.

    mask_size: side m of the logits; frame_size: side S of the model's square frame; used_size: (height, width) of the
        picture's resized copy in it; size: (height, width) of the picture.
    """

    def __init__(self, mask_size: int, frame_size: int, used_size: Size, size: Size) -> None:
        self.frame_size, self.used_size, self.size = frame_size, used_size, size
        self._rows = _axis(mask_size, frame_size, used_size[0], size[0], ROWS_AT_ONCE)
        self._columns = _axis(mask_size, frame_size, used_size[1], size[1], COLUMNS_AT_ONCE)

    def masks(self, logits: np.ndarray, threshold: float) -> np.ndarray:
        """Where the resized logits (N, m, m) exceed the threshold: bool (N, height, width)."""
        # Not NumPy's zeros: it asks for huge pages, and to find them the system may take longer than all of this.
        masks = torch.zeros(len(logits), *self.size, dtype=torch.bool).numpy()
        for mask, one in zip(masks, logits):
            for band in self.bands(one, [threshold]):
                (passes,) = band.passes
                mask[band.top : band.top + passes.shape[0], band.left : band.left + passes.shape[1]] = passes
        return masks

    def bands(self, logits: np.ndarray, thresholds: Sequence[float]) -> Iterator[Band]:
        """Where the resized logits (m, m) float32 exceed each of the thresholds, from top to bottom.

        The bands are equally wide and adjacent; outside of them no threshold is exceeded.
        """
        lowest = min(thresholds)
        # By a little less than the lowest, because two weights may sum to a little more than 1.
        present = logits > lowest - _PRODUCT_ERROR * abs(lowest)
        rows, columns = np.flatnonzero(present.any(axis=1)), np.flatnonzero(present.any(axis=0))
        if len(rows) == 0:
            return
        if self._rows is None or self._columns is None or not np.isfinite(logits).all():
            full = self._resized(logits)
            yield Band(0, 0, [full > np.float32(threshold) for threshold in thresholds])
            return
        top, bottom = self._rows.reach(rows)
        left, right = self._columns.reach(columns)
        blocks = list(self._rows.blocks_within(top, bottom))
        if not blocks or left >= right:  # all of them in the padding of the frame
            return
        first = blocks[0].first
        across = self._across(logits[first : blocks[-1].last], left, right)
        for block in blocks:
            some = logits[block.first : block.last]
            values = np.empty((len(block.matrix), right - left), dtype=np.float32)
            for start in range(0, right - left, OF_COLUMNS):
                part = slice(start, start + OF_COLUMNS)
                np.matmul(block.matrix, across[block.first - first : block.last - first, part], out=values[:, part])
            margin = _PRODUCT_ERROR * max(some.max(), -some.min())
            passes = [self._exceed(logits, values, limit, margin, block.start, left) for limit in thresholds]
            yield Band(block.start, left, passes)

    def _across(self, logits: np.ndarray, left: int, right: int) -> np.ndarray:
        """Rows of logits (k, m) with their columns resized: pixels left to right, (k, right - left)."""
        assert self._columns is not None
        result = np.empty((len(logits), right - left), dtype=np.float32)
        for strip in self._columns.blocks_within(left, right):
            columns = slice(strip.start - left, strip.start - left + len(strip.matrix))
            for start in range(0, len(logits), OF_CELLS):
                rows = slice(start, start + OF_CELLS)
                np.matmul(logits[rows, strip.first : strip.last], strip.matrix.T, out=result[rows, columns])
        return result

    def _resized(self, logits: np.ndarray) -> np.ndarray:
        return resize_logits(torch.from_numpy(logits), self.frame_size, self.used_size, self.size).numpy()

    def _exceed(
        self, logits: np.ndarray, values: np.ndarray, threshold: float, margin: float, top: int, left: int
    ) -> np.ndarray:
        """Where values, which are right up to a margin, exceed the threshold if computed as by `resize_logits`."""
        margin = margin + 2**-23 * abs(threshold)  # the limits are rounded, too
        surely, perhaps = values > np.float32(threshold + margin), values > np.float32(threshold - margin)
        if np.count_nonzero(surely) == np.count_nonzero(perhaps):  # what is sure is also possible
            return surely
        rows, columns = np.divmod(np.flatnonzero(surely != perhaps), surely.shape[1])
        surely[rows, columns] = self._settle(logits, rows + top, columns + left, threshold)
        return surely

    def _settle(self, logits: np.ndarray, rows: np.ndarray, columns: np.ndarray, threshold: float) -> np.ndarray:
        """The same for single pixels (K,), each from its 4 frame cells and the 16 logits behind them, in float64."""
        assert self._rows is not None
        assert self._columns is not None
        threshold = float(np.float32(threshold))
        (cell_rows, row_weights), frame_row_weights = self._rows.at(rows)  # (K, 2, 2), (K, 2)
        (cell_columns, column_weights), frame_column_weights = self._columns.at(columns)
        cells = logits[cell_rows[:, :, None, :, None], cell_columns[:, None, :, None, :]].astype(np.float64)
        weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
        frame, frame_scale = (cells * weights).sum(axis=(3, 4)), (np.abs(cells) * weights).sum(axis=(3, 4))
        weights = frame_row_weights[:, :, None] * frame_column_weights[:, None, :]
        values = (frame * weights).sum(axis=(1, 2))
        errors = _RESIZING_ERROR * ((frame_scale + np.abs(frame)) * weights).sum(axis=(1, 2))
        if (np.abs(values - threshold) > errors).all():
            return values > threshold
        return self._resized(logits)[rows, columns] > np.float32(threshold)


@dataclass(frozen=True)
class _Taps:
    """Bilinear resizing of one axis: an output is the sum of two inputs, by index and weight (n, 2)."""

    index: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class _Block:
    """Outputs from start on are a matrix (outputs, last - first) times inputs first to last."""

    start: int
    first: int
    last: int
    matrix: np.ndarray


class _Axis:
    """Both resizings of one axis: m cells to S of the frame, of which those in use go to the pixels."""

    def __init__(self, to_frame: _Taps, to_picture: _Taps, at_once: int) -> None:
        self.to_frame, self.to_picture = to_frame, to_picture
        cells = to_frame.index[to_picture.index].reshape(-1, 4)  # per pixel
        weights = (to_picture.weight[..., None] * to_frame.weight[to_picture.index]).reshape(-1, 4)
        self.first, self.last = cells.min(axis=1), cells.max(axis=1)
        self.blocks = []
        for start in range(0, len(cells), at_once):
            part = slice(start, start + at_once)
            first, last = self.first[part][0], self.last[part][-1] + 1
            matrix = np.zeros((len(cells[part]), last - first))
            np.add.at(matrix, (np.arange(len(matrix))[:, None], cells[part] - first), weights[part])
            self.blocks.append(_Block(start, first, last, matrix.astype(np.float32)))

    def reach(self, cells: np.ndarray) -> tuple[int, int]:
        """The pixels, from and to, that depend on any of the cells, in ascending order."""
        return int(np.searchsorted(self.last, cells[0])), int(np.searchsorted(self.first, cells[-1], side="right"))

    def blocks_within(self, start: int, stop: int) -> Iterator[_Block]:
        """The blocks, cut to pixels start to stop."""
        for block in self.blocks:
            begin, end = max(start, block.start), min(stop, block.start + len(block.matrix))
            if begin < end:
                matrix = block.matrix[begin - block.start : end - block.start]
                yield _Block(begin, block.first, block.last, matrix)

    def at(self, pixels: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """Of pixels (K,): cells behind their two frame cells with weights, (K, 2, 2), and weights of these, (K, 2)."""
        frame = self.to_picture.index[pixels]
        return (self.to_frame.index[frame], self.to_frame.weight[frame]), self.to_picture.weight[pixels]


@functools.lru_cache(maxsize=16)
def _axis(mask_size: int, frame_size: int, used: int, size: int, at_once: int) -> _Axis | None:
    to_frame, to_picture = _bilinear_taps(mask_size, frame_size), _bilinear_taps(used, size)
    return None if to_frame is None or to_picture is None else _Axis(to_frame, to_picture, at_once)


def _bilinear_taps(length: int, size: int) -> _Taps | None:
    """What F.interpolate does to an axis; None should it do what this module does not know.

    The source of output i is scale * (i + 0.5) - 0.5 in float32, rounded once or twice depending on the processor.
    Which one it is shows on a comb of zeros and ones, whose resizing is made of the weights themselves.
    """
    comb = (np.arange(length) % 2).astype(np.float32)
    picture = torch.from_numpy(np.tile(comb, (1, 1, 2, 1)))
    resized = F.interpolate(picture, (2, size), mode="bilinear", align_corners=False)[0, 0, 0].numpy()
    scale, centres = np.float32(length) / np.float32(size), np.arange(size, dtype=np.float32) + np.float32(0.5)
    rounded_twice = scale * centres - np.float32(0.5)
    rounded_once = (np.float64(scale) * centres.astype(np.float64) - 0.5).astype(np.float32)
    for source in (rounded_once, rounded_twice):
        source = np.maximum(source, 0)
        low = np.minimum(source.astype(np.int64), length - 1)
        index = np.stack([low, np.minimum(low + 1, length - 1)], axis=1)
        second = source - low.astype(np.float32)
        weight = np.stack([1 - second, second], axis=1)
        if np.array_equal((comb[index] * weight).sum(axis=1), resized):
            return _Taps(index, weight.astype(np.float64))
    return None


__all__ = ["Band", "MaskResizer", "resize_logits"]
