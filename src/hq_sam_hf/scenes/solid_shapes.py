"""Solid families: abstract shapes, from which a model learns to follow edges rather than known objects."""

import numpy as np

from .families import solid
from .sketch import Sketch, arc, smooth


def _star_shaped(radii: np.ndarray, turn: float = 0.0) -> np.ndarray:
    """Points (n, 2) at evenly spaced angles and the given distances from the origin."""
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False) + turn
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


@solid
def blob(pen: Sketch, rng: np.random.Generator) -> None:
    pen.polygon(smooth(_star_shaped(rng.uniform(0.45, 1, rng.integers(5, 11))), closed=True))


@solid
def polygon(pen: Sketch, rng: np.random.Generator) -> None:
    angles = np.sort(rng.uniform(0, 0.6, n := rng.integers(3, 8)) + np.arange(n)) * 2 * np.pi / n
    radii = rng.uniform(0.6, 1, n)
    pen.polygon(np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1))


@solid
def star(pen: Sketch, rng: np.random.Generator) -> None:
    n = rng.integers(4, 10)
    pen.polygon(_star_shaped(np.tile([1, rng.uniform(0.4, 0.65)], n)))


@solid
def gear(pen: Sketch, rng: np.random.Generator) -> None:
    teeth, root = rng.integers(7, 15), rng.uniform(0.7, 0.85)
    pen.polygon(_star_shaped(np.tile([1, 1, root, root], teeth)))
    pen.ellipse(0, 0, rng.uniform(0.12, 0.4), erase=True)
    if rng.random() < 0.4:
        for x, y in _star_shaped(np.full(rng.integers(3, 7), 0.56)):
            pen.ellipse(x, y, 0.11, erase=True)


@solid
def heart(pen: Sketch, rng: np.random.Generator) -> None:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    tip = rng.uniform(4, 6.5)
    y = 13 * np.cos(t) - tip * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    pen.polygon(np.stack([16 * np.sin(t) ** 3, -y], axis=1))


@solid
def crescent(pen: Sketch, rng: np.random.Generator) -> None:
    pen.ellipse(0, 0, 1)
    pen.ellipse(rng.uniform(0.35, 0.7), rng.uniform(-0.15, 0.15), rng.uniform(0.75, 0.9), erase=True)


@solid
def ring(pen: Sketch, rng: np.random.Generator) -> None:
    pen.ellipse(0, 0, 1)
    pen.ellipse(rng.uniform(-0.1, 0.1), 0, inner := rng.uniform(0.25, 0.6), erase=True)
    if rng.random() < 0.4:  # icing and crumbs
        for x, y in _star_shaped(rng.uniform(inner + 0.12, 0.9, 14), rng.uniform(0, 6)):
            pen.ellipse(x, y, 0.05, tone=rng.choice([-0.5, 0.5]))


@solid
def puzzle(pen: Sketch, rng: np.random.Generator) -> None:
    pen.polygon([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    bump = rng.uniform(0.28, 0.38)
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        out = rng.random() < 0.5
        shift = 0.7 * bump * (1 if out else -1)
        pen.ellipse(x * (1 + shift), y * (1 + shift), bump, erase=not out)


@solid
def arrow(pen: Sketch, rng: np.random.Generator) -> None:
    shaft, head, neck = rng.uniform(0.2, 0.4), rng.uniform(0.65, 1), rng.uniform(-0.1, 0.4)
    top = [(-1.2, -shaft), (neck, -shaft), (neck, -head)]
    pen.polygon([*top, (1, 0), *[(x, -y) for x, y in top[::-1]]])


@solid
def cutout(pen: Sketch, rng: np.random.Generator) -> None:
    """A collage of overlapping pieces with holes and loose ends, which gives unfamiliar silhouettes."""
    for _ in range(rng.integers(2, 5)):
        x, y = rng.uniform(-0.5, 0.5, 2)
        tone = rng.uniform(-0.3, 0.3)
        outline = _star_shaped(rng.uniform(0.3, 0.75, rng.integers(3, 9)), rng.uniform(0, 6)) + (x, y)
        pen.polygon(smooth(outline, closed=True) if rng.random() < 0.6 else outline, tone)
    for _ in range(rng.integers(0, 3)):
        x, y = rng.uniform(-0.5, 0.5, 2)
        pen.ellipse(x, y, rng.uniform(0.08, 0.2), erase=True)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform(-0.4, 0.4, 2)
        bend = rng.uniform(0, 2 * np.pi)
        pen.stroke(
            np.concatenate([[(x, y)], arc(x, y, 0.8, start=bend, stop=bend + rng.uniform(0.2, 0.6))]),
            rng.uniform(0.06, 0.2),
        )


__all__: list[str] = []
