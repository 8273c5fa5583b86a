"""Training of a plain SAM from scratch: a first prompt, then corrective clicks, as in its paper (arXiv 2304.02643)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.configuration_hq_sam import NEGATIVE, PADDING, POSITIVE
from ..model.losses import dice_losses
from ..model.modeling_hq_sam import HQSamModel
from .config import TrainingConfig
from .dataset import Batch
from .objectives import Learner

# Cross entropy is weighted towards the object's surroundings: a thin one is lost in an even mean over the picture.
BCE_WEIGHT, DICE_WEIGHT, SCORE_WEIGHT = 2.0, 1.0, 1.0
SURROUNDINGS = 0.25  # how far they reach beyond the object's box, in its longer side
WEIGHT_ELSEWHERE = 0.1


class SamLearner(Learner):
    """All weights of a SAM. A box asks for its single mask, a point for three of which the best is trained.

    Then clicks are drawn from where the mask with the best score is wrong, and given together with that mask's
    logits and all earlier prompts; these rounds train the single mask. Every round counts equally.
    """

    def __init__(self, model: HQSamModel, config: TrainingConfig, mean: list[float], std: list[float]) -> None:
        super().__init__(model, config, mean, std)
        self.rounds = 1 + config.clicks

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        embeddings, _ = self.encode(batch.images)
        side = self.model.config.mask_size
        truth = F.interpolate(batch.masks.clamp(min=0), size=(side, side), mode="area")  # (B, P, h, w)
        weights = surroundings(truth)
        present = batch.present
        points, labels, logits = batch.points, batch.labels, None
        sums = {name: embeddings.new_zeros((), dtype=torch.float32) for name in ("loss", "bce", "dice", "score")}
        for turn in range(self.rounds):
            output = self.model(
                image_embeddings=embeddings,
                input_boxes=batch.boxes,
                input_points=points,
                input_labels=labels,
                input_masks=logits,
                multimask_output=turn == 0 and batch.boxes is None,
                sam_only=True,
            )
            losses = sam_losses(output.pred_masks, output.iou_scores, truth, weights)
            for name, value in losses.items():
                sums[name] = sums[name] + value[present].sum() / self.rounds
            logits = output.pred_masks[:, :, 0].detach()
            sums[f"iou_{turn}"] = mask_ious(logits[:, :, None], truth)[..., 0][present].sum()
            if turn + 1 < self.rounds:
                click, label = corrective_clicks(logits, truth, batch.seeds + turn)
                click = (click + 0.5) * (batch.images.shape[-1] / side) - 0.5
                points = click if points is None else torch.cat([points, click], dim=2)
                labels = label if labels is None else torch.cat([labels, label], dim=2)
        return sums


def sam_losses(logits: Tensor, scores: Tensor, truth: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Losses (B, P) of M candidate masks: those of the candidate nearest to the truth, and of all scores.

    logits (B, P, M, h, w); scores (B, P, M); truth (B, P, h, w) in [0, 1]; weights (B, P, h, w).
    """
    logits, scores = logits.float(), scores.float()
    target = truth[:, :, None].expand_as(logits)
    share = weights / weights.sum(dim=(-2, -1), keepdim=True)
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    bce = (bce * share[:, :, None]).sum(dim=(-2, -1))
    dice = dice_losses(logits, target, dim=(-2, -1))
    mask = BCE_WEIGHT * bce + DICE_WEIGHT * dice
    best = mask.argmin(dim=-1, keepdim=True)
    score = F.mse_loss(scores, mask_ious(logits.detach(), truth), reduction="none").mean(dim=-1)
    return {
        "loss": mask.gather(-1, best)[..., 0] + SCORE_WEIGHT * score,
        "bce": bce.gather(-1, best)[..., 0],
        "dice": dice.gather(-1, best)[..., 0],
        "score": score,
    }


def mask_ious(logits: Tensor, truth: Tensor) -> Tensor:
    """IoU (B, P, M) of masks (B, P, M, h, w), where logits are positive, with truth (B, P, h, w) above one half."""
    mask, target = logits > 0, (truth > 0.5)[:, :, None]
    overlap = (mask & target).sum(dim=(-2, -1))
    return overlap / (mask | target).sum(dim=(-2, -1)).clamp(min=1)


def surroundings(truth: Tensor) -> Tensor:
    """1 in the boxes of square masks (B, P, h, h) grown by `SURROUNDINGS` on every side, else `WEIGHT_ELSEWHERE`."""
    inside = truth > 0.5
    places = torch.arange(truth.shape[-1], device=truth.device)

    def span(profile: Tensor) -> tuple[Tensor, Tensor]:
        low = torch.where(profile, places, len(places)).amin(dim=-1, keepdim=True)
        return low, torch.where(profile, places, -1).amax(dim=-1, keepdim=True)

    top, bottom = span(inside.any(dim=-1))
    left, right = span(inside.any(dim=-2))
    reach = 1 + SURROUNDINGS * torch.maximum(bottom - top, right - left).clamp(min=0)
    rows = (places >= top - reach) & (places <= bottom + reach)
    columns = (places >= left - reach) & (places <= right + reach)
    return torch.where(rows[..., :, None] & columns[..., None, :], 1.0, WEIGHT_ELSEWHERE)


def corrective_clicks(logits: Tensor, truth: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
    """A click (B, P, 1, 2) as (x, y) in cells, drawn evenly from where each mask (B, P, h, w) is wrong.

    Its label (B, P, 1) is 1 where the object was missed, 0 where background was taken, -10 where nothing is wrong.
    seeds (B, P): one number per mask, so that a click does not depend on the rest of the batch.
    """
    target = truth > 0.5
    wrong = (logits > 0) != target
    width = wrong.shape[-1]
    lots = torch.stack(
        [torch.rand(wrong.shape[-2:], generator=torch.Generator().manual_seed(int(seed))) for seed in seeds.flatten()]
    )
    lots = lots.reshape(wrong.shape).to(wrong.device)
    drawn = torch.where(wrong, lots, -1.0).flatten(2).argmax(dim=-1)  # (B, P)
    missed = target.flatten(2).gather(2, drawn[..., None])
    label = torch.where(missed, POSITIVE, NEGATIVE)
    label = torch.where(wrong.flatten(2).any(dim=-1, keepdim=True), label, PADDING)
    return torch.stack([drawn % width, drawn // width], dim=-1)[:, :, None].float(), label


__all__ = ["SamLearner", "corrective_clicks", "mask_ious", "sam_losses", "surroundings"]
