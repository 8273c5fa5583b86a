"""The mask decoder of HQ-SAM 2: SAM 2's two-way transformer and heads, with the HQ output token and refined features.

The state-dict names are those of transformers' Sam2Model and, for the HQ head, of its SamHQModel. The numbers are
those of `sam2/modeling/sam/mask_decoder.py` in Meta's repository and of `sam-hq2` in the repository of HQ-SAM.

Letters in shapes: as in `modeling_mask_decoder`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamFeedForward

from .configuration_hq_sam2 import HQSam2MaskDecoderConfig
from .modeling_decoder_parts import HQSamDecoderParts, MaskSource
from .modeling_two_way_transformer import HQSamDecoderAttention, HQSamTwoWayAttentionBlock, HQSamTwoWayTransformer


class HQSam2DecoderAttention(HQSamDecoderAttention):
    output_name = "o_proj"


class HQSam2TwoWayAttentionBlock(HQSamTwoWayAttentionBlock):
    attention_class = HQSam2DecoderAttention

    @staticmethod
    def make_mlp(config: Any) -> nn.Module:
        return SamFeedForward(config.hidden_size, config.mlp_dim, config.hidden_size, num_layers=2)


class HQSam2TwoWayTransformer(HQSamTwoWayTransformer):
    block_class = HQSam2TwoWayAttentionBlock


class HQSam2MaskDecoder(HQSamDecoderParts):
    transformer_class = HQSam2TwoWayTransformer
    scores_are_sigmoids = True

    def __init__(self, config: HQSam2MaskDecoderConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.config = config
        self.conv_s0 = nn.Conv2d(width, width // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(width, width // 4, kernel_size=1)
        self.obj_score_token = nn.Embedding(1, width)
        self.pred_obj_score_head = SamFeedForward(width, width, 1, 3)

        # The HQ head, whose names are in HQ_HEAD_MODULES_SAM2.
        self.add_hq_token(width)
        self.add_refinement(width)

    def output_embeddings(self, with_hq_token: bool) -> list[nn.Embedding]:
        """As in HQ-SAM, after the embedding of the token for the object score."""
        return [self.obj_score_token, *super().output_embeddings(with_hq_token)]

    def forward(
        self,
        image_embeddings: Tensor,
        image_positions: Tensor,
        high_res_features_0: Tensor,
        high_res_features_1: Tensor,
        prompt_tokens: Tensor | None,
        prompt_padding_mask: Tensor | None,
        dense_prompt_embeddings: Tensor,
        num_prompts: int,
        multimask_output: bool,
        mask_source: MaskSource = MaskSource.HQ_AND_SAM,
        min_iou_score: float | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks and scores of P prompts on each of B images.

            image_embeddings (B, C, h, w); image_positions (L, C)
            high_res_features_0 (B, c, 4h, 4w) and high_res_features_1 (B, 2c, 2h, 2w): the finer feature maps, by way
                of `conv_s0` and `conv_s1`
            prompt_tokens (B, P, T, C) and prompt_padding_mask (B, P, T), True for padding; None if there are neither
                points nor boxes
            dense_prompt_embeddings (B or 1, P or 1, C, h, w)

        Returns mask logits (B, P, M, 4h, 4w) and scores (B, P, M), best score first, and logits (B, P, 1) of whether
        there is an object. M is num_multimask_outputs with multimask_output and without HQ_ONLY, else 1. A score is
        SAM's estimate of the IoU of its own mask; there is none for the HQ mask. With min_iou_score, the logits of
        masks whose score is not higher are -inf.
        """
        batch, _, height, width = image_embeddings.shape
        uses_sam, uses_hq = mask_source is not MaskSource.HQ_ONLY, mask_source is not MaskSource.SAM_ONLY

        # One token for the object score, one for the scores of the masks, one for each of SAM's masks, one for the HQ
        # mask, then those of the prompts.
        tokens, padding_mask = self.concatenate_tokens(
            uses_hq, (batch, num_prompts), prompt_tokens, prompt_padding_mask
        )  # (B, P, T, C), (B, P, T)
        image = (image_embeddings[:, None] + dense_prompt_embeddings).flatten(3).mT  # (B, 1 or P, L, C)
        tokens, image = self.transformer(tokens, image, image_positions, padding_mask)  # (B, P, T, C), (B, P, L, C)
        image = image.mT.flatten(0, 1).unflatten(2, (height, width))  # (N, C, h, w)
        upscaled = self.upscale(image, high_res_features_0, high_res_features_1, num_prompts)  # (N, c, 4h, 4w)
        pixels = upscaled.flatten(2).unflatten(0, (batch, num_prompts))  # (B, P, c, 16 L)

        vectors = torch.stack(  # (B, P, masks of SAM, c)
            [mlp(tokens[:, :, 2 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=2
        )
        scores = self.iou_prediction_head(tokens[:, :, 1])  # (B, P, masks of SAM)
        chosen = self.choose_masks(scores, multimask_output, vectors, pixels)  # (B, P, M)
        scores = scores.gather(2, chosen)
        masks = upscaled.new_zeros(())
        if uses_sam:
            masks = vectors.gather(2, chosen[..., None].expand(-1, -1, -1, vectors.shape[-1])) @ pixels
        else:
            scores = scores[:, :, :1]
        if uses_hq:
            hq_vectors = self.hq_mask_mlp(tokens[:, :, 2 + self.num_mask_tokens])  # (B, P, c)
            refined = self.refine(upscaled).flatten(2).unflatten(0, (batch, num_prompts))
            masks = masks + hq_vectors[:, :, None] @ refined  # (B, P, M, 16 L)

        if min_iou_score is not None:
            masks = masks.masked_fill(~(scores.float()[..., None] > min_iou_score), float("-inf"))
        return masks.unflatten(3, (4 * height, 4 * width)), scores, self.pred_obj_score_head(tokens[:, :, 0])

    def upscale(self, image: Tensor, fine: Tensor, middle: Tensor, num_prompts: int) -> Tensor:
        """Upscale the attended image (N, C, h, w) of P prompts per image to (N, c, 4h, 4w), with the finer features.

        fine (B, c, 4h, 4w); middle (B, 2c, 2h, 2w)
        """

        def add(features: Tensor, of_images: Tensor) -> Tensor:
            return (features.unflatten(0, (-1, num_prompts)) + of_images[:, None]).flatten(0, 1)

        upscaled = F.gelu(self.upscale_layer_norm(add(self.upscale_conv1(image), middle)))
        return F.gelu(add(self.upscale_conv2(upscaled), fine))

    def judges_stability(self, multimask_output: bool) -> bool:
        """Whether the choice of a mask depends on the stability of the first."""
        return not (multimask_output or self.training) and self.config.dynamic_multimask_via_stability

    def choose_masks(self, scores: Tensor, multimask_output: bool, vectors: Tensor, pixels: Tensor | None) -> Tensor:
        """Which of SAM's masks are returned, as numbers (B, P, M): three candidates, best score first, or one mask.

        The one is the mask of SAM's first token. In evaluation mode it is the best of the other masks where the former
        is not stable.

        scores (B, P, masks of SAM); vectors (B, P, masks of SAM, c) and pixels (B, P, c, 16 L), whose products are the
        masks. pixels are needed only if `judges_stability`.
        """
        # Stable: of equal scores, the original takes the first.
        candidates = 1 + scores[:, :, 1:].argsort(dim=2, descending=True, stable=True)
        if multimask_output:
            return candidates
        first = torch.zeros_like(candidates[:, :, :1])
        if not self.judges_stability(multimask_output) or pixels is None:
            return first
        masks = vectors[:, :, :1] @ pixels  # (B, P, 1, 16 L)
        delta = self.config.dynamic_multimask_stability_delta
        inner, outer = (masks > delta).sum(dim=3), (masks > -delta).sum(dim=3)
        stability = torch.where(outer > 0, inner.float() / outer, 1.0)
        is_stable = stability >= self.config.dynamic_multimask_stability_thresh
        return torch.where(is_stable, first, candidates[:, :, :1])


HQSam2MaskDecoder.own_classes = frozenset(
    {HQSam2MaskDecoder, HQSam2TwoWayTransformer, HQSam2TwoWayAttentionBlock, HQSam2DecoderAttention}
)

__all__ = ["HQSam2MaskDecoder"]
