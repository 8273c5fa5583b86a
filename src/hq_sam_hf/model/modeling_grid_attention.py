"""Attention on grids with decomposed relative positions, by parts of the scores small enough to stay in a cache.

The score of two positions is q . k plus a term of their rows and one of their columns (MViTv2, arXiv 2112.01526).
Written out as a bias, as transformers and the original do, that is heads x 4096 x 4096 numbers for a picture of 1024
pixels, and with gradients several times as many, kept until the backward pass.

Shapes: query, key, value (N, h, w, C), not scaled; row_table (h, h, C) and column_table (w, w, C), which have an entry
for each pair of a query's row and a key's, and of columns.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .modeling_kernels import add_products, products

# Scores held at once: 8 MiB in float32, about what stays in a cache while three kernels pass over it.
SCORES_AT_ONCE = 2**21
# Rows of numbers of half precision up to this long take less time to add as a product of matrices, with equal results.
SHORT = 32


def attend_in_parts(query: Tensor, key: Tensor, value: Tensor, row_table: Tensor, column_table: Tensor) -> Tensor:
    """Softmax attention (N, h, w, C), some rows of queries at a time. For inference: no gradients."""
    result = query.new_empty(query.shape)
    for some, _, values, parts in _grids(query, key, value, row_table, column_table):
        for these, part, shares in parts:
            result[some, these] = products(shares, values.mT).view(part.shape)
    return result


def attend_and_learn(query: Tensor, key: Tensor, value: Tensor, row_table: Tensor, column_table: Tensor) -> Tensor:
    """As `attend_in_parts`, with gradients, once: the backward pass makes each part of the scores again."""
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
    """Gradients of query, key, value and both tables, given that of the result; sums over parts in float32 at least.

    By the chain rule through a softmax, as in FlashAttention (arXiv 2205.14135, appendix B): of shares P = softmax(S)
    and their gradient dP, dS = P (dP - D), where D sums the products of the result and its gradient over channels.
    """
    _, height, width, channels = query.shape
    scale = channels**-0.5
    total = torch.promote_types(query.dtype, torch.float32)
    offset = (gradient * attended).sum(-1, keepdim=True)  # D, (N, h, w, 1)
    to_query, to_key, to_value = (torch.empty_like(query, memory_format=torch.contiguous_format) for _ in range(3))
    to_rows, to_columns = torch.zeros_like(row_table, dtype=total), torch.zeros_like(column_table, dtype=total)
    for some, keys, values, parts in _grids(query, key, value, row_table, column_table):
        to_keys, to_values = torch.zeros_like(keys, dtype=total), torch.zeros_like(values, dtype=total)
        for these, part, shares in parts:
            arrived = gradient[some, these].flatten(1, 2).contiguous()
            to_values += shares.mT @ arrived
            to_scores = products(arrived, values).sub_(offset[some, these].flatten(1, 2)).mul_(shares)
            to_keys += to_scores.mT @ (scale * part.flatten(1, 2))
            by_key = to_scores.view(*part.shape[:3], height, width)
            to_row_bias, to_column_bias = by_key.sum(-1), by_key.sum(-2)
            to_rows[these] += torch.einsum("nhwk,nhwc->hkc", to_row_bias, part)
            to_columns += torch.einsum("nhwk,nhwc->wkc", to_column_bias, part)
            to_part = (scale * (to_scores @ keys)).view(part.shape)
            to_part += torch.einsum("nhwk,hkc->nhwc", to_row_bias, row_table[these])
            to_part += torch.einsum("nhwk,wkc->nhwc", to_column_bias, column_table)
            to_query[some, these] = to_part
        to_key[some] = to_keys.unflatten(1, (height, width))
        to_value[some] = to_values.unflatten(1, (height, width))
    return to_query, to_key, to_value, to_rows.to(row_table.dtype), to_columns.to(column_table.dtype)


def position_biases(query: Tensor, row_table: Tensor, column_table: Tensor) -> tuple[Tensor, Tensor]:
    """Terms of the scores by the key's row, (N, h, w, h), and by its column, (N, h, w, w)."""
    row_bias = torch.einsum("nhwc,hkc->nhwk", query, row_table)
    return row_bias, torch.einsum("nhwc,wkc->nhwk", query, column_table)


def _grids(
    query: Tensor, key: Tensor, value: Tensor, row_table: Tensor, column_table: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor, Iterator[tuple[slice, Tensor, Tensor]]]]:
    """Some grids at a time: which of N, their keys and values (n, L, C), and parts of their queries.

    Each part: which rows, their queries (n, r, w, C) and their shares (n, r w, L), in a buffer that the next takes.
    """
    number, height, width, _ = query.shape
    rows = max(1, min(height, SCORES_AT_ONCE // (width * height * width)))
    grids = min(number, max(1, SCORES_AT_ONCE // (rows * width * height * width)))
    buffer = query.new_empty(grids, rows, width, height, width)

    def parts(queries: Tensor, keys: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        row_bias, column_bias = position_biases(queries, row_table, column_table)
        for top in range(0, height, rows):
            these = slice(top, top + rows)
            part = queries[:, these]
            yield these, part, _shares(part, keys, row_bias[:, these], column_bias[:, these], buffer)

    for start in range(0, number, grids):
        some = slice(start, start + grids)
        keys, values = key[some].flatten(1, 2).contiguous(), value[some].flatten(1, 2).contiguous()
        yield some, keys, values, parts(query[some], keys)


def _shares(part: Tensor, keys: Tensor, row_bias: Tensor, column_bias: Tensor, buffer: Tensor) -> Tensor:
    """Softmax over keys (n, L, C) of the scores of queries (n, r, w, C), in the buffer: (n, r w, L)."""
    scores = buffer[: part.shape[0], : part.shape[1]]
    _write_biases(row_bias, column_bias, scores)
    flat = scores.view(part.shape[0], -1, keys.shape[1])
    add_products(flat, part.shape[-1] ** -0.5 * part.flatten(1, 2), keys)
    return torch.softmax(flat, dim=-1, out=flat)


def _write_biases(row_bias: Tensor, column_bias: Tensor, scores: Tensor) -> None:
    """Set scores (n, r, w, h, w) to the sums of row_bias (n, r, w, h) and column_bias (n, r, w, w) at each key."""
    height, width = scores.shape[-2:]
    if scores.dtype == torch.float32 or width > SHORT:
        torch.add(column_bias[..., None, :], row_bias[..., :, None], out=scores)
        return
    rows, columns = (torch.eye(side, dtype=scores.dtype, device=scores.device) for side in (height, width))
    places = torch.cat([rows.repeat_interleave(width, dim=1), columns.repeat(1, height)])
    torch.mm(torch.cat([row_bias, column_bias], dim=-1).flatten(0, 2), places, out=scores.view(-1, height * width))


__all__ = ["attend_and_learn", "attend_in_parts", "position_biases"]
