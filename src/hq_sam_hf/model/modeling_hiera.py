"""SAM 2's image encoder: Hiera, from transformers' blocks, and a feature pyramid."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.sam2.modeling_sam2 import (
    Sam2MultiScaleAttention,
    Sam2MultiScaleBlock,
    Sam2PatchEmbeddings,
)
from transformers.utils import ModelOutput

from .configuration_hq_sam2 import HQSam2BackboneConfig, HQSam2VisionConfig


@dataclass
class HQSam2VisionEncoderOutput(ModelOutput):
    """Encoder output for B images of S x S pixels.

    feature_maps: (B, C, S / 4, S / 4), (B, C, S / 8, S / 8) and (B, C, S / 16, S / 16), of the pyramid.
    hidden_states: on request, the patch embedding and the output (B, h, w, D) of every block.
    """

    feature_maps: tuple[Tensor, Tensor, Tensor] = None  # type: ignore[assignment]  # ModelOutput requires a default
    hidden_states: tuple[Tensor, ...] | None = None


class HQSam2HieraAttention(Sam2MultiScaleAttention):
    """Attention within windows or over the grid, with queries pooled by 2 where a stage begins.

    Unlike transformers' own, it computes only what its output needs.
    """

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        """Attend within hidden_states (N, h, w, D): (N, h, w, D'), or half the height and width if pooled."""
        batch, height, width, _ = hidden_states.shape
        query, key, value = self.qkv(hidden_states).unflatten(-1, (3, self.num_attention_heads, -1)).unbind(3)
        if self.query_stride:
            query = F.max_pool2d(query.flatten(3).permute(0, 3, 1, 2), self.query_stride).permute(0, 2, 3, 1)
            height, width = query.shape[1:3]
            query = query.unflatten(-1, (self.num_attention_heads, -1))
        query, key, value = (each.flatten(1, 2).transpose(1, 2) for each in (query, key, value))  # (N, H, L, D' / H)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.proj(attended.transpose(1, 2).reshape(batch, height, width, -1))


class HQSam2HieraBlock(Sam2MultiScaleBlock):
    """With `attn_implementation="eager"` its attention is transformers' own."""

    def __init__(self, config: HQSam2BackboneConfig, stage: int, number_in_stage: int, number: int) -> None:
        super().__init__(config, stage, number_in_stage, number)
        if config._attn_implementation != "eager":
            heads = config.num_attention_heads_per_stage[stage]
            self.attn = HQSam2HieraAttention(config, self.dim, self.dim_out, heads, self.query_stride)


class HQSam2Hiera(nn.Module):
    """Four stages of blocks. Each stage but the first begins by halving the grid and doubling the channels."""

    def __init__(self, config: HQSam2BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = Sam2PatchEmbeddings(config)
        background, window = config.window_positional_embedding_background_size, config.window_size_per_stage[0]
        self.pos_embed = nn.Parameter(torch.zeros(1, config.hidden_size, *background))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, config.hidden_size, window, window))
        self.stage_ends = [stop - 1 for stop in accumulate(config.blocks_per_stage)]
        stages = [(stage, k) for stage, count in enumerate(config.blocks_per_stage) for k in range(count)]
        self.blocks = nn.ModuleList(
            HQSam2HieraBlock(config, stage, k, number) for number, (stage, k) in enumerate(stages)
        )

    def forward(self, pixel_values: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Encode pixel_values (B, 3, S, S). Returns the outputs (B, h, w, D) of the stages and of all blocks.

        The outputs of all blocks begin with the patch embeddings.
        """
        hidden_state = self.patch_embed(pixel_values)
        hidden_state = hidden_state + self.positions(hidden_state.shape[1])
        hidden_states = [hidden_state]
        for block in self.blocks:
            hidden_states.append(block(hidden_states[-1]))
        return [hidden_states[1 + end] for end in self.stage_ends], hidden_states

    def positions(self, grid: int) -> Tensor:
        """Positional embeddings (1, grid, grid, D): one interpolated to the grid plus one repeated in each window."""
        repeats = grid // self.pos_embed_window.shape[-1]
        positions = F.interpolate(self.pos_embed, (grid, grid), mode="bicubic", align_corners=False)
        return (positions + self.pos_embed_window.tile(1, 1, repeats, repeats)).permute(0, 2, 3, 1)

    def reset_parameters(self) -> None:
        """Zeros for the positional embeddings, as in the original."""
        nn.init.zeros_(self.pos_embed)
        nn.init.zeros_(self.pos_embed_window)


class HQSam2FeaturePyramid(nn.Module):
    """A 1 x 1 convolution per stage; some stages also get the upsampled features of the next one."""

    def __init__(self, config: HQSam2VisionConfig) -> None:
        super().__init__()
        self.top_down_levels = tuple(config.fpn_top_down_levels)
        widths = config.backbone_config.embed_dim_per_stage
        self.convs = nn.ModuleList(nn.Conv2d(width, config.fpn_hidden_size, 1) for width in reversed(widths))

    def forward(self, stages: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, C, h, w) of the first three stages (B, h, w, D). Those of the fourth enter the third."""
        maps: list[Tensor] = []
        for level in range(len(stages) - 1, -1, -1):
            lateral = self.convs[len(stages) - 1 - level](stages[level].permute(0, 3, 1, 2))
            if maps and level in self.top_down_levels:
                above = F.interpolate(maps[-1].float(), scale_factor=2.0, mode="nearest")
                lateral = lateral + above.to(lateral.dtype)
            maps.append(lateral)
        return maps[3], maps[2], maps[1]


class HQSam2VisionEncoder(nn.Module):
    def __init__(self, config: HQSam2VisionConfig) -> None:
        super().__init__()
        self.backbone = HQSam2Hiera(config.backbone_config)
        self.neck = HQSam2FeaturePyramid(config)

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False) -> HQSam2VisionEncoderOutput:
        """Encode pixel_values (B, 3, S, S), normalised by the processor."""
        stages, hidden_states = self.backbone(pixel_values)
        return HQSam2VisionEncoderOutput(
            feature_maps=self.neck(stages),
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
        )

    def resize_image(self, image_size: int) -> None:
        """Change the side of the square model input, in place. Positions are interpolated in every call anyway."""
        self.backbone.config.image_size = [image_size, image_size]


__all__ = ["HQSam2VisionEncoder", "HQSam2VisionEncoderOutput"]
