"""The registry of object families, their two groups, and the families held out of training.

A family is a function that draws random instances of one kind of object, such as an apple or a ladder; the family has
the name of the function. The group "solid" holds families with a body, "thin" those made of thin parts such as wires,
bars and twigs. The modules solid_* and thin_* register their functions with the decorators `solid` and `thin`.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from .sketch import Sketch

Group = Literal["solid", "thin"]
DrawFamily = Callable[[Sketch, np.random.Generator], None]

FAMILIES: dict[str, DrawFamily] = {}
GROUPS: dict[str, Group] = {}

# Families that no training or validation scene shows, to measure how well a model generalises.
HELD_OUT = ("bicycle", "chair", "fern", "fish", "glasses", "insect", "key", "mug", "shoe")


def solid(draw_family: DrawFamily) -> DrawFamily:
    """Register a function as a solid family."""
    return _register(draw_family, "solid")


def thin(draw_family: DrawFamily) -> DrawFamily:
    """Register a function as a thin family."""
    return _register(draw_family, "thin")


def _register(draw_family: DrawFamily, group: Group) -> DrawFamily:
    FAMILIES[draw_family.__name__] = draw_family
    GROUPS[draw_family.__name__] = group
    return draw_family


def sketch_of(family: str, rng: np.random.Generator) -> Sketch:
    """Sketch a random instance of the family, in the family's own coordinates."""
    sketch = Sketch()
    FAMILIES[family](sketch, rng)
    return sketch


def choose_family(rng: np.random.Generator, families: Sequence[str], group: Group) -> str:
    """Choose one of the families of the group, or one of all families if the group has none."""
    pool = [family for family in families if GROUPS[family] == group] or list(families)
    return pool[rng.integers(len(pool))]


def trained_families() -> tuple[str, ...]:
    """The families of training and validation scenes: all but `HELD_OUT`, sorted."""
    return tuple(sorted(FAMILIES.keys() - set(HELD_OUT)))


__all__ = [
    "FAMILIES",
    "GROUPS",
    "HELD_OUT",
    "DrawFamily",
    "Group",
    "choose_family",
    "sketch_of",
    "solid",
    "thin",
    "trained_families",
]
