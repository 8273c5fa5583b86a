"""Input checks of `HQSamModel`: wrong inputs raise an error with their name before they fail inside the network."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .losses import LABEL_ADVICE, ROUNDING


def check_image_source(
    pixel_values: object, image_embeddings: object, intermediate_embeddings: object, image_features: object
) -> None:
    """Require exactly one of the three forms in which images can be given."""
    given = {"pixel_values": pixel_values, "image_embeddings": image_embeddings, "image_features": image_features}
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        got = " and ".join(names) or "none of them"
        raise ValueError(f"Exactly one of `{'`, `'.join(given)}` must be given, got {got}.")
    if image_embeddings is None and intermediate_embeddings is not None:
        raise ValueError("`intermediate_embeddings` goes with `image_embeddings`; pass both or neither.")


def check_pixels(pixel_values: object, config: Any) -> Tensor:
    """Require pixel_values (B, 3, S, S) for the image size S of a vision configuration, and return them."""
    expected = (config.num_channels, config.image_size, config.image_size)
    if not isinstance(pixel_values, Tensor) or pixel_values.ndim != 4 or pixel_values.shape[1:] != expected:
        raise ValueError(
            f"`pixel_values` must have shape (images, {', '.join(map(str, expected))}), "
            f"got {describe(pixel_values)}. Prepare images with the processor of this model."
        )
    return pixel_values


def check_image_embeddings(name: str, embeddings: object, shape: Sequence[int]) -> Tensor:
    """Require embeddings of a shape (C, h, w) after that of the batch, and return them."""
    if not isinstance(embeddings, Tensor) or embeddings.ndim != 4 or embeddings.shape[1:] != tuple(shape):
        raise ValueError(
            f"`{name}` must have shape (images, {', '.join(map(str, shape))}), got {describe(embeddings)}."
        )
    return embeddings


def check_early_embeddings(intermediate_embeddings: Sequence[Tensor] | Tensor | None, shape: Sequence[int]) -> Tensor:
    """Require that the first of the intermediate embeddings has the shape (B, h, w, D), and return it."""
    if intermediate_embeddings is None or len(intermediate_embeddings) == 0:
        raise ValueError(
            "`image_embeddings` needs `intermediate_embeddings`: without the early feature the HQ mask is wrong. "
            "Pass both results of `get_image_embeddings`, or use `get_image_features`."
        )
    early = intermediate_embeddings[0]
    if not has_shape(early, shape):
        raise ValueError(
            f"`intermediate_embeddings[0]` must have shape {tuple(shape)} (images, height, width, channels), "
            f"got {describe(early)}. It must come from the same call as `image_embeddings`."
        )
    return early


def check_feature_maps(image_embeddings: object) -> Sequence[Tensor]:
    """Require the list of three tensors that `HQSam2Model.get_image_embeddings` returns, and return it."""
    is_list = isinstance(image_embeddings, list | tuple) and len(image_embeddings) == 3
    if not is_list or not all(isinstance(each, Tensor) for each in image_embeddings):  # type: ignore[attr-defined]
        got = f"a list of {len(image_embeddings)}" if isinstance(image_embeddings, list | tuple) else ""
        raise ValueError(
            "`image_embeddings` must be the three tensors that `get_image_embeddings` returns, two finer feature maps "
            f"and the embeddings, got {got or describe(image_embeddings)}. Pass its whole result."
        )
    return image_embeddings  # type: ignore[return-value]


def check_has_features(features: object, names: Sequence[str]) -> None:
    """Require the fields of `image_features` that are not optional."""
    for name in names:
        if getattr(features, name, None) is None:
            raise ValueError(
                f"`image_features` must hold {' and '.join(names)}, as `get_image_features` returns them, "
                f"got {type(features).__name__} without {name}."
            )


def check_feature(name: str, value: Tensor | None, shape: Sequence[int]) -> Tensor | None:
    """Require the shape of one field of `image_features`, unless it is None, and return it."""
    if value is not None and not has_shape(value, shape):
        raise ValueError(
            f"`image_features.{name}` must have shape {tuple(shape)} to go with its image_embeddings, "
            f"got {describe(value)}."
        )
    return value


def check_prompts(
    batch: int,
    points: Tensor | None,
    labels: Tensor | None,
    boxes: Tensor | None,
    masks: Tensor | None,
    mask_size: int,
) -> int:
    """Check shapes and counts of the prompts of a batch of images, and return the number of prompts per image."""
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
    if counts.get("input_masks") == 1:  # one mask can serve all prompts of its image
        counts.pop("input_masks")
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{count} in `{name}`" for name, count in counts.items())
        raise ValueError(
            f"All kinds of prompts must have the same number of objects per image, got {listing}. Give each object a "
            "prompt of every kind, or omit a kind."
        )
    return num_prompts


def check_labels(labels: object, shape: Sequence[int]) -> Tensor:
    """Require ground truth (B, P, H, W) for masks of B images and P prompts each.

    Returns bool (B, P): which prompts have a ground truth. The others are negative throughout.
    """
    if not isinstance(labels, Tensor) or labels.ndim != 4 or labels.shape[:2] != tuple(shape):
        raise ValueError(
            f"`labels` must have shape ({shape[0]}, {shape[1]}, height, width): one mask per prompt, "
            f"got {describe(labels)}."
        )
    values = labels.detach().flatten(2)
    low, high = values.amin(dim=2), values.amax(dim=2)
    labelled = ~(high < -ROUNDING)
    wrong = labelled & ~((low >= -ROUNDING) & (high <= 1 + ROUNDING))  # also NaN
    if wrong.any():
        image, prompt = wrong.nonzero()[0].tolist()
        raise ValueError(
            "`labels` must lie in [0, 1], or be negative throughout for a prompt without ground truth, got values "
            f"from {low[image, prompt].item():g} to {high[image, prompt].item():g} for prompt {prompt} of image "
            f"{image}. {LABEL_ADVICE}"
        )
    return labelled


def has_shape(value: object, shape: Sequence[int]) -> bool:
    return isinstance(value, Tensor) and value.shape == tuple(shape)


def describe(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else f"a {type(value).__name__}"


__all__ = [
    "check_early_embeddings",
    "check_feature",
    "check_feature_maps",
    "check_has_features",
    "check_image_embeddings",
    "check_image_source",
    "check_labels",
    "check_pixels",
    "check_prompts",
]
