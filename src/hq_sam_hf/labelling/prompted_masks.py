"""Masks of the prompted objects of several images, decoded together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature

from ..inference.embeddings import AnyFeatures
from ..inference.loading import AnyModel
from ..inference.object_prompts import prepare_object_prompts
from ..inference.predictor import OBJECTS_PER_CALL
from ..inference.stability import stable_masks
from ..masks.cropped_mask import CroppedMask
from ..masks.rle import compress_counts
from ..model.configuration_hq_sam import PADDING
from ..model.image_processing_hq_sam import HQSamImageProcessor
from ..model.normalised_coordinates import describe_normalised
from .prompt_files import ObjectPrompt
from .prompt_masks import read_prompt_mask

# Calls of the decoder take at most so many prompts, padding included, which bounds their memory.
PROMPTS_PER_CALL = 64
# As in SAM's automatic masks: the logits at which a mask is compared with itself.
STABILITY_OFFSET = 1.0

_PADDING = {"input_points": 0.0, "input_labels": PADDING, "input_boxes": float("nan"), "input_masks": float("nan")}


@dataclass
class ObjectGroup:
    """Some objects of one image with the same kinds of prompts.

    image: number of the image. size: its (height, width). objects: their numbers in the image.
    prompts: in model input coordinates, for a batch of one.
    """

    image: int
    size: tuple[int, int]
    objects: list[int]
    prompts: BatchFeature

    @property
    def shape(self) -> tuple[Any, ...]:
        """Groups of the same shape are decoded together: the kinds of prompts, and the padded number of objects."""
        return tuple(sorted(self.prompts.keys())), 1 << (len(self.objects) - 1).bit_length()


def object_groups(
    image: int,
    size: tuple[int, int],
    prompts: Sequence[ObjectPrompt],
    image_processor: HQSamImageProcessor,
    max_pixels: int | None = None,
    are_computed: bool = False,
) -> list[ObjectGroup]:
    """Check the prompts of an image and divide them into groups.

    max_pixels: of a mask prompt, as for `load_image`.
    are_computed: the coordinates come from a detector, so they are pixels, however small they are.

    Raises ValueError for prompts that are malformed, outside of the image, or seem to be normalised.
    """
    for prompt in [] if are_computed else prompts:
        _refuse_normalised(size, prompt)
    groups = []
    numbers = sorted(range(len(prompts)), key=lambda i: _kinds(prompts[i]))
    for kinds, same in groupby(numbers, key=lambda i: _kinds(prompts[i])):
        same_kinds = list(same)
        for start in range(0, len(same_kinds), OBJECTS_PER_CALL):
            objects = same_kinds[start : start + OBJECTS_PER_CALL]
            part = [prompts[i] for i in objects]
            points = [prompt.points or [] for prompt in part]
            boxes = [prompt.box for prompt in part]
            labels = [prompt.labels or [1] * len(own) for prompt, own in zip(part, points)]
            prepared = prepare_object_prompts(
                image_processor,
                size,
                points=points if "points" in kinds else None,
                labels=labels if "points" in kinds else None,
                boxes=boxes if "box" in kinds else None,
                mask=[read_prompt_mask(prompt.mask, max_pixels) for prompt in part] if "mask" in kinds else None,
                are_computed=True,  # what seems to be normalised has been refused
            )
            del prepared["prompt_counts"]
            groups.append(ObjectGroup(image, size, objects, prepared))
    return groups


def _kinds(prompt: ObjectPrompt) -> tuple[str, ...]:
    return tuple(name for name in ("box", "points", "mask") if getattr(prompt, name) is not None)


def _refuse_normalised(size: tuple[int, int], prompt: ObjectPrompt) -> None:
    for kind, rows in (("boxes", None if prompt.box is None else [prompt.box]), ("points", prompt.points)):
        message = describe_normalised(kind, np.array(rows, dtype=np.float64), size) if rows else None
        if message is not None:
            raise ValueError(f"{message} For the first pixel itself, give whole numbers.")


def calls(groups: Sequence[ObjectGroup]) -> Iterator[list[ObjectGroup]]:
    """Divide groups into calls of the decoder: of one shape each, with at most PROMPTS_PER_CALL prompts."""
    for (_, count), same in groupby(sorted(groups, key=lambda group: group.shape), key=lambda group: group.shape):
        waiting, at_once = list(same), max(1, PROMPTS_PER_CALL // count)
        for start in range(0, len(waiting), at_once):
            yield waiting[start : start + at_once]


def decode_groups(
    model: AnyModel,
    image_processor: HQSamImageProcessor,
    features: AnyFeatures,
    groups: Sequence[ObjectGroup],
    multimask_output: bool,
    hq_token_only: bool,
) -> Iterator[tuple[ObjectGroup, list[dict[str, Any]]]]:
    """Decode the prompts of one call. Gives each group with a record per object, in the order of the group.

    features: of all images, in whose order groups are numbered.

    A record has segmentation (COCO RLE), bbox [x, y, width, height] and area in pixels, predicted_iou and
    stability_score, which is None for an empty mask. Of several candidates, the one with the best score is taken.
    """
    chosen = torch.tensor([group.image for group in groups], device=features.image_embeddings.device)
    own = type(features)(
        **{name: tensor.index_select(0, chosen) for name, tensor in features.items() if tensor is not None}
    )
    prompts = {name: tensor.to(model.device) for name, tensor in _joined([group.prompts for group in groups]).items()}
    outputs = model(image_features=own, **prompts, multimask_output=multimask_output, hq_token_only=hq_token_only)
    logits, scores = outputs.pred_masks[:, :, 0].float().cpu(), outputs.iou_scores[:, :, 0].float().cpu()
    for group, group_logits, group_scores in zip(groups, logits, scores):
        found = zip(group_logits[: len(group.objects)], group_scores.tolist())
        yield group, [_record(low, score, image_processor, group.size) for low, score in found]


def _joined(parts: Sequence[BatchFeature]) -> dict[str, Tensor]:
    """The prompts of several images with the same kinds of prompts, padded to one batch."""
    joined = {}
    for name in parts[0]:
        tensors = [part[name][0] for part in parts]
        shape = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors))]
        joined[name] = torch.full((len(parts), *shape), _PADDING[name], dtype=tensors[0].dtype)
        for padded, tensor in zip(joined[name], tensors):
            padded[tuple(slice(side) for side in tensor.shape)] = tensor
    return joined


def _record(
    logits: Tensor, score: float, image_processor: HQSamImageProcessor, size: tuple[int, int]
) -> dict[str, Any]:
    """The record of one mask. One at a time, because a mask of a large image takes much memory."""
    _, stability, (mask,) = stable_masks(logits[None], image_processor, size, STABILITY_OFFSET, min_stability=0)
    is_empty = mask.area == 0
    return {
        "segmentation": {"size": list(size), "counts": compress_counts(mask.run_lengths(size))},
        "bbox": coco_box(mask),
        "area": mask.area,
        "predicted_iou": score,
        "stability_score": None if is_empty else float(stability[0]),
    }


def coco_box(mask: CroppedMask) -> list[int]:
    """COCO's bbox of a mask, [x, y, width, height]; zeros for an empty mask."""
    return [mask.x, mask.y, mask.width, mask.height] if mask.area else [0, 0, 0, 0]


__all__ = ["ObjectGroup", "calls", "coco_box", "decode_groups", "object_groups"]
