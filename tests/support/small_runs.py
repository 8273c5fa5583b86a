"""Small training runs for tests, of a model with 64 pixels on generated scenes, and comparisons of their results."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hq_sam_hf import HQSamConfig, HQSamModel, HQSamProcessor
from hq_sam_hf.training.config import TrainingConfig
from hq_sam_hf.training.dataset import TrainingDataset

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


FINAL = "final/model.safetensors"


def save_base(folder: Path) -> Path:
    """Write a small HQ-SAM with random weights and return its folder."""
    torch.manual_seed(0)
    model = HQSamModel(HQSamConfig(**ARCHITECTURE))
    model.save_pretrained(folder)
    HQSamProcessor.from_config(model.config).save_pretrained(folder)
    return folder


def small_run(base: Path | str, output: Path | str, **fields: Any) -> TrainingConfig:
    """A run of four steps with four images each, in two epochs; `fields` replace its fields."""
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


def make_dataset(rows: Any, **fields: Any) -> TrainingDataset:
    """The training dataset of a small run on these rows."""
    return TrainingDataset(rows, small_run("base", "out", **fields), image_size=64, mask_size=32)


def read_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_equal_weights(first: Path, second: Path) -> None:
    """Assert that two runs, given by their output folders, have the same final weights bit for bit."""
    one, two = load_file(first / FINAL), load_file(second / FINAL)
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def assert_close_weights(first: Path, second: Path, base: Path) -> None:
    """Assert that the final weights of two runs differ by rounding only, compared with how far training moved them.

    The comparison is of norms, because Adam enlarges the rounding of tiny gradients.
    """
    one, two, start = load_file(first / FINAL), load_file(second / FINAL), load_file(base / "model.safetensors")
    for name in one:
        moved = (one[name] - start[name]).norm().item()
        assert (one[name] - two[name]).norm().item() <= max(1e-3 * moved, 1e-7), name
