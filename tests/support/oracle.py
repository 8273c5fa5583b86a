"""Small models with random weights: the original's (PyPI segment-anything-hq 0.3), the oracle, and ours."""

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hq_sam_hf import HQSamConfig, HQSamModel, HQSamProcessor
from hq_sam_hf.export.reference import build_original as build_from_config
from hq_sam_hf.export.reference import run_original
from hq_sam_hf.model.key_mapping import keys_from_original


@dataclass(frozen=True)
class Architecture:
    """The sizes of an HQ-SAM. The defaults are those of all published backbones."""

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
    """The configuration with a ViT or, for "tiny", with a narrow TinyViT."""
    if arch == TINY:
        return HQSamConfig(
            vision_config={
                "model_type": "hq_sam_tiny_vit",
                "image_size": 1024,
                "embed_dims": [8, 16, 24, 320],  # the original keeps the grid size only for 320 channels
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
    """Our model with the weights of an original."""
    config = config_of(arch)
    config._attn_implementation = attn_implementation
    model = HQSamModel(config).eval()
    weights = sam.state_dict()
    names = keys_from_original(weights)
    model.load_state_dict({names[key]: value for key, value in weights.items()}, strict=True)
    return model


@torch.no_grad()
def build_lively_original(
    arch: Architecture | str, spread: float = 5.0, offset: float = 1.5, seed: int = 0
) -> nn.Module:
    """An original whose output depends on the prompt: masks with an inside and an outside, scores from 0.5 to 1.

    With random weights all prompts get nearly the same mask. So the hypernetworks' output loses its mean over prompts
    and its component along the mean pixel, and is then scaled and shifted: logits have a standard deviation of
    `spread` and a mean of -offset * spread.
    """
    sam = build_original(arch, seed)
    decoder, side = sam.mask_decoder, sam.image_encoder.img_size
    for module in decoder.modules():
        if isinstance(module, nn.ConvTranspose2d):
            mean = module.weight.mean(dim=(2, 3), keepdim=True)
            module.weight.copy_(4 * mean + 0.15 * (module.weight - mean))
    if getattr(sam.image_encoder, "pos_embed", None) is not None:
        sam.image_encoder.pos_embed.mul_(0.1)
    generator = torch.Generator().manual_seed(3)
    image = nn.functional.interpolate(torch.randn(1, 3, side // 16, side // 16, generator=generator), (side, side))
    points = torch.rand(32, 1, 2, generator=generator) * side, torch.ones(32, 1)
    heads = [*decoder.output_hypernetworks_mlps, decoder.hf_mlp]
    hooked = [decoder.output_upscaling, decoder.embedding_maskfeature, *heads, decoder.iou_prediction_head]
    outputs: dict[nn.Module, torch.Tensor] = {}
    hooks = [module.register_forward_hook(lambda m, _, output: outputs.__setitem__(m, output)) for module in hooked]
    encoded = sam.image_encoder(image)
    run_original(sam, None, points, encoded=encoded)
    for hook in hooks:
        hook.remove()
    sam_pixels = outputs[decoder.output_upscaling]
    hq_pixels = decoder.embedding_encoder(encoded[0]) + decoder.compress_vit_feat(encoded[1][0].permute(0, 3, 1, 2))
    hq_pixels = hq_pixels + outputs[decoder.embedding_maskfeature]
    for head in heads:
        pixels = hq_pixels if head is decoder.hf_mlp else sam_pixels
        spread_logits(head.layers[-1], outputs[head], pixels, spread, offset)
    spread_scores(decoder.iou_prediction_head.layers[-1], outputs[decoder.iou_prediction_head], 0.75, 0.1)
    return sam


def spread_logits(last: nn.Linear, vectors: torch.Tensor, pixels: torch.Tensor, spread: float, offset: float) -> None:
    """Change the last layer of a hypernetwork so that the masks of its vectors differ; see `build_lively_original`.

    vectors (P, c), pixels (P, c, h, w): of P prompts before the change.
    """
    mean_pixel = pixels.mean(dim=(0, 2, 3))
    unit = mean_pixel / mean_pixel.norm()
    project = torch.eye(len(unit)) - torch.outer(unit, unit)
    mean_vector = vectors.mean(dim=0)
    logits = torch.einsum("pc,pchw->phw", (vectors - mean_vector) @ project, pixels)
    scale = spread / logits.std()
    last.weight.copy_(scale * project @ last.weight)
    last.bias.copy_(scale * project @ (last.bias - mean_vector) - offset * spread * unit / mean_pixel.norm())


def spread_scores(last: nn.Linear, scores: torch.Tensor, mean: float, spread: float) -> None:
    """Change the last layer of a score head so that the scores (P, M) have this mean and standard deviation."""
    scale = spread / scores.std(dim=0)
    last.bias.copy_(scale * (last.bias - scores.mean(dim=0)) + mean)
    last.weight.mul_(scale[:, None])


@functools.cache
def pair(arch: Architecture | str, attn_implementation: str = "sdpa") -> tuple[nn.Module, HQSamModel]:
    """The original and our model with equal weights. Tests share them, so they must not change them."""
    sam = build_original(arch)
    return sam, port(sam, arch, attn_implementation)


@functools.cache
def lively_pair(arch: Architecture | str) -> tuple[nn.Module, HQSamModel]:
    """As `pair`, with output that depends on the prompt."""
    sam = build_lively_original(arch)
    return sam, port(sam, arch)


def save_folder(model: HQSamModel, folder: Path | str) -> Path | str:
    """Save a model and its processor; returns the folder."""
    model.save_pretrained(folder)
    HQSamProcessor.from_config(model.config).save_pretrained(folder)
    return folder
