"""The three implementations with equal weights, which are random."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hq_sam_hf import HQSamConfig, HQSamModel, HQSamProcessor
from hq_sam_hf.export.reference import build_original
from hq_sam_hf.model.key_mapping import keys_from_original
from hq_sam_hf.model.presets import PRESETS

from .measuring import Clock

BACKBONES = (*PRESETS, "small")  # the last, of 256 pixels, only to see that the command works
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Options:
    """What a part is asked to measure."""

    backbone: str = "vit_b"
    dtype: str = "float32"
    device: str = "cpu"
    rounds: int = 5
    original_train: str | None = None
    points_per_side: int = 32
    large_masks: int = 24
    cpu_time: bool = False

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def clock(self) -> Clock:
        return time.process_time if self.cpu_time else time.perf_counter


@dataclass
class Contenders:
    ours: HQSamModel
    original: Any
    transformers: Any | None  # has no TinyViT

    @property
    def processor(self) -> HQSamProcessor:
        return HQSamProcessor.from_config(self.ours.config)

    @property
    def side(self) -> int:
        return self.ours.config.vision_config.image_size


def configuration(backbone: str) -> HQSamConfig:
    if backbone != "small":
        return HQSamConfig.from_preset(backbone)
    vision = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "global_attn_indexes": [1, 3]}
    return HQSamConfig(
        vision_config={**vision, "image_size": 256},
        prompt_encoder_config={"image_size": 256},
        mask_decoder_config={"vit_dim": 96},
    )


def build(options: Options) -> Contenders:
    """All three on the device, in evaluation mode; the positions of the ViT get values, so that they count."""
    torch.manual_seed(0)
    original = build_original(configuration(options.backbone))
    with torch.no_grad():
        for name, parameter in original.named_parameters():
            if "rel_pos" in name or "pos_embed" in name or "attention_biases" in name:
                parameter.normal_(std=0.1)
    original.eval()  # again: TinyViT keeps a copy of its biases
    return around(original, options)


def around(original: nn.Module, options: Options) -> Contenders:
    """Ours and transformers' with the weights of an original one."""
    config, weights = configuration(options.backbone), original.state_dict()
    names = keys_from_original(weights)
    ours = HQSamModel(config).eval()
    ours.load_state_dict({names[key]: value for key, value in weights.items()})
    theirs = None if options.backbone == "vit_tiny" else _transformers(ours)
    where = {"device": options.device, "dtype": options.torch_dtype}
    return Contenders(ours.to(**where), original.to(**where), None if theirs is None else theirs.to(**where))


def _transformers(ours: HQSamModel) -> Any:
    from transformers import SamHQConfig, SamHQModel

    config = ours.config.to_dict()
    sections = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    model = SamHQModel(SamHQConfig(**{section: config[section] for section in sections})).eval()
    matrix = {"prompt_encoder.shared_embedding.positional_embedding": ours.shared_image_embedding.positional_embedding}
    model.load_state_dict({**ours.state_dict(), **matrix})
    return model


def worst_gradient(contenders: Contenders, original: nn.Module, prefix: str = "") -> float:
    """The largest 2-norm of the difference of a weight's gradient from the original's, relative to that of the latter.

    original: the part that was differentiated, whose names follow `prefix` in the whole.
    """
    names = keys_from_original(contenders.original.state_dict())
    found: dict[str, Any] = {name: weight.grad for name, weight in contenders.ours.named_parameters()}
    return max(
        float((found[names[prefix + name]] - weight.grad).norm() / weight.grad.norm())
        for name, weight in original.named_parameters()
        if weight.grad is not None
    )


def named(ours: Any, original: Any, transformers: Any = None) -> dict[str, Any]:
    """Tasks by contender, without those that are None."""
    tasks = {"ours": ours, "original": original, "transformers": transformers}
    return {name: task for name, task in tasks.items() if task is not None}
