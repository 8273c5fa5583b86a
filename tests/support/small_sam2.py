"""A small HQ-SAM 2 with random weights and SAM 2's part for video, and a smaller one for images to train."""

import functools
from pathlib import Path
from typing import Any

import torch
from transformers import Sam2VideoConfig, Sam2VideoModel

from hq_sam_hf.model.configuration_hq_sam2 import HQSam2Config
from hq_sam_hf.model.key_mapping_sam2 import is_video_key
from hq_sam_hf.model.modeling_hq_sam2 import HQSam2Model
from hq_sam_hf.model.presets import SAM2_PRESETS
from hq_sam_hf.model.processing_hq_sam2 import HQSam2Processor

# A Hiera of another size, as an entry of SAM2_PRESETS. The rest of the model has the sizes of every SAM 2.
PRESET: dict[str, Any] = {
    "hidden_size": 16,
    "embed_dim_per_stage": [16, 32, 64, 128],
    "num_attention_heads_per_stage": [1, 1, 2, 4],
    "blocks_per_stage": [1, 1, 2, 1],
    "global_attention_blocks": [3],
}

# Fields of an HQSam2Config of 347 thousand weights at 64 pixels.
ARCHITECTURE: dict[str, Any] = {
    "vision_config": {
        "backbone_config": {**PRESET, "window_size_per_stage": [4, 4, 4, 2], "image_size": 64},
        "fpn_hidden_size": 32,
    },
    "prompt_encoder_config": {"hidden_size": 32, "image_size": 64},
    "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
}


def add_preset(monkeypatch: Any) -> HQSam2Config:
    """Make `PRESET` a published size during a test, and return its configuration."""
    monkeypatch.setitem(SAM2_PRESETS, "hiera_small_test", PRESET)
    return HQSam2Config.from_preset("hiera_small_test")


@functools.cache
def small_weights() -> dict[str, torch.Tensor]:
    """The weights of an HQ-SAM 2 with the encoder `PRESET`, by our keys. Tests must not change them.

    Those that only video uses have the right keys, and only 2 values each: an image model reads none of them.
    """
    sections = {**ARCHITECTURE, "prompt_encoder_config": {"hidden_size": 32}}
    sections["vision_config"] = {"backbone_config": PRESET, "fpn_hidden_size": 32}
    with torch.device("meta"):
        images, video = HQSam2Model(HQSam2Config(**sections)).state_dict(), Sam2VideoModel(Sam2VideoConfig())
    torch.manual_seed(0)
    weights = {name: torch.randn(2) for name in video.state_dict() if is_video_key(name)}
    return {**{name: torch.randn(tensor.shape) for name, tensor in images.items()}, **weights}


def save_base(folder: Path) -> Path:
    """Write an HQ-SAM 2 of size `ARCHITECTURE` with random weights and return its folder."""
    torch.manual_seed(0)
    model = HQSam2Model(HQSam2Config(**ARCHITECTURE))
    model.save_pretrained(folder)
    HQSam2Processor.from_config(model.config).save_pretrained(folder)
    return folder
