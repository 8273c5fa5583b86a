"""The original HQ-SAM (PyPI segment-anything-hq 0.3) as the judge of ours, on small random weights.

The package imports torchvision and timm for a handful of functions. Stand-ins with the same behaviour take their
place, so that it runs where neither is installed.
"""

import functools
import importlib.machinery
import sys
import types
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn

from hq_sam_hf import HQSamConfig, HQSamModel
from hq_sam_hf.checkpoints import keys_from_original


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


def _module(name: str, **members: object) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__dict__.update(members)
    return module


@functools.cache
def original():
    """Import segment_anything_hq with stand-ins for torchvision and timm."""

    def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
        return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)

    functional = _module(
        "torchvision.transforms.functional",
        resize=resize,
        to_pil_image=lambda array: Image.fromarray(np.asarray(array)),
    )
    boxes = _module("torchvision.ops.boxes", batched_nms=None, box_area=None)
    layers = _module(
        "timm.models.layers",
        DropPath=nn.Identity,
        to_2tuple=lambda value: value if isinstance(value, tuple) else (value, value),
        trunc_normal_=nn.init.trunc_normal_,
    )
    stand_ins = {
        "torchvision": _module("torchvision"),
        "torchvision.transforms": _module("torchvision.transforms", functional=functional),
        "torchvision.transforms.functional": functional,
        "torchvision.ops": _module("torchvision.ops", boxes=boxes),
        "torchvision.ops.boxes": boxes,
        "timm": _module("timm"),
        "timm.models": _module("timm.models"),
        "timm.models.layers": layers,
        "timm.models.registry": _module("timm.models.registry", register_model=lambda function: function),
    }
    replaced = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        import segment_anything_hq
        import segment_anything_hq.modeling as modeling
    finally:
        for name, module in replaced.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return segment_anything_hq, modeling


def build_original(arch: Architecture, seed: int = 0) -> nn.Module:
    """An original `Sam` with random weights, none of them at an initial zero or one, and logits of about 1."""
    _, modeling = original()
    torch.manual_seed(seed)
    grid = arch.image // arch.patch
    sam = modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=arch.image,
            patch_size=arch.patch,
            embed_dim=arch.dim,
            depth=arch.depth,
            num_heads=arch.heads,
            mlp_ratio=4,
            out_chans=arch.width,
            qkv_bias=True,
            norm_layer=functools.partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=arch.window,
            global_attn_indexes=arch.global_blocks,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=arch.width,
            image_embedding_size=(grid, grid),
            input_image_size=(arch.image, arch.image),
            mask_in_chans=16,
        ),
        mask_decoder=modeling.MaskDecoderHQ(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=arch.width, mlp_dim=arch.mlp, num_heads=8),
            transformer_dim=arch.width,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
            vit_dim=arch.dim,
        ),
    )
    with torch.no_grad():
        for name, parameter in sam.named_parameters():
            if "norm" in name or name.endswith(".bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif "rel_pos" in name or "pos_embed" in name:
                parameter.copy_(0.1 * torch.randn_like(parameter))
    return sam.eval().requires_grad_(False)


def config_of(arch: Architecture) -> HQSamConfig:
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


def port(sam: nn.Module, arch: Architecture, attn_implementation: str = "sdpa") -> HQSamModel:
    """Our model with the weights of an original one."""
    config = config_of(arch)
    config._attn_implementation = attn_implementation
    model = HQSamModel(config).eval()
    weights = sam.state_dict()
    names = keys_from_original(weights)
    model.load_state_dict({names[key]: value for key, value in weights.items()}, strict=True)
    return model


@functools.cache
def pair(arch: Architecture, attn_implementation: str = "sdpa") -> tuple[nn.Module, HQSamModel]:
    """The original and ours with equal weights. Shared between tests: do not change either."""
    sam = build_original(arch)
    return sam, port(sam, arch, attn_implementation)


def original_answer(
    sam: nn.Module,
    pixel_values: torch.Tensor | None,
    points: tuple[torch.Tensor, torch.Tensor] | None = None,
    boxes: torch.Tensor | None = None,
    masks: torch.Tensor | None = None,
    multimask_output: bool = False,
    hq_token_only: bool = False,
    encoded: tuple | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Low-resolution logits (P, 1, h, w) and scores (P, 1) of the original for one image (1, 3, S, S).

    encoded: what its image encoder gave for that image, to ask again without the pixels.
    """
    with torch.no_grad():
        features, intermediate = encoded or sam.image_encoder(pixel_values)
        sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=masks)
        return sam.mask_decoder(
            image_embeddings=features,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
            hq_token_only=hq_token_only,
            interm_embeddings=intermediate,
        )
