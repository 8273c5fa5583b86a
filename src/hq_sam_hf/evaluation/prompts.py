"""Prompts that an evaluation derives from ground-truth masks, chosen by name.

box             the bounding box of the ground-truth mask
box-noise-0.2   that box with noise of scale 0.2, see `data.prompt_simulation.box_noise`
points-5        5 random points on the object
points-5+3      5 random points on the object and 3 on the background
centre          the pixel deepest inside the object
clicks-3        3 clicks, one after the other: the first at the centre, each later one at the centre of the largest
                error. Every prediction is fed back as the mask prompt of the next. Results are recorded for
                `clicks-1`, `clicks-2` and `clicks-3`.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from ..data.prompt_simulation import box_noise, centre_point, mask_to_box, random_negative_points, random_points

FORMS = "box, box-noise-SCALE, points-COUNT, points-COUNT+NEGATIVE, centre, clicks-COUNT"


@dataclass(frozen=True)
class PromptPlan:
    """One of the prompts above.

    scale: scale of the box noise, 0 for none. count: number of positive points, or of clicks.
    negative: number of background points.
    """

    name: str
    kind: Literal["box", "points", "centre", "clicks"]
    scale: float = 0.0
    count: int = 0
    negative: int = 0

    @property
    def is_random(self) -> bool:
        return self.scale > 0 or self.kind == "points"


@dataclass(frozen=True)
class Prompt:
    """One prompt for one object, in pixels of the mask that it was made from.

    box: (x1, y1, x2, y2) or None. points: (K, 2) as (x, y). labels: (K,), 1 for the object and 0 for the background.
    mask_logits: a coarse mask (m, m), as `HQSamImageProcessor.mask_to_logits` makes it, or None.
    """

    box: np.ndarray | None = None
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=np.float32))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    mask_logits: torch.Tensor | None = None

    def with_click(self, point: np.ndarray, label: int) -> "Prompt":
        return Prompt(self.box, np.vstack([self.points, point[None]]), np.append(self.labels, label))


def parse_prompt(name: str) -> PromptPlan:
    """Parse the name of a prompt. Raises ValueError if it has none of the forms above."""
    if name == "box":
        return PromptPlan(name, "box")
    if name == "centre":
        return PromptPlan(name, "centre")
    if match := re.fullmatch(r"box-noise-(0\.\d+|1|1\.0)", name):
        return PromptPlan(name, "box", scale=float(match[1]))
    if match := re.fullmatch(r"points-([1-9]\d*)(?:\+([1-9]\d*))?", name):
        return PromptPlan(name, "points", count=int(match[1]), negative=int(match[2] or 0))
    if match := re.fullmatch(r"clicks-([1-9]\d*)", name):
        return PromptPlan(name, "clicks", count=int(match[1]))
    raise ValueError(f"A prompt must be one of {FORMS}, with SCALE in (0, 1]; got {name!r}.")


def make_prompt(plan: PromptPlan, mask: np.ndarray, rng: np.random.Generator) -> Prompt | None:
    """Make the prompt for a mask, bool (H, W), in pixels of that mask.

    Returns None for an empty mask. Of clicks only the first, at the centre, is made.
    """
    box = mask_to_box(mask)
    if box is None:
        return None
    if plan.kind == "box":
        return Prompt(box=box_noise(box, plan.scale, mask.shape, rng) if plan.scale > 0 else box)
    if plan.kind == "points":
        positive, negative = random_points(mask, plan.count, rng), random_negative_points(mask, plan.negative, rng)
        labels = np.repeat(np.array([1, 0]), [len(positive), len(negative)])
        return Prompt(points=np.vstack([positive, negative]), labels=labels)
    centre = centre_point(mask)
    return None if centre is None else Prompt().with_click(centre, 1)


__all__ = ["FORMS", "Prompt", "PromptPlan", "make_prompt", "parse_prompt"]
