"""Stability scores and full-size masks from low-resolution logits, the last step of automatic masks."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..masks.cropped_mask import CroppedMask
from ..model.image_processing_hq_sam import HQSamImageProcessor

MASK_THRESHOLD = 0.0


def stable_masks(
    logits: Tensor,
    image_processor: HQSamImageProcessor,
    original_size: tuple[int, int],
    offset: float,
    min_stability: float,
) -> tuple[Sequence[int], np.ndarray, list[CroppedMask]]:
    """Compute the full-size masks whose stability score is at least min_stability. 0 keeps all masks.

    logits: (N, m, m), the model's low-resolution logits.
    original_size: (height, width) of the image.
    offset: of the pixels whose full-size logit is above -offset, the score is the share whose logit is also above
        offset. Masks and scores equal those of full-size logits, though only a block of rows is resized at a time.

    Returns the indices of the K masks that are kept, their scores (K,) float32, and the masks.
    """
    reshaped_size = image_processor.reshaped_size(original_size)
    resizer = image_processor.mask_resizer(logits.shape[-1], reshaped_size, original_size)
    mask_inner_outer = (MASK_THRESHOLD, MASK_THRESHOLD + offset, MASK_THRESHOLD - offset)
    kept, scores, masks = [], [], []
    for i, low_resolution in enumerate(logits.detach().float().cpu().numpy()):
        blocks = list(resizer.row_blocks(low_resolution, mask_inner_outer))
        inner, outer = (sum(np.count_nonzero(block.exceeds[k]) for block in blocks) for k in (1, 2))
        score = np.float32(inner) / np.float32(outer) if outer else np.float32("nan")
        if min_stability > 0 and not score >= np.float32(min_stability):
            continue
        kept.append(i)
        scores.append(score)
        if blocks:
            mask = np.concatenate([block.exceeds[0] for block in blocks])
            masks.append(CroppedMask.of(mask, blocks[0].left, blocks[0].top))
        else:
            masks.append(CroppedMask.of(np.zeros((0, 0), dtype=bool)))
    return kept, np.array(scores, dtype=np.float32), masks


__all__ = ["stable_masks"]
