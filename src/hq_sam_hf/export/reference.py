"""The original implementation (PyPI segment-anything-hq 0.3), the reference that conversions are verified against.

It is optional. It imports a few functions of torchvision and timm; stand-ins with the same behaviour replace these
packages during the import, so that neither has to be installed.
"""

import functools
import importlib.machinery
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..model.configuration_hq_sam import HQSamConfig


def stand_in(name: str, **members: object) -> types.ModuleType:
    """A module to import in place of a package that is not installed."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__dict__.update(members)
    return module


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def _stand_ins() -> dict[str, types.ModuleType]:
    functional = stand_in(
        "torchvision.transforms.functional",
        resize=_resize,
        to_pil_image=lambda array: Image.fromarray(np.asarray(array)),
    )
    boxes = stand_in("torchvision.ops.boxes", batched_nms=None, box_area=None)
    layers = stand_in(
        "timm.models.layers",
        DropPath=nn.Identity,
        to_2tuple=lambda value: value if isinstance(value, tuple) else (value, value),
        trunc_normal_=nn.init.trunc_normal_,
    )
    return {
        "torchvision": stand_in("torchvision"),
        "torchvision.transforms": stand_in("torchvision.transforms", functional=functional),
        "torchvision.transforms.functional": functional,
        "torchvision.ops": stand_in("torchvision.ops", boxes=boxes),
        "torchvision.ops.boxes": boxes,
        "timm": stand_in("timm"),
        "timm.models": stand_in("timm.models"),
        "timm.models.layers": layers,
        "timm.models.registry": stand_in("timm.models.registry", register_model=lambda function: function),
    }


@contextmanager
def importing_with(stand_ins: dict[str, types.ModuleType]) -> Iterator[None]:
    """Within the block, these modules are imported in place of those of the same names."""
    replaced = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in replaced.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


@functools.cache
def import_original() -> Any:
    """Import the package segment_anything_hq. Raises ImportError if it is not installed."""
    with importing_with(_stand_ins()):
        import segment_anything_hq
        import segment_anything_hq.modeling
    return segment_anything_hq


def build_original(config: HQSamConfig) -> Any:
    """Build the original's `Sam` for a configuration of ours, with random weights, in evaluation mode."""
    modeling = import_original().modeling
    vision = config.vision_config
    build_encoder = _tiny_vit if hasattr(vision, "embed_dims") else _image_encoder_vit
    sam = modeling.Sam(
        image_encoder=build_encoder(modeling, vision),
        prompt_encoder=_prompt_encoder(modeling, config),
        mask_decoder=_mask_decoder(modeling, config.mask_decoder_config),
    )
    return sam.eval().requires_grad_(False)


def _tiny_vit(modeling: Any, vision: Any) -> nn.Module:
    return modeling.TinyViT(
        img_size=vision.image_size,
        in_chans=vision.num_channels,
        num_classes=vision.num_classes,
        embed_dims=list(vision.embed_dims),
        depths=list(vision.depths),
        num_heads=list(vision.num_attention_heads),
        window_sizes=list(vision.window_sizes),
        mlp_ratio=vision.mlp_ratio,
        drop_path_rate=0.0,
    )


def _image_encoder_vit(modeling: Any, vision: Any) -> nn.Module:
    return modeling.ImageEncoderViT(
        img_size=vision.image_size,
        patch_size=vision.patch_size,
        embed_dim=vision.hidden_size,
        depth=vision.num_hidden_layers,
        num_heads=vision.num_attention_heads,
        mlp_ratio=vision.mlp_dim / vision.hidden_size,
        out_chans=vision.output_channels,
        qkv_bias=vision.qkv_bias,
        norm_layer=functools.partial(nn.LayerNorm, eps=vision.layer_norm_eps),
        use_rel_pos=vision.use_rel_pos,
        window_size=vision.window_size,
        global_attn_indexes=tuple(vision.global_attn_indexes),
    )


def _prompt_encoder(modeling: Any, config: HQSamConfig) -> nn.Module:
    vision = config.vision_config
    grid = vision.image_size // vision.patch_size
    return modeling.PromptEncoder(
        embed_dim=vision.output_channels,
        image_embedding_size=(grid, grid),
        input_image_size=(vision.image_size, vision.image_size),
        mask_in_chans=config.prompt_encoder_config.mask_input_channels,
    )


def _mask_decoder(modeling: Any, decoder: Any) -> nn.Module:
    return modeling.MaskDecoderHQ(
        num_multimask_outputs=decoder.num_multimask_outputs,
        transformer=modeling.TwoWayTransformer(
            depth=decoder.num_hidden_layers,
            embedding_dim=decoder.hidden_size,
            mlp_dim=decoder.mlp_dim,
            num_heads=decoder.num_attention_heads,
            attention_downsample_rate=decoder.attention_downsample_rate,
        ),
        transformer_dim=decoder.hidden_size,
        iou_head_depth=decoder.iou_head_depth,
        iou_head_hidden_dim=decoder.iou_head_hidden_dim,
        vit_dim=decoder.vit_dim,
    )


def run_original(
    sam: Any,
    pixel_values: torch.Tensor | None,
    points: tuple[torch.Tensor, torch.Tensor] | None = None,
    boxes: torch.Tensor | None = None,
    masks: torch.Tensor | None = None,
    multimask_output: bool = False,
    hq_token_only: bool = False,
    encoded: tuple | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the original on one image. Returns low-resolution logits (P, M, m, m) and scores (P, M) for P prompts.

    pixel_values: (1, 3, S, S), normalised. points: coordinates (P, N, 2) and labels (P, N). boxes: (P, 4).
    masks: mask prompts (P, 1, m, m). Coordinates are model input coordinates.
    encoded: the output of its image encoder for the image, to use in place of the pixels.
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


__all__ = ["build_original", "import_original", "importing_with", "run_original", "stand_in"]
