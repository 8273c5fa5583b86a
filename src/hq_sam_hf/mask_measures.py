"""From low-resolution logits to masks of the picture with their stability: the tail of automatic masks."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .image_processing_hq_sam import HQSamImageProcessor
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
    reshaped = [image_processor.reshaped_size(original_size)]
    kept, scores, masks = [], [], []
    for i, low_resolution in enumerate(logits):
        full = image_processor.post_process_masks([low_resolution], [original_size], reshaped, binarize=False)[0]
        inner, outer = (int((full > MASK_THRESHOLD + sign * offset).sum()) for sign in (1, -1))
        score = np.float32(inner) / np.float32(outer) if outer else np.float32("nan")
        if min_stability > 0 and not score >= np.float32(min_stability):
            continue
        kept.append(i)
        scores.append(score)
        masks.append(MaskWindow.of((full > MASK_THRESHOLD).cpu().numpy()))
    return kept, np.array(scores, dtype=np.float32), masks


__all__ = ["stable_masks"]
