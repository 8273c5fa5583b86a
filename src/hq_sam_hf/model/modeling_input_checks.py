"""Checks of what is given to `HQSamModel`, so that a wrong input is named before it fails somewhere inside."""

from collections.abc import Sequence

from torch import Tensor


def check_prompts(
    batch: int,
    points: Tensor | None,
    labels: Tensor | None,
    boxes: Tensor | None,
    masks: Tensor | None,
    mask_size: int,
) -> int:
    """Check ranks and counts of the prompts of a batch of images; give the number of prompts per image."""
    expected = {
        "input_points": (points, 4, (2,), "(images, prompts, points, 2) with x, y"),
        "input_boxes": (boxes, 3, (4,), "(images, prompts, 4) with x1, y1, x2, y2"),
        "input_masks": (masks, 4, (mask_size, mask_size), f"(images, prompts, {mask_size}, {mask_size})"),
    }
    counts = {}
    for name, (value, rank, tail, description) in expected.items():
        if value is None:
            continue
        if not isinstance(value, Tensor) or value.ndim != rank or value.shape[-len(tail) :] != tail:
            raise ValueError(
                f"`{name}` must be a tensor of shape {description}, got {describe(value)}. The processor makes it of "
                "prompts in any form."
            )
        if value.shape[0] != batch:
            raise ValueError(
                f"`{name}` is for {value.shape[0]} images, but there are {batch}. Give one entry per image."
            )
        if value.shape[1] == 0:
            raise ValueError(f"`{name}` holds no prompt: its shape is {tuple(value.shape)}. Leave it out instead.")
        counts[name] = value.shape[1]
    if labels is not None and points is None:
        raise ValueError("`input_labels` were given without `input_points`. Pass the points too, or omit the labels.")
    if labels is not None and points is not None and not has_shape(labels, points.shape[:3]):
        raise ValueError(
            f"`input_labels` must have shape {tuple(points.shape[:3])}, one label per point, got {describe(labels)}."
        )
    num_prompts = max([1, *counts.values()])
    if counts.get("input_masks") == 1:  # one mask may serve all prompts of its image
        counts.pop("input_masks")
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{count} in `{name}`" for name, count in counts.items())
        raise ValueError(
            f"All kinds of prompts must name the same number of objects per image, got {listing}. Give each object a "
            "prompt of every kind, or omit a kind."
        )
    return num_prompts


def has_shape(value: object, shape: Sequence[int]) -> bool:
    return isinstance(value, Tensor) and value.shape == tuple(shape)


def describe(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else f"a {type(value).__name__}"


__all__ = ["check_prompts", "describe", "has_shape"]
