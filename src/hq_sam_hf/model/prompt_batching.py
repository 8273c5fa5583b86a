"""Check prompts as users write them, any number per image, and pad them to tensors.

A prompt asks for one object. Per image, prompts are given in pixels of the original image as
    points   [[x, y], ...] for one prompt, or [[[x, y], ...], ...] for several
    labels   [1, 0, ...] for one prompt, or [[1, 0, ...], ...]; without labels all points are on the object
    boxes    [[x1, y1, x2, y2], ...], one per prompt
None as an image's entry means "no prompt", for which the model returns one unprompted mask. An empty entry means "no
object", for which there is no mask. Lists, arrays and tensors of any nesting or shape are empty if they hold nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .configuration_hq_sam import NEGATIVE, NOT_A_POINT, PADDING, POSITIVE
from .prompt_wording import PROCESSOR_WORDING, PromptWording


@dataclass
class PromptArrays:
    """The P prompts of one image as arrays. A kind of prompt that is not given is None.

    points: per prompt (N, 2) as (x, y). labels: per prompt (N,). boxes: (P, 4) as (x1, y1, x2, y2).
    """

    points: list[np.ndarray] | None = None
    labels: list[np.ndarray] | None = None
    boxes: np.ndarray | None = None


def parse_points(
    input_points: Any,
    input_labels: Any,
    sizes: Sequence[tuple[int, int]],
    wording: PromptWording = PROCESSOR_WORDING,
) -> list[PromptArrays]:
    """Check the points and labels of all images; returns one `PromptArrays` per image, without boxes.

    sizes: (height, width) of the original images, inside which the points must lie.
    wording: how errors name the arguments.
    """
    if input_points is None:
        if input_labels is not None and not is_empty(input_labels):
            raise ValueError(
                f"`{wording.labels}` were given without `{wording.points}`. Pass the points too, or omit the labels."
            )
        return [PromptArrays() for _ in sizes]
    points = _entries(wording.points, input_points, len(sizes), wording.points_form)
    depth = _common_depth(points, (2, 3), wording.points_form)
    labels = [None] * len(sizes)
    if input_labels is not None:
        labels = _entries(wording.labels, input_labels, len(sizes), wording.labels_form)
    return [
        _points_of_image(image_points, image_labels, depth, size, i, wording)
        for i, (image_points, image_labels, size) in enumerate(zip(points, labels, sizes))
    ]


def _points_of_image(
    points: Any, labels: Any, depth: int, size: tuple[int, int], image: int, wording: PromptWording
) -> PromptArrays:
    """The points and labels of one image. depth: 2 if all points are those of one object, 3 if they are by object."""
    if points is None or is_empty(points):
        if labels is not None and not is_empty(labels):
            raise ValueError(
                f"`{wording.labels}` has labels for {wording.image(image)}, but `{wording.points}` has no points for "
                "it. Pass its points too, or None as its labels."
            )
        return PromptArrays() if points is None else PromptArrays(points=[], labels=[])
    prompts = [points] if depth == 2 else points
    if labels is not None:
        labels = [labels] if depth == 2 else labels
        if not isinstance(labels, list) or len(labels) != len(prompts):
            raise ValueError(
                f"{wording.labels_form}; {wording.image(image)} has {len(prompts)} objects in `{wording.points}`, its "
                "labels differ. Give a list of labels for each object."
            )
    point_arrays = [_check_points(prompt, size, image, wording) for prompt in prompts]
    label_arrays = [
        _check_labels(labels[k], len(xy), image, wording) if labels is not None else np.full(len(xy), POSITIVE)
        for k, xy in enumerate(point_arrays)
    ]
    return PromptArrays(points=point_arrays, labels=label_arrays)


def parse_boxes(
    input_boxes: Any, sizes: Sequence[tuple[int, int]], wording: PromptWording = PROCESSOR_WORDING
) -> list[np.ndarray | None]:
    """Check the boxes of all images; returns (P, 4) float64 per image, or None for an image without boxes.

    sizes: (height, width) of the original images, which the boxes must touch.
    wording: how errors name the arguments.
    """
    if input_boxes is None:
        return [None] * len(sizes)
    form = wording.boxes_form
    if wording.image_level:
        form += (
            "; for a single box, pass [[[x1, y1, x2, y2]]], and for several images one such list of boxes each, "
            "[[[x1, y1, x2, y2]], [[x1, y1, x2, y2]]]"
        )
    entries = _entries(wording.boxes, input_boxes, len(sizes), form)
    _common_depth(entries, (2,), form)
    return [
        None if boxes is None else _check_boxes(boxes, size, i, wording)
        for i, (boxes, size) in enumerate(zip(entries, sizes))
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
        raise ValueError(f"{form}; `{name}` has {len(value)} entries for {num_images} image(s). Give one per image.")
    return value


def _to_lists(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_to_lists(entry) for entry in value]
    return value


def is_empty(value: Any) -> bool:
    """Whether a list, array or tensor holds no value, at any depth, such as [], [[]] or one of shape (0, 4)."""
    if isinstance(value, Tensor | np.ndarray):
        return 0 in value.shape
    return isinstance(value, list | tuple) and all(map(is_empty, value))


def nesting_depth(value: Any) -> int | None:
    """How deep numbers are nested in lists, or the number of dimensions of an array; None if there is no number."""
    if isinstance(value, Tensor | np.ndarray):
        return None if 0 in value.shape else value.ndim
    if not isinstance(value, list | tuple):
        return None if value is None else 0
    depths = [depth for depth in map(nesting_depth, value) if depth is not None]
    return 1 + max(depths) if depths else None


def _common_depth(entries: list, allowed: tuple[int, ...], form: str) -> int:
    depths = {depth for depth in map(nesting_depth, entries) if depth is not None}
    if len(depths) > 1 or not depths <= set(allowed):
        raise ValueError(f"{form}, got entries nested {sorted(depths)} deep.")
    return depths.pop() if depths else allowed[0]


def _rows(rows: list, width: int, form: str, whose: str, remedies: Callable[[Any], str]) -> np.ndarray:
    """Check rows of `width` numbers each; returns finite float64.

    whose: says whose rows they are in an error. remedies: what to do about a row that is a list, but not of numbers.
    """
    for row in rows:
        if not isinstance(row, list):
            raise ValueError(f"{form}; {whose} has {row!r}.")
        is_number = [isinstance(cell, Real) and not isinstance(cell, bool) for cell in row]
        if len(row) != width or not all(is_number):
            remedy = remedies(row) if all(is_number) else "Pass numbers."
            raise ValueError(f"{form}; {whose} has {row!r}. {remedy}")
    array = np.asarray(rows, dtype=np.float64)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{form}; all values must be finite, {whose} has {array[~finite][0].tolist()}. Remove what has no finite "
            "coordinates."
        )
    return array


def _check_points(prompt: Any, size: tuple[int, int], image: int, wording: PromptWording) -> np.ndarray:
    if prompt is None or is_empty(prompt):
        raise ValueError(
            f"{wording.points_form}; {wording.image(image)} has an object without a point ({prompt!r}). Remove the "
            f"object; or, if it has a box in `{wording.boxes}`, give it the point [0, 0] with the label {PADDING} in "
            f"`{wording.labels}`, which is ignored."
        )
    if not isinstance(prompt, list):
        raise ValueError(f"{wording.points_form}; {wording.image(image)} has {prompt!r}.")

    def remedies(row: list) -> str:
        return "A point is two numbers, x and y; leave out the rest." if len(row) > 2 else "Give both x and y."

    points = _rows(prompt, 2, wording.points_form, wording.image(image), remedies)
    height, width = size
    # Half a pixel of tolerance: integer coordinates are pixel centres in some tools and pixel corners in others.
    outside = (points < -0.5) | (points > np.array([width, height]))
    if outside.any():
        x, y = points[outside.any(axis=1)][0]
        raise ValueError(
            f"`{wording.points}` must lie inside the image, as (x, y) in pixels of the original image: "
            f"{wording.image(image)} is {width} wide and {height} high, got ({x:g}, {y:g}). Remove the point, or "
            f"move it inside, here to {_as_text(np.clip(x, 0, width), np.clip(y, 0, height))}."
        )
    return points


def _check_labels(labels: Any, count: int, image: int, wording: PromptWording) -> np.ndarray:
    if not isinstance(labels, list) or len(labels) != count:
        raise ValueError(
            f"{wording.labels_form}; {wording.image(image)} has {count} points and the labels {labels!r}. Give one "
            "label per point."
        )
    numbers = []
    for label in labels:
        number = int(label) if isinstance(label, bool) else label
        if number not in (POSITIVE, NEGATIVE, NOT_A_POINT, PADDING):
            raise ValueError(
                f"`{wording.labels}` must be 1 (on the object), 0 (on the background), -1 (not a point) or -10 "
                f"(ignored), {wording.image(image)} has {label!r}. Pass boxes as `{wording.boxes}`, not as labels 2 "
                "and 3."
            )
        numbers.append(int(number))
    return np.array(numbers)


def _check_boxes(boxes: list, size: tuple[int, int], image: int, wording: PromptWording) -> np.ndarray:
    if is_empty(boxes):
        return np.zeros((0, 4))

    def remedies(row: list) -> str:
        if [len(corner) if isinstance(corner, list) else None for corner in boxes] == [2, 2]:
            one_box = [*boxes[0], *boxes[1]]
            entry = [one_box] if wording.image_level else one_box
            return f"For a box from its two corners, pass {wording.argument(wording.boxes, entry)}."
        if len(row) > 4:
            return "A box is four numbers; leave out the rest, such as a score."
        return "Give all four numbers of the box."

    array = _rows(boxes, 4, wording.boxes_form, wording.image(image), remedies)
    height, width = size
    for x1, y1, x2, y2 in array:
        if x2 < x1 or y2 < y1:
            raise ValueError(
                f"`{wording.boxes}` must be (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, {wording.image(image)} has "
                f"({x1:g}, {y1:g}, {x2:g}, {y2:g}). Is it (x, y, width, height)? {_ordered_box(x1, y1, x2, y2)}"
            )
        if x1 > width or y1 > height or x2 < -0.5 or y2 < -0.5:
            raise ValueError(
                f"`{wording.boxes}` must touch the image, in pixels of the original image: {wording.image(image)} is "
                f"{width} wide and {height} high, got ({x1:g}, {y1:g}, {x2:g}, {y2:g}). Remove the box."
            )
    return array


def _ordered_box(x1: float, y1: float, x2: float, y2: float) -> str:
    """What to pass in place of a box with x2 < x1 or y2 < y1."""
    ordered = _as_text(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    if min(x2, y2) < 0:  # these cannot be a width and a height
        return f"If its corners are in another order, pass {ordered}."
    from_size = _as_text(x1, y1, x1 + x2, y1 + y2)
    return f"Then pass {from_size}. If its corners are in another order, pass {ordered}."


def _as_text(*values: float) -> str:
    """Coordinates as on the command line, which is a tuple in Python."""
    return ",".join(f"{value:.10g}" for value in values)


__all__ = ["PromptArrays", "is_empty", "nesting_depth", "pad_points", "pad_prompts", "parse_boxes", "parse_points"]
