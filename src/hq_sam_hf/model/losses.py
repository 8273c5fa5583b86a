"""The training loss of HQ-SAM: binary cross-entropy plus dice loss, at sampled points."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Point sampling of PointRend with HQ-SAM's settings (train/utils/loss_mask.py of the original repository).
NUM_POINTS = 112 * 112
OVERSAMPLE_RATIO = 3
IMPORTANCE_RATIO = 0.75

# How far resizing may take ground truth out of [0, 1].
ROUNDING = 1e-3
LABEL_ADVICE = (
    "Pass 1 on the object and 0 elsewhere, such as `masks / 255` for 0 and 255, or `masks == 2` for a class."
)


def sample_at_points(maps: Tensor, points: Tensor) -> Tensor:
    """Interpolate maps (N, 1, H, W) bilinearly at points (N, K, 2); returns (N, K).

    Points are (x, y) from (0, 0), the upper left corner of the map, to (1, 1), its lower right corner. Outside, the
    map counts as 0.
    """
    grid = 2 * points[:, :, None] - 1
    return F.grid_sample(maps, grid, align_corners=False)[:, 0, :, 0]


def uncertain_points(
    logits: Tensor, num_points: int, generator: torch.Generator | Sequence[torch.Generator] | None = None
) -> Tensor:
    """Draw points for logits (N, 1, H, W), most of them where the prediction is uncertain.

    Of `OVERSAMPLE_RATIO` x num_points uniform candidates those with the smallest |logit| become three quarters of the
    points (`IMPORTANCE_RATIO`). The others are uniform.

    generator: one for all masks, or one per mask, so that the points of a mask do not depend on its batch.

    Returns (N, num_points, 2) as (x, y) in [0, 1]. Raises ValueError unless a list of generators has N entries.
    """
    num_uncertain = int(IMPORTANCE_RATIO * num_points)
    candidates = _uniform_points(logits, int(OVERSAMPLE_RATIO * num_points), generator)
    uniform = _uniform_points(logits, num_points - num_uncertain, generator)
    return choose_points(logits, candidates, uniform, num_uncertain)


def choose_points(logits: Tensor, candidates: Tensor, uniform: Tensor, num_uncertain: int) -> Tensor:
    """The `num_uncertain` candidates with the smallest |logit|, followed by the uniform points.

    Shapes: logits (N, 1, H, W); candidates (N, K, 2) and uniform (N, U, 2) as (x, y) in [0, 1].
    Returns (N, num_uncertain + U, 2).
    """
    uncertainty = -sample_at_points(logits, candidates).abs()
    chosen = uncertainty.topk(num_uncertain, dim=1).indices
    return torch.cat([candidates.gather(1, chosen[..., None].expand(-1, -1, 2)), uniform], dim=1)


def same_points(count: int) -> list[torch.Generator]:
    """A generator for each mask, all in the same state, so that a loss is the same for every call and batch."""
    return [torch.Generator().manual_seed(0) for _ in range(count)]


def _uniform_points(
    logits: Tensor, count: int, generator: torch.Generator | Sequence[torch.Generator] | None
) -> Tensor:
    if generator is None or isinstance(generator, torch.Generator):
        device = logits.device if generator is None else generator.device
        shape = (len(logits), count, 2)
        return torch.rand(shape, generator=generator, device=device, dtype=logits.dtype).to(logits.device)
    if len(generator) != len(logits):
        raise ValueError(
            f"`generator` must be one generator, or one per mask, got {len(generator)} for {len(logits)} masks."
        )
    points = [torch.rand(count, 2, generator=one, device=one.device, dtype=logits.dtype) for one in generator]
    return torch.stack(points).to(logits.device)


def mask_loss(
    logits: Tensor,
    masks: Tensor,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    points: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of N predicted masks, with prediction and ground truth sampled at the same uncertain points.

    logits: (N, 1, h, w).
    masks: ground truth (N, 1, H, W) in [0, 1], of any size that covers the same image. It may be empty or full. Other
        values raise ValueError, since they give a loss without a lower bound.
    generator: draws the points; see `uncertain_points`.
    points: (N, K, 2) as (x, y) in [0, 1], to be used instead of drawn ones.

    Returns the sum of both losses, the cross-entropy and the dice loss, each a mean over the masks, in float32.
    """
    if logits.ndim != 4 or logits.shape[1] != 1 or masks.ndim != 4 or masks.shape[:2] != logits.shape[:2]:
        raise ValueError(
            "`logits` and `masks` must have shapes (N, 1, h, w) and (N, 1, H, W), "
            f"got {tuple(logits.shape)} and {tuple(masks.shape)}."
        )
    logits, masks = logits.float(), masks.float()
    if masks.numel() and not torch.compiler.is_compiling():
        low, high = torch.aminmax(masks.detach())
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # also NaN
            raise ValueError(f"`masks` must lie in [0, 1], got values from {low:g} to {high:g}. {LABEL_ADVICE}")
    with torch.no_grad():
        if points is None:
            points = uncertain_points(logits, NUM_POINTS, generator)
        ground_truth = sample_at_points(masks, points)
    predicted = sample_at_points(logits, points)
    bce = F.binary_cross_entropy_with_logits(predicted, ground_truth)
    dice = dice_losses(predicted, ground_truth, dim=1).mean()
    return bce + dice, bce, dice


def dice_losses(logits: Tensor, ground_truth: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Dice losses 1 - (2 * sum(p * g) + 1) / (sum(p) + sum(g) + 1), with p = sigmoid(logits) and g the ground truth.

    logits and ground_truth (in [0, 1]) have the same shape. The sums run over `dim`, which the result lacks.
    """
    probability = logits.sigmoid()
    overlap = (probability * ground_truth).sum(dim=dim)
    return 1 - (2 * overlap + 1) / (probability.sum(dim=dim) + ground_truth.sum(dim=dim) + 1)


__all__ = [
    "LABEL_ADVICE",
    "ROUNDING",
    "choose_points",
    "dice_losses",
    "mask_loss",
    "same_points",
    "sample_at_points",
    "uncertain_points",
]
