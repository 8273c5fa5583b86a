"""Small SAM 2 and HQ-SAM 2 with random weights: Meta's implementation (PyPI sam2 1.1.0), the oracle, and ours.

No package holds the implementation of HQ-SAM 2. Its decoder is stated here as a subclass of Meta's, from the paper's
figure and the names in its published weights, and shares nothing with ours.

sam2 imports hydra, iopath and torchvision, for configuration files, file access and resizing. Stand-ins replace these
packages during the import, so that none has to be installed.
"""

import functools
import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hq_sam_hf.export.reference import importing_with, stand_in
from hq_sam_hf.model.configuration_hq_sam2 import HQSam2Config
from hq_sam_hf.model.key_mapping_sam2 import is_video_key, weights_from_original_sam2
from hq_sam_hf.model.modeling_hq_sam2 import HQSam2Model

SOURCES: dict[str, dict[str, bool]] = {"sum": {}, "hq": {"hq_token_only": True}, "sam": {"sam_only": True}}


class Resize(nn.Module):
    """torchvision's Resize of a float image (3, h, w)."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.height, self.width = size

    def forward(self, image: Tensor) -> Tensor:
        size = [self.height, self.width]
        return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]


class Normalize(nn.Module):
    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.mean, self.std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std


class ToTensor:
    def __call__(self, image: Any) -> Tensor:
        import numpy as np

        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)


def box_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def batched_nms(boxes: Tensor, scores: Tensor, categories: Tensor, threshold: float) -> Tensor:
    """torchvision's NMS: of boxes that overlap by more than the threshold, the one with the best score stays."""
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        others = boxes[kept]
        corner, opposite = torch.maximum(others[:, :2], boxes[i, :2]), torch.minimum(others[:, 2:], boxes[i, 2:])
        shared = (opposite - corner).clamp(min=0).prod(dim=1)
        overlap = shared / (box_area(others) + box_area(boxes[i : i + 1]) - shared)
        if not (overlap[categories[kept] == categories[i]] > threshold).any():
            kept.append(i)
    return torch.tensor(kept, dtype=torch.long)


class GlobalHydra:
    """Hydra, which seems to be initialised already."""

    @classmethod
    def instance(cls) -> "GlobalHydra":
        return cls()

    def is_initialized(self) -> bool:
        return True


@functools.cache
def import_sam2() -> Any:
    """Import Meta's package. Raises ImportError if it is not installed."""
    boxes = stand_in("torchvision.ops.boxes", batched_nms=batched_nms, box_area=box_area)
    transforms = stand_in("torchvision.transforms", Normalize=Normalize, Resize=Resize, ToTensor=ToTensor)
    stand_ins = [
        stand_in("hydra", initialize_config_module=None),
        stand_in("hydra.core"),
        stand_in("hydra.core.global_hydra", GlobalHydra=GlobalHydra),
        stand_in("iopath"),
        stand_in("iopath.common"),
        stand_in("iopath.common.file_io", g_pathmgr=None),
        stand_in("torchvision"),
        stand_in("torchvision.transforms", **vars(transforms)),
        stand_in("torchvision.ops", boxes=boxes),
        boxes,
    ]
    with importing_with({module.__name__: module for module in stand_ins}):
        import sam2
        import sam2.automatic_mask_generator
        import sam2.modeling.backbones.hieradet
        import sam2.modeling.backbones.image_encoder
        import sam2.modeling.memory_attention
        import sam2.modeling.memory_encoder
        import sam2.modeling.position_encoding
        import sam2.modeling.sam2_base
        import sam2.sam2_image_predictor
    return sam2


def hq_decoder_class() -> type[nn.Module]:
    """Meta's decoder with an HQ token after its own tokens and an HQ mask from its upscaled features."""
    modeling = import_sam2().modeling
    decoder_module, utils = modeling.sam.mask_decoder, modeling.sam2_utils

    class MaskDecoderHQ(decoder_module.MaskDecoder):
        source = "sum"

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            width = self.transformer_dim
            self.hf_token = nn.Embedding(1, width)
            self.hf_mlp = utils.MLP(width, width, width // 8, 3)
            self.embedding_maskfeature = nn.Sequential(
                nn.Conv2d(width // 8, width // 4, 3, padding=1),
                utils.LayerNorm2d(width // 4),
                nn.GELU(),
                nn.Conv2d(width // 4, width // 8, 3, padding=1),
            )

        def forward(self, *, sparse_prompt_embeddings: Tensor, **options: Any) -> tuple[Tensor, ...]:
            if self.source == "sam":
                return super().forward(sparse_prompt_embeddings=sparse_prompt_embeddings, **options)
            seen: dict[str, Any] = {}
            hooks = [
                self.transformer.register_forward_hook(lambda *call: seen.update(tokens=call[-1][0])),
                self.output_upscaling[-1].register_forward_hook(lambda *call: seen.update(pixels=call[-1])),
            ]
            # The prompts follow Meta's tokens, so an HQ token at their head stands between the two.
            hq_token = self.hf_token.weight.expand(len(sparse_prompt_embeddings), -1, -1)
            tokens = torch.cat([hq_token, sparse_prompt_embeddings], dim=1)
            masks, *others = super().forward(sparse_prompt_embeddings=tokens, **options)
            for hook in hooks:
                hook.remove()
            vectors = self.hf_mlp(seen["tokens"][:, 2 + self.num_mask_tokens])
            hq = torch.einsum("nc,nchw->nhw", vectors, self.embedding_maskfeature(seen["pixels"]))[:, None]
            return (hq if self.source == "hq" else masks + hq, *others)

    return MaskDecoderHQ


def small_config(
    dim: int = 16,
    heads: tuple[int, ...] = (1, 2, 4, 8),
    blocks: tuple[int, ...] = (1, 2, 3, 1),
    windows: tuple[int, ...] = (8, 4, 6, 3),
    global_blocks: tuple[int, ...] = (4,),
    background: tuple[int, int] = (7, 7),
    image: int = 128,
    width: int = 64,
    thresh: float = 0.98,
) -> HQSam2Config:
    backbone = {
        "hidden_size": dim,
        "embed_dim_per_stage": [dim, 2 * dim, 4 * dim, 8 * dim],
        "num_attention_heads": heads[0],
        "num_attention_heads_per_stage": list(heads),
        "blocks_per_stage": list(blocks),
        "window_size_per_stage": list(windows),
        "global_attention_blocks": list(global_blocks),
        "window_positional_embedding_background_size": list(background),
        "image_size": image,
    }
    return HQSam2Config(
        vision_config={"backbone_config": backbone, "fpn_hidden_size": width},
        prompt_encoder_config={"hidden_size": width, "image_size": image},
        mask_decoder_config={"hidden_size": width, "dynamic_multimask_stability_thresh": thresh},
    )


# The windows of the second divide no grid but the first. The threshold of the third is such that about half of the
# masks are stable.
CONFIGS: dict[str, HQSam2Config] = {
    "small": small_config(),
    "uneven": small_config(8, (2, 4, 8, 16), (2, 1, 2, 2), (8, 4, 14, 7), (4, 6), (14, 14), image=160, width=32),
    "stable": small_config(thresh=0.54),
}


def build_original_sam2(config: HQSam2Config, seed: int = 0) -> Any:
    """Meta's SAM2Base with the HQ decoder and random weights, none of them at an initial zero or one."""
    torch.manual_seed(seed)
    base = import_sam2().modeling.sam2_base
    vision, decoder = config.vision_config, config.mask_decoder_config
    metas_decoder, base.MaskDecoder = base.MaskDecoder, hq_decoder_class()
    try:
        sam = base.SAM2Base(
            _image_encoder(vision),
            *_memory(vision.fpn_hidden_size, vision.image_size // 16),
            image_size=vision.image_size,
            directly_add_no_mem_embed=True,
            no_obj_embed_spatial=True,
            use_high_res_features_in_sam=True,
            multimask_output_in_sam=True,
            iou_prediction_use_sigmoid=True,
            use_obj_ptrs_in_encoder=True,
            proj_tpos_enc_in_obj_ptrs=True,
            pred_obj_scores=True,
            pred_obj_scores_mlp=True,
            fixed_no_obj_ptr=True,
            use_multimask_token_for_obj_ptr=True,
            use_mlp_for_obj_ptr_proj=True,
            sam_mask_decoder_extra_args={
                "dynamic_multimask_via_stability": decoder.dynamic_multimask_via_stability,
                "dynamic_multimask_stability_delta": decoder.dynamic_multimask_stability_delta,
                "dynamic_multimask_stability_thresh": decoder.dynamic_multimask_stability_thresh,
            },
        )
    finally:
        base.MaskDecoder = metas_decoder
    with torch.no_grad():
        for name, parameter in sam.named_parameters():
            if "norm" in name or name.endswith(".bias") or "pos_embed" in name or "no_mem_embed" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return sam.eval().requires_grad_(False)


def _image_encoder(vision: Any) -> nn.Module:
    modeling, backbone = import_sam2().modeling, vision.backbone_config
    trunk = modeling.backbones.hieradet.Hiera(
        embed_dim=backbone.hidden_size,
        num_heads=backbone.num_attention_heads_per_stage[0],
        stages=tuple(backbone.blocks_per_stage),
        global_att_blocks=tuple(backbone.global_attention_blocks),
        window_pos_embed_bkg_spatial_size=tuple(backbone.window_positional_embedding_background_size),
        window_spec=tuple(backbone.window_size_per_stage),
    )
    neck = modeling.backbones.image_encoder.FpnNeck(
        position_encoding=_sine(vision.fpn_hidden_size),
        d_model=vision.fpn_hidden_size,
        backbone_channel_list=list(reversed(backbone.embed_dim_per_stage)),
        fpn_top_down_levels=list(vision.fpn_top_down_levels),
        fpn_interp_model="nearest",
    )
    return modeling.backbones.image_encoder.ImageEncoder(trunk, neck, scalp=1)


def _sine(width: int) -> nn.Module:
    return import_sam2().modeling.position_encoding.PositionEmbeddingSine(
        num_pos_feats=width, normalize=True, scale=None, temperature=10000
    )


def _memory(width: int, grid: int) -> tuple[nn.Module, nn.Module]:
    """Memory attention and memory encoder, which images do not use but checkpoints hold."""
    modeling, memory = import_sam2().modeling, 16
    attention, encoder = modeling.memory_attention, modeling.memory_encoder
    options = {"embedding_dim": width, "num_heads": 1, "dropout": 0.1, "feat_sizes": (grid, grid)}
    rope = modeling.sam.transformer.RoPEAttention
    layer = attention.MemoryAttentionLayer(
        activation="relu",
        cross_attention=rope(rope_k_repeat=True, kv_in_dim=memory, **options),
        d_model=width,
        dim_feedforward=64,
        dropout=0.1,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=rope(**options),
    )
    block = encoder.CXBlock(dim=width, kernel_size=7, padding=3, layer_scale_init_value=1e-6, use_dwconv=True)
    downsampler = encoder.MaskDownSampler(embed_dim=width, kernel_size=3, stride=2, padding=1)
    return (
        attention.MemoryAttention(d_model=width, pos_enc_at_input=True, layer=layer, num_layers=2),
        encoder.MemoryEncoder(
            out_dim=memory,
            mask_downsampler=downsampler,
            fuser=encoder.Fuser(layer=block, num_layers=2),
            position_encoding=_sine(memory),
            in_dim=width,
        ),
    )


def port_sam2(sam: Any, config: HQSam2Config, attn_implementation: str = "sdpa") -> HQSam2Model:
    """Our model with the weights of an original."""
    config = HQSam2Config(**config.to_dict())
    config._attn_implementation = attn_implementation
    model = HQSam2Model(config).eval()
    weights = weights_from_original_sam2(sam.state_dict())
    model.load_state_dict({name: weight for name, weight in weights.items() if not is_video_key(name)}, strict=True)
    return model


@functools.cache
def sam2_pair(name: str, attn_implementation: str = "sdpa") -> tuple[Any, HQSam2Model]:
    """The original and our model with equal weights. Tests share them, so they must not change them."""
    sam = build_original_sam2(CONFIGS[name])
    return sam, port_sam2(sam, CONFIGS[name], attn_implementation)


@torch.no_grad()
def encode_original(sam: Any, pixel_values: Tensor) -> list[Tensor]:
    """Projected finer feature maps and image embeddings of one image, each (1, c, h, w)."""
    fine, middle, coarse = sam.forward_image(pixel_values)["backbone_fpn"]
    return [fine, middle, coarse + sam.no_mem_embed.permute(1, 2, 0)[..., None]]


@torch.no_grad()
def run_original_sam2(
    sam: Any,
    encoded: list[Tensor],
    points: tuple[Tensor, Tensor] | None = None,
    boxes: Tensor | None = None,
    masks: Tensor | None = None,
    multimask_output: bool = False,
    source: str = "sum",
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the original on one image, as its image predictor does: logits (P, M, m, m), scores (P, M), objects (P, 1).

    points: coordinates (P, N, 2) and labels (P, N). boxes: (P, 4). masks: mask prompts (P, 1, m, m). Coordinates are
    model input coordinates. source: "sum", "hq" or "sam".
    """
    if boxes is not None:
        corners, labels = boxes.reshape(-1, 2, 2), torch.tensor([[2, 3]]).expand(len(boxes), -1)
        points = (corners, labels) if points is None else tuple(map(_beside, (corners, labels), points))
    sparse, dense = sam.sam_prompt_encoder(points=points, boxes=None, masks=masks)
    prompts = max(len(sparse), len(dense) if masks is not None else 1)
    sam.sam_mask_decoder.source = source
    masks, scores, _, objects = sam.sam_mask_decoder(
        image_embeddings=encoded[2],
        image_pe=sam.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask_output,
        repeat_image=prompts > 1,
        high_res_features=encoded[:2],
    )
    return masks, scores, objects


def _beside(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([first, second], dim=1)


CASES = list(itertools.product((False, True), SOURCES))

__all__ = [
    "CASES",
    "CONFIGS",
    "SOURCES",
    "build_original_sam2",
    "encode_original",
    "import_sam2",
    "port_sam2",
    "run_original_sam2",
    "sam2_pair",
]
