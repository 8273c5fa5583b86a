"""Check prompts as users write them, any number per image, and pad them to tensors.

A prompt asks for one object. Per image, prompts are given in pixels of the original image as
    points   [[x, y], ...] for one prompt, or [[[x, y], ...], ...] for several
    labels   [1, 0, ...] for one prompt, or [[1, 0, ...], ...]; without labels all points are on the object
    boxes    [[x1, y1, x2, y2], ...], one per prompt
None as an image's entry means "no prompt", for which the model returns one unprompted mask. An empty list means
"no object", for which there is no mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .configuration_hq_sam import NEGATIVE, NOT_A_POINT, PADDING, POSITIVE

POINTS_FORM = (
    "`input_points` must be nested as [image][point][x, y] (one object per image) or [image][object][point][x, y], "
    "with None for an image without points"
)
LABELS_FORM = "`input_labels` must be nested like `input_points`, with one label in place of each [x, y]"
BOXES_FORM = (
    "`input_boxes` must be nested as [image][box][x1, y1, x2, y2], with None for an image without boxes; "
    "for a single box, pass [[[x1, y1, x2, y2]]]"
)


@dataclass
class PromptArrays:
    """The P prompts of one image as arrays. A kind of prompt that is not given is None.

    points: per prompt (N, 2) as (x, y). labels: per prompt (N,). boxes: (P, 4) as (x1, y1, x2, y2).
    """

    points: list[np.ndarray] | None = None
    labels: list[np.ndarray] | None = None
    boxes: np.ndarray | None = None


def parse_points(input_points: Any, input_labels: Any, sizes: Sequence[tuple[int, int]]) -> list[PromptArrays]:
    """Check the points and labels of all images; returns one `PromptArrays` per image, without boxes.

    sizes: (height, width) of the original images, inside which the points must lie.
    """
    if input_points is None:
        if input_labels is not None:
            raise ValueError("`input_labels` were given without `input_points`. Pass the points too.")
        return [PromptArrays() for _ in sizes]
    points = _entries("input_points", input_points, len(sizes), POINTS_FORM)
    depth = _common_depth(points, "input_points", (2, 3), POINTS_FORM)
    labels = [None] * len(sizes)
    if input_labels is not None:
        labels = _entries("input_labels", input_labels, len(sizes), LABELS_FORM)
    parsed = []
    for i, (image_points, image_labels, size) in enumerate(zip(points, labels, sizes)):
        if image_points is None:
            if image_labels is not None:
                raise ValueError(f"`input_labels` has labels for image {i}, but `input_points` has no points for it.")
            parsed.append(PromptArrays())
            continue
        # An empty list, which has no depth, means that there is no object.
        is_single_prompt = depth == 2 and len(image_points) > 0
        prompts = [image_points] if is_single_prompt else image_points
        prompt_labels = image_labels
        if image_labels is not None:
            prompt_labels = [image_labels] if is_single_prompt else image_labels
            if not isinstance(prompt_labels, list) or len(prompt_labels) != len(prompts):
                raise ValueError(
                    f"{LABELS_FORM}; image {i} has {len(prompts)} objects in `input_points`, its labels differ."
                )
        point_arrays = [_check_points(prompt, size, i) for prompt in prompts]
        label_arrays = [
            _check_labels(prompt_labels[k], len(xy), i) if prompt_labels is not None else np.full(len(xy), POSITIVE)
            for k, xy in enumerate(point_arrays)
        ]
        parsed.append(PromptArrays(points=point_arrays, labels=label_arrays))
    return parsed


def parse_boxes(input_boxes: Any, sizes: Sequence[tuple[int, int]]) -> list[np.ndarray | None]:
    """Check the boxes of all images; returns (P, 4) float64 per image, or None for an image without boxes.

    sizes: (height, width) of the original images, which the boxes must touch.
    """
    if input_boxes is None:
        return [None] * len(sizes)
    entries = _entries("input_boxes", input_boxes, len(sizes), BOXES_FORM)
    _common_depth(entries, "input_boxes", (2,), BOXES_FORM)
    return [
        None if boxes is None else _check_boxes(boxes, size, i) for i, (boxes, size) in enumerate(zip(entries, sizes))
    ]


def pad_points(prompts: Sequence[PromptArrays], num_prompts: int) -> tuple[Tensor, Tensor]:
    """Stack the prompts of B images to points (B, P, N, 2) float32 and labels (B, P, N) int64.

    num_prompts: P. Images with fewer prompts and prompts with fewer points are padded with the label PADDING.
    """
    longest = max((len(xy) for image in prompts for xy in image.points or []), default=0)
    points = torch.zeros(len(prompts), num_prompts, max(longest, 1), 2)
    labels = torch.full(points.shape[:3], PADDING)
    for i, image in enumerate(prompts):
        for p, (prompt_points, prompt_labels) in enumerate(zip(image.points or [], image.labels or [])):
            points[i, p, : len(prompt_points)] = torch.from_numpy(prompt_points)
            labels[i, p, : len(prompt_points)] = torch.from_numpy(prompt_labels)
    return points, labels


def pad_prompts(entries: Sequence[np.ndarray | Tensor | None], num_prompts: int) -> Tensor:
    """Stack the boxes or mask logits of B images, each (P_i, ...) or None, to (B, P, ...) float32.

    num_prompts: P. Images with fewer prompts are padded with NaN.
    """
    tail = next(entry.shape[1:] for entry in entries if entry is not None)
    stacked = torch.full((len(entries), num_prompts, *tail), float("nan"))
    for i, entry in enumerate(entries):
        if entry is not None:
            stacked[i, : len(entry)] = torch.as_tensor(entry)
    return stacked


def _entries(name: str, value: Any, num_images: int, form: str) -> list:
    """The entries, one per image, with arrays and tensors turned into nested lists."""
    value = _to_lists(value)
    if not isinstance(value, list):
        raise ValueError(f"{form}, got a {type(value).__name__}.")
    if len(value) != num_images:
        raise ValueError(f"{form}; `{name}` has {len(value)} entries for {num_images} image(s).")
    return value


def _to_lists(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_to_lists(entry) for entry in value]
    return value


def nesting_depth(value: Any) -> int | None:
    """How deep numbers are nested in lists, or the number of dimensions of an array; None if there is no number."""
    if isinstance(value, Tensor | np.ndarray):
        return value.ndim
    if not isinstance(value, list | tuple):
        return None if value is None else 0
    depths = [depth for depth in map(nesting_depth, value) if depth is not None]
    return 1 + max(depths) if depths else None


def _common_depth(entries: list, name: str, allowed: tuple[int, ...], form: str) -> int:
    depths = {depth for depth in map(nesting_depth, entries) if depth is not None}
    if len(depths) > 1 or not depths <= set(allowed):
        raise ValueError(f"{form}, got entries nested {sorted(depths)} deep.")
    for i, entry in enumerate(entries):
        if entry is not None and not isinstance(entry, list):
            raise ValueError(f"{form}, got {entry!r} for image {i}.")
    return depths.pop() if depths else allowed[0]


def _numbers(values: Any, form: str, image: int, width: int | None) -> np.ndarray:
    """Check rows of `width` numbers each, or single numbers with width None; returns finite float64."""
    rows = values if isinstance(values, list) else [values]
    for row in rows:
        cells = row if width is not None else [row]
        right_width = width is None or (isinstance(row, list) and len(row) == width)
        if not right_width or not all(isinstance(cell, Real) and not isinstance(cell, bool) for cell in cells):
            raise ValueError(f"{form}; image {image} has {row!r}.")
    array = np.asarray(rows, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{form}; all values must be finite, image {image} has {array.tolist()}.")
    return array


def _check_points(prompt: Any, size: tuple[int, int], image: int) -> np.ndarray:
    if not isinstance(prompt, list) or len(prompt) == 0:
        raise ValueError(
            f"{POINTS_FORM}; image {image} has an object without a point ({prompt!r}). Remove the object, or give it "
            "only a box in `input_boxes`."
        )
    points = _numbers(prompt, POINTS_FORM, image, 2)
    height, width = size
    # Half a pixel of tolerance: integer coordinates are pixel centres in some tools and pixel corners in others.
    outside = (points < -0.5) | (points > np.array([width, height]))
    if outside.any():
        x, y = points[outside.any(axis=1)][0]
        raise ValueError(
            f"`input_points` must lie inside the image, as (x, y) in pixels of the original image: image {image} is "
            f"{width} wide and {height} high, got ({x:g}, {y:g})."
        )
    return points


def _check_labels(labels: Any, count: int, image: int) -> np.ndarray:
    if not isinstance(labels, list) or len(labels) != count:
        raise ValueError(f"{LABELS_FORM}; image {image} has {count} points and the labels {labels!r}.")
    numbers = []
    for label in labels:
        number = int(label) if isinstance(label, bool) else label
        if number not in (POSITIVE, NEGATIVE, NOT_A_POINT, PADDING):
            raise ValueError(
                "`input_labels` must be 1 (on the object), 0 (on the background), -1 (not a point) or -10 (ignored), "
                f"image {image} has {label!r}. Pass boxes as `input_boxes`, not as labels 2 and 3."
            )
        numbers.append(int(number))
    return np.array(numbers)


def _check_boxes(boxes: Any, size: tuple[int, int], image: int) -> np.ndarray:
    if len(boxes) == 0:
        return np.zeros((0, 4))
    array = _numbers(boxes, BOXES_FORM, image, 4)
    height, width = size
    for x1, y1, x2, y2 in array:
        if x2 < x1 or y2 < y1:
            raise ValueError(
                f"`input_boxes` must be (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, image {image} has "
                f"({x1:g}, {y1:g}, {x2:g}, {y2:g}). Is it (x, y, width, height)?"
            )
        if x1 > width or y1 > height or x2 < -0.5 or y2 < -0.5:
            raise ValueError(
                f"`input_boxes` must touch the image, in pixels of the original image: image {image} is {width} wide "
                f"and {height} high, got ({x1:g}, {y1:g}, {x2:g}, {y2:g})."
            )
    return array


__all__ = ["PromptArrays", "nesting_depth", "pad_points", "pad_prompts", "parse_boxes", "parse_points"]
