"""From prompts in pixels of the original images to padded tensors in model input coordinates.

`HQSamProcessor` and the predictor both take this way; they differ in how errors name the arguments.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature

from .image_processing_hq_sam import HQSamImageProcessor
from .mask_reading import read_binary_mask
from .normalised_coordinates import warn_of_normalised
from .prompt_batching import PromptArrays, is_empty, pad_points, pad_prompts, parse_boxes, parse_points
from .prompt_wording import PROCESSOR_WORDING, PromptWording


def prepare_prompts(
    image_processor: HQSamImageProcessor,
    original_sizes: Sequence[tuple[int, int]],
    points: Any = None,
    labels: Any = None,
    boxes: Any = None,
    masks: Any = None,
    wording: PromptWording = PROCESSOR_WORDING,
    are_computed: bool = False,
) -> BatchFeature:
    """Prepare prompts for images of (height, width) original_sizes; `HQSamProcessor` describes prompts and result.

    wording: how errors name the arguments.
    are_computed: the coordinates come from a program that knows the size of the image, so there is no warning if they
        look normalised.
    """
    parsed_points = parse_points(points, labels, original_sizes, wording)
    parsed_boxes = parse_boxes(boxes, original_sizes, wording)
    parsed_masks = _parse_masks(image_processor, masks, original_sizes, wording)
    counts = [
        _count_prompts(i, *prompts, wording)
        for i, prompts in enumerate(zip(parsed_points, parsed_boxes, parsed_masks))
    ]
    if not are_computed:
        warn_of_normalised([image.points for image in parsed_points], parsed_boxes, original_sizes)
    num_prompts = max(*counts, 1)
    scales = [_scale(image_processor, size) for size in original_sizes]

    prompts = BatchFeature()
    if points is not None:
        for image, scale in zip(parsed_points, scales):
            image.points = None if image.points is None else [xy * scale for xy in image.points]
        prompts["input_points"], prompts["input_labels"] = pad_points(parsed_points, num_prompts)
    if any(entry is not None for entry in parsed_boxes):
        scaled = [None if entry is None else entry * np.tile(scale, 2) for entry, scale in zip(parsed_boxes, scales)]
        prompts["input_boxes"] = pad_prompts(scaled, num_prompts)
    if any(entry is not None for entry in parsed_masks):
        shared = [
            entry.expand(count, -1, -1) if entry is not None and len(entry) == 1 else entry
            for entry, count in zip(parsed_masks, counts)
        ]
        prompts["input_masks"] = pad_prompts(shared, num_prompts)
    if any(prompt is not None for prompt in (points, boxes, masks)):
        prompts["prompt_counts"] = torch.tensor(counts)
    return prompts


def ground_truth_masks(
    segmentation_maps: Any, sizes: Sequence[tuple[int, int]], counts: Sequence[int]
) -> list[list[np.ndarray] | None]:
    """Ground-truth masks of each image as bool (height, width), one per prompt; None for an image without."""
    name = "segmentation_maps"
    masks_of_images: list[list[np.ndarray] | None] = []
    for i, (entry, size, count) in enumerate(zip(_per_image(name, segmentation_maps, len(sizes)), sizes, counts)):
        if entry is None:
            masks_of_images.append(None)
            continue
        stack = _stack(name, entry, f"image {i}")
        masks = [] if stack is None else _full_size_masks(name, stack, size, f"image {i}")
        if len(masks) != count:
            raise ValueError(
                f"`{name}` must contain one mask per prompt, image {i} has {len(masks)} masks for {count} prompts. "
                "Give as many masks as prompts, or None for an image without ground truth."
            )
        masks_of_images.append(masks)
    return masks_of_images


def _scale(image_processor: HQSamImageProcessor, original_size: tuple[int, int]) -> np.ndarray:
    """(x, y) scale from image to model-input pixels."""
    height, width = image_processor.reshaped_size(original_size)
    return np.array([width / original_size[1], height / original_size[0]])


def _parse_masks(
    image_processor: HQSamImageProcessor, masks: Any, sizes: Sequence[tuple[int, int]], wording: PromptWording
) -> list[Tensor | None]:
    if masks is None:
        return [None] * len(sizes)
    return [
        None if entry is None else _mask_logits(image_processor, entry, size, wording.image(i), wording.masks)
        for i, (entry, size) in enumerate(zip(_per_image(wording.masks, masks, len(sizes)), sizes))
    ]


def _mask_logits(
    image_processor: HQSamImageProcessor, entry: Any, size: tuple[int, int], image: str, name: str
) -> Tensor:
    """The mask prompts of one image as logits (P, m, m)."""
    side = image_processor.mask_side
    stack = _stack(name, entry, image)
    if stack is None:
        return torch.zeros(0, side, side)
    if stack.dtype.kind != "f":
        masks = _full_size_masks(name, stack, size, image)
        _check_not_empty(name, masks, image)
        return torch.stack([image_processor.mask_to_logits(mask) for mask in masks])
    if stack.shape[1:] != (side, side):
        raise ValueError(
            f"`{name}` of floats must be logits of the mask size {side} x {side}, {image} has {stack.shape[1:]}. To "
            "pass a mask of the image's size, make it bool first, such as `mask > 0.5`."
        )
    if not np.isfinite(stack).all():
        raise ValueError(
            f"`{name}` must be finite, those of {image} contain NaN or infinity. Leave such masks out, or replace "
            "these logits, such as with `numpy.nan_to_num(logits, posinf=10, neginf=-10)`."
        )
    return torch.from_numpy(stack.astype(np.float32))


def _check_not_empty(name: str, masks: Sequence[np.ndarray], image: str) -> None:
    empty = [str(k) for k, mask in enumerate(masks) if not mask.any()]
    if empty:
        which = "is empty" if len(masks) == 1 else f"holds empty masks, number {', '.join(empty)}"
        raise ValueError(
            f"`{name}` of {image} {which}: a mask prompt says where the object is, and no pixel is on. Pass the mask "
            "of the object, or another kind of prompt."
        )


def _per_image(name: str, value: Any, num_images: int) -> list:
    """Masks as a list with one entry per image."""
    if isinstance(value, np.ndarray | Tensor) and value.ndim == 2 and num_images == 1:
        value = [value]
    if not isinstance(value, list | tuple | np.ndarray | Tensor):
        value = [value]
    if len(value) != num_images:
        raise ValueError(
            f"`{name}` must have one entry per image, got {len(value)} entries for {num_images} image(s). Put the "
            "masks of each image into a list of their own, and None for an image without."
        )
    return list(value)


def _stack(name: str, entry: Any, image: str) -> np.ndarray | None:
    """The masks of one image as one array (masks, height, width), with their dtype kept; None if there is no mask."""
    if isinstance(entry, list | tuple | np.ndarray | Tensor) and is_empty(entry):
        return None
    if isinstance(entry, list | tuple):
        arrays = [_stack(name, mask, image) for mask in entry]
        shapes = {None if array is None else array.shape[1:] for array in arrays}
        if len(shapes) > 1 or None in shapes:
            raise ValueError(
                f"`{name}` of {image} must be one or more masks, all of the same size, got the sizes "
                f"{', '.join(map(str, shapes))}. Resize them to one size, with nearest neighbours."
            )
        return np.concatenate([array for array in arrays if array is not None])
    if isinstance(entry, np.ndarray | Tensor):
        array = np.asarray(
            entry.detach().cpu().float() if isinstance(entry, Tensor) and entry.is_floating_point() else entry
        )
    else:
        array = read_binary_mask(entry, name)  # a PIL image or a path
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3:
        raise ValueError(
            f"`{name}` must have shape (height, width) or (masks, height, width) per image, {image} has "
            f"{array.shape}. Remove other axes, such as with `masks[:, 0]`."
        )
    return array


def _full_size_masks(name: str, stack: np.ndarray, size: tuple[int, int], image: str) -> list[np.ndarray]:
    """Bool masks (height, width), checked to have the size of their image."""
    if stack.shape[1:] != size:
        raise ValueError(
            f"`{name}` must have the size of their image, {size[0]} x {size[1]} (height x width) for {image}, got "
            f"{stack.shape[1]} x {stack.shape[2]}. Resize them to that with nearest neighbours."
        )
    return [read_binary_mask(mask, name) for mask in stack]


def _count_prompts(
    image: int, points: PromptArrays, boxes: np.ndarray | None, masks: Tensor | None, wording: PromptWording
) -> int:
    """The number of objects that the prompts of an image ask for; 1 without prompts, for its unprompted mask."""
    given = ((wording.points, points.points), (wording.boxes, boxes), (wording.masks, masks))
    counts = {name: len(entry) for name, entry in given if entry is not None}
    if len(counts) > 1 and counts.get(wording.masks) == 1:  # one mask may be used for all objects
        counts.pop(wording.masks)
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{count} in `{name}`" for name, count in counts.items())
        candidates = (
            f" Of several candidates choose one as `{wording.masks}`, such as `logits[:1]`."
            if counts.get(wording.masks, 0) > 1
            else ""
        )
        raise ValueError(
            f"All kinds of prompts must have the same number of objects, {wording.image(image)} has {listing}. Give "
            f"each object a prompt of every kind, or None as a whole kind.{candidates}"
        )
    return next(iter(counts.values()), 1)


__all__ = ["ground_truth_masks", "prepare_prompts"]
