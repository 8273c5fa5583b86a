"""The mask decoder: SAM's two-way transformer and heads, the HQ output token and the fused HQ feature.

The parts come from transformers, so that state-dict names are theirs; the order of the computation is that of
`mask_decoder_hq.py` in the original repository, because the decoder inside transformers upscales the wrong tensor.
"""

import torch
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import (
    SamAttention,
    SamFeedForward,
    SamLayerNorm,
    SamTwoWayAttentionBlock,
)

from .configuration_hq_sam import HQSamMaskDecoderConfig

# The weights that HQ-SAM adds to SAM, and the only ones that its recipe trains.
HQ_HEAD_MODULES = (
    "hq_token",
    "hq_mask_mlp",
    "compress_vit_conv1",
    "compress_vit_norm",
    "compress_vit_conv2",
    "encoder_conv1",
    "encoder_norm",
    "encoder_conv2",
    "mask_conv1",
    "mask_norm",
    "mask_conv2",
)


class HQSamTwoWayAttentionBlock(SamTwoWayAttentionBlock):
    def forward(
        self, tokens: Tensor, image: Tensor, token_position: Tensor, image_position: Tensor, hide: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One round: tokens attend to tokens, tokens to image, an MLP on the tokens, image to tokens.

        Shapes (N prompts, T tokens, L image positions, C channels): tokens and token_position (N, 1, T, C);
        image (N, 1, L, C); image_position (1, 1, L, C); hide (N, 1, 1, T), added to the scores of tokens as keys.
        """
        if self.skip_first_layer_pe:
            tokens = self.self_attn(query=tokens, key=tokens, value=tokens, attention_similarity=hide)[0]
        else:
            query = tokens + token_position
            tokens = tokens + self.self_attn(query=query, key=query, value=tokens, attention_similarity=hide)[0]
        tokens = self.layer_norm1(tokens)

        query, key = tokens + token_position, image + image_position
        tokens = self.layer_norm2(tokens + self.cross_attn_token_to_image(query=query, key=key, value=image)[0])
        tokens = self.layer_norm3(tokens + self.mlp(tokens))

        query = tokens + token_position
        update = self.cross_attn_image_to_token(query=key, key=query, value=tokens, attention_similarity=hide)[0]
        return tokens, self.layer_norm4(image + update)


class HQSamTwoWayTransformer(nn.Module):
    def __init__(self, config: HQSamMaskDecoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            HQSamTwoWayAttentionBlock(config, skip_first_layer_pe=(i == 0)) for i in range(config.num_hidden_layers)
        )
        self.final_attn_token_to_image = SamAttention(config)
        self.layer_norm_final_attn = nn.LayerNorm(config.hidden_size)

    def forward(
        self, tokens: Tensor, image: Tensor, image_position: Tensor, hide: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Let the tokens and the image positions attend to each other; shapes as in the block.

        Masks are read from the attended image that comes back second, so callers must not keep the old one.
        """
        token_position = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_position, image_position, hide)
        query, key = tokens + token_position, image + image_position
        tokens = tokens + self.final_attn_token_to_image(query=query, key=key, value=image)[0]
        return self.layer_norm_final_attn(tokens), image


class HQSamMaskDecoder(nn.Module):
    def __init__(self, config: HQSamMaskDecoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_mask_tokens = config.num_multimask_outputs + 1

        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, width)
        self.transformer = HQSamTwoWayTransformer(config)
        self.upscale_conv1 = nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2)
        self.upscale_layer_norm = SamLayerNorm(width // 4, data_format="channels_first")
        self.upscale_conv2 = nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2)
        self.activation = nn.GELU()
        self.output_hypernetworks_mlps = nn.ModuleList(
            SamFeedForward(width, width, width // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = SamFeedForward(
            width, config.iou_head_hidden_dim, self.num_mask_tokens, config.iou_head_depth
        )

        # HQ_HEAD_MODULES
        self.hq_token = nn.Embedding(1, width)
        self.hq_mask_mlp = SamFeedForward(width, width, width // 8, 3)
        self.compress_vit_conv1 = nn.ConvTranspose2d(config.vit_dim, width, kernel_size=2, stride=2)
        self.compress_vit_norm = SamLayerNorm(width, data_format="channels_first")
        self.compress_vit_conv2 = nn.ConvTranspose2d(width, width // 8, kernel_size=2, stride=2)
        self.encoder_conv1 = nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2)
        self.encoder_norm = SamLayerNorm(width // 4, data_format="channels_first")
        self.encoder_conv2 = nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2)
        self.mask_conv1 = nn.Conv2d(width // 8, width // 4, kernel_size=3, padding=1)
        self.mask_norm = SamLayerNorm(width // 4, data_format="channels_first")
        self.mask_conv2 = nn.Conv2d(width // 4, width // 8, kernel_size=3, padding=1)

    def fuse_hq_features(self, image_embeddings: Tensor, early_embeddings: Tensor) -> Tensor:
        """The part of the HQ feature that depends on the image alone.

        image_embeddings (B, C, h, w), before any mask prompt is added; early_embeddings (B, h, w, vit_dim).
        Returns (B, C / 8, 4h, 4w).
        """
        final = self.activation(self.encoder_norm(self.encoder_conv1(image_embeddings)))
        early = self.compress_vit_conv1(early_embeddings.permute(0, 3, 1, 2))
        early = self.activation(self.compress_vit_norm(early))
        return self.encoder_conv2(final) + self.compress_vit_conv2(early)

    def forward(
        self,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        hq_features: Tensor | None,
        sparse_prompt_embeddings: Tensor | None,
        absent_prompt_tokens: Tensor | None,
        dense_prompt_embeddings: Tensor,
        num_prompts: int,
        multimask_output: bool,
        hq_token_only: bool,
    ) -> tuple[Tensor, Tensor]:
        """Masks and scores of P prompts on each of B images.

        Shapes (T prompt tokens, C channels, h x w embedding grid, M masks per prompt):
            image_embeddings (B, C, h, w); image_positional_embeddings (1, C, h, w); hq_features (B, C / 8, 4h, 4w),
                or None to decode as a plain SAM does, without the HQ token;
            sparse_prompt_embeddings (B, P, T, C); absent_prompt_tokens (B, P, T), True where attention must not look;
            dense_prompt_embeddings (B or 1, P or 1, C, h, w)

        Returns mask logits (B, P, M, 4h, 4w) and scores (B, P, M). M is 1, or with multimask_output and without
        hq_token_only num_multimask_outputs, best score first. The score is SAM's estimate of the IoU of its own mask;
        HQ-SAM has none for the HQ mask.
        """
        batch, channels, height, width = image_embeddings.shape
        output_tokens = [self.iou_token.weight, self.mask_tokens.weight]
        if hq_features is not None:
            output_tokens.append(self.hq_token.weight)
        tokens, hide = _with_prompt_tokens(
            torch.cat(output_tokens).expand(batch * num_prompts, 1, -1, -1),
            sparse_prompt_embeddings,
            absent_prompt_tokens,
        )
        image = (image_embeddings[:, None] + dense_prompt_embeddings).expand(batch, num_prompts, -1, -1, -1)
        image = image.reshape(batch * num_prompts, 1, channels, height * width).transpose(2, 3)
        position = image_positional_embeddings.flatten(2).transpose(1, 2)[:, None]

        tokens, image = self.transformer(tokens, image, position, hide)
        tokens = tokens[:, 0]
        mask_vectors, scores = self._select_masks(tokens, multimask_output)

        image = image[:, 0].transpose(1, 2).reshape(batch * num_prompts, channels, height, width)
        upscaled = self.activation(self.upscale_layer_norm(self.upscale_conv1(image)))
        upscaled = self.activation(self.upscale_conv2(upscaled))  # (N, C / 8, 4h, 4w)
        if hq_features is None:
            masks = mask_vectors @ upscaled.flatten(2)  # (N, M, 16hw)
        else:
            hq = self.mask_conv2(self.activation(self.mask_norm(self.mask_conv1(upscaled))))
            hq = hq.unflatten(0, (batch, num_prompts)) + hq_features[:, None]
            hq_vector = self.hq_mask_mlp(tokens[:, 1 + self.num_mask_tokens])[:, None]
            masks = hq_vector @ hq.flatten(0, 1).flatten(2)  # (N, 1, 16hw)
            if hq_token_only:
                scores = scores[:, :1]
            else:
                masks = mask_vectors @ upscaled.flatten(2) + masks
        masks = masks.unflatten(-1, (4 * height, 4 * width))
        return masks.unflatten(0, (batch, num_prompts)), scores.unflatten(0, (batch, num_prompts))

    def _select_masks(self, tokens: Tensor, multimask_output: bool) -> tuple[Tensor, Tensor]:
        """The hypernetwork vectors (N, M, C / 8) of SAM's masks to output, and their scores (N, M)."""
        scores = self.iou_prediction_head(tokens[:, 0])
        first, last = (1, self.num_mask_tokens) if multimask_output else (0, 1)
        vectors = torch.stack([self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in range(first, last)], dim=1)
        scores = scores[:, first:last]
        if multimask_output:
            # stable: on a tie the original takes the first mask
            scores, order = scores.sort(dim=1, descending=True, stable=True)
            vectors = vectors.gather(1, order[..., None].expand_as(vectors))
        return vectors, scores


def _with_prompt_tokens(output: Tensor, sparse: Tensor | None, absent: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Output tokens (N, 1, O, C) before the prompt tokens, and what hides the absent ones (N, 1, 1, T)."""
    if sparse is None or absent is None:
        return output, None
    tokens = torch.cat([output, sparse.flatten(0, 1)[:, None].to(output.dtype)], dim=2)
    hide = torch.zeros_like(tokens[..., 0])
    absent = absent.flatten(0, 1)[:, None]
    prompt = hide[..., output.shape[2] :].masked_fill(absent, float("-inf"))
    return tokens, torch.cat([hide[..., : output.shape[2]], prompt], dim=-1)[:, :, None]


__all__ = ["HQ_HEAD_MODULES", "HQSamMaskDecoder"]
