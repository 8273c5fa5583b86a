"""What the mask decoders of HQ-SAM and HQ-SAM 2 share: SAM's heads, the HQ token, the refinement of SAM's features.

Letters in shapes: as in `modeling_mask_decoder`.
"""

from enum import Enum, auto
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamFeedForward, SamLayerNorm

from .modeling_two_way_transformer import HQSamTwoWayTransformer
from .modeling_upscaling import HQSamUpscaleConv
from .tensor_types import rows_of


class MaskSource(Enum):
    """Which masks the decoder returns: the HQ mask added to SAM's masks, or one of both alone."""

    HQ_AND_SAM = auto()
    HQ_ONLY = auto()
    SAM_ONLY = auto()

    @classmethod
    def from_flags(cls, hq_token_only: bool, sam_only: bool = False) -> "MaskSource":
        """The source that the options of `HQSamModel.forward` ask for."""
        if sam_only and hq_token_only:
            raise ValueError("`sam_only` and `hq_token_only` exclude each other; pass at most one of them.")
        if sam_only:
            return cls.SAM_ONLY
        return cls.HQ_ONLY if hq_token_only else cls.HQ_AND_SAM


class HQSamDecoderParts(nn.Module):
    """The layers of SAM's mask decoder, to which a subclass adds its HQ head."""

    transformer_class = HQSamTwoWayTransformer
    scores_are_sigmoids = False

    # The decoder's own class and those of its layers that are not of PyTorch or transformers, set below each decoder.
    # The fast path reads the weights of these classes, and does not know what a subclass does with them.
    own_classes: ClassVar[frozenset[type]] = frozenset()

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_mask_tokens = config.num_multimask_outputs + 1

        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, width)
        self.transformer = self.transformer_class(config)
        self.upscale_conv1 = HQSamUpscaleConv(width, width // 4)
        self.upscale_layer_norm = SamLayerNorm(width // 4, data_format="channels_first")
        self.upscale_conv2 = HQSamUpscaleConv(width // 4, width // 8)
        self.output_hypernetworks_mlps = nn.ModuleList(
            SamFeedForward(width, width, width // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = SamFeedForward(
            width,
            config.iou_head_hidden_dim,
            self.num_mask_tokens,
            config.iou_head_depth,
            sigmoid_output=self.scores_are_sigmoids,
        )

    def add_hq_token(self, width: int) -> None:
        self.hq_token = nn.Embedding(1, width)
        self.hq_mask_mlp = SamFeedForward(width, width, width // 8, 3)

    def add_refinement(self, width: int) -> None:
        self.mask_conv1 = nn.Conv2d(width // 8, width // 4, kernel_size=3, padding=1)
        self.mask_norm = SamLayerNorm(width // 4, data_format="channels_first")
        self.mask_conv2 = nn.Conv2d(width // 4, width // 8, kernel_size=3, padding=1)

    def output_embeddings(self, with_hq_token: bool) -> list[nn.Embedding]:
        """The embeddings of the output tokens, in their order: for the scores, for SAM's masks, for the HQ mask."""
        return [self.iou_token, self.mask_tokens, *([self.hq_token] if with_hq_token else [])]

    def concatenate_tokens(
        self,
        with_hq_token: bool,
        shape: tuple[int, int],
        prompt_tokens: Tensor | None,
        prompt_padding_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """The output tokens followed by the prompt tokens, (B, P, T, C), and their padding mask (B, P, T)."""
        embeddings = self.output_embeddings(with_hq_token)
        output_tokens = torch.cat([rows_of(embedding) for embedding in embeddings]).expand(*shape, -1, -1)
        if prompt_tokens is None or prompt_padding_mask is None:
            return output_tokens, None
        tokens = torch.cat([output_tokens, prompt_tokens.to(output_tokens.dtype)], dim=2)
        return tokens, F.pad(prompt_padding_mask, (output_tokens.shape[2], 0), value=False)

    def refine(self, upscaled: Tensor) -> Tensor:
        """The HQ head's refinement of SAM's upscaled features: (N, c, 4h, 4w) to the same shape."""
        return self.mask_conv2(F.gelu(self.mask_norm(self.mask_conv1(upscaled))))

    @torch.no_grad()
    def start_hq_mask_from_sam(self) -> None:
        """Initialise the HQ head such that the signs of the HQ mask are those of SAM's single mask.

        The token and its MLP become copies of SAM's. The refinement of SAM's features x (c) becomes x / rms(x): the
        first convolution returns [x, -x], whose mean is zero, so the norm divides by rms(x), and
        GELU(x) - GELU(-x) = x. The paper starts from random weights.

        SAM's mask here is the one computed beside an HQ token. A second token equal to SAM's takes attention from the
        others, so it differs a little from the mask of SAM_ONLY.
        """
        self.hq_token.weight.copy_(self.mask_tokens.weight[:1])
        self.hq_mask_mlp.load_state_dict(self.output_hypernetworks_mlps[0].state_dict())
        for convolution in (self.mask_conv1, self.mask_conv2):
            for weight in convolution.parameters():
                nn.init.zeros_(weight)
        self.mask_norm.reset_parameters()
        expand, contract, width = self.mask_conv1.weight, self.mask_conv2.weight, self.mask_conv1.in_channels
        nn.init.dirac_(expand, groups=2)
        expand[width:] *= -1
        nn.init.dirac_(contract)
        contract[:, width:] = -contract[:, :width]


__all__ = ["HQSamDecoderParts", "MaskSource"]
