"""Automatic masks of a photo, end to end: encoding, a grid of points, filters, records."""

import importlib.util
import sys

import numpy as np
import torch
from torch import Tensor

from hq_sam_hf.original_package import import_original

from .contenders import Options, around, configuration, named
from .measuring import alternate, peaks
from .part_pictures import photo
from .report import Row


def measure(options: Options) -> list[Row]:
    side = options.points_per_side
    work = f"automatic masks, {side} x {side} points, photo of 1024 x 768"
    if importlib.util.find_spec("hq_sam_hf.mask_generation") is None:
        return [Row(work, agreement="absent: this package has no mask_generation")]
    from hq_sam_hf.box_nms import box_nms
    from hq_sam_hf.mask_generation import HQSamMaskGenerator

    contenders = around(_lively(options), options)
    import_original()
    module = sys.modules["segment_anything_hq.automatic_mask_generator"]

    def batched_nms(boxes: Tensor, scores: Tensor, _: Tensor, iou_threshold: float) -> Tensor:
        return torch.from_numpy(box_nms(boxes.numpy(), scores.numpy(), iou_threshold))  # torchvision may be absent

    module.batched_nms = batched_nms  # type: ignore[attr-defined]
    picture = np.asarray(photo((1024, 768)))
    threshold = _threshold(contenders, picture, side)
    settings = {
        "points_per_side": side,
        "pred_iou_thresh": threshold,
        "stability_score_thresh": 0.8,
        "output_mode": "uncompressed_rle",
    }
    ours = HQSamMaskGenerator(contenders.ours, contenders.processor, **settings)
    original = module.SamAutomaticMaskGenerator(contenders.original, **settings)
    tasks = named(lambda: ours.generate(picture), lambda: original.generate(picture))
    mine, theirs = tasks["ours"](), tasks["original"]()
    pairs = list(zip(mine, theirs))
    same = sum(a["bbox"] == b["bbox"] and a["segmentation"] == b["segmentation"] for a, b in pairs)
    agreement = (
        f"{len(mine)} and {len(theirs)} records, {same} equal in every pixel; a fifth of the points passes the IoU"
    )
    return [
        Row(
            work,
            alternate(tasks, max(1, options.rounds // 2), options.clock),
            peaks(tasks, options.device),
            agreement,
        )
    ]


def _lively(options: Options) -> torch.nn.Module:
    """An original with random weights whose masks depend on the prompt, as made for the tests."""
    from tests.oracle import Architecture, build_lively_original

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
def _threshold(contenders, picture: np.ndarray, side: int) -> float:
    """The predicted IoU that a fifth of the points exceeds, as on photos with trained weights."""
    height, width = picture.shape[:2]
    grid = (np.arange(side) + 0.5) / side
    points = np.stack(np.meshgrid(grid * width, grid * height), axis=-1).reshape(-1, 1, 2)
    inputs = contenders.processor(picture, input_points=[points]).to(contenders.ours.device)
    scores = contenders.ours(**inputs, min_iou_score=float("inf")).iou_scores[0, :, 0]
    return float(scores.float().quantile(0.8))
