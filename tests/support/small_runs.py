"""Small training runs for the tests: a model of 64 pixels on generated scenes."""

from pathlib import Path
from typing import Any

from hq_sam_hf import HQSamConfig, HQSamModel, HQSamProcessor
from hq_sam_hf.training.config import TrainingConfig

ARCHITECTURE: dict[str, Any] = {
    "vision_config": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "global_attn_indexes": [1],
        "image_size": 64,
        "patch_size": 8,
        "window_size": 4,
        "output_channels": 32,
        "num_pos_feats": 16,
    },
    "prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": 8},
    "mask_decoder_config": {
        "hidden_size": 32,
        "mlp_dim": 32,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 32,
        "vit_dim": 32,
    },
}


def save_base(folder: Path) -> Path:
    """A model folder with random weights."""
    import torch

    torch.manual_seed(0)
    model = HQSamModel(HQSamConfig(**ARCHITECTURE))
    model.save_pretrained(folder)
    HQSamProcessor.from_config(model.config).save_pretrained(folder)
    return folder


def small_run(base: Path | str, output: Path | str, **fields: Any) -> TrainingConfig:
    """Four steps of four images, two epochs of them."""
    defaults = {
        "model": str(base),
        "output_dir": str(output),
        "data": {"kind": "scenes", "count": 8, "size": 64},
        "batch_size": 4,
        "accumulation": 1,
        "epochs": 2,
        "num_workers": 0,
        "save_steps": 1,
        "log_steps": 1,
        "masks_per_image": 2,
    }
    return TrainingConfig.from_dict({**defaults, **fields})
