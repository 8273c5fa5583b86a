"""SAM's ViT image encoder. It also returns the early feature that the HQ head needs."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.models.sam.modeling_sam import (
    SamPatchEmbeddings,
    SamVisionAttention,
    SamVisionLayer,
    SamVisionNeck,
)
from transformers.utils import ModelOutput

from .configuration_hq_sam import HQSamVisionConfig
from .modeling_vision_attention import HQSamVisionLayer


@dataclass
class HQSamVisionEncoderOutput(ModelOutput):
    """Encoder output for B images of S x S pixels with patch size p; h = w = S / p.

    last_hidden_state (B, C, h, w): the image embedding, after the neck.
    intermediate_embeddings: output (B, h, w, D) of every global-attention block, in order; the first is the early
        feature of the HQ head.
    hidden_states: on request, the patch embedding and the output (B, h, w, D) of every block.
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]  # ModelOutput requires None as default
    intermediate_embeddings: tuple[Tensor, ...] = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None


class HQSamVisionEncoder(nn.Module):
    """With `attn_implementation="eager"` the blocks are transformers' own, which can return attention weights."""

    def __init__(self, config: HQSamVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = SamPatchEmbeddings(config)
        self.pos_embed = None
        if config.use_abs_pos:
            grid = config.image_size // config.patch_size
            self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, config.hidden_size))
        layer_class = SamVisionLayer if config._attn_implementation == "eager" else HQSamVisionLayer
        self.layers = nn.ModuleList(
            layer_class(config, 0 if i in config.global_attn_indexes else config.window_size)
            for i in range(config.num_hidden_layers)
        )
        self.neck = SamVisionNeck(config)

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False) -> HQSamVisionEncoderOutput:
        """Encode pixel_values (B, 3, S, S), normalised and padded by the processor."""
        hidden_state = self.patch_embed(pixel_values).contiguous()  # the output of a convolution has channels first
        if self.pos_embed is not None:
            hidden_state = hidden_state + self.pos_embed
        hidden_states = [hidden_state]
        intermediate_embeddings = []
        for layer in self.layers:
            hidden_state = layer(hidden_state)
            if output_hidden_states:
                hidden_states.append(hidden_state)
            if layer.window_size == 0:
                intermediate_embeddings.append(hidden_state)
        return HQSamVisionEncoderOutput(
            last_hidden_state=apply_neck(self.neck, hidden_state),
            intermediate_embeddings=tuple(intermediate_embeddings),
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
        )

    def resize_image(self, image_size: int) -> None:
        """Change the side of the square model input, in place, and interpolate the positional embeddings."""
        grid = image_size // self.config.patch_size
        self.config.image_size = image_size
        self.patch_embed.image_size = (image_size, image_size)
        self.patch_embed.num_patches = grid * grid
        if self.pos_embed is not None:
            _replace(self, "pos_embed", resize_absolute_positions(self.pos_embed, grid))
        for i in self.config.global_attn_indexes if self.config.use_rel_pos else ():
            attention: Any = self.layers[i].attn
            for name in ("rel_pos_h", "rel_pos_w"):
                _replace(attention, name, resize_relative_positions(getattr(attention, name), grid))


def apply_neck(neck: SamVisionNeck, hidden_state: Tensor) -> Tensor:
    """Compute the image embedding (B, C, h, w) from the output (B, h, w, D) of the last block."""
    narrow = neck.layer_norm1(neck.conv1(hidden_state.permute(0, 3, 1, 2)))
    # In channels-last memory, oneDNN's 3 x 3 convolution has twice the rounding difference to the original.
    return neck.layer_norm2(neck.conv2(narrow.contiguous())).contiguous()


def resize_absolute_positions(positions: Tensor, grid: int) -> Tensor:
    """Interpolate absolute positions (1, h, w, D) to (1, grid, grid, D)."""
    channels_first = positions.float().permute(0, 3, 1, 2)
    # With antialiasing, the cubic kernel has a = -0.5, which keeps ramps straight, and shrinking does not alias.
    resized = F.interpolate(channels_first, (grid, grid), mode="bicubic", align_corners=False, antialias=True)
    return resized.permute(0, 2, 3, 1).to(positions.dtype)


def resize_relative_positions(positions: Tensor, grid: int) -> Tensor:
    """Interpolate a table of relative positions (2 h - 1, D) to (2 grid - 1, D), as SAM's get_rel_pos does."""
    resized = F.interpolate(positions.float().T[None], 2 * grid - 1, mode="linear", align_corners=False)
    return resized[0].T.to(positions.dtype)


def _replace(module: nn.Module, name: str, value: Tensor) -> None:
    """Replace a parameter and keep its requires_grad."""
    trainable = getattr(module, name).requires_grad
    setattr(module, name, nn.Parameter(value.detach().contiguous(), requires_grad=trainable))


def init_like_pytorch(module: nn.Module) -> None:
    """Initialise one module as the original repository does: PyTorch's defaults, zeros for the ViT's positions.

    The defaults of transformers (normal with 0.02) leave the decoder's loss flat when it is trained from scratch.
    """
    if isinstance(module, SamVisionAttention):
        if module.use_rel_pos:
            nn.init.zeros_(module.rel_pos_h)
            nn.init.zeros_(module.rel_pos_w)
    elif isinstance(module, HQSamVisionEncoder):
        if module.pos_embed is not None:
            nn.init.zeros_(module.pos_embed)
    elif isinstance(module, nn.BatchNorm2d):
        # reset_parameters would also reset statistics that transformers has just loaded; these functions skip them.
        init.ones_(module.weight)
        init.zeros_(module.bias)
        init.zeros_(module.running_mean)
        init.ones_(module.running_var)
        init.zeros_(module.num_batches_tracked)
    elif hasattr(module, "reset_parameters"):
        module.reset_parameters()  # type: ignore[operator]


__all__ = [
    "HQSamVisionEncoder",
    "HQSamVisionEncoderOutput",
    "apply_neck",
    "init_like_pytorch",
    "resize_absolute_positions",
    "resize_relative_positions",
]
