"""Prints: detailed patterns inside solid objects, like the head on a coin or the letters on a badge.

The kinds of prints are small drawings, concentric rings, colour fields, reliefs and textures; printed objects may also
have a shaded side and highlights. A model trained only on plain objects leaves holes in its masks at such details.
"""

from collections.abc import Callable

import numpy as np

from .families import sketch_of, trained_families
from .materials import add_highlight, core, elliptic_distance
from .sketch import Drawing, draw, rotation, warp
from .textures import coordinates, noise, random_colour, random_pattern, tilt

# (rng, drawing, colours, background) -> colours; RGB float32 (h, w, 3) in 0..255.
Print = Callable[[np.random.Generator, Drawing, np.ndarray, np.ndarray], np.ndarray]


def add_prints(rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Add one to three prints to a solid object, and in some objects shade and highlights.

    Takes and returns the object's colours, RGB (h, w, 3). background: RGB (h, w, 3) behind the object; prints may
    repeat its colours.
    """
    for _ in range(rng.integers(1, 4)):
        changed = PRINTS[rng.integers(len(PRINTS))](rng, drawing, colours, background)
        # Most prints do not reach the outline, so that the object still contrasts with its background.
        share = core(rng, drawing)[..., None] if rng.random() < 0.7 else np.float32(1)
        colours = colours + share * (changed - colours)
    if rng.random() < 0.3:  # shade on one side
        colours = colours * (1 - _soft_border(rng, drawing)[..., None] * np.float32(rng.uniform(0.3, 0.75)))
    if rng.random() < 0.4:
        for _ in range(rng.integers(0, 4)):
            colours = add_highlight(rng, drawing, colours, (0.01, 0.1), 0.01, weakest=0.5)
    return colours.clip(0, 255)


def drawings(rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Small drawings of random families, each in one colour."""
    h, w = drawing.coverage.shape
    inside = np.argwhere(drawing.coverage > 0.5)
    names = trained_families()
    colours = colours.copy()
    for _ in range(rng.integers(1, 7)):
        sketch = sketch_of(names[rng.integers(len(names))], rng)
        angle = rng.uniform(-np.pi, np.pi)
        centre = inside[rng.integers(len(inside))][::-1] if len(inside) else np.array([w, h]) / 2
        parts = warp(sketch, rotation(angle), np.zeros(2), rng.uniform(0.08, 0.4) * max(h, w), centre)
        small = draw(parts, h, w)
        if small is not None:
            under = colours[small.window]
            under += small.coverage[..., None] * (_print_colour(rng, background) - under)
    return colours


def rings(rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Concentric ellipses, like those of an eye, a wheel or a plate."""
    h, w = drawing.coverage.shape
    inside = np.argwhere(drawing.coverage > 0.5)
    at = inside.mean(axis=0) + rng.normal(0, 0.06 * max(h, w), 2) if len(inside) else np.array([h, w]) / 2
    ry, rx = np.array([h, w]) / 2 * rng.uniform(0.6, 1.1, 2)
    distance = elliptic_distance(h, w, at, ry, rx)
    for radius in np.sort(rng.uniform(0.1, 0.95, rng.integers(1, 5)))[::-1]:
        share = ((radius - distance) * min(ry, rx) + 0.5).clip(0, 1).astype(np.float32)[..., None]
        colours = colours + share * (_print_colour(rng, background) - colours)
    return colours


def fields(rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Stripes or a grid of cells in a few colours, like those of flags, ribbons and book covers."""
    h, w = drawing.coverage.shape
    y, x = coordinates(h, w)
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    step = max(h, w) / rng.uniform(3, 14)
    cell = np.floor((x * c + y * s) / step).astype(int)
    if rng.random() < 0.5:
        cell = cell + 101 * np.floor((y * c - x * s) / (step * rng.uniform(0.6, 3))).astype(int)
    palette = np.stack([_print_colour(rng, background) for _ in range(rng.integers(2, 7))])
    chosen = palette[rng.integers(len(palette), size=997)][cell % 997]
    return chosen * np.float32(0.8) + colours * np.float32(0.2)  # keeps some of the shading


def relief(rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Bumps lit from one side, like those of a coin, a stone face or crumpled cloth."""
    h, w = drawing.coverage.shape
    longer = max(h, w)
    height = noise(rng, h, w, longer / rng.uniform(4, 9))
    height = height + 0.5 * noise(rng, h, w, max(longer / rng.uniform(12, 30), 2))
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.gradient(height, axis=0) * np.sin(angle) + np.gradient(height, axis=1) * np.cos(angle)
    slope = slope / max(float(np.abs(slope).max()), 1e-6)
    return colours + slope[..., None].astype(np.float32) * np.float32(rng.uniform(50, 160))


def pattern(rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, background: np.ndarray) -> np.ndarray:
    """A strong texture between the object's colour and another colour."""
    h, w = drawing.coverage.shape
    share = random_pattern(rng, h, w, max(h, w) / rng.uniform(4, 12)) * np.float32(rng.uniform(0.5, 1))
    return colours + share[..., None] * (_print_colour(rng, background) - colours)


def _print_colour(rng: np.random.Generator, background: np.ndarray) -> np.ndarray:
    """A colour (3,): white, black, a colour of the background, or a random one."""
    kind = rng.random()
    if kind < 0.15:
        return np.full(3, rng.uniform(220, 255), np.float32)
    if kind < 0.35:
        return np.full(3, rng.uniform(0, 30), np.float32)
    if kind < 0.55:
        return background[rng.integers(background.shape[0]), rng.integers(background.shape[1])].copy()
    return random_colour(rng)


def _soft_border(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    """A transition (h, w) from 0 to 1 along a curve across the object, soft or sharp."""
    h, w = drawing.coverage.shape
    across = tilt(rng, h, w)
    bend = (noise(rng, h, w, max(h, w) / 2) - 0.5) * np.float32(rng.uniform(0, 0.6))
    return ((across + bend - np.float32(rng.uniform(-0.2, 0.2))) * np.float32(rng.uniform(3, 30)) + 0.5).clip(0, 1)


PRINTS: tuple[Print, ...] = (drawings, drawings, rings, fields, relief, relief, pattern)


__all__ = ["add_prints"]
