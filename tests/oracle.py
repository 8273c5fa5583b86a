"""Small models with random weights, ours and the original's (PyPI segment-anything-hq 0.3), which judges ours."""

import functools
from dataclasses import dataclass

import torch
from torch import nn

from hq_sam_hf import HQSamConfig, HQSamModel
from hq_sam_hf.checkpoints import keys_from_original
from hq_sam_hf.original_package import build_original as build_from_config


@dataclass(frozen=True)
class Architecture:
    """Sizes of one HQ-SAM; the defaults are those that all published backbones share."""

    dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    image: int = 1024
    window: int = 14
    width: int = 256
    mlp: int = 2048
    patch: int = 16


SMALL = Architecture(dim=48, depth=4, heads=4, global_blocks=(1, 3), image=128, window=3, width=64, mlp=128)
NARROW = Architecture(dim=64, depth=3, heads=2, global_blocks=(0, 2), image=96, window=4, width=32, mlp=64)
WIDE = Architecture(dim=32, depth=5, heads=8, global_blocks=(2, 4), image=160, window=7, width=128, mlp=256)
FINE = Architecture(dim=40, depth=2, heads=5, global_blocks=(1,), image=64, window=5, width=64, mlp=96, patch=8)
VIT_B = Architecture(dim=768, depth=12, heads=12, global_blocks=(2, 5, 8, 11))
TINY = "tiny"


def build_original(arch: Architecture | str, seed: int = 0) -> nn.Module:
    """An original `Sam` with random weights, none of them at an initial zero or one, and logits of about 1."""
    torch.manual_seed(seed)
    sam = build_from_config(config_of(arch))
    with torch.no_grad():
        for name, parameter in sam.named_parameters():
            if "norm" in name or ".bn." in name or name.endswith(".bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif "rel_pos" in name or "pos_embed" in name or "attention_biases" in name:
                parameter.copy_(0.1 * torch.randn_like(parameter))
        for name, buffer in sam.named_buffers():
            if "running" in name:
                buffer.add_(0.1 * torch.rand_like(buffer))
    return sam.eval()  # again: TinyViT caches its attention biases when it enters evaluation mode


def config_of(arch: Architecture | str) -> HQSamConfig:
    """The configuration of a ViT or, by its name "tiny", of a slim TinyViT."""
    if arch == TINY:
        return HQSamConfig(
            vision_config={
                "model_type": "hq_sam_tiny_vit",
                "image_size": 1024,
                "embed_dims": [8, 16, 24, 320],  # the original keeps the grid only before 320 channels
                "depths": [1, 2, 2, 1],
                "num_attention_heads": [1, 2, 3, 10],
                "window_sizes": [7, 7, 14, 7],
                "output_channels": 256,
                "num_classes": 10,
            },
            mask_decoder_config={"mlp_dim": 64, "vit_dim": 24},
        )
    return HQSamConfig(
        vision_config={
            "hidden_size": arch.dim,
            "num_hidden_layers": arch.depth,
            "num_attention_heads": arch.heads,
            "global_attn_indexes": list(arch.global_blocks),
            "image_size": arch.image,
            "patch_size": arch.patch,
            "window_size": arch.window,
            "output_channels": arch.width,
            "num_pos_feats": arch.width // 2,
        },
        prompt_encoder_config={"hidden_size": arch.width, "image_size": arch.image, "patch_size": arch.patch},
        mask_decoder_config={"hidden_size": arch.width, "mlp_dim": arch.mlp, "vit_dim": arch.dim},
    )


def port(sam: nn.Module, arch: Architecture | str, attn_implementation: str = "sdpa") -> HQSamModel:
    """Our model with the weights of an original one."""
    config = config_of(arch)
    config._attn_implementation = attn_implementation
    model = HQSamModel(config).eval()
    weights = sam.state_dict()
    names = keys_from_original(weights)
    model.load_state_dict({names[key]: value for key, value in weights.items()}, strict=True)
    return model


@functools.cache
def pair(arch: Architecture | str, attn_implementation: str = "sdpa") -> tuple[nn.Module, HQSamModel]:
    """The original and ours with equal weights. Shared between tests: do not change either."""
    sam = build_original(arch)
    return sam, port(sam, arch, attn_implementation)
