"""The training loss of HQ-SAM: point-sampled binary cross entropy plus dice."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# PointRend's sampling as HQ-SAM sets it (train/utils/loss_mask.py of the original repository).
NUM_POINTS = 112 * 112
OVERSAMPLE_RATIO = 3
IMPORTANCE_RATIO = 0.75


def sample_at_points(maps: Tensor, points: Tensor) -> Tensor:
    """Read maps (N, 1, H, W) bilinearly at points (N, K, 2), (x, y) in [0, 1] of each map's extent; gives (N, K)."""
    grid = 2 * points[:, :, None] - 1
    return F.grid_sample(maps, grid, align_corners=False)[:, 0, :, 0]


def uncertain_points(
    logits: Tensor, num_points: int, generator: torch.Generator | Sequence[torch.Generator] | None = None
) -> Tensor:
    """Points (N, num_points, 2) in [0, 1], three quarters of them where |logit| is smallest, the rest uniform.

    generator: one for all masks, or one per mask, so that the points of a mask do not depend on its batch.
    """
    num_uncertain = int(IMPORTANCE_RATIO * num_points)
    candidates = _uniform(logits, int(OVERSAMPLE_RATIO * num_points), generator)
    uniform = _uniform(logits, num_points - num_uncertain, generator)
    return choose_points(logits, candidates, uniform, num_uncertain)


def choose_points(logits: Tensor, candidates: Tensor, uniform: Tensor, num_uncertain: int) -> Tensor:
    """The `num_uncertain` candidates (N, K, 2) with the smallest |logit|, followed by the points of `uniform`."""
    uncertainty = -sample_at_points(logits, candidates).abs()
    chosen = uncertainty.topk(num_uncertain, dim=1).indices
    return torch.cat([candidates.gather(1, chosen[..., None].expand(-1, -1, 2)), uniform], dim=1)


def _uniform(logits: Tensor, count: int, generator: torch.Generator | Sequence[torch.Generator] | None) -> Tensor:
    if generator is None or isinstance(generator, torch.Generator):
        device = logits.device if generator is None else generator.device
        shape = (len(logits), count, 2)
        return torch.rand(shape, generator=generator, device=device, dtype=logits.dtype).to(logits.device)
    if len(generator) != len(logits):
        raise ValueError(f"`generator` must be one or one per mask, got {len(generator)} for {len(logits)} masks.")
    points = [torch.rand(count, 2, generator=one, device=one.device, dtype=logits.dtype) for one in generator]
    return torch.stack(points).to(logits.device)


def mask_loss(
    logits: Tensor,
    masks: Tensor,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    points: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of N predicted masks, read at the same uncertain points of prediction and truth.

    Shapes: logits (N, 1, h, w); masks (N, 1, H, W) in [0, 1], of any size that covers the same picture. Masks may be
    empty or full. generator: as of `uncertain_points`. points (N, K, 2) as (x, y) in [0, 1]: read there instead.

    Returns the sum, the cross entropy and the dice loss, each a mean over the masks. All are computed in float32.
    """
    if logits.ndim != 4 or logits.shape[1] != 1 or masks.ndim != 4 or masks.shape[:2] != logits.shape[:2]:
        raise ValueError(
            "`logits` and `masks` must have shapes (N, 1, h, w) and (N, 1, H, W), "
            f"got {tuple(logits.shape)} and {tuple(masks.shape)}."
        )
    logits, masks = logits.float(), masks.float()
    with torch.no_grad():
        if points is None:
            points = uncertain_points(logits, NUM_POINTS, generator)
        truth = sample_at_points(masks, points)
    predicted = sample_at_points(logits, points)
    bce = F.binary_cross_entropy_with_logits(predicted, truth)
    dice = dice_losses(predicted, truth, dim=1).mean()
    return bce + dice, bce, dice


def dice_losses(logits: Tensor, truth: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """1 minus the overlap of probabilities and truth in [0, 1] over the mean of their sums, each with 1 / 2 added.

    The sums run over `dim`, which the result lacks.
    """
    probability = logits.sigmoid()
    overlap = (probability * truth).sum(dim=dim)
    return 1 - (2 * overlap + 1) / (probability.sum(dim=dim) + truth.sum(dim=dim) + 1)


__all__ = ["choose_points", "dice_losses", "mask_loss", "sample_at_points", "uncertain_points"]
