"""From low-resolution logits to masks of the picture with their stability: the tail of automatic masks."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..masks.cropped_mask import CroppedMask
from ..model.image_processing_hq_sam import HQSamImageProcessor
from ..model.mask_resizing import MaskResizer

MASK_THRESHOLD = 0.0


def stable_masks(
    logits: Tensor,
    image_processor: HQSamImageProcessor,
    original_size: tuple[int, int],
    offset: float,
    min_stability: float,
) -> tuple[Sequence[int], np.ndarray, list[CroppedMask]]:
    """The masks whose stability score is at least min_stability; all of them where that is 0.

    logits (N, m, m), of the model for a picture of (height, width) original_size. The score is the share of the
    pixels with a full-size logit over -offset whose logit is also over offset. It is exact, and so are the masks,
    though no logit is ever held at full size.

    Gives the indices of the masks that stay, their scores (K,) float32, and the masks.
    """
    used_size = image_processor.reshaped_size(original_size)
    resizer = MaskResizer(logits.shape[-1], image_processor.image_size, used_size, original_size)
    thresholds = (MASK_THRESHOLD, MASK_THRESHOLD + offset, MASK_THRESHOLD - offset)
    kept, scores, masks = [], [], []
    for i, low_resolution in enumerate(logits.detach().float().cpu().numpy()):
        bands = list(resizer.bands(low_resolution, thresholds))
        inner, outer = (sum(np.count_nonzero(band.passes[sign]) for band in bands) for sign in (1, 2))
        score = np.float32(inner) / np.float32(outer) if outer else np.float32("nan")
        if min_stability > 0 and not score >= np.float32(min_stability):
            continue
        kept.append(i)
        scores.append(score)
        if bands:
            mask = np.concatenate([band.passes[0] for band in bands])
            masks.append(CroppedMask.of(mask, bands[0].left, bands[0].top))
        else:
            masks.append(CroppedMask.of(np.zeros((0, 0), dtype=bool)))
    return kept, np.array(scores, dtype=np.float32), masks


__all__ = ["stable_masks"]
