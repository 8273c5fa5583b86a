"""Mask IoU and boundary IoU, as the HQ-SAM paper measures them.

Boundary IoU is that of Cheng et al. (arXiv 2103.16562). Masks are bool arrays or tensors (..., height, width), and
the leading dimensions of two masks broadcast. Results are float32 with the leading dimensions: for tensors a tensor on
the same device, for arrays an array. If both masks are empty the value is 1; if one of them is empty it is 0.

Raises ValueError for masks of another dtype or of different sizes.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

DILATION_RATIO = 0.02


def mask_iou(pred: Any, ground_truth: Any) -> Any:
    """Intersection over union of predicted and ground-truth masks."""
    return _like(pred, _iou(*_check(pred, ground_truth)))


def boundary_iou(pred: Any, ground_truth: Any, dilation_ratio: float = DILATION_RATIO) -> Any:
    """Intersection over union of the boundaries of predicted and ground-truth masks; see `boundary`."""
    predicted, true = _check(pred, ground_truth)
    width = boundary_width(predicted.shape[-2], predicted.shape[-1], dilation_ratio)
    return _like(pred, _iou(_boundary(predicted, width), _boundary(true, width)))


def boundary(mask: Any, dilation_ratio: float = DILATION_RATIO) -> Any:
    """The boundary of a mask: its pixels that are at most d steps away from the background, bool (..., height, width).

    A step goes to one of the 8 neighbours. d is the `boundary_width`. All pixels beyond the image are background.
    """
    tensor, _ = _check(mask, mask)
    return _like(mask, _boundary(tensor, boundary_width(tensor.shape[-2], tensor.shape[-1], dilation_ratio)))


def boundary_width(height: int, width: int, dilation_ratio: float = DILATION_RATIO) -> int:
    """The width d of boundaries in pixels: the image diagonal times `dilation_ratio`, rounded, at least 1."""
    if not dilation_ratio > 0:
        raise ValueError(f"`dilation_ratio` must be positive, got {dilation_ratio}. The paper uses 0.02.")
    return max(1, round(dilation_ratio * math.hypot(height, width)))


def _check(pred: Any, ground_truth: Any) -> tuple[Tensor, Tensor]:
    tensors = []
    for name, mask in (("pred", pred), ("ground_truth", ground_truth)):
        tensor = torch.from_numpy(mask) if isinstance(mask, np.ndarray) else mask
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.bool or tensor.ndim < 2:
            got = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else f"a {type(mask).__name__}"
            raise ValueError(
                f"`{name}` must be a bool array or tensor (..., height, width), got {got}. Threshold it first: logits "
                "by `mask > 0`, masks of 0 and 1 or 0 and 255 by `as_binary_array(mask)` of `hq_sam_hf.masks.binary`."
            )
        tensors.append(tensor)
    if tensors[0].shape[-2:] != tensors[1].shape[-2:]:
        raise ValueError(
            "`pred` and `ground_truth` must have the same height and width, got "
            f"{tuple(tensors[0].shape)} and {tuple(tensors[1].shape)}. Resize the prediction's logits to the ground "
            "truth, then threshold them at 0."
        )
    try:
        torch.broadcast_shapes(tensors[0].shape, tensors[1].shape)
    except RuntimeError as error:
        raise ValueError(
            "The leading dimensions of `pred` and `ground_truth` must be equal or 1, got "
            f"{tuple(tensors[0].shape)} and {tuple(tensors[1].shape)}. To compare each mask with each other one, pass "
            "`pred[:, None]` and `ground_truth[None]`."
        ) from error
    return tensors[0], tensors[1]


def _iou(first: Tensor, second: Tensor) -> Tensor:
    intersection, union = _count(first & second), _count(first | second)
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)


def _count(mask: Tensor) -> Tensor:
    # First each row, in 32 bits: on a CPU this is many times faster than one sum over both dimensions.
    return mask.sum(dim=-1, dtype=torch.int32).sum(dim=-1)


def _boundary(mask: Tensor, width: int) -> Tensor:
    padded = F.pad(mask, (width, width, width, width), value=False)
    eroded = _erode(_erode(padded, width, -1), width, -2)
    return mask & ~eroded


def _erode(mask: Tensor, width: int, dim: int) -> Tensor:
    """Erode along one dimension: True where 2 * width + 1 pixels are True. The result is 2 * width shorter."""
    # Each step combines two windows into one of twice the length; in the last step they overlap.
    window, length = 2 * width + 1, 1
    while length < window:
        step = min(length, window - length)
        kept = mask.shape[dim] - step
        mask = mask.narrow(dim, 0, kept) & mask.narrow(dim, step, kept)
        length += step
    return mask


def _like(given: Any, result: Tensor) -> Any:
    """The result as an array if the given mask is one."""
    return result.numpy()[()] if isinstance(given, np.ndarray) else result


__all__ = ["boundary", "boundary_iou", "boundary_width", "mask_iou"]
