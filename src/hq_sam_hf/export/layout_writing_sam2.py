"""Write the files beside the weights of a plain SAM 2, as transformers' Sam2Model or Sam2VideoModel stores them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..model.configuration_hq_sam2 import HQSam2Config
from ..model.key_mapping import POSITIONAL_MATRIX, POSITIONAL_MATRIX_COPY
from ..model.key_mapping_sam2 import is_video_key

# Weights that SAM 2.1 has and SAM 2.0 lacks, by the field of transformers' Sam2VideoConfig that says so.
_SINCE_SAM2_1 = {
    "enable_occlusion_spatial_embedding": "occlusion_spatial_embedding_parameter",
    "enable_temporal_pos_encoding_for_object_pointers": "temporal_positional_encoding_projection_layer.weight",
}


def with_matrix_copy(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights as transformers' SAM 2 stores them: with the positional matrix under a second key too."""
    return {**weights, POSITIONAL_MATRIX_COPY: weights[POSITIONAL_MATRIX].clone()}


def write_sam2_config(folder: Path, config: HQSam2Config, dtype: torch.dtype, names: Iterable[str]) -> None:
    """Write the configuration of model and processor. With weights for video among `names`, it is Sam2VideoModel's."""
    import transformers

    names = set(names)
    sections: dict[str, Any] = config.transformers_sections()
    is_video = any(map(is_video_key, names))
    if is_video:
        grid = config.vision_config.image_size // config.vision_config.patch_size
        flags = {field: name in names for field, name in _SINCE_SAM2_1.items()}
        stored = transformers.Sam2VideoConfig(
            **sections,
            **flags,
            image_size=config.vision_config.image_size,
            memory_attention_rope_feat_sizes=[grid, grid],
        )
    else:
        stored = transformers.Sam2Config(**sections)
    stored.architectures = ["Sam2VideoModel" if is_video else "Sam2Model"]
    stored.dtype = dtype
    stored.save_pretrained(folder)
    _write_processor(folder, config, is_video)


def _write_processor(folder: Path, config: HQSam2Config, is_video: bool) -> None:
    """Write what transformers' processors read. Their image processor needs torchvision, so none is created here."""
    side, processor = config.vision_config.image_size, "Sam2VideoProcessor" if is_video else "Sam2Processor"
    settings = {
        "processor_class": processor,
        "size": {"height": side, "width": side},
        "image_mean": list(IMAGENET_DEFAULT_MEAN),
        "image_std": list(IMAGENET_DEFAULT_STD),
    }
    mask_size = {"height": config.mask_size, "width": config.mask_size}
    images = {"image_processor_type": "Sam2ImageProcessorFast", "mask_size": mask_size, **settings}
    files = {"preprocessor_config.json": images, "processor_config.json": {"processor_class": processor}}
    if is_video:
        files["video_preprocessor_config.json"] = {"video_processor_type": "Sam2VideoVideoProcessor", **settings}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2))


__all__ = ["with_matrix_copy", "write_sam2_config"]
