"""Grey patterns and random colours for backgrounds and objects.

A pattern is float32 (h, w), about 0 to 1. `unit` is the length in pixels that the size of its features is measured in,
so an image of twice the size can show the same pattern.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

Pattern = Callable[[np.random.Generator, int, int, float], np.ndarray]


def coordinates(h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """y (h, 1) and x (1, w) in pixels as float32."""
    return np.arange(h, dtype=np.float32)[:, None], np.arange(w, dtype=np.float32)[None]


def noise(rng: np.random.Generator, h: int, w: int, cell: float) -> np.ndarray:
    """Smooth noise (h, w) in [0, 1] with features about `cell` pixels wide."""
    grid = rng.random((max(2, round(h / cell) + 1), max(2, round(w / cell) + 1)), dtype=np.float32)
    return np.asarray(Image.fromarray(grid).resize((w, h), Image.Resampling.BICUBIC)).clip(0, 1)


def tilt(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """A linear ramp (h, w) in a random direction: 0 in the middle, from -0.5 to 0.5 along an axis."""
    y, x = coordinates(h, w)
    angle = rng.uniform(0, 2 * np.pi)
    return (x / w - 0.5) * np.float32(np.cos(angle)) + (y / h - 0.5) * np.float32(np.sin(angle))


def _direction(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    y, x = coordinates(h, w)
    angle = rng.uniform(0, np.pi)
    return x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))


def gradient(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    d = _direction(rng, h, w)
    d -= d.min()
    return d / max(float(d.max()), 1)


def radial(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    y, x = coordinates(h, w)
    y, x = y - np.float32(rng.uniform(0, h)), x - np.float32(rng.uniform(0, w))
    return np.minimum(np.sqrt(x * x + y * y) / max(h, w), 1)


def mottled(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    cell = unit * rng.uniform(2, 5)
    return (
        0.6 * noise(rng, h, w, cell) + 0.27 * noise(rng, h, w, cell / 3) + 0.13 * noise(rng, h, w, max(cell / 9, 1.5))
    )


def patches(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    field = 0.8 * noise(rng, h, w, unit * rng.uniform(1, 3)) + 0.2 * noise(rng, h, w, unit / 3)
    return ((field - 0.5) * rng.uniform(6, 20) + 0.5).clip(0, 1)


def grain(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    return 0.5 * noise(rng, h, w, unit * 3) + 0.5 * noise(rng, h, w, max(1.2, unit * rng.uniform(0.08, 0.3)))


def stripes(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    wave = np.sin(_direction(rng, h, w) * np.float32(2 * np.pi / (unit * rng.uniform(0.5, 1.8))))
    return (0.5 + wave * rng.uniform(0.5, 3)).clip(0, 1)


def tiles(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    y, x = coordinates(h, w)
    high, wide = unit * rng.uniform(0.8, 2.5), unit * rng.uniform(0.8, 2.5)
    row = np.floor(y / high)
    column = x / wide + (row % 2) * rng.choice([0.0, 0.5])  # tiles, or bricks
    shades = rng.random(61, dtype=np.float32)
    shade = shades[(row * 17 + np.floor(column) * 7).astype(int) % 61]
    joint = max(1.0, unit * 0.12)
    gap = (y % high < joint) | (column % 1 < joint / wide)
    return np.where(gap, np.float32(rng.choice([0.0, 1.0])), 0.35 + 0.3 * shade)


def checks(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    side = unit * rng.uniform(0.7, 2)
    y, x = coordinates(h, w)
    return ((np.floor(y / side) + np.floor(x / side)) % 2).astype(np.float32)


def wood(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    y, x = coordinates(h, w)
    y, x = (y, x) if rng.random() < 0.5 else (x, y)
    bend = noise(rng, h, w, unit * 4) * unit * 6
    rings = 0.5 + 0.5 * np.sin((y + bend + 0.05 * x) * np.float32(2 * np.pi / (unit * rng.uniform(0.6, 1.2))))
    return 0.7 * rings + 0.3 * noise(rng, h, w, unit * 0.4)


def cloth(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    y, x = coordinates(h, w)
    thread = np.float32(2 * np.pi / max(3.0, unit * rng.uniform(0.25, 0.6)))
    return 0.3 + 0.2 * np.sin(y * thread) + 0.2 * np.sin(x * thread) + 0.3 * noise(rng, h, w, unit * 2)


def dots(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    y, x = coordinates(h, w)
    step = np.float32(2 * np.pi / (unit * rng.uniform(0.8, 2)))
    return ((np.sin(y * step) * np.sin(x * step) - rng.uniform(0.2, 0.7)) * 5).clip(0, 1)


def waves(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    bend = noise(rng, h, w, unit * 2) * unit * rng.uniform(1, 3)
    return 0.5 + 0.5 * np.sin((_direction(rng, h, w) + bend) * np.float32(2 * np.pi / (unit * rng.uniform(0.5, 1.5))))


def marble(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    veins = np.abs(noise(rng, h, w, unit * 2) + 0.4 * noise(rng, h, w, unit * 0.7) - 0.7)
    return (1 - veins * 4).clip(0, 1) ** 2


PATTERNS: tuple[Pattern, ...] = (
    gradient, radial, mottled, mottled, patches, grain, stripes, tiles, checks, wood, cloth, dots, waves, marble,
)  # fmt: skip


def random_pattern(rng: np.random.Generator, h: int, w: int, unit: float) -> np.ndarray:
    """Draw a random one of `PATTERNS`."""
    return PATTERNS[rng.integers(len(PATTERNS))](rng, h, w, unit)


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """A random colour, RGB float32 (3,) in 0..255: any hue, more often muted than vivid."""
    hue, saturation, value = rng.uniform(0, 6), rng.beta(1.2, 2.2), rng.uniform(35, 250)
    ramp = np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1
    return (value * (1 - saturation * (1 - ramp.clip(0, 1)))).astype(np.float32)


def paint(pattern: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Colour a pattern (h, w): RGB float32 (h, w, 3), from `low` (3,) at 0 to `high` (3,) at 1."""
    return low + pattern[..., None].astype(np.float32) * (high - low)


__all__ = ["Pattern", "coordinates", "noise", "paint", "patches", "random_colour", "random_pattern", "stripes", "tilt"]
