"""The three implementations with equal random weights: ours, the original and transformers' SamHQModel."""

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

BACKBONES = (*PRESETS, "small")  # "small", with 256 pixels, only tests the command
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Options:
    """The options of a part of the benchmark."""

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
    """Build all three on the device, in evaluation mode. Positional weights, which start at zero, become random."""
    torch.manual_seed(0)
    original = build_original(configuration(options.backbone))
    with torch.no_grad():
        for name, parameter in original.named_parameters():
            if "rel_pos" in name or "pos_embed" in name or "attention_biases" in name:
                parameter.normal_(std=0.1)
    original.eval()  # again: TinyViT caches its attention biases when it enters evaluation mode
    return with_weights_of(original, options)


def with_weights_of(original: nn.Module, options: Options) -> Contenders:
    """Our model and transformers' with the weights of an original."""
    config, weights = configuration(options.backbone), original.state_dict()
    names = keys_from_original(weights)
    ours = HQSamModel(config).eval()
    ours.load_state_dict({names[key]: value for key, value in weights.items()})
    transformers_model = None if options.backbone == "vit_tiny" else _transformers(ours)
    target = {"device": options.device, "dtype": options.torch_dtype}
    if transformers_model is not None:
        transformers_model.to(**target)
    return Contenders(ours.to(**target), original.to(**target), transformers_model)


def _transformers(ours: HQSamModel) -> Any:
    from transformers import SamHQConfig, SamHQModel

    config = ours.config.to_dict()
    sections = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    model = SamHQModel(SamHQConfig(**{section: config[section] for section in sections})).eval()
    matrix = {"prompt_encoder.shared_embedding.positional_embedding": ours.shared_image_embedding.positional_embedding}
    model.load_state_dict({**ours.state_dict(), **matrix})
    return model


def worst_gradient(contenders: Contenders, original: nn.Module, prefix: str = "") -> float:
    """The largest relative difference of a weight's gradient to the original's, by the 2-norm.

    original: the module that was differentiated. prefix: its name in the whole model, with a dot.
    """
    names = keys_from_original(contenders.original.state_dict())
    gradients: dict[str, Any] = {name: weight.grad for name, weight in contenders.ours.named_parameters()}
    return max(
        float((gradients[names[prefix + name]] - weight.grad).norm() / weight.grad.norm())
        for name, weight in original.named_parameters()
        if weight.grad is not None
    )


def named(ours: Any, original: Any, transformers: Any = None) -> dict[str, Any]:
    """The tasks by name of the contender, without those that are None."""
    tasks = {"ours": ours, "original": original, "transformers": transformers}
    return {name: task for name, task in tasks.items() if task is not None}
