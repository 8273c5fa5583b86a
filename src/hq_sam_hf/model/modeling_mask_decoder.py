"""The mask decoder of HQ-SAM: SAM's two-way transformer and heads, with the HQ output token and the fused HQ features.

`HQSamMaskDecoder.forward` is the plain computation, in the order of the paper's figure. `modeling_fast_decoder` has
the same computation rearranged for inference. The state-dict names are those of transformers. The numbers are those
of `mask_decoder_hq.py` in the original repository, because the decoder in transformers upscales the wrong tensor.

Letters in shapes: B images, P prompts each, N = B P; M masks per prompt; T tokens per prompt; C channels; h x w
embedding grid, L = h w; c = C / 8 channels of the upscaled features.
"""

from enum import Enum, auto

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamFeedForward, SamLayerNorm

from .configuration_hq_sam import HQSamMaskDecoderConfig
from .key_mapping import HQ_HEAD_MODULES
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


class HQSamMaskDecoder(nn.Module):
    def __init__(self, config: HQSamMaskDecoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_mask_tokens = config.num_multimask_outputs + 1

        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, width)
        self.transformer = HQSamTwoWayTransformer(config)
        self.upscale_conv1 = HQSamUpscaleConv(width, width // 4)
        self.upscale_layer_norm = SamLayerNorm(width // 4, data_format="channels_first")
        self.upscale_conv2 = HQSamUpscaleConv(width // 4, width // 8)
        self.output_hypernetworks_mlps = nn.ModuleList(
            SamFeedForward(width, width, width // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = SamFeedForward(
            width, config.iou_head_hidden_dim, self.num_mask_tokens, config.iou_head_depth
        )

        # The HQ head, whose names are in HQ_HEAD_MODULES.
        self.hq_token = nn.Embedding(1, width)
        self.hq_mask_mlp = SamFeedForward(width, width, width // 8, 3)
        self.compress_vit_conv1 = HQSamUpscaleConv(config.vit_dim, width)
        self.compress_vit_norm = SamLayerNorm(width, data_format="channels_first")
        self.compress_vit_conv2 = HQSamUpscaleConv(width, width // 8)
        self.encoder_conv1 = HQSamUpscaleConv(width, width // 4)
        self.encoder_norm = SamLayerNorm(width // 4, data_format="channels_first")
        self.encoder_conv2 = HQSamUpscaleConv(width // 4, width // 8)
        self.mask_conv1 = nn.Conv2d(width // 8, width // 4, kernel_size=3, padding=1)
        self.mask_norm = SamLayerNorm(width // 4, data_format="channels_first")
        self.mask_conv2 = nn.Conv2d(width // 4, width // 8, kernel_size=3, padding=1)

    def fuse_hq_features(self, image_embeddings: Tensor, early_embeddings: Tensor) -> Tensor:
        """Fuse the encoder's final and early features. The result depends on the image alone, not on the prompts.

        image_embeddings (B, C, h, w), without any mask prompt; early_embeddings (B, h, w, vit_dim). Returns
        (B, c, 4h, 4w).
        """
        final = F.gelu(self.encoder_norm(self.encoder_conv1(image_embeddings)))  # (B, C / 4, 2h, 2w)
        final = self.encoder_conv2(final)  # (B, c, 4h, 4w)
        early = self.compress_vit_conv1(early_embeddings.permute(0, 3, 1, 2))  # (B, C, 2h, 2w)
        early = self.compress_vit_conv2(F.gelu(self.compress_vit_norm(early)))  # (B, c, 4h, 4w)
        return final + early

    def forward(
        self,
        image_embeddings: Tensor,
        image_positions: Tensor,
        hq_features: Tensor | None,
        prompt_tokens: Tensor | None,
        prompt_padding_mask: Tensor | None,
        dense_prompt_embeddings: Tensor,
        num_prompts: int,
        multimask_output: bool,
        mask_source: MaskSource = MaskSource.HQ_AND_SAM,
        min_iou_score: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Masks and scores of P prompts on each of B images.

            image_embeddings (B, C, h, w); image_positions (L, C)
            hq_features (B, c, 4h, 4w), from `fuse_hq_features`; not needed with SAM_ONLY, which decodes as a plain
                SAM does, without the HQ token
            prompt_tokens (B, P, T, C) and prompt_padding_mask (B, P, T), True for padding; None if there are neither
                points nor boxes
            dense_prompt_embeddings (B or 1, P or 1, C, h, w)

        Returns mask logits (B, P, M, 4h, 4w) and scores (B, P, M), best score first. M is num_multimask_outputs with
        multimask_output and without HQ_ONLY, else 1. A score is SAM's estimate of the IoU of its own mask; there is
        none for the HQ mask. With min_iou_score, the logits of masks whose score is not higher are -inf.
        """
        batch, _, height, width = image_embeddings.shape
        uses_sam, uses_hq = mask_source is not MaskSource.HQ_ONLY, mask_source is not MaskSource.SAM_ONLY

        # One token for the scores, one for each of SAM's masks, one for the HQ mask, then those of the prompts.
        tokens, padding_mask = self.concatenate_tokens(
            uses_hq, (batch, num_prompts), prompt_tokens, prompt_padding_mask
        )  # (B, P, T, C), (B, P, T)
        image = (image_embeddings[:, None] + dense_prompt_embeddings).flatten(3).mT  # (B, 1 or P, L, C)
        tokens, image = self.transformer(tokens, image, image_positions, padding_mask)  # (B, P, T, C), (B, P, L, C)

        # Upscale the attended image to the resolution of the masks.
        image = image.mT.flatten(0, 1).unflatten(2, (height, width))  # (N, C, h, w)
        upscaled = F.gelu(self.upscale_layer_norm(self.upscale_conv1(image)))  # (N, C / 4, 2h, 2w)
        upscaled = F.gelu(self.upscale_conv2(upscaled))  # (N, c, 4h, 4w)

        scores = self.iou_prediction_head(tokens[:, :, 0])  # (B, P, masks of SAM)
        candidates = range(1, self.num_mask_tokens) if multimask_output else range(1)
        # Stable: of equal scores, the original takes the first.
        scores, order = scores[:, :, list(candidates)].sort(dim=2, descending=True, stable=True)  # (B, P, M)

        # SAM's masks: a hypernetwork turns each mask token into a vector, which is multiplied with every pixel.
        masks = upscaled.new_zeros(())
        if uses_sam:
            vectors = torch.stack(  # (B, P, M, c)
                [self.output_hypernetworks_mlps[i](tokens[:, :, 1 + i]) for i in candidates], dim=2
            )
            vectors = vectors.gather(2, order[..., None].expand_as(vectors))
            masks = vectors @ upscaled.flatten(2).unflatten(0, (batch, num_prompts))  # (B, P, M, 16 L)
        else:
            scores = scores[:, :, :1]
        # The HQ mask: its token's vector times the fused features of the image and of each prompt's attended image.
        if uses_hq:
            assert hq_features is not None  # only SAM_ONLY does without
            refined = self.mask_conv2(F.gelu(self.mask_norm(self.mask_conv1(upscaled))))  # (N, c, 4h, 4w)
            fused = hq_features[:, None] + refined.unflatten(0, (batch, num_prompts))  # (B, P, c, 4h, 4w)
            hq_vectors = self.hq_mask_mlp(tokens[:, :, 1 + self.num_mask_tokens])  # (B, P, c)
            masks = masks + hq_vectors[:, :, None] @ fused.flatten(3)  # (B, P, M, 16 L)

        if min_iou_score is not None:
            masks = masks.masked_fill(~(scores.float()[..., None] > min_iou_score), float("-inf"))
        return masks.unflatten(3, (4 * height, 4 * width)), scores

    def concatenate_tokens(
        self,
        with_hq_token: bool,
        shape: tuple[int, int],
        prompt_tokens: Tensor | None,
        prompt_padding_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """The output tokens followed by the prompt tokens, (B, P, T, C), and their padding mask (B, P, T)."""
        embeddings = [self.iou_token, self.mask_tokens, *([self.hq_token] if with_hq_token else [])]
        output_tokens = torch.cat([rows_of(embedding) for embedding in embeddings]).expand(*shape, -1, -1)
        if prompt_tokens is None or prompt_padding_mask is None:
            return output_tokens, None
        tokens = torch.cat([output_tokens, prompt_tokens.to(output_tokens.dtype)], dim=2)
        return tokens, F.pad(prompt_padding_mask, (output_tokens.shape[2], 0), value=False)

    @torch.no_grad()
    def start_hq_mask_from_sam(self) -> None:
        """Initialise the HQ head such that the signs of the HQ mask are those of SAM's single mask.

        The token and its MLP become copies of SAM's. The image-only part of the HQ features becomes zero. The
        refinement of SAM's features x (c) becomes x / rms(x): the first convolution returns [x, -x], whose mean is
        zero, so the norm divides by rms(x), and GELU(x) - GELU(-x) = x. The paper starts from random weights.

        SAM's mask here is the one computed beside an HQ token. A second token equal to SAM's takes attention from the
        others, so it differs a little from the mask of SAM_ONLY.
        """
        self.hq_token.weight.copy_(self.mask_tokens.weight[:1])
        self.hq_mask_mlp.load_state_dict(self.output_hypernetworks_mlps[0].state_dict())
        for convolution in (self.compress_vit_conv2, self.encoder_conv2, self.mask_conv1, self.mask_conv2):
            for weight in convolution.parameters():
                nn.init.zeros_(weight)
        self.mask_norm.reset_parameters()
        expand, contract, width = self.mask_conv1.weight, self.mask_conv2.weight, self.mask_conv1.in_channels
        nn.init.dirac_(expand, groups=2)
        expand[width:] *= -1
        nn.init.dirac_(contract)
        contract[:, width:] = -contract[:, :width]


__all__ = ["HQ_HEAD_MODULES", "HQSamMaskDecoder", "MaskSource"]
