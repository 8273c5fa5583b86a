"""From low-resolution logits to masks of the picture with their stability: the tail of automatic masks."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .image_processing_hq_sam import HQSamImageProcessor
from .mask_records import mask_records
from .mask_windows import MaskWindow

MASK_THRESHOLD = 0.0


def stable_masks(
    logits: Tensor,
    image_processor: HQSamImageProcessor,
    original_size: tuple[int, int],
    offset: float,
    min_stability: float,
) -> tuple[Sequence[int], np.ndarray, list[MaskWindow]]:
    """The masks whose stability score is at least min_stability; all of them where that is 0.

    logits (N, m, m), of the model for a picture of (height, width) original_size. The score is the share of the
    pixels with a full-size logit over -offset whose logit is also over offset.

    Gives the indices of the masks that stay, their scores (K,) float32, and the masks.
    """
    reshaped = image_processor.reshaped_size(original_size)
    found = mask_records(logits, image_processor.image_size, reshaped, original_size, MASK_THRESHOLD, offset)
    stable = [
        i for i, one in enumerate(found) if min_stability <= 0 or one.stability_score >= np.float32(min_stability)
    ]
    scores = np.array([found[i].stability_score for i in stable], dtype=np.float32)
    return stable, scores, [MaskWindow.of(found[i].pixels, found[i].x, found[i].y) for i in stable]


__all__ = ["stable_masks"]
