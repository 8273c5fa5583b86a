"""The mask decoder of HQ-SAM: SAM's two-way transformer and heads, with the HQ output token and the fused HQ features.

`HQSamMaskDecoder.forward` is the plain computation, in the order of the paper's figure. `modeling_fast_decoder` has
the same computation rearranged for inference. The state-dict names are those of transformers. The numbers are those
of `mask_decoder_hq.py` in the original repository, because the decoder in transformers upscales the wrong tensor.

Letters in shapes: B images, P prompts each, N = B P; M masks per prompt; T tokens per prompt; C channels; h x w
embedding grid, L = h w; c = C / 8 channels of the upscaled features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamLayerNorm

from .configuration_hq_sam import HQSamMaskDecoderConfig
from .key_mapping import HQ_HEAD_MODULES
from .modeling_decoder_parts import HQSamDecoderParts, MaskSource
from .modeling_two_way_transformer import HQSamDecoderAttention, HQSamTwoWayAttentionBlock, HQSamTwoWayTransformer
from .modeling_upscaling import HQSamUpscaleConv


class HQSamMaskDecoder(HQSamDecoderParts):
    def __init__(self, config: HQSamMaskDecoderConfig) -> None:
        super().__init__(config)
        width = config.hidden_size

        # The HQ head, whose names are in HQ_HEAD_MODULES.
        self.add_hq_token(width)
        self.compress_vit_conv1 = HQSamUpscaleConv(config.vit_dim, width)
        self.compress_vit_norm = SamLayerNorm(width, data_format="channels_first")
        self.compress_vit_conv2 = HQSamUpscaleConv(width, width // 8)
        self.encoder_conv1 = HQSamUpscaleConv(width, width // 4)
        self.encoder_norm = SamLayerNorm(width // 4, data_format="channels_first")
        self.encoder_conv2 = HQSamUpscaleConv(width // 4, width // 8)
        self.add_refinement(width)

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
            refined = self.refine(upscaled)  # (N, c, 4h, 4w)
            fused = hq_features[:, None] + refined.unflatten(0, (batch, num_prompts))  # (B, P, c, 4h, 4w)
            hq_vectors = self.hq_mask_mlp(tokens[:, :, 1 + self.num_mask_tokens])  # (B, P, c)
            masks = masks + hq_vectors[:, :, None] @ fused.flatten(3)  # (B, P, M, 16 L)

        if min_iou_score is not None:
            masks = masks.masked_fill(~(scores.float()[..., None] > min_iou_score), float("-inf"))
        return masks.unflatten(3, (4 * height, 4 * width)), scores

    @torch.no_grad()
    def start_hq_mask_from_sam(self) -> None:
        """As `HQSamDecoderParts.start_hq_mask_from_sam`. The image-only part of the HQ features becomes zero."""
        super().start_hq_mask_from_sam()
        for convolution in (self.compress_vit_conv2, self.encoder_conv2):
            for weight in convolution.parameters():
                nn.init.zeros_(weight)


HQSamMaskDecoder.own_classes = frozenset(
    {HQSamMaskDecoder, HQSamTwoWayTransformer, HQSamTwoWayAttentionBlock, HQSamDecoderAttention}
)

__all__ = ["HQ_HEAD_MODULES", "HQSamMaskDecoder", "MaskSource"]
