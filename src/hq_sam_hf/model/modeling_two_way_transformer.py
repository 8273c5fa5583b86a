"""SAM's two-way transformer: tokens and image positions attend to each other.

This is the plain computation. It trains, compiles and exports, and it calls every layer, so hooks and adapters work.
`modeling_fast_attention` has the same computation rearranged for inference.

Letters in shapes: B images, P prompts each; T tokens per prompt; L image positions; C channels; H heads of an
attention with I inner channels. "1 or P" is 1 where the prompts of an image share the tensor.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamMLPBlock

from .modeling_kernels import HQSamLinear


class HQSamDecoderAttention(nn.Module):
    """Multi-head attention of tokens and image positions. The weights have the names of transformers.

    output_name: the name of the output projection, which is another one in transformers' SAM 2.
    """

    output_name = "out_proj"

    def __init__(self, config: Any, downsample_rate: int | None = None) -> None:
        super().__init__()
        width = config.hidden_size
        inner = width // (config.attention_downsample_rate if downsample_rate is None else downsample_rate)
        self.num_attention_heads = config.num_attention_heads
        self.q_proj = HQSamLinear(width, inner)
        self.k_proj = HQSamLinear(width, inner)
        self.v_proj = HQSamLinear(width, inner)
        self.add_module(self.output_name, HQSamLinear(inner, width))
        self.scaling = (inner // self.num_attention_heads) ** -0.5

    def forward(self, query: Tensor, key: Tensor, value: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Attend from query (B, 1 or P, Q, C) to key and value (B, 1 or P, K, C); returns (B, P, Q, C).

        padding_mask (B, P, K): True for the keys to ignore.
        """
        prompts = max(query.shape[1], key.shape[1])
        query = self.split_heads(self.q_proj(query), prompts)  # (B P, H, Q, I / H)
        key, value = self.split_heads(self.k_proj(key), prompts), self.split_heads(self.v_proj(value), prompts)
        attended_keys = None if padding_mask is None else ~padding_mask.flatten(0, 1)[:, None, None]
        attention_output = F.scaled_dot_product_attention(query, key, value, attn_mask=attended_keys)
        return self.output_projection(attention_output.transpose(1, 2).flatten(2)).unflatten(0, (-1, prompts))

    @property
    def output_projection(self) -> Any:
        return getattr(self, self.output_name)

    def split_heads(self, tensor: Tensor, prompts: int) -> Tensor:
        """(B, 1 or P, T, I) to (B P, H, T, I / H)."""
        tensor = tensor.unflatten(-1, (self.num_attention_heads, -1)).transpose(2, 3)
        # Images and prompts share a dimension, because PyTorch cannot compile attention with five dimensions.
        return tensor.expand(-1, prompts, -1, -1, -1).flatten(0, 1)


class HQSamTwoWayAttentionBlock(nn.Module):
    """Token self-attention, token-to-image attention, an MLP on the tokens, image-to-token attention."""

    attention_class = HQSamDecoderAttention

    def __init__(self, config: Any, skip_first_layer_pe: bool) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.self_attn = self.attention_class(config, downsample_rate=1)
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.cross_attn_token_to_image = self.attention_class(config)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = self.make_mlp(config)
        self.layer_norm3 = nn.LayerNorm(width, eps=eps)
        self.layer_norm4 = nn.LayerNorm(width, eps=eps)
        self.cross_attn_image_to_token = self.attention_class(config)
        self.skip_first_layer_pe = skip_first_layer_pe

    @staticmethod
    def make_mlp(config: Any) -> nn.Module:
        return SamMLPBlock(config)

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        token_positions: Tensor,
        image_positions: Tensor,
        padding_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """One round of attention in both directions.

            tokens, token_positions (B, P, T, C); padding_mask (B, P, T), True for padding tokens
            image (B, 1 or P, L, C); image_positions (L, C)

        Returns tokens (B, P, T, C) and the image of each prompt (B, P, L, C).
        """
        tokens = self.attend_to_tokens(tokens, token_positions, padding_mask)

        query, image_with_positions = tokens + token_positions, image + image_positions
        attention_output = self.cross_attn_token_to_image(query, key=image_with_positions, value=image)
        tokens = self.layer_norm2(tokens + attention_output)
        tokens = self.layer_norm3(tokens + self.mlp(tokens))

        key = tokens + token_positions
        attention_output = self.cross_attn_image_to_token(image_with_positions, key, tokens, padding_mask)
        return tokens, self.layer_norm4(image + attention_output)

    def attend_to_tokens(self, tokens: Tensor, token_positions: Tensor, padding_mask: Tensor | None) -> Tensor:
        """Self-attention of the tokens (B, P, T, C). The first block adds neither positions nor the residual."""
        if self.skip_first_layer_pe:
            return self.layer_norm1(self.self_attn(tokens, tokens, tokens, padding_mask))
        query = tokens + token_positions
        return self.layer_norm1(tokens + self.self_attn(query, query, tokens, padding_mask))


class HQSamTwoWayTransformer(nn.Module):
    block_class = HQSamTwoWayAttentionBlock

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            self.block_class(config, skip_first_layer_pe=(i == 0)) for i in range(config.num_hidden_layers)
        )
        self.final_attn_token_to_image = self.block_class.attention_class(config)
        self.layer_norm_final_attn = nn.LayerNorm(config.hidden_size)

    def forward(
        self, tokens: Tensor, image: Tensor, image_positions: Tensor, padding_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Let tokens (B, P, T, C) and image (B, 1 or P, L, C) attend to each other; other shapes as in the block.

        Returns the tokens (B, P, T, C) and the image of each prompt (B, P, L, C). Masks are computed from this
        image, not from the one passed in.
        """
        token_positions = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_positions, image_positions, padding_mask)
        query, key = tokens + token_positions, image + image_positions
        attention_output = self.final_attn_token_to_image(query, key, value=image)
        return self.layer_norm_final_attn(tokens + attention_output), image


__all__ = ["HQSamDecoderAttention", "HQSamTwoWayAttentionBlock", "HQSamTwoWayTransformer"]
