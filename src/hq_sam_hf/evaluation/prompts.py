"""The prompts that an evaluation can ask with, by name:

box             the box of the true mask
box-noise-0.2   the box moved and stretched by up to 20 per cent, see `prompts.shift_box`
points-5        5 random points on the object
points-5+3      and 3 random ones on the background
centre          the pixel deepest inside the object
clicks-3        up to 3 clicks, each where the last answer was most wrong, which is fed back; counts as `clicks-1`,
                `clicks-2` and `clicks-3`
"""

import re
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..data.prompt_simulation import box_noise, centre_point, mask_to_box, random_negative_points, random_points

FORMS = "box, box-noise-SCALE, points-COUNT, points-COUNT+NEGATIVE, centre, clicks-COUNT"


@dataclass(frozen=True)
class PromptPlan:
    """One of the prompts above. scale: of the box's noise. count, negative: numbers of points or clicks."""

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
    """One prompt for one object: a box (4,), or points (K, 2) with labels (K,), in pixels of the prompt's frame."""

    box: np.ndarray | None = None
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=np.float32))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def with_click(self, point: np.ndarray, label: int) -> "Prompt":
        return Prompt(self.box, np.vstack([self.points, point[None]]), np.append(self.labels, label))


def parse_prompt(name: str) -> PromptPlan:
    """Read the name of a prompt. Raises ValueError for one that is not of the forms above."""
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
    raise ValueError(f"A prompt must be one of {FORMS}, with a SCALE in (0, 1]; got {name!r}.")


def make_prompt(plan: PromptPlan, mask: np.ndarray, rng: np.random.Generator) -> Prompt | None:
    """The prompt for a mask (height, width), in its pixels; None for an empty mask. Clicks start at the centre."""
    box = mask_to_box(mask)
    if box is None:
        return None
    if plan.kind == "box":
        return Prompt(box=box_noise(box, plan.scale, mask.shape, rng) if plan.scale > 0 else box)
    if plan.kind == "points":
        inside, outside = random_points(mask, plan.count, rng), random_negative_points(mask, plan.negative, rng)
        labels = np.repeat(np.array([1, 0]), [len(inside), len(outside)])
        return Prompt(points=np.vstack([inside, outside]), labels=labels)
    centre = centre_point(mask)
    return None if centre is None else Prompt().with_click(centre, 1)


__all__ = ["FORMS", "Prompt", "PromptPlan", "make_prompt", "parse_prompt"]
