"""Prompts for one object or several of one image, in the forms that `HQSamPredictor.predict` takes."""

from typing import Any

import numpy as np
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature

from ..model.image_processing_hq_sam import HQSamImageProcessor
from ..model.prompt_batching import is_empty, nesting_depth
from ..model.prompt_preparation import prepare_prompts
from ..model.prompt_wording import PREDICTOR_WORDING

Array = np.ndarray | Tensor


def prepare_object_prompts(
    image_processor: HQSamImageProcessor,
    size: tuple[int, int],
    points: Any,
    labels: Any,
    boxes: Any,
    mask: Any,
    are_computed: bool = False,
) -> BatchFeature:
    """Prepare the prompts for an image of (height, width) size for the model.

    are_computed: as in `prepare_prompts`.

    Raises ValueError for prompts that are malformed or outside of the image.
    """
    _check_nesting("points", points, (2, 3))
    _check_nesting("boxes", boxes, (1, 2))
    return prepare_prompts(  # its prompts have one more level of nesting, by image
        image_processor,
        [size],
        points=None if points is None else [points],
        labels=None if labels is None else [labels],
        boxes=None if boxes is None else [[boxes] if nesting_depth(boxes) == 1 else boxes],
        masks=None if mask is None else [_without_mask_axis(mask)],
        wording=PREDICTOR_WORDING,
        are_computed=are_computed,
    )


def _check_nesting(name: str, value: Any, allowed: tuple[int, int]) -> None:
    depth = nesting_depth(value)
    if depth is not None and depth not in allowed:
        form = PREDICTOR_WORDING.points_form if name == "points" else PREDICTOR_WORDING.boxes_form
        if depth == 0:
            remedy = "Pass a list, array or tensor of numbers."
        else:
            remedy = "Add a level of lists." if depth < allowed[0] else "Remove the outer or the inner level of lists."
        raise ValueError(f"{form}, got {depth} levels of nesting. {remedy}")


def names_one_object(points: Any, boxes: Any, mask: Any) -> bool:
    """Whether the prompts describe one object, without the level of nesting that lists several."""
    if isinstance(mask, list | tuple) or (isinstance(mask, Array) and (is_empty(mask) or mask.ndim == 4)):
        return False
    if isinstance(mask, Array) and mask.ndim == 3 and mask.shape[0] != 1:
        return False
    return (points is None or nesting_depth(points) == 2) and (boxes is None or nesting_depth(boxes) == 1)


def _without_mask_axis(mask: Any) -> Any:
    """(P, 1, m, m) as (P, m, m), so that the logits of an earlier call can be passed unchanged."""
    if isinstance(mask, Array) and mask.ndim == 4 and not is_empty(mask):
        if mask.shape[1] != 1:
            raise ValueError(
                f"`mask` must be one mask per object, got shape {tuple(mask.shape)}. Choose one of the candidates, "
                "for example with `logits[:, :1]`."
            )
        return mask[:, 0]
    return mask


__all__ = ["names_one_object", "prepare_object_prompts"]
