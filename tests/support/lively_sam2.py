"""An original HQ-SAM 2 whose masks depend on the prompt, and ours with equal weights."""

import functools
from typing import Any

import torch
from torch import nn

from hq_sam_hf.model.modeling_hq_sam2 import HQSam2Model
from support.oracle import spread_logits, spread_scores
from support.oracle_sam2 import CONFIGS, build_original_sam2, encode_original, port_sam2, run_original_sam2


@functools.cache
@torch.no_grad()
def lively_sam2_pair(name: str = "small") -> tuple[Any, HQSam2Model]:
    """As `sam2_pair`, with masks that have an inside and an outside, and with scores around 0.8.

    `support.oracle.build_lively_original` explains how. Tests share the models, so they must not change them.
    """
    config = CONFIGS[name]
    sam = build_original_sam2(config)
    decoder, side = sam.sam_mask_decoder, sam.image_size
    for module in decoder.modules():
        if isinstance(module, nn.ConvTranspose2d):
            mean = module.weight.mean(dim=(2, 3), keepdim=True)
            module.weight.copy_(4 * mean + 0.15 * (module.weight - mean))
    generator = torch.Generator().manual_seed(3)
    image = nn.functional.interpolate(torch.randn(1, 3, side // 16, side // 16, generator=generator), (side, side))
    points = torch.rand(32, 1, 2, generator=generator) * side, torch.ones(32, 1)
    heads = [*decoder.output_hypernetworks_mlps, decoder.hf_mlp]
    features = [decoder.output_upscaling[-1], decoder.embedding_maskfeature]
    outputs: dict[nn.Module, torch.Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda m, _, output: outputs.__setitem__(m, output))
        for module in (*features, *heads, decoder.iou_prediction_head)
    ]
    run_original_sam2(sam, encode_original(sam, image), points)
    for hook in hooks:
        hook.remove()
    for head in heads:
        pixels = outputs[features[1 if head is decoder.hf_mlp else 0]]
        spread_logits(head.layers[-1], outputs[head], pixels, spread=5.0, offset=1.5)
    spread_scores(decoder.iou_prediction_head.layers[-1], outputs[decoder.iou_prediction_head].logit(), 1.4, 0.6)
    return sam, port_sam2(sam, config)
