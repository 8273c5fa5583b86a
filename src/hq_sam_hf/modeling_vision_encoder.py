"""SAM's ViT image encoder from transformers, which here also gives the early feature that the HQ head reads."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamVisionAttention, SamVisionEncoder
from transformers.utils import ModelOutput

from .configuration_hq_sam import HQSamVisionConfig


@dataclass
class HQSamVisionEncoderOutput(ModelOutput):
    """What the encoder gives for B images of S x S pixels with patch size p; h = w = S / p.

    last_hidden_state (B, C, h, w): the image embedding, after the neck.
    intermediate_embeddings: output (B, h, w, D) of every global-attention block, in order; the first is the early
        feature of the HQ head.
    hidden_states: on request, the patch embedding and the output (B, h, w, D) of every block.
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]  # ModelOutput asks for None defaults
    intermediate_embeddings: tuple[Tensor, ...] = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None


class HQSamVisionEncoder(SamVisionEncoder):
    config: HQSamVisionConfig

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        init_like_pytorch(module)

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False) -> HQSamVisionEncoderOutput:
        """Encode pixel_values (B, 3, S, S), normalised and padded by the processor."""
        hidden_state = self.patch_embed(pixel_values)
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
            last_hidden_state=self._embed(hidden_state),
            intermediate_embeddings=tuple(intermediate_embeddings),
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
        )

    def _embed(self, hidden_state: Tensor) -> Tensor:
        """Apply the neck: (B, h, w, D) to (B, C, h, w)."""
        neck = self.neck
        narrow = neck.layer_norm1(neck.conv1(hidden_state.permute(0, 3, 1, 2)))
        # In channels-last memory oneDNN's 3 x 3 convolution rounds twice as far from the original.
        return neck.layer_norm2(neck.conv2(narrow.contiguous())).contiguous()


def init_like_pytorch(module: nn.Module) -> None:
    """Initialise one module as the original repository does: PyTorch's defaults, zeros for the ViT's positions.

    The defaults of transformers (normal with 0.02) leave the decoder's loss flat when it is trained from scratch.
    """
    if isinstance(module, SamVisionAttention):
        if module.use_rel_pos:
            nn.init.zeros_(module.rel_pos_h)
            nn.init.zeros_(module.rel_pos_w)
    elif isinstance(module, SamVisionEncoder):
        if module.pos_embed is not None:
            nn.init.zeros_(module.pos_embed)
    elif hasattr(module, "reset_parameters"):
        module.reset_parameters()  # type: ignore[operator]


__all__ = ["HQSamVisionEncoder", "HQSamVisionEncoderOutput", "init_like_pytorch"]
