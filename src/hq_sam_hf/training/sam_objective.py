"""The objective that trains a whole plain SAM: a first prompt, then corrective clicks, as in SAM's paper.

The paper is arXiv 2304.02643; its section 5 and appendix A describe the training.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Sam2Config, Sam2Model, SamConfig, SamModel

from ..data.prompt_simulation import box_noise, mask_to_box, random_points
from ..export.layout_writing_sam2 import with_matrix_copy
from ..model.checkpoint_format import is_hq_key
from ..model.configuration_hq_sam import NEGATIVE, PADDING, POSITIVE
from ..model.key_mapping import HQ_HEAD_MODULES
from ..model.losses import dice_losses
from ..model.modeling_hq_sam2 import HQSam2Model
from .batch import Batch
from .card import PLAIN_SAM_CARD
from .objectives import AnyModel, Objective
from .random_streams import prompt_kind_generator

# Every prompt here asks for an object, so SAM 2's score of whether there is one has nothing to learn.
UNTRAINED_MODULES = ("pred_obj_score_head",)

TINY_VIT = "hq_sam_tiny_vit"  # `model_type` of its configuration

# Each corner of a box moves by up to a tenth of the box's side, at most 20 pixels of 1024 (SAM's paper, appendix A).
BOX_NOISE = 0.1

# Cross entropy counts most in the surroundings of the object. In an even mean over the image, small objects get lost.
BCE_WEIGHT, DICE_WEIGHT, SCORE_WEIGHT = 2.0, 1.0, 1.0
SURROUNDINGS = 0.25  # margin around the object's box, in units of its longer side
WEIGHT_ELSEWHERE = 0.1


class SamObjective(Objective):
    """All weights of a plain SAM. A box prompt trains the single mask; a point trains the best of three masks.

    Then corrective clicks are drawn from where the mask with the best score is wrong. Each is given together with that
    mask's logits and all earlier prompts, and trains the single mask. All rounds have the same weight in the loss.
    """

    name = "sam"
    allowed_prompts = ("box", "point")
    default_prompts = ("box", "point")
    trains_decoder = True
    trains_all_weights = True
    card = PLAIN_SAM_CARD

    @classmethod
    def check_encoder(cls, model_type: str | None) -> None:
        if model_type == TINY_VIT:
            raise ValueError(
                f"`train: {cls.name}` saves a plain SAM in transformers' layout, which has no TinyViT, got "
                f"vision_config.model_type {model_type!r}. Choose a ViT, or train an HQ head on a TinyViT's SAM."
            )

    def trains(self, name: str) -> bool:
        part, _, inner = name.partition(".")
        return not (part == "mask_decoder" and inner.startswith((*HQ_HEAD_MODULES, *UNTRAINED_MODULES)))

    def choose_masks(self, usable: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Choose exactly `count` masks, with repetitions if need be: more prompts train more than padding does."""
        return np.resize(super().choose_masks(usable, count, rng), count)

    def prompt_kinds(self, step: int, masks: list[np.ndarray]) -> tuple[str, ...]:
        """One kind for a whole step, since a box asks for one mask and a point for three."""
        rng = prompt_kind_generator(self.seed, step)
        return (self.prompts[rng.integers(len(self.prompts))],)

    def draw_prompt(
        self, mask: np.ndarray, kinds: tuple[str, ...], rng: np.random.Generator, mask_size: int
    ) -> dict[str, np.ndarray]:
        if kinds == ("point",):
            return {"points": random_points(mask, 1, rng), "labels": np.ones(1, dtype=np.int64)}
        box = mask_to_box(mask)
        assert box is not None, "empty masks have been dropped"
        return {"box": box_noise(box, BOX_NOISE, mask.shape[-1], rng)}

    def loss_sums(self, model: AnyModel, batch: Batch, encoded: dict[str, Any]) -> dict[str, Tensor]:
        """The losses, the score's loss, and after each round the IoU of the mask with the best score."""
        side = model.config.mask_size
        target = F.interpolate(batch.masks.clamp(min=0), size=(side, side), mode="area")  # (B, P, h, w)
        weights = surroundings(target)
        valid = batch.valid
        points, labels, logits = batch.points, batch.labels, None
        rounds = 1 + self.clicks
        sums = {name: target.new_zeros((), dtype=torch.float32) for name in ("loss", "bce", "dice", "score")}
        for number in range(rounds):
            output = model(
                image_embeddings=encoded["image_embeddings"],
                input_boxes=batch.boxes,
                input_points=points,
                input_labels=labels,
                input_masks=logits,
                multimask_output=number == 0 and batch.boxes is None,
                sam_only=True,
            )
            losses = sam_losses(output.pred_masks, output.iou_scores, target, weights)
            for name, value in losses.items():
                sums[name] = sums[name] + value[valid].sum() / rounds
            logits = output.pred_masks[:, :, 0].detach()
            sums[f"iou_{number}"] = mask_ious(logits[:, :, None], target)[..., 0][valid].sum()
            if number + 1 < rounds:
                click, label = corrective_clicks(logits, target, batch.seeds + number)
                click = (click + 0.5) * (batch.images.shape[-1] / side) - 0.5  # from mask cells to input pixels
                points = click if points is None else torch.cat([points, click], dim=2)
                labels = label if labels is None else torch.cat([labels, label], dim=2)
        return sums

    def save(self, model: AnyModel, folder: Path) -> None:
        """Write a plain SAM or SAM 2 in transformers' layout, without the HQ head."""
        weights: dict[str, Tensor] = {name: value for name, value in model.state_dict().items() if not is_hq_key(name)}
        with torch.device("meta"):
            if isinstance(model, HQSam2Model):
                plain: Any = Sam2Model(Sam2Config(**model.config.transformers_sections()))
                weights = with_matrix_copy(weights)
            else:
                plain = SamModel(SamConfig(**model.config.transformers_sections(plain=True)))
        plain.save_pretrained(folder, state_dict={name: value.contiguous() for name, value in weights.items()})


def sam_losses(logits: Tensor, scores: Tensor, target: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Losses (B, P) of M candidate masks per prompt.

    The losses of the mask are those of the candidate with the lowest one. The loss of the score is the mean squared
    error of all M predicted IoUs.

    logits (B, P, M, h, w); scores (B, P, M); target (B, P, h, w) in [0, 1]; weights (B, P, h, w).
    """
    logits, scores = logits.float(), scores.float()
    expanded = target[:, :, None].expand_as(logits)
    share = weights / weights.sum(dim=(-2, -1), keepdim=True)
    bce = F.binary_cross_entropy_with_logits(logits, expanded, reduction="none")
    bce = (bce * share[:, :, None]).sum(dim=(-2, -1))
    dice = dice_losses(logits, expanded, dim=(-2, -1))
    mask = BCE_WEIGHT * bce + DICE_WEIGHT * dice
    best = mask.argmin(dim=-1, keepdim=True)
    score = F.mse_loss(scores, mask_ious(logits.detach(), target), reduction="none").mean(dim=-1)
    return {
        "loss": mask.gather(-1, best)[..., 0] + SCORE_WEIGHT * score,
        "bce": bce.gather(-1, best)[..., 0],
        "dice": dice.gather(-1, best)[..., 0],
        "score": score,
    }


def mask_ious(logits: Tensor, target: Tensor) -> Tensor:
    """IoU (B, P, M) of predicted masks with their targets.

    logits (B, P, M, h, w), positive inside a mask; target (B, P, h, w), above one half inside the object.
    """
    mask, inside = logits > 0, (target > 0.5)[:, :, None]
    overlap = (mask & inside).sum(dim=(-2, -1))
    return overlap / (mask | inside).sum(dim=(-2, -1)).clamp(min=1)


def surroundings(target: Tensor) -> Tensor:
    """Weights (B, P, h, h) of the cross entropy: 1 in and around the boxes of square masks, else `WEIGHT_ELSEWHERE`.

    Boxes are extended on all sides by `SURROUNDINGS` times their longer side.
    """
    inside = target > 0.5
    positions = torch.arange(target.shape[-1], device=target.device)

    def span(profile: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.where(profile, positions, len(positions)).amin(dim=-1, keepdim=True)
        return first, torch.where(profile, positions, -1).amax(dim=-1, keepdim=True)

    top, bottom = span(inside.any(dim=-1))
    left, right = span(inside.any(dim=-2))
    margin = 1 + SURROUNDINGS * torch.maximum(bottom - top, right - left).clamp(min=0)
    rows = (positions >= top - margin) & (positions <= bottom + margin)
    columns = (positions >= left - margin) & (positions <= right + margin)
    return torch.where(rows[..., :, None] & columns[..., None, :], 1.0, WEIGHT_ELSEWHERE)


def corrective_clicks(logits: Tensor, target: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
    """One click per mask, drawn uniformly from the cells where the mask is wrong.

    logits (B, P, h, w), positive inside a mask; target (B, P, h, w), above one half inside the object;
    seeds (B, P): one per mask, so that a click does not depend on the rest of the batch.

    Returns points (B, P, 1, 2) as (x, y) in cells, and labels (B, P, 1): 1 where the object was missed, 0 where
    background was taken for the object, -10 (padding) for a mask without errors.
    """
    inside = target > 0.5
    wrong = (logits > 0) != inside
    width = wrong.shape[-1]
    draws = torch.stack(
        [torch.rand(wrong.shape[-2:], generator=torch.Generator().manual_seed(int(seed))) for seed in seeds.flatten()]
    )
    draws = draws.reshape(wrong.shape).to(wrong.device)
    drawn = torch.where(wrong, draws, -1.0).flatten(2).argmax(dim=-1)  # (B, P)
    missed = inside.flatten(2).gather(2, drawn[..., None])
    label = torch.where(missed, POSITIVE, NEGATIVE)
    label = torch.where(wrong.flatten(2).any(dim=-1, keepdim=True), label, PADDING)
    return torch.stack([drawn % width, drawn // width], dim=-1)[:, :, None].float(), label


__all__ = ["SamObjective", "corrective_clicks", "mask_ious", "sam_losses", "surroundings"]
