"""Solid objects whose inside is as busy as a photo's: figures, rings, fields and reliefs, deep shade and glints.

A model that has seen calm insides alone leaves holes where a coin has a head or a badge has letters.
"""

from collections.abc import Callable

import numpy as np

from .families import sketch_of, trained_families
from .materials import core, elliptic_distance, with_glint
from .sketch import Drawing, draw, rotation, warp
from .textures import coordinates, noise, random_colour, random_pattern, tilt

# (rng, drawing, colours, ground) to colours; colours and ground are RGB float32 (h, w, 3) of 0 to 255.
Print = Callable[[np.random.Generator, Drawing, np.ndarray, np.ndarray], np.ndarray]


def printed(rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """The colours (h, w, 3) of a solid object with one to three prints on it, and at times shade and glints.

    ground: RGB (h, w, 3) behind it, whose colours may come back inside.
    """
    for _ in range(rng.integers(1, 4)):
        changed = PRINTS[rng.integers(len(PRINTS))](rng, drawing, colours, ground)
        # Most keep clear of the outline, where an object must stand out from what lies behind it.
        share = core(rng, drawing)[..., None] if rng.random() < 0.7 else np.float32(1)
        colours = colours + share * (changed - colours)
    if rng.random() < 0.3:  # the side away from the light
        colours = colours * (1 - _beyond_a_curve(rng, drawing)[..., None] * np.float32(rng.uniform(0.3, 0.75)))
    if rng.random() < 0.4:
        for _ in range(rng.integers(0, 4)):
            colours = with_glint(rng, drawing, colours, (0.01, 0.1), 0.01, weakest=0.5)
    return colours.clip(0, 255)


def figures(rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Small drawings of any family, each in a colour of its own."""
    h, w = drawing.coverage.shape
    inside = np.argwhere(drawing.coverage > 0.5)
    names = trained_families()
    colours = colours.copy()
    for _ in range(rng.integers(1, 7)):
        sketch = sketch_of(names[rng.integers(len(names))], rng)
        angle = rng.uniform(-np.pi, np.pi)
        centre = inside[rng.integers(len(inside))][::-1] if len(inside) else np.array([w, h]) / 2
        parts = warp(sketch, rotation(angle), np.zeros(2), rng.uniform(0.08, 0.4) * max(h, w), centre)
        figure = draw(parts, h, w)
        if figure is not None:
            under = colours[figure.window]
            under += figure.coverage[..., None] * (_some_colour(rng, ground) - under)
    return colours


def rings(rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Ellipses within ellipses, as an eye, a wheel or a plate has."""
    h, w = drawing.coverage.shape
    inside = np.argwhere(drawing.coverage > 0.5)
    at = inside.mean(axis=0) + rng.normal(0, 0.06 * max(h, w), 2) if len(inside) else np.array([h, w]) / 2
    ry, rx = np.array([h, w]) / 2 * rng.uniform(0.6, 1.1, 2)
    distance = elliptic_distance(h, w, at, ry, rx)
    for radius in np.sort(rng.uniform(0.1, 0.95, rng.integers(1, 5)))[::-1]:
        share = ((radius - distance) * min(ry, rx) + 0.5).clip(0, 1).astype(np.float32)[..., None]
        colours = colours + share * (_some_colour(rng, ground) - colours)
    return colours


def fields(rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Stripes or a grid of cells, each in one of a few colours, as flags, ribbons and book covers have."""
    h, w = drawing.coverage.shape
    y, x = coordinates(h, w)
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    step = max(h, w) / rng.uniform(3, 14)
    cell = np.floor((x * c + y * s) / step).astype(int)
    if rng.random() < 0.5:
        cell = cell + 101 * np.floor((y * c - x * s) / (step * rng.uniform(0.6, 3))).astype(int)
    palette = np.stack([_some_colour(rng, ground) for _ in range(rng.integers(2, 7))])
    chosen = palette[rng.integers(len(palette), size=997)][cell % 997]
    return chosen * np.float32(0.8) + colours * np.float32(0.2)  # the shading beneath shows through


def relief(rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Bumps lit from one side, as a coin, a face of stone or crumpled cloth has."""
    h, w = drawing.coverage.shape
    longer = max(h, w)
    height = noise(rng, h, w, longer / rng.uniform(4, 9))
    height = height + 0.5 * noise(rng, h, w, max(longer / rng.uniform(12, 30), 2))
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.gradient(height, axis=0) * np.sin(angle) + np.gradient(height, axis=1) * np.cos(angle)
    slope = slope / max(float(np.abs(slope).max()), 1e-6)
    return colours + slope[..., None].astype(np.float32) * np.float32(rng.uniform(50, 160))


def pattern(rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """A strong pattern between the object's colour and another."""
    h, w = drawing.coverage.shape
    share = random_pattern(rng, h, w, max(h, w) / rng.uniform(4, 12)) * np.float32(rng.uniform(0.5, 1))
    return colours + share[..., None] * (_some_colour(rng, ground) - colours)


def _some_colour(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """A colour (3,): white, black, of the ground, or any."""
    kind = rng.random()
    if kind < 0.15:
        return np.full(3, rng.uniform(220, 255), np.float32)
    if kind < 0.35:
        return np.full(3, rng.uniform(0, 30), np.float32)
    if kind < 0.55:
        return ground[rng.integers(ground.shape[0]), rng.integers(ground.shape[1])].copy()
    return random_colour(rng)


def _beyond_a_curve(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    """A soft or sharp border (h, w) from 0 to 1 across the object."""
    h, w = drawing.coverage.shape
    across = tilt(rng, h, w)
    bend = (noise(rng, h, w, max(h, w) / 2) - 0.5) * np.float32(rng.uniform(0, 0.6))
    return ((across + bend - np.float32(rng.uniform(-0.2, 0.2))) * np.float32(rng.uniform(3, 30)) + 0.5).clip(0, 1)


PRINTS: tuple[Print, ...] = (figures, figures, rings, fields, relief, relief, pattern)


__all__ = ["printed"]
