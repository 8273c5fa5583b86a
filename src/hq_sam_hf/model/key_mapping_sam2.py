"""The keys of SAM 2 and HQ-SAM 2 in the original's layout and in this package's: one table, used in both directions.

This package's keys are those of transformers' Sam2Model and Sam2VideoModel. transformers has no HQ head for them, so
those of the head are named as in `HQSamModel`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from .key_mapping import POSITIONAL_MATRIX
from .key_table import KeyTable

# The HQ head of HQ-SAM 2: modules of the mask decoder that it adds to SAM 2. They are the same for every encoder.
HQ_HEAD_MODULES_SAM2 = ("hq_token", "hq_mask_mlp", "mask_conv1", "mask_norm", "mask_conv2")

# The original keeps the embedding of each kind of point as a weight of its own, transformers as the rows of one.
POINT_EMBEDDINGS = "prompt_encoder.point_embed.weight"
ORIGINAL_POINT_EMBEDDINGS = "sam_prompt_encoder.point_embeddings."

# What a SAM 2 has for video. An image model does not use it.
VIDEO_PREFIXES = (
    "memory_attention.",
    "memory_encoder.",
    "memory_temporal_positional_encoding",
    "no_memory_positional_encoding",
    "no_object_pointer",
    "occlusion_spatial_embedding_parameter",
    "mask_downsample.",
    "object_pointer_proj.",
    "temporal_positional_encoding_projection_layer.",
)


def _attention(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    same = tuple((f"{theirs}{name}_proj.", f"{ours}{name}_proj.") for name in "qkv")
    return (*same, (f"{theirs}out_proj.", f"{ours}o_proj."))


_BLOCK, _OUR_BLOCK = "image_encoder.trunk.blocks.{n}.", "vision_encoder.backbone.blocks.{n}."
_LAYER, _OUR_LAYER = "sam_mask_decoder.transformer.layers.{n}.", "mask_decoder.transformer.layers.{n}."
_FINAL, _OUR_FINAL = (
    f"{decoder}.transformer.final_attn_token_to_image." for decoder in ("sam_mask_decoder", "mask_decoder")
)
_MEMORY = "memory_attention.layers.{n}."
_FUSER, _OUR_FUSER = "memory_encoder.fuser.layers.{n}.", "memory_encoder.memory_fuser.layers.{n}."
_DOWNSAMPLER = "memory_encoder.mask_downsampler."

_IMAGE_PREFIXES = (
    ("image_encoder.trunk.pos_embed_window", "vision_encoder.backbone.pos_embed_window"),
    ("image_encoder.trunk.pos_embed", "vision_encoder.backbone.pos_embed"),
    ("image_encoder.trunk.patch_embed.proj.", "vision_encoder.backbone.patch_embed.projection."),
    (f"{_BLOCK}norm{{n}}.", f"{_OUR_BLOCK}layer_norm{{n}}."),
    (f"{_BLOCK}attn.qkv.", f"{_OUR_BLOCK}attn.qkv."),
    (f"{_BLOCK}attn.proj.", f"{_OUR_BLOCK}attn.proj."),
    (f"{_BLOCK}proj.", f"{_OUR_BLOCK}proj."),
    (f"{_BLOCK}mlp.layers.0.", f"{_OUR_BLOCK}mlp.proj_in."),
    (f"{_BLOCK}mlp.layers.1.", f"{_OUR_BLOCK}mlp.proj_out."),
    ("image_encoder.neck.convs.{n}.conv.", "vision_encoder.neck.convs.{n}."),
    ("no_mem_embed", "no_memory_embedding"),
    ("sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", POSITIONAL_MATRIX),
    ("sam_prompt_encoder.not_a_point_embed.", "prompt_encoder.not_a_point_embed."),
    ("sam_prompt_encoder.no_mask_embed.", "prompt_encoder.no_mask_embed."),
    ("sam_prompt_encoder.mask_downscaling.0.", "prompt_encoder.mask_embed.conv1."),
    ("sam_prompt_encoder.mask_downscaling.1.", "prompt_encoder.mask_embed.layer_norm1."),
    ("sam_prompt_encoder.mask_downscaling.3.", "prompt_encoder.mask_embed.conv2."),
    ("sam_prompt_encoder.mask_downscaling.4.", "prompt_encoder.mask_embed.layer_norm2."),
    ("sam_prompt_encoder.mask_downscaling.6.", "prompt_encoder.mask_embed.conv3."),
)
_DECODER_PREFIXES = (
    ("sam_mask_decoder.obj_score_token.", "mask_decoder.obj_score_token."),
    ("sam_mask_decoder.iou_token.", "mask_decoder.iou_token."),
    ("sam_mask_decoder.mask_tokens.", "mask_decoder.mask_tokens."),
    *_attention(f"{_LAYER}self_attn.", f"{_OUR_LAYER}self_attn."),
    *_attention(f"{_LAYER}cross_attn_token_to_image.", f"{_OUR_LAYER}cross_attn_token_to_image."),
    *_attention(f"{_LAYER}cross_attn_image_to_token.", f"{_OUR_LAYER}cross_attn_image_to_token."),
    (f"{_LAYER}norm{{n}}.", f"{_OUR_LAYER}layer_norm{{n}}."),
    (f"{_LAYER}mlp.layers.0.", f"{_OUR_LAYER}mlp.proj_in."),
    (f"{_LAYER}mlp.layers.1.", f"{_OUR_LAYER}mlp.proj_out."),
    *_attention(_FINAL, _OUR_FINAL),
    ("sam_mask_decoder.transformer.norm_final_attn.", "mask_decoder.transformer.layer_norm_final_attn."),
    ("sam_mask_decoder.output_upscaling.0.", "mask_decoder.upscale_conv1."),
    ("sam_mask_decoder.output_upscaling.1.", "mask_decoder.upscale_layer_norm."),
    ("sam_mask_decoder.output_upscaling.3.", "mask_decoder.upscale_conv2."),
    ("sam_mask_decoder.conv_s0.", "mask_decoder.conv_s0."),
    ("sam_mask_decoder.conv_s1.", "mask_decoder.conv_s1."),
    ("sam_mask_decoder.hf_token.", "mask_decoder.hq_token."),
    ("sam_mask_decoder.embedding_maskfeature.0.", "mask_decoder.mask_conv1."),
    ("sam_mask_decoder.embedding_maskfeature.1.", "mask_decoder.mask_norm."),
    ("sam_mask_decoder.embedding_maskfeature.3.", "mask_decoder.mask_conv2."),
)
_VIDEO_PREFIXES = (
    *_attention(f"{_MEMORY}self_attn.", f"{_MEMORY}self_attn."),
    *_attention(f"{_MEMORY}cross_attn_image.", f"{_MEMORY}cross_attn_image."),
    (f"{_MEMORY}linear1.", f"{_MEMORY}linear1."),
    (f"{_MEMORY}linear2.", f"{_MEMORY}linear2."),
    (f"{_MEMORY}norm{{n}}.", f"{_MEMORY}layer_norm{{n}}."),
    ("memory_attention.norm.", "memory_attention.layer_norm."),
    *((f"{_DOWNSAMPLER}encoder.{3 * i}.", f"{_DOWNSAMPLER}layers.{i}.conv.") for i in range(4)),
    *((f"{_DOWNSAMPLER}encoder.{3 * i + 1}.", f"{_DOWNSAMPLER}layers.{i}.layer_norm.") for i in range(4)),
    (f"{_DOWNSAMPLER}encoder.12.", f"{_DOWNSAMPLER}final_conv."),
    ("memory_encoder.pix_feat_proj.", "memory_encoder.feature_projection."),
    (f"{_FUSER}dwconv.", f"{_OUR_FUSER}depthwise_conv."),
    (f"{_FUSER}pwconv{{n}}.", f"{_OUR_FUSER}pointwise_conv{{n}}."),
    (f"{_FUSER}norm.", f"{_OUR_FUSER}layer_norm."),
    (f"{_FUSER}gamma", f"{_OUR_FUSER}scale"),
    ("memory_encoder.out_proj.", "memory_encoder.projection."),
    ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    ("no_mem_pos_enc", "no_memory_positional_encoding"),
    ("no_obj_ptr", "no_object_pointer"),
    ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    ("mask_downsample.", "mask_downsample."),
    ("obj_ptr_tpos_proj.", "temporal_positional_encoding_projection_layer."),
)
_MLPS = (
    ("sam_mask_decoder.output_hypernetworks_mlps.{n}.", "mask_decoder.output_hypernetworks_mlps.{n}."),
    ("sam_mask_decoder.iou_prediction_head.", "mask_decoder.iou_prediction_head."),
    ("sam_mask_decoder.pred_obj_score_head.", "mask_decoder.pred_obj_score_head."),
    ("sam_mask_decoder.hf_mlp.", "mask_decoder.hq_mask_mlp."),
    ("obj_ptr_proj.", "object_pointer_proj."),
)
SAM2_TABLE = KeyTable(
    "the original HQ-SAM 2 or SAM 2 layout", (*_IMAGE_PREFIXES, *_DECODER_PREFIXES, *_VIDEO_PREFIXES), _MLPS
)


def is_video_key(name: str) -> bool:
    """Whether a key belongs to the part of a SAM 2 that only video uses."""
    return name.startswith(VIDEO_PREFIXES)


def weights_from_original_sam2(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an original SAM 2 or HQ-SAM 2, or of its mask decoder, by the keys of this package.

    Raises ValueError for keys that are none of the original's.
    """
    points = {key: tensor for key, tensor in weights.items() if key.startswith(ORIGINAL_POINT_EMBEDDINGS)}
    names = SAM2_TABLE.from_original(key for key in weights if key not in points)
    renamed = {name: weights[key] for key, name in names.items()}
    if points:
        keys = [f"{ORIGINAL_POINT_EMBEDDINGS}{i}.weight" for i in range(len(points))]
        if set(keys) != set(points):
            raise ValueError(
                f"the keys {ORIGINAL_POINT_EMBEDDINGS}N.weight must be numbered from 0, got {sorted(points)}."
            )
        renamed[POINT_EMBEDDINGS] = torch.cat([points[key] for key in keys])
    return renamed


def weights_to_original_sam2(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an HQ-SAM 2 or SAM 2, given by the keys of this package, by those of the original.

    Raises ValueError for keys that the original lacks.
    """
    names = SAM2_TABLE.to_original(name for name in weights if name != POINT_EMBEDDINGS)
    renamed = {key: weights[name] for name, key in names.items()}
    if POINT_EMBEDDINGS in weights:
        for i, row in enumerate(weights[POINT_EMBEDDINGS]):
            renamed[f"{ORIGINAL_POINT_EMBEDDINGS}{i}.weight"] = row[None].clone()
    return renamed


__all__ = [
    "HQ_HEAD_MODULES_SAM2",
    "SAM2_TABLE",
    "VIDEO_PREFIXES",
    "is_video_key",
    "weights_from_original_sam2",
    "weights_to_original_sam2",
]
