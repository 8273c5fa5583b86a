"""The keys of the weights in the original's layout and in this package's: one table, used in both directions."""

from collections.abc import Iterable

from .key_table import KeyTable

# The HQ head: modules of the mask decoder that HQ-SAM adds to SAM. The paper trains only these.
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

# How a fresh HQ head may be initialised: at random as in the paper, or so that the HQ mask starts as SAM's mask.
HQ_INITS = ("random", "sam")

# The matrix of random frequencies for positions. transformers' SamHQModel stores a copy of it under the second key.
POSITIONAL_MATRIX = "shared_image_embedding.positional_embedding"
POSITIONAL_MATRIX_COPY = "prompt_encoder.shared_embedding.positional_embedding"

# Prefixes of keys in the original repository (SysCV/sam-hq) and here. {n} stands for a number. What follows a prefix
# is the same in both.
ORIGINAL_PREFIXES = (
    ("image_encoder.pos_embed", "vision_encoder.pos_embed"),
    ("image_encoder.patch_embed.proj.", "vision_encoder.patch_embed.projection."),
    ("image_encoder.blocks.{n}.norm{n}.", "vision_encoder.layers.{n}.layer_norm{n}."),
    ("image_encoder.blocks.{n}.attn.", "vision_encoder.layers.{n}.attn."),
    ("image_encoder.blocks.{n}.mlp.", "vision_encoder.layers.{n}.mlp."),
    ("image_encoder.patch_embed.seq.0.c.", "vision_encoder.patch_embed.conv1.conv."),
    ("image_encoder.patch_embed.seq.0.bn.", "vision_encoder.patch_embed.conv1.norm."),
    ("image_encoder.patch_embed.seq.2.c.", "vision_encoder.patch_embed.conv2.conv."),
    ("image_encoder.patch_embed.seq.2.bn.", "vision_encoder.patch_embed.conv2.norm."),
    ("image_encoder.layers.{n}.blocks.{n}.conv{n}.c.", "vision_encoder.stages.{n}.blocks.{n}.conv{n}.conv."),
    ("image_encoder.layers.{n}.blocks.{n}.conv{n}.bn.", "vision_encoder.stages.{n}.blocks.{n}.conv{n}.norm."),
    ("image_encoder.layers.{n}.blocks.{n}.attn.norm.", "vision_encoder.stages.{n}.blocks.{n}.attn.layer_norm."),
    ("image_encoder.layers.{n}.blocks.{n}.attn.", "vision_encoder.stages.{n}.blocks.{n}.attn."),
    ("image_encoder.layers.{n}.blocks.{n}.local_conv.c.", "vision_encoder.stages.{n}.blocks.{n}.local_conv.conv."),
    ("image_encoder.layers.{n}.blocks.{n}.local_conv.bn.", "vision_encoder.stages.{n}.blocks.{n}.local_conv.norm."),
    ("image_encoder.layers.{n}.blocks.{n}.mlp.norm.", "vision_encoder.stages.{n}.blocks.{n}.mlp.layer_norm."),
    ("image_encoder.layers.{n}.blocks.{n}.mlp.fc1.", "vision_encoder.stages.{n}.blocks.{n}.mlp.lin1."),
    ("image_encoder.layers.{n}.blocks.{n}.mlp.fc2.", "vision_encoder.stages.{n}.blocks.{n}.mlp.lin2."),
    ("image_encoder.layers.{n}.downsample.conv{n}.c.", "vision_encoder.stages.{n}.downsample.conv{n}.conv."),
    ("image_encoder.layers.{n}.downsample.conv{n}.bn.", "vision_encoder.stages.{n}.downsample.conv{n}.norm."),
    ("image_encoder.norm_head.", "vision_encoder.unused_head.layer_norm."),
    ("image_encoder.head.", "vision_encoder.unused_head.classifier."),
    ("image_encoder.neck.0.", "vision_encoder.neck.conv1."),
    ("image_encoder.neck.1.", "vision_encoder.neck.layer_norm1."),
    ("image_encoder.neck.2.", "vision_encoder.neck.conv2."),
    ("image_encoder.neck.3.", "vision_encoder.neck.layer_norm2."),
    ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", POSITIONAL_MATRIX),
    ("prompt_encoder.point_embeddings.{n}.", "prompt_encoder.point_embed.{n}."),
    ("prompt_encoder.not_a_point_embed.", "prompt_encoder.not_a_point_embed."),
    ("prompt_encoder.no_mask_embed.", "prompt_encoder.no_mask_embed."),
    ("prompt_encoder.mask_downscaling.0.", "prompt_encoder.mask_embed.conv1."),
    ("prompt_encoder.mask_downscaling.1.", "prompt_encoder.mask_embed.layer_norm1."),
    ("prompt_encoder.mask_downscaling.3.", "prompt_encoder.mask_embed.conv2."),
    ("prompt_encoder.mask_downscaling.4.", "prompt_encoder.mask_embed.layer_norm2."),
    ("prompt_encoder.mask_downscaling.6.", "prompt_encoder.mask_embed.conv3."),
    ("mask_decoder.iou_token.", "mask_decoder.iou_token."),
    ("mask_decoder.mask_tokens.", "mask_decoder.mask_tokens."),
    ("mask_decoder.transformer.layers.{n}.self_attn.", "mask_decoder.transformer.layers.{n}.self_attn."),
    ("mask_decoder.transformer.layers.{n}.norm{n}.", "mask_decoder.transformer.layers.{n}.layer_norm{n}."),
    ("mask_decoder.transformer.layers.{n}.mlp.", "mask_decoder.transformer.layers.{n}.mlp."),
    (
        "mask_decoder.transformer.layers.{n}.cross_attn_token_to_image.",
        "mask_decoder.transformer.layers.{n}.cross_attn_token_to_image.",
    ),
    (
        "mask_decoder.transformer.layers.{n}.cross_attn_image_to_token.",
        "mask_decoder.transformer.layers.{n}.cross_attn_image_to_token.",
    ),
    ("mask_decoder.transformer.final_attn_token_to_image.", "mask_decoder.transformer.final_attn_token_to_image."),
    ("mask_decoder.transformer.norm_final_attn.", "mask_decoder.transformer.layer_norm_final_attn."),
    ("mask_decoder.output_upscaling.0.", "mask_decoder.upscale_conv1."),
    ("mask_decoder.output_upscaling.1.", "mask_decoder.upscale_layer_norm."),
    ("mask_decoder.output_upscaling.3.", "mask_decoder.upscale_conv2."),
    ("mask_decoder.hf_token.", "mask_decoder.hq_token."),
    ("mask_decoder.compress_vit_feat.0.", "mask_decoder.compress_vit_conv1."),
    ("mask_decoder.compress_vit_feat.1.", "mask_decoder.compress_vit_norm."),
    ("mask_decoder.compress_vit_feat.3.", "mask_decoder.compress_vit_conv2."),
    ("mask_decoder.embedding_encoder.0.", "mask_decoder.encoder_conv1."),
    ("mask_decoder.embedding_encoder.1.", "mask_decoder.encoder_norm."),
    ("mask_decoder.embedding_encoder.3.", "mask_decoder.encoder_conv2."),
    ("mask_decoder.embedding_maskfeature.0.", "mask_decoder.mask_conv1."),
    ("mask_decoder.embedding_maskfeature.1.", "mask_decoder.mask_norm."),
    ("mask_decoder.embedding_maskfeature.3.", "mask_decoder.mask_conv2."),
)

# The MLPs of the decoder.
ORIGINAL_MLPS = (
    ("mask_decoder.output_hypernetworks_mlps.{n}.", "mask_decoder.output_hypernetworks_mlps.{n}."),
    ("mask_decoder.iou_prediction_head.", "mask_decoder.iou_prediction_head."),
    ("mask_decoder.hf_mlp.", "mask_decoder.hq_mask_mlp."),
)


ORIGINAL_TABLE = KeyTable("the original HQ-SAM or SAM layout", ORIGINAL_PREFIXES, ORIGINAL_MLPS)


def keys_from_original(keys: Iterable[str]) -> dict[str, str]:
    """The key in `HQSamModel` for each key of an original HQ-SAM or SAM. Raises ValueError for other keys."""
    return ORIGINAL_TABLE.from_original(keys)


def keys_to_original(names: Iterable[str]) -> dict[str, str]:
    """The original's key for each key of a whole `HQSamModel`. Raises ValueError for keys that the original lacks."""
    return ORIGINAL_TABLE.to_original(names)


__all__ = [
    "HQ_HEAD_MODULES",
    "HQ_INITS",
    "POSITIONAL_MATRIX",
    "POSITIONAL_MATRIX_COPY",
    "keys_from_original",
    "keys_to_original",
]
