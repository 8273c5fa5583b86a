"""Part `automatic`: automatic masks of a photo from the encoder to the records."""

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

from .contenders import Contenders, Options, configuration, named, with_weights_of
from .measuring import alternate, peaks
from .part_pictures import photo
from .report import Row

TESTS = Path(__file__).parents[2] / "tests"

Generators = tuple[HQSamMaskGenerator, Any]  # ours and that of the original


def measure(options: Options) -> list[Row]:
    side = options.points_per_side
    image = np.asarray(photo((1024, 768)))
    contenders = with_weights_of(_random_original(options), options)
    settings = {"pred_iou_thresh": _threshold(contenders, image, side), "stability_score_thresh": 0.8}
    random = _generators(contenders.ours, contenders.processor, contenders.original, side, settings)
    rows = [_row(f"automatic masks, {side} x {side} points, photo of 1024 x 768", random, image, options)]
    image = np.asarray(photo((1024, 683)))
    settings = {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.7, "box_nms_thresh": 0.9}
    real = _generators(*_embedded(options), side, settings)
    rows.append(_row(f"the same with the embedded checkpoint, {side} x {side} points", real, image, options))
    return rows


def _row(work: str, generators: Generators, image: np.ndarray, options: Options) -> Row:
    ours, original = generators
    tasks = named(lambda: ours.generate(image), lambda: original.generate(image))
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
        return torch.from_numpy(box_nms(boxes.numpy(), scores.numpy(), iou_threshold))

    # The original uses torchvision's, which may not be installed.
    module.batched_nms = batched_nms  # type: ignore[attr-defined]
    both: dict[str, Any] = {"points_per_side": side, "output_mode": "uncompressed_rle", **settings}
    return HQSamMaskGenerator(model, processor, **both), module.SamAutomaticMaskGenerator(original, **both)


def _embedded(options: Options) -> tuple[HQSamModel, HQSamProcessor, torch.nn.Module]:
    """The embedded checkpoint in both implementations. It predicts masks of objects, so many pass the filters."""
    model = HQSamModel.from_pretrained(EMBEDDED, dtype=torch.float32).to(options.device)
    original = build_original(model.config)
    weights = model.state_dict()
    names = keys_to_original(weights)
    original.load_state_dict({names[name]: weight for name, weight in weights.items()})
    return model, HQSamProcessor.from_pretrained(EMBEDDED), original.to(options.device)


def _random_original(options: Options) -> torch.nn.Module:
    """The original with random weights whose masks depend on the prompt, from the support code of the tests."""
    sys.path.append(str(TESTS))
    from support.oracle import Architecture, build_lively_original  # type: ignore[import-not-found]

    vision = configuration(options.backbone).vision_config
    if options.backbone == "vit_tiny":
        raise SystemExit("The part `automatic` needs a ViT backbone, got vit_tiny. Choose another --backbone.")
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
def _threshold(contenders: Contenders, image: np.ndarray, side: int) -> float:
    """The 80 % quantile of the predicted IoU of all points: trained weights keep about a fifth of them on photos."""
    height, width = image.shape[:2]
    grid = (np.arange(side) + 0.5) / side
    points = np.stack(np.meshgrid(grid * width, grid * height), axis=-1).reshape(-1, 1, 2)
    inputs = contenders.processor(image, input_points=[points]).to(contenders.ours.device)
    scores = contenders.ours(**inputs, min_iou_score=float("inf")).iou_scores[0, :, 0]
    return float(scores.float().quantile(0.8))
