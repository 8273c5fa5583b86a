"""Blocks of SAM's ViT: self-attention with relative positions, global or in windows, and an MLP."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.sam.modeling_sam import SamVisionAttention

from .configuration_hq_sam import HQSamVisionConfig
from .modeling_grid_attention import attend_in_parts, attend_with_gradients, position_biases
from .modeling_kernels import HQSamLinear, runs_eagerly_on_cpu, wants_gradients

# Positions that pass through an MLP, or through rows of windows, at once. The system would take back the memory of
# larger temporaries and map it anew each time.
POSITIONS_AT_ONCE = 2048


def _split_rows(hidden_state: Tensor, step: int = 1) -> tuple[Tensor, ...]:
    """Split (B, h, w, D) into parts of about POSITIONS_AT_ONCE. All but the last have a multiple of `step` rows."""
    batch, _, width, _ = hidden_state.shape
    return hidden_state.split(step * max(1, POSITIONS_AT_ONCE // (batch * step * width)), dim=1)


class HQSamVisionAttention(SamVisionAttention):
    """Self-attention within windows, or over the whole grid if window_size is 0."""

    def __init__(self, config: HQSamVisionConfig, window_size: int) -> None:
        super().__init__(config, window_size)
        self.window_size = window_size
        self.qkv = HQSamLinear(config.hidden_size, 3 * config.hidden_size, bias=config.qkv_bias)
        self.proj = HQSamLinear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_state: Tensor) -> Tensor:
        """Self-attention of hidden_state (B, h, w, D).

        Windows that extend past the border are padded with zeros, whose query, key and value are the bias of `qkv`. As
        in the original, padding takes part as keys. The outputs of its queries are dropped.
        """
        needs_gradients = wants_gradients(hidden_state, *self.parameters())
        if needs_gradients or not self.window_size or not runs_eagerly_on_cpu(hidden_state):
            return self._forward_at_once(hidden_state)
        # Rows of windows are independent. A few at a time keep the temporaries small.
        parts = _split_rows(hidden_state, self.window_size)
        return torch.cat([self._forward_at_once(part) for part in parts], dim=1)

    def _forward_at_once(self, hidden_state: Tensor) -> Tensor:
        batch, height, width, dim = hidden_state.shape
        qkv = self.qkv(hidden_state)
        side_h, side_w = (self.window_size, self.window_size) if self.window_size else (height, width)
        rows, columns = -(-height // side_h), -(-width // side_w)
        if rows * side_h > height or columns * side_w > width:
            qkv = self._padded(qkv, rows * side_h, columns * side_w)
        # (B, rows, side, columns, side, 3, heads, C) to 3 times (B * rows * columns * heads, side, side, C)
        qkv = qkv.view(batch, rows, side_h, columns, side_w, 3, self.num_attention_heads, -1)
        query, key, value = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(1, 4)
        del qkv  # with windows, query, key and value are copies
        attended = self._attend(query, key, value).view(batch, rows, columns, -1, side_h, side_w, query.shape[-1])
        attended = attended.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, rows * side_h, columns * side_w, dim)
        return self.proj(attended[:, :height, :width])

    def _padded(self, qkv: Tensor, height: int, width: int) -> Tensor:
        """Pad qkv (B, h, w, 3 D) to the height and width of whole windows with the qkv of zeros."""
        if self.qkv.bias is None:
            qkv_of_zero = qkv.new_zeros(qkv.shape[-1])
        elif self.qkv.bias.is_meta:  # offloaded: calling the layer loads it
            qkv_of_zero = self.qkv(qkv.new_zeros(self.qkv.in_features))
        else:
            qkv_of_zero = self.qkv.bias.to(qkv.dtype)
        padded = qkv_of_zero.expand(len(qkv), height, width, -1).clone()
        padded[:, : qkv.shape[1], : qkv.shape[2]] = qkv
        return padded

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention on grids (B * windows * heads, h, w, C)."""
        number, height, width, channels = query.shape
        tables = self._position_tables(height, width, query)
        dropout = self.dropout if self.training else 0.0
        if runs_eagerly_on_cpu(query) and not dropout:
            attend = attend_with_gradients if wants_gradients(query, key, value, *tables) else attend_in_parts
            return attend(query, key, value, *tables)
        row_bias, column_bias = position_biases(query, *tables)
        bias = row_bias[..., :, None] + column_bias[..., None, :]
        sequences = (-1, self.num_attention_heads, height * width)
        query, key, value = (part.reshape(*sequences, channels) for part in (query, key, value))
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias.reshape(*sequences, height * width), dropout_p=dropout
        )
        return attended.reshape(number, height, width, channels)

    def _position_tables(self, height: int, width: int, query: Tensor) -> tuple[Tensor, Tensor]:
        """The tables of `attend_in_parts` for a grid, in the dtype of query (..., C)."""
        if not self.use_rel_pos:
            channels = query.shape[-1]
            return query.new_zeros(height, height, channels), query.new_zeros(width, width, channels)
        return (
            self.get_rel_pos(height, height, self.rel_pos_h).to(query.dtype),
            self.get_rel_pos(width, width, self.rel_pos_w).to(query.dtype),
        )


class HQSamVisionMLP(nn.Module):
    def __init__(self, config: HQSamVisionConfig) -> None:
        super().__init__()
        inner = config.mlp_dim or int(config.hidden_size * config.mlp_ratio)
        self.lin1 = HQSamLinear(config.hidden_size, inner)
        self.lin2 = HQSamLinear(inner, config.hidden_size)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, hidden_state: Tensor) -> Tensor:
        return self.lin2(self.act(self.lin1(hidden_state)))


class HQSamVisionLayer(GradientCheckpointingLayer):
    def __init__(self, config: HQSamVisionConfig, window_size: int) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attn = HQSamVisionAttention(config, window_size)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = HQSamVisionMLP(config)
        self.window_size = window_size

    def forward(self, hidden_state: Tensor) -> Tensor:
        """Apply the block to (B, h, w, D). For inference on a CPU, the MLP takes a few rows at a time."""
        hidden_state = hidden_state + self.attn(self.layer_norm1(hidden_state))
        if not runs_eagerly_on_cpu(hidden_state) or wants_gradients(hidden_state, *self.parameters()):
            return hidden_state + self.mlp(self.layer_norm2(hidden_state))
        for part in _split_rows(hidden_state):
            part += self.mlp(self.layer_norm2(part))
        return hidden_state


__all__ = ["HQSamVisionAttention", "HQSamVisionLayer", "HQSamVisionMLP"]
