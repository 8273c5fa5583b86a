"""Attention on grids with decomposed relative positions, computed in chunks of the scores that stay in a CPU cache.

The score of two positions is q . k plus a term of their rows and a term of their columns (MViTv2, arXiv 2112.01526).
As one bias tensor, as in transformers and the original, these terms are heads x 4096 x 4096 numbers for an image of
1024 pixels. With gradients, several such tensors are kept until the backward pass.

Shapes: query, key, value (N, h, w, C), not scaled; row_table (h, h, C) and column_table (w, w, C), with an entry for
each pair of a query row and a key row, and of columns.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .modeling_kernels import add_products, products

# Scores per chunk: 8 MiB in float32, about what stays in a cache while three kernels pass over it.
SCORES_AT_ONCE = 2**21
# Half precision: up to this width, add the bias by matmul, which is faster and gives equal results.
MATMUL_BIAS_WIDTH = 32


def attend_in_parts(query: Tensor, key: Tensor, value: Tensor, row_table: Tensor, column_table: Tensor) -> Tensor:
    """Softmax attention (N, h, w, C), a few rows of queries at a time. For inference: no gradients."""
    result = query.new_empty(query.shape)
    for some, _, values, parts in _grids(query, key, value, row_table, column_table):
        for chunk_rows, part, weights in parts:
            result[some, chunk_rows] = products(weights, values.mT).view(part.shape)
    return result


def attend_with_gradients(
    query: Tensor, key: Tensor, value: Tensor, row_table: Tensor, column_table: Tensor
) -> Tensor:
    """As `attend_in_parts`, with first-order gradients: the backward pass recomputes the scores chunk by chunk."""
    attended: Tensor = _Attention.apply(query, key, value, row_table, column_table)
    return attended


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(query: Tensor, key: Tensor, value: Tensor, row_table: Tensor, column_table: Tensor) -> Tensor:
        return attend_in_parts(query, key, value, row_table, column_table)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return _gradients_in_parts(gradient, *ctx.saved_tensors)


def _gradients_in_parts(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    row_table: Tensor,
    column_table: Tensor,
    attended: Tensor,
) -> tuple[Tensor, ...]:
    """Gradients of query, key, value and both tables from the gradient of the attention output.

    The chain rule through a softmax, as in FlashAttention (arXiv 2205.14135, appendix B): for attention weights
    P = softmax(S) with gradient dP, dS = P (dP - D), where D sums the products of output and gradient over channels.
    Sums over chunks are at least float32.
    """
    _, height, width, channels = query.shape
    scale = channels**-0.5
    total = torch.promote_types(query.dtype, torch.float32)
    offset = (gradient * attended).sum(-1, keepdim=True)  # D, (N, h, w, 1)
    to_query, to_key, to_value = (torch.empty_like(query, memory_format=torch.contiguous_format) for _ in range(3))
    to_rows, to_columns = torch.zeros_like(row_table, dtype=total), torch.zeros_like(column_table, dtype=total)
    for some, keys, values, parts in _grids(query, key, value, row_table, column_table):
        to_keys, to_values = torch.zeros_like(keys, dtype=total), torch.zeros_like(values, dtype=total)
        for chunk_rows, part, weights in parts:
            output_gradient = gradient[some, chunk_rows].flatten(1, 2).contiguous()
            to_values += weights.mT @ output_gradient
            to_scores = products(output_gradient, values).sub_(offset[some, chunk_rows].flatten(1, 2)).mul_(weights)
            to_keys += to_scores.mT @ (scale * part.flatten(1, 2))
            by_key = to_scores.view(*part.shape[:3], height, width)
            to_row_bias, to_column_bias = by_key.sum(-1), by_key.sum(-2)
            to_rows[chunk_rows] += torch.einsum("nhwk,nhwc->hkc", to_row_bias, part)
            to_columns += torch.einsum("nhwk,nhwc->wkc", to_column_bias, part)
            to_part = (scale * (to_scores @ keys)).view(part.shape)
            to_part += torch.einsum("nhwk,hkc->nhwc", to_row_bias, row_table[chunk_rows])
            to_part += torch.einsum("nhwk,wkc->nhwc", to_column_bias, column_table)
            to_query[some, chunk_rows] = to_part
        to_key[some] = to_keys.unflatten(1, (height, width))
        to_value[some] = to_values.unflatten(1, (height, width))
    return to_query, to_key, to_value, to_rows.to(row_table.dtype), to_columns.to(column_table.dtype)


def position_biases(query: Tensor, row_table: Tensor, column_table: Tensor) -> tuple[Tensor, Tensor]:
    """Terms of the scores per key row, (N, h, w, h), and per key column, (N, h, w, w)."""
    row_bias = torch.einsum("nhwc,hkc->nhwk", query, row_table)
    return row_bias, torch.einsum("nhwc,wkc->nhwk", query, column_table)


def _grids(
    query: Tensor, key: Tensor, value: Tensor, row_table: Tensor, column_table: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor, Iterator[tuple[slice, Tensor, Tensor]]]]:
    """Yield a few grids at a time: their slice of N, their keys and values (n, L, C), and chunks of their queries.

    A chunk is a slice of rows, its queries (n, r, w, C) and its attention weights (n, r w, L). The weights are in a
    buffer that the next chunk overwrites.
    """
    number, height, width, _ = query.shape
    rows = max(1, min(height, SCORES_AT_ONCE // (width * height * width)))
    grids = min(number, max(1, SCORES_AT_ONCE // (rows * width * height * width)))
    buffer = query.new_empty(grids, rows, width, height, width)

    def parts(queries: Tensor, keys: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        row_bias, column_bias = position_biases(queries, row_table, column_table)
        for top in range(0, height, rows):
            chunk_rows = slice(top, top + rows)
            part = queries[:, chunk_rows]
            yield (
                chunk_rows,
                part,
                _attention_weights(part, keys, row_bias[:, chunk_rows], column_bias[:, chunk_rows], buffer),
            )

    for start in range(0, number, grids):
        some = slice(start, start + grids)
        keys, values = key[some].flatten(1, 2).contiguous(), value[some].flatten(1, 2).contiguous()
        yield some, keys, values, parts(query[some], keys)


def _attention_weights(part: Tensor, keys: Tensor, row_bias: Tensor, column_bias: Tensor, buffer: Tensor) -> Tensor:
    """Attention weights (n, r w, L) of queries (n, r, w, C) over keys (n, L, C), computed in the buffer."""
    scores = buffer[: part.shape[0], : part.shape[1]]
    _write_biases(row_bias, column_bias, scores)
    flat = scores.view(part.shape[0], -1, keys.shape[1])
    add_products(flat, part.shape[-1] ** -0.5 * part.flatten(1, 2), keys)
    return torch.softmax(flat, dim=-1, out=flat)


def _write_biases(row_bias: Tensor, column_bias: Tensor, scores: Tensor) -> None:
    """Set scores (n, r, w, h, w) to row_bias (n, r, w, h) plus column_bias (n, r, w, w) of each key."""
    height, width = scores.shape[-2:]
    if scores.dtype == torch.float32 or width > MATMUL_BIAS_WIDTH:
        torch.add(column_bias[..., None, :], row_bias[..., :, None], out=scores)
        return
    rows, columns = (torch.eye(side, dtype=scores.dtype, device=scores.device) for side in (height, width))
    one_hot = torch.cat([rows.repeat_interleave(width, dim=1), columns.repeat(1, height)])
    torch.mm(torch.cat([row_bias, column_bias], dim=-1).flatten(0, 2), one_hot, out=scores.view(-1, height * width))


__all__ = ["attend_in_parts", "attend_with_gradients", "position_biases"]
