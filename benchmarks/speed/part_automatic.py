"""Automatic masks of a photo, end to end: encoding, a grid of points, filters, records."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hq_sam_hf import HQSamMaskGenerator, HQSamModel, HQSamProcessor
from hq_sam_hf.export.reference import build_original, import_original
from hq_sam_hf.masks.nms import box_nms
from hq_sam_hf.masks.rle import rle_to_mask
from hq_sam_hf.model.key_mapping import keys_to_original
from hq_sam_hf.utils.embedded import EMBEDDED

from .contenders import Contenders, Options, around, configuration, named
from .measuring import alternate, peaks
from .part_pictures import photo
from .report import Row

TESTS = Path(__file__).parents[2] / "tests"

Generators = tuple[HQSamMaskGenerator, Any]  # ours and the original's


def measure(options: Options) -> list[Row]:
    side = options.points_per_side
    picture = np.asarray(photo((1024, 768)))
    contenders = around(_lively(options), options)
    settings = {"pred_iou_thresh": _threshold(contenders, picture, side), "stability_score_thresh": 0.8}
    random = _generators(contenders.ours, contenders.processor, contenders.original, side, settings)
    rows = [_row(f"automatic masks, {side} x {side} points, photo of 1024 x 768", random, picture, options)]
    picture = np.asarray(photo((1024, 683)))
    settings = {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.7, "box_nms_thresh": 0.9}
    real = _generators(*_embedded(options), side, settings)
    rows.append(_row(f"the same with the embedded checkpoint, {side} x {side} points", real, picture, options))
    return rows


def _row(work: str, generators: Generators, picture: np.ndarray, options: Options) -> Row:
    ours, original = generators
    tasks = named(lambda: ours.generate(picture), lambda: original.generate(picture))
    mine, theirs = tasks["ours"](), tasks["original"]()
    pairs = list(zip(mine, theirs))
    boxes = sum(a["bbox"] == b["bbox"] for a, b in pairs)
    pixels = sum(int((rle_to_mask(a["segmentation"]) != rle_to_mask(b["segmentation"])).sum()) for a, b in pairs)
    times = alternate(tasks, max(1, options.rounds // 2), options.clock)
    agreement = f"{len(mine)} and {len(theirs)} records, {boxes} equal boxes, {pixels} pixels differ"
    return Row(work, times, peaks(tasks, options.device), agreement)


def _generators(
    model: HQSamModel, processor: HQSamProcessor, original: torch.nn.Module, side: int, settings: dict[str, float]
) -> Generators:
    import_original()
    module = sys.modules["segment_anything_hq.automatic_mask_generator"]

    def batched_nms(boxes: Tensor, scores: Tensor, _: Tensor, iou_threshold: float) -> Tensor:
        return torch.from_numpy(box_nms(boxes.numpy(), scores.numpy(), iou_threshold))  # torchvision may be absent

    module.batched_nms = batched_nms  # type: ignore[attr-defined]
    both: dict[str, Any] = {"points_per_side": side, "output_mode": "uncompressed_rle", **settings}
    return HQSamMaskGenerator(model, processor, **both), module.SamAutomaticMaskGenerator(original, **both)


def _embedded(options: Options) -> tuple[HQSamModel, HQSamProcessor, torch.nn.Module]:
    """The checkpoint of this package in both implementations: its masks are of objects, and many are kept."""
    model = HQSamModel.from_pretrained(EMBEDDED, dtype=torch.float32).to(options.device)
    original = build_original(model.config)
    weights = model.state_dict()
    names = keys_to_original(weights)
    original.load_state_dict({names[name]: weight for name, weight in weights.items()})
    return model, HQSamProcessor.from_pretrained(EMBEDDED), original.to(options.device)


def _lively(options: Options) -> torch.nn.Module:
    """An original with random weights whose masks depend on the prompt, as made for the tests."""
    sys.path.append(str(TESTS))
    from support.oracle import Architecture, build_lively_original  # type: ignore[import-not-found]

    vision = configuration(options.backbone).vision_config
    if options.backbone == "vit_tiny":
        raise SystemExit("The part `automatic` needs a ViT.")
    return build_lively_original(
        Architecture(
            dim=vision.hidden_size,
            depth=vision.num_hidden_layers,
            heads=vision.num_attention_heads,
            global_blocks=tuple(vision.global_attn_indexes),
            image=vision.image_size,
        )
    )


@torch.no_grad()
def _threshold(contenders: Contenders, picture: np.ndarray, side: int) -> float:
    """The predicted IoU that a fifth of the points exceeds, as on photos with trained weights."""
    height, width = picture.shape[:2]
    grid = (np.arange(side) + 0.5) / side
    points = np.stack(np.meshgrid(grid * width, grid * height), axis=-1).reshape(-1, 1, 2)
    inputs = contenders.processor(picture, input_points=[points]).to(contenders.ours.device)
    scores = contenders.ours(**inputs, min_iou_score=float("inf")).iou_scores[0, :, 0]
    return float(scores.float().quantile(0.8))
