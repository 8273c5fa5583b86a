"""The families of objects: how each is registered, and which are kept from training."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from .sketch import Sketch

Group = Literal["solid", "thin"]
Draw = Callable[[Sketch, np.random.Generator], None]

FAMILIES: dict[str, Draw] = {}
GROUPS: dict[str, Group] = {}

HELD_OUT = ("bicycle", "chair", "fern", "fish", "glasses", "insect", "key", "mug", "shoe")


def solid(draw: Draw) -> Draw:
    """Register a family of objects with a body, named as the function that draws one."""
    return _register(draw, "solid")


def thin(draw: Draw) -> Draw:
    """Register a family made of thin parts, named as the function that draws one."""
    return _register(draw, "thin")


def _register(draw: Draw, group: Group) -> Draw:
    FAMILIES[draw.__name__] = draw
    GROUPS[draw.__name__] = group
    return draw


def sketch_of(family: str, rng: np.random.Generator) -> Sketch:
    """An instance of the family with random parameters, in coordinates of its own."""
    sketch = Sketch()
    FAMILIES[family](sketch, rng)
    return sketch


def choose_family(rng: np.random.Generator, families: Sequence[str], group: Group) -> str:
    """One of the families that are of the group; of all, where none is."""
    pool = [family for family in families if GROUPS[family] == group] or list(families)
    return pool[rng.integers(len(pool))]


def trained_families() -> tuple[str, ...]:
    """The families of training and validation scenes: all but `HELD_OUT`, sorted."""
    return tuple(sorted(FAMILIES.keys() - set(HELD_OUT)))


__all__ = [
    "FAMILIES",
    "GROUPS",
    "HELD_OUT",
    "Draw",
    "Group",
    "choose_family",
    "sketch_of",
    "solid",
    "thin",
    "trained_families",
]
