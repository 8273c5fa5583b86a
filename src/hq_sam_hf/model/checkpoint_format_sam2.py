"""Detect what a checkpoint of SAM 2 or HQ-SAM 2 is, from its keys and shapes.

The keys are renamed to those of `HQSam2Model`. The sizes of the image encoder that show in the shapes name the preset
whose settings do not.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor

from .configuration_hq_sam2 import HQSam2BackboneConfig, HQSam2Config
from .key_mapping import HQ_HEAD_MODULES
from .key_mapping_sam2 import HQ_HEAD_MODULES_SAM2, weights_from_original_sam2
from .presets import SAM2_PRESETS
from .weight_shapes import WeightShapes, count_indexes, mask_decoder_sizes, prompt_encoder_sizes

_ORIGINAL_PARTS = ("image_encoder.trunk.", "sam_mask_decoder.", "sam_prompt_encoder.")
_HIERA = "vision_encoder.backbone."
_BLOCKS = f"{_HIERA}blocks."

# Width of the first stage and number of blocks of the published encoders.
_NAMES = {(96, 12): "Hiera-T", (96, 16): "Hiera-S", (112, 24): "Hiera-B+", (144, 48): "Hiera-L"}


def is_sam2(keys: Iterable[str]) -> bool:
    """Whether keys are those of a SAM 2 or HQ-SAM 2, of its mask decoder or of its HQ head."""
    keys = list(keys)
    if any(key.startswith((*_ORIGINAL_PARTS, f"{_HIERA}pos_embed", _BLOCKS)) for key in keys):
        return True
    if any(key.startswith(("image_encoder.", "vision_encoder.")) for key in keys):
        return False
    names = {key.removeprefix("mask_decoder.") for key in keys}
    if "obj_score_token.weight" in names:
        return True
    # An HQ head alone: the one of HQ-SAM has modules for features of the image encoder, which HQ-SAM 2 does without.
    others = {"compress_vit_feat", "embedding_encoder", *HQ_HEAD_MODULES} - {*HQ_HEAD_MODULES_SAM2}
    has_token = not names.isdisjoint({"hf_token.weight", "hq_token.weight"})
    return has_token and not any(name.split(".")[0] in {*others, "iou_token"} for name in names)


def rename_sam2(weights: Mapping[str, Tensor]) -> tuple[str, str, dict[str, Tensor]]:
    """Layout ("original" or "transformers"), part ("model", "decoder" or "head") and weights by our keys.

    Raises ValueError for keys that belong to neither layout.
    """
    if any(key.startswith("image_encoder.") for key in weights):
        return "original", "model", weights_from_original_sam2(weights)
    if any(key.startswith("vision_encoder.") for key in weights):
        return "transformers", "model", dict(weights)
    short = {key.removeprefix("sam_").removeprefix("mask_decoder."): tensor for key, tensor in weights.items()}
    part = "decoder" if "iou_token.weight" in short else "head"
    if not short.keys().isdisjoint({"hf_token.weight", "transformer.layers.0.norm1.weight"}):
        original = {f"sam_mask_decoder.{key}": tensor for key, tensor in short.items()}
        return "original", part, weights_from_original_sam2(original)
    return "transformers", part, {f"mask_decoder.{key}": tensor for key, tensor in short.items()}


def hiera_name(weights: Mapping[str, Tensor]) -> str:
    """The name of a Hiera encoder, such as "Hiera-L" or, for a size that is not published, "Hiera 16x4"."""
    projection = weights.get(f"{_HIERA}patch_embed.projection.weight")
    if projection is None:
        return "Hiera"
    size = len(projection), count_indexes(weights, _BLOCKS)
    return _NAMES.get(size, f"Hiera {size[0]}x{size[1]}")


def derive_sam2_config(source: str, weights: Mapping[str, Tensor]) -> HQSam2Config:
    """Derive the configuration from the shapes. Raises ValueError for an encoder that is none of the published ones.

    The heads, the windows and the blocks with global attention of a Hiera encoder do not show in its weights, so they
    are those of the published encoder with the same sizes.
    """
    shapes = WeightShapes(source, weights, "HQSam2Model")
    width = shapes.shape(f"{_HIERA}patch_embed.projection.weight", 4)[0]
    stages = _blocks_per_stage(shapes)
    for fields in SAM2_PRESETS.values():
        backbone = HQSam2BackboneConfig(**fields)
        if (backbone.hidden_size, list(backbone.blocks_per_stage)) == (width, stages):
            channels = shapes.shape("vision_encoder.neck.convs.0.weight", 4)[0]
            vision = {"backbone_config": backbone, "fpn_hidden_size": channels}
            prompt, decoder = prompt_encoder_sizes(shapes), mask_decoder_sizes(shapes, "proj_in")
            try:
                return HQSam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
            except ValueError as error:
                raise ValueError(f"The weights of {source!r} do not fit together: {error}") from error
    raise ValueError(
        f"{source!r}: no published SAM 2 has an encoder of width {width} with {stages} blocks in its stages. Its "
        "heads and windows do not show in the weights. Pass the `config` of this model to HQSam2Model.from_pretrained."
    )


def _blocks_per_stage(shapes: WeightShapes) -> list[int]:
    """The number of blocks of each stage. The first block of a stage widens its input with a projection."""
    stages = [0]
    for i in range(shapes.count(_BLOCKS)):
        if f"{_BLOCKS}{i}.proj.weight" in shapes:
            stages.append(0)
        stages[-1] += 1
    return stages


__all__ = ["derive_sam2_config", "hiera_name", "is_sam2", "rename_sam2"]
