"""Detect a checkpoint's format from its keys and shapes.

File names are not used. Keys of every layout are renamed to those of `HQSamModel` or `HQSam2Model`. The sizes in the
configuration are derived from the shapes, so that unpublished sizes of HQ-SAM load too. What differs for SAM 2 is in
`checkpoint_format_sam2`.
"""

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.utils import logging

from .checkpoint_format_sam2 import derive_sam2_config, hiera_name, is_sam2, rename_sam2
from .configuration_hq_sam import HQSamConfig
from .configuration_hq_sam2 import HQSam2Config
from .key_mapping import HQ_HEAD_MODULES, POSITIONAL_MATRIX, POSITIONAL_MATRIX_COPY, keys_from_original
from .key_mapping_sam2 import is_video_key
from .tensor_types import ordinary_values
from .weight_shapes import WeightShapes, count_indexes, mask_decoder_sizes, prompt_encoder_sizes
from .weights import read_weights

logger = logging.get_logger(__name__)

# The class of the models of each family.
MODEL_CLASSES = {"sam": "HQSamModel", "sam2": "HQSam2Model"}


@dataclass
class ModelWeights:
    """The weights of a checkpoint, by the keys of `HQSamModel` or `HQSam2Model`, and what was detected about them.

    source: where they come from, for error messages.
    layout: "original" (SysCV/sam-hq, segment-anything, MobileSAM, sam2) or "transformers" (SamHQ, SAM, SAM 2 and this
        package).
    part: "model" (a whole model), "decoder" (the mask decoder alone) or "head" (the HQ head alone).
    has_hq: whether the weights of the HQ head are included.
    family: "sam" (HQ-SAM and SAM) or "sam2" (HQ-SAM 2 and SAM 2).
    """

    source: str
    layout: str
    part: str
    has_hq: bool
    weights: dict[str, Tensor]
    family: str = "sam"

    @property
    def model_class(self) -> str:
        """The name of the class that has these keys."""
        return MODEL_CLASSES[self.family]

    @property
    def lacks_video(self) -> bool:
        """Whether it is a whole SAM 2 or HQ-SAM 2 without the weights that only video uses."""
        return self.family == "sam2" and self.part == "model" and not any(map(is_video_key, self.weights))

    @property
    def encoder(self) -> str:
        """The image encoder: "ViT-B", "TinyViT", "Hiera-L", or "" without one.

        Other sizes are named by their width and number of blocks, such as "ViT 48x4".
        """
        if self.part != "model":
            return ""
        if self.family == "sam2":
            return hiera_name(self.weights)
        if "vision_encoder.stages.0.blocks.0.conv1.conv.weight" in self.weights:
            return "TinyViT"
        projection = self.weights.get("vision_encoder.patch_embed.projection.weight")
        if projection is None:
            return "ViT"
        size = len(projection), count_indexes(self.weights, "vision_encoder.layers.")
        return {(768, 12): "ViT-B", (1024, 24): "ViT-L", (1280, 32): "ViT-H"}.get(size, f"ViT {size[0]}x{size[1]}")

    def describe(self) -> str:
        """One line for messages, such as "HQ-SAM, ViT-B, original layout"."""
        what = ("HQ-SAM" if self.has_hq else "plain SAM") + (" 2" if self.family == "sam2" else "")
        if self.part != "model":
            what += {"decoder": " mask decoder alone", "head": " head alone"}[self.part]
        for_images = "for images alone" if self.lacks_video else ""
        return ", ".join(part for part in (what, self.encoder, for_images, f"{self.layout} layout") if part)


def family_of(config: Any) -> str:
    """The family, "sam" or "sam2", of a configuration or of its class."""
    return "sam2" if config.model_type == "hq_sam2" else "sam"


def is_hq_key(name: str) -> bool:
    """Whether a key of `HQSamModel` or `HQSam2Model` belongs to the HQ head."""
    return name.startswith("mask_decoder.") and name.split(".")[1] in HQ_HEAD_MODULES


def read_checkpoint(source: str | os.PathLike) -> ModelWeights:
    """Read a checkpoint file or folder and detect its format. Raises ValueError for checkpoints of other models."""
    return detect_format(read_weights(source), str(source))


def detect_format(weights: Mapping[str, Tensor], source: str) -> ModelWeights:
    """Detect the format of weights and rename their keys. Raises ValueError, naming `source`, for other models."""
    keys = list(weights)
    if any(".lora_" in key or key.startswith("base_model.") for key in keys):
        raise ValueError(f"{source!r} is a LoRA adapter, not a model. Load its base model and add it with peft.")
    family = "sam2" if is_sam2(keys) else "sam"
    try:
        if family == "sam2":
            layout, part, renamed = rename_sam2(weights)
        else:
            layout, part, names = _rename_keys(keys)
            renamed = {names[key]: weights[key] for key in keys}
    except ValueError as error:
        raise ValueError(f"{source!r}: {error}") from error
    renamed = _merge_positional_matrices(renamed, source)
    warn_if_not_finite(renamed, source)
    has_hq = any(map(is_hq_key, renamed))
    return ModelWeights(source, layout, part, has_hq, renamed, family)


def _rename_keys(keys: list[str]) -> tuple[str, str, dict[str, str]]:
    """Layout, part, and the key of `HQSamModel` for every key."""
    if any(key.startswith("image_encoder.") for key in keys):
        return "original", "model", keys_from_original(keys)
    if any(key.startswith("vision_encoder.") for key in keys):
        return "transformers", "model", {key: key for key in keys}
    full = {key: f"mask_decoder.{key.removeprefix('mask_decoder.')}" for key in keys}
    present = set(full.values())
    part = "decoder" if "mask_decoder.iou_token.weight" in present else "head"
    if present & {"mask_decoder.transformer.layers.0.norm1.weight", "mask_decoder.hf_token.weight"}:
        names = keys_from_original(present)
        return "original", part, {key: names[full[key]] for key in keys}
    if part == "decoder" or "mask_decoder.hq_token.weight" in present:
        return "transformers", part, full
    raise ValueError(
        f"not an HQ-SAM or SAM checkpoint; its first keys are {', '.join(repr(key) for key in sorted(keys)[:3])}. "
        "Expected are keys such as 'image_encoder.neck.0.weight' (original) or 'vision_encoder.neck.conv1.weight' "
        "(this package)."
    )


def _merge_positional_matrices(weights: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Keep one positional matrix, in float32: transformers' SamHQModel stores a copy of it under a second key."""
    matrix_copy = weights.pop(POSITIONAL_MATRIX_COPY, None)
    matrix = weights.get(POSITIONAL_MATRIX, matrix_copy)
    if matrix is None:
        return weights
    if matrix_copy is not None and not torch.equal(matrix, matrix_copy):
        raise ValueError(
            f"{source!r} holds two different positional matrices, {POSITIONAL_MATRIX} and {POSITIONAL_MATRIX_COPY}. "
            "They must be equal; remove the wrong one from the checkpoint."
        )
    return {**weights, POSITIONAL_MATRIX: matrix.float()}


def warn_if_not_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Log a warning that names `source` and the first weight with NaN or infinite values, if there is one."""
    broken = [name for name, tensor in weights.items() if not _is_finite(tensor)]
    if broken:
        logger.warning(
            f"{source!r} has values that are not finite in {len(broken)} weights, such as {broken[0]}; "
            "its masks will be wrong."
        )


def _is_finite(tensor: Tensor) -> bool:
    values = ordinary_values(tensor) if tensor.is_floating_point() else None
    if values is None:
        return True
    # The sum is cheap and needs no copy. If it is not finite, it may only have overflowed, so check every value.
    return bool(values.sum(dtype=torch.float32).isfinite()) or bool(values.isfinite().all())


def derive_config(checkpoint: ModelWeights) -> HQSamConfig | HQSam2Config:
    """Derive the configuration of a whole model from its shapes. For a plain SAM: of the HQ-SAM that builds on it.

    Three settings do not show in the shapes and get the values of all published models: the decoder's number of
    attention heads (8), the epsilons of the normalisation layers and, for TinyViT and SAM 2, the image size (1024).
    Of the encoder of SAM 2 more than that does not show, so it must have one of the published sizes.

    Raises ValueError, naming the weight, if one is missing or has an impossible shape.
    """
    if checkpoint.family == "sam2":
        return derive_sam2_config(checkpoint.source, checkpoint.weights)
    weights = WeightShapes(checkpoint.source, checkpoint.weights, "HQSamModel")
    vision = _tiny_vit_config(weights) if checkpoint.encoder == "TinyViT" else _vit_config(weights)
    sizes = {"image_size": vision["image_size"], "patch_size": vision.get("patch_size", 16)}
    points = weights.count("prompt_encoder.point_embed.")
    prompt = {**sizes, **prompt_encoder_sizes(weights), "num_point_embeddings": points}
    early_channels = vision["embed_dims"][2] if "embed_dims" in vision else vision["hidden_size"]
    if checkpoint.has_hq:
        early_channels = weights.shape("mask_decoder.compress_vit_conv1.weight", 4)[0]
    decoder = {**mask_decoder_sizes(weights, "lin1"), "vit_dim": early_channels}
    try:
        return HQSamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    except ValueError as error:
        raise ValueError(f"The weights of {weights.source!r} do not fit together: {error}") from error


def _vit_config(weights: WeightShapes) -> dict[str, Any]:
    hidden_size, channels, patch_size, _ = weights.shape("vision_encoder.patch_embed.projection.weight", 4)
    depth = weights.count("vision_encoder.layers.")
    spans, head_dim = [], 0  # span: the side, in patches, of the grid or window that a block attends to
    for i in range(depth):
        length, head_dim = weights.shape(f"vision_encoder.layers.{i}.attn.rel_pos_h", 2)
        spans.append((length + 1) // 2)  # n positions have 2 n - 1 relative ones
    has_positions = "vision_encoder.pos_embed" in weights
    grid = weights.shape("vision_encoder.pos_embed", 4)[1] if has_positions else max(spans, default=0)
    global_blocks = [i for i, span in enumerate(spans) if span == grid]
    windows = Counter(span for span in spans if span != grid)
    if len(windows) > 1 or (not windows and depth > 1) or not global_blocks:
        raise ValueError(
            f"{weights.source!r}: cannot tell windowed from global blocks: their relative positions span {spans} "
            f"patches of a grid of {grid}. Pass the `config` of this model."
        )
    mlp_dim = weights.shape("vision_encoder.layers.0.mlp.lin1.weight", 2)[0]
    return {
        "hidden_size": hidden_size,
        "num_channels": channels,
        "patch_size": patch_size,
        "image_size": grid * patch_size,
        "num_hidden_layers": depth,
        "num_attention_heads": hidden_size // head_dim,
        "window_size": next(iter(windows), 14),
        "global_attn_indexes": global_blocks,
        "mlp_dim": mlp_dim,
        "mlp_ratio": mlp_dim / hidden_size,
        "qkv_bias": "vision_encoder.layers.0.attn.qkv.bias" in weights,
        "use_abs_pos": has_positions,
        "output_channels": weights.shape("vision_encoder.neck.conv1.weight", 4)[0],
        "num_pos_feats": weights.shape(POSITIONAL_MATRIX, 2)[1],
    }


def _tiny_vit_config(weights: WeightShapes) -> dict[str, Any]:
    stages = "vision_encoder.stages."
    depths = [weights.count(f"{stages}{s}.blocks.") for s in range(weights.count(stages))]
    dims = [weights.shape("vision_encoder.patch_embed.conv2.conv.weight", 4)[0]]
    heads, windows = [], []
    for s in range(1, len(depths)):
        biases, offsets = weights.shape(f"{stages}{s}.blocks.0.attn.attention_biases", 2)
        dims.append(weights.shape(f"{stages}{s}.blocks.0.attn.proj.weight", 2)[0])
        heads.append(biases)
        windows.append(math.isqrt(offsets))
    classifier = "vision_encoder.unused_head.classifier.weight"
    return {
        "model_type": "hq_sam_tiny_vit",
        "embed_dims": dims,
        "depths": depths,
        "num_attention_heads": [2, *heads],  # the first stage has no attention
        "window_sizes": [7, *windows],
        "mlp_ratio": weights.shape(f"{stages}1.blocks.0.mlp.lin1.weight", 2)[0] / dims[1],
        "mbconv_expand_ratio": weights.shape(f"{stages}0.blocks.0.conv1.conv.weight", 4)[0] / dims[0],
        "image_size": 1024,
        "output_channels": weights.shape("vision_encoder.neck.conv1.weight", 4)[0],
        "num_pos_feats": weights.shape(POSITIONAL_MATRIX, 2)[1],
        "num_classes": weights.shape(classifier, 2)[0] if classifier in weights else 0,
    }


__all__ = [
    "MODEL_CLASSES",
    "ModelWeights",
    "derive_config",
    "detect_format",
    "family_of",
    "is_hq_key",
    "read_checkpoint",
    "warn_if_not_finite",
]
