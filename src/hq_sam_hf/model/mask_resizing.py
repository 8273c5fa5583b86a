"""Resize low-resolution mask logits to bool masks of the image, without full-size logits.

The original interpolates bilinearly twice: from the mask size to the model input size, and from the image's part of
the model input to the original size. Then it compares with the threshold. Here both interpolations are combined into
one sparse matrix per axis, which is applied to a few rows at a time and only where the threshold can be exceeded.

The matrix products round differently in the last bits. A pixel too close to the threshold is therefore computed
again in float64, with the weights of both interpolations and a bound on their rounding error. If that does not decide
it, both interpolations are run. Every pixel of the masks is equal to the original's.

The code uses NumPy, because its comparisons are ten times as fast as PyTorch's on a CPU.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Sizes of the matrix products. Columns are resized first: 64 output columns of up to 128 rows of logits per product;
# then rows: 48 output rows of 256 columns. With four model input pixels per logit, a product has fewer than 2^18
# multiplications, so OpenBLAS starts no threads for it. Two threads that wait for each other take a hundred times as
# long when other processes use the processors too.
COLUMNS_PER_BLOCK, LOGIT_ROWS_PER_PRODUCT = 64, 128
ROWS_PER_BLOCK, COLUMNS_PER_PRODUCT = 48, 256
# Bounds on the float32 rounding error, relative to the sum of the absolute values of the terms: for the product with
# two matrices that have three terms per row, and for a bilinear interpolation, which adds four terms in two steps.
_PRODUCT_ERROR, _INTERPOLATION_ERROR = 10 * 2**-24, 6 * 2**-24

Size = tuple[int, int]


def resize_logits(logits: Tensor, input_size: int, reshaped_size: Size, original_size: Size) -> Tensor:
    """Resize logits (m, m) to (height, width) of the original image, as the original's `postprocess_masks`.

    input_size: the model input size S.
    reshaped_size: (height, width) of the resized image in the upper left corner of the model input.
    """
    resized = F.interpolate(logits[None, None], (input_size, input_size), mode="bilinear", align_corners=False)
    resized = resized[..., : reshaped_size[0], : reshaped_size[1]]
    return F.interpolate(resized, original_size, mode="bilinear", align_corners=False)[0, 0]


@dataclass(frozen=True)
class RowBlock:
    """Some rows of the masks of an image, one mask per threshold.

    top, left: the image pixel (row, column) of the upper left corner.
    exceeds: per threshold, bool (rows, columns).
    """

    top: int
    left: int
    exceeds: list[np.ndarray]


class MaskResizer:
    """Make masks for images of one size, on a CPU.

    mask_size: side m of the logits.
    input_size: the model input size S.
    reshaped_size: (height, width) of the resized image in the upper left corner of the model input.
    original_size: (height, width) of the image and its masks.
    """

    def __init__(self, mask_size: int, input_size: int, reshaped_size: Size, original_size: Size) -> None:
        self.input_size, self.reshaped_size, self.original_size = input_size, reshaped_size, original_size
        self._rows = _axis_resizing(mask_size, input_size, reshaped_size[0], original_size[0], ROWS_PER_BLOCK)
        self._columns = _axis_resizing(mask_size, input_size, reshaped_size[1], original_size[1], COLUMNS_PER_BLOCK)

    def masks(self, logits: np.ndarray, threshold: float) -> np.ndarray:
        """Resize logits (N, m, m) float32 and compare: bool (N, height, width), True above the threshold."""
        # np.zeros would ask for huge pages; when memory is fragmented, finding them takes longer than all the rest.
        masks = torch.zeros(len(logits), *self.original_size, dtype=torch.bool).numpy()
        for mask, mask_logits in zip(masks, logits):
            for block in self.row_blocks(mask_logits, [threshold]):
                (exceeds,) = block.exceeds
                rows, columns = exceeds.shape
                mask[block.top : block.top + rows, block.left : block.left + columns] = exceeds
        return masks

    def row_blocks(self, logits: np.ndarray, thresholds: Sequence[float]) -> Iterator[RowBlock]:
        """Resize logits (m, m) float32 and compare with each threshold; yields blocks from top to bottom.

        The blocks are adjacent and have the same columns. Outside of them no threshold is exceeded.
        """
        lowest = min(thresholds)
        # A margin below the lowest threshold, because two weights may sum to slightly more than 1.
        relevant = logits > lowest - _PRODUCT_ERROR * abs(lowest)
        rows, columns = np.flatnonzero(relevant.any(axis=1)), np.flatnonzero(relevant.any(axis=0))
        if len(rows) == 0:
            return
        if self._rows is None or self._columns is None or not np.isfinite(logits).all():
            full = self._interpolate(logits)
            yield RowBlock(0, 0, [full > np.float32(threshold) for threshold in thresholds])
            return
        top, bottom = self._rows.affected_pixels(rows)
        left, right = self._columns.affected_pixels(columns)
        blocks = list(self._rows.blocks_within(top, bottom))
        if not blocks or left >= right:  # all logits above the threshold are in the padding
            return
        first = blocks[0].first
        wide = self._resize_columns(logits[first : blocks[-1].last], left, right)
        for block in blocks:
            used_logits = logits[block.first : block.last]
            values = np.empty((len(block.matrix), right - left), dtype=np.float32)
            for start in range(0, right - left, COLUMNS_PER_PRODUCT):
                part = slice(start, start + COLUMNS_PER_PRODUCT)
                np.matmul(block.matrix, wide[block.first - first : block.last - first, part], out=values[:, part])
            margin = _PRODUCT_ERROR * max(used_logits.max(), -used_logits.min())
            exceeds = [self._exceeds(logits, values, limit, margin, block.start, left) for limit in thresholds]
            yield RowBlock(block.start, left, exceeds)

    def _resize_columns(self, logits: np.ndarray, left: int, right: int) -> np.ndarray:
        """Resize rows of logits (k, m) along their columns to the image columns left to right: (k, right - left)."""
        assert self._columns is not None
        result = np.empty((len(logits), right - left), dtype=np.float32)
        for block in self._columns.blocks_within(left, right):
            columns = slice(block.start - left, block.start - left + len(block.matrix))
            for start in range(0, len(logits), LOGIT_ROWS_PER_PRODUCT):
                rows = slice(start, start + LOGIT_ROWS_PER_PRODUCT)
                np.matmul(logits[rows, block.first : block.last], block.matrix.T, out=result[rows, columns])
        return result

    def _interpolate(self, logits: np.ndarray) -> np.ndarray:
        return resize_logits(torch.from_numpy(logits), self.input_size, self.reshaped_size, self.original_size).numpy()

    def _exceeds(
        self, logits: np.ndarray, values: np.ndarray, threshold: float, margin: float, top: int, left: int
    ) -> np.ndarray:
        """Where `resize_logits` exceeds the threshold, given values that differ from it by at most the margin."""
        margin = margin + 2**-23 * abs(threshold)  # the two limits below are rounded, too
        certain, possible = values > np.float32(threshold + margin), values > np.float32(threshold - margin)
        if np.count_nonzero(certain) == np.count_nonzero(possible):  # every certain pixel is also possible
            return certain
        rows, columns = np.divmod(np.flatnonzero(certain != possible), certain.shape[1])
        certain[rows, columns] = self._recompute(logits, rows + top, columns + left, threshold)
        return certain

    def _recompute(self, logits: np.ndarray, rows: np.ndarray, columns: np.ndarray, threshold: float) -> np.ndarray:
        """Whether single image pixels (K,) exceed the threshold, computed in float64.

        Each comes from 4 pixels of the model input, and each of these from 4 logits.
        """
        assert self._rows is not None
        assert self._columns is not None
        threshold = float(np.float32(threshold))
        logit_rows, row_weights, input_row_weights = self._rows.weights_at(rows)
        logit_columns, column_weights, input_column_weights = self._columns.weights_at(columns)
        sources = logits[logit_rows[:, :, None, :, None], logit_columns[:, None, :, None, :]].astype(np.float64)
        weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
        inputs, input_scale = (sources * weights).sum(axis=(3, 4)), (np.abs(sources) * weights).sum(axis=(3, 4))
        weights = input_row_weights[:, :, None] * input_column_weights[:, None, :]
        values = (inputs * weights).sum(axis=(1, 2))
        errors = _INTERPOLATION_ERROR * ((input_scale + np.abs(inputs)) * weights).sum(axis=(1, 2))
        if (np.abs(values - threshold) > errors).all():
            return values > threshold
        return self._interpolate(logits)[rows, columns] > np.float32(threshold)


@dataclass(frozen=True)
class _InterpolationWeights:
    """Linear interpolation along one axis: output i is the sum of two inputs, given by index and weight (n, 2)."""

    index: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class _MatrixBlock:
    """A block of a resizing matrix: outputs from `start` on are `matrix` times the inputs `first` to `last`."""

    start: int
    first: int
    last: int
    matrix: np.ndarray


class _AxisResizing:
    """Both interpolations along one axis: from m logits to S pixels of the model input, of those to image pixels."""

    def __init__(self, to_input: _InterpolationWeights, to_image: _InterpolationWeights, block_size: int) -> None:
        self.to_input, self.to_image = to_input, to_image
        sources = to_input.index[to_image.index].reshape(-1, 4)  # the logits behind each image pixel
        weights = (to_image.weight[..., None] * to_input.weight[to_image.index]).reshape(-1, 4)
        self.first, self.last = sources.min(axis=1), sources.max(axis=1)
        self.blocks = []
        for start in range(0, len(sources), block_size):
            part = slice(start, start + block_size)
            first, last = self.first[part][0], self.last[part][-1] + 1
            matrix = np.zeros((len(sources[part]), last - first))
            np.add.at(matrix, (np.arange(len(matrix))[:, None], sources[part] - first), weights[part])
            self.blocks.append(_MatrixBlock(start, first, last, matrix.astype(np.float32)))

    def affected_pixels(self, logits: np.ndarray) -> tuple[int, int]:
        """The range (start, stop) of image pixels that depend on any of the logits, given by ascending index."""
        return int(np.searchsorted(self.last, logits[0])), int(np.searchsorted(self.first, logits[-1], side="right"))

    def blocks_within(self, start: int, stop: int) -> Iterator[_MatrixBlock]:
        """The blocks, cut to the image pixels start to stop."""
        for block in self.blocks:
            begin, end = max(start, block.start), min(stop, block.start + len(block.matrix))
            if begin < end:
                matrix = block.matrix[begin - block.start : end - block.start]
                yield _MatrixBlock(begin, block.first, block.last, matrix)

    def weights_at(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How image pixels (K,) are computed, each from 2 pixels of the model input that come from 2 logits each.

        Returns the indices and the weights of the logits, (K, 2, 2), and the weights of the model input, (K, 2).
        """
        inputs = self.to_image.index[pixels]
        return self.to_input.index[inputs], self.to_input.weight[inputs], self.to_image.weight[pixels]


@functools.lru_cache(maxsize=16)
def _axis_resizing(
    mask_size: int, input_size: int, reshaped_side: int, original_side: int, block_size: int
) -> _AxisResizing | None:
    to_input = _interpolation_weights(mask_size, input_size)
    to_image = _interpolation_weights(reshaped_side, original_side)
    return None if to_input is None or to_image is None else _AxisResizing(to_input, to_image, block_size)


def _interpolation_weights(length: int, size: int) -> _InterpolationWeights | None:
    """The weights that F.interpolate uses along an axis, or None if they are not those of the formula below.

    Output i lies at scale * (i + 0.5) - 0.5 of the input, in float32. Processors differ in whether this is rounded
    once or twice. Interpolating alternating zeros and ones shows which, because the result consists of the weights.
    """
    alternating = (np.arange(length) % 2).astype(np.float32)
    probe = torch.from_numpy(np.tile(alternating, (1, 1, 2, 1)))
    resized = F.interpolate(probe, (2, size), mode="bilinear", align_corners=False)[0, 0, 0].numpy()
    scale, centres = np.float32(length) / np.float32(size), np.arange(size, dtype=np.float32) + np.float32(0.5)
    rounded_twice = scale * centres - np.float32(0.5)
    rounded_once = (np.float64(scale) * centres.astype(np.float64) - 0.5).astype(np.float32)
    for position in (rounded_once, rounded_twice):
        position = np.maximum(position, 0)
        low = np.minimum(position.astype(np.int64), length - 1)
        index = np.stack([low, np.minimum(low + 1, length - 1)], axis=1)
        second = position - low.astype(np.float32)
        weight = np.stack([1 - second, second], axis=1)
        if np.array_equal((alternating[index] * weight).sum(axis=1), resized):
            return _InterpolationWeights(index, weight.astype(np.float64))
    return None


__all__ = ["MaskResizer", "RowBlock", "Size", "resize_logits"]
