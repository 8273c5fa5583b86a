"""Colours of objects: colours that contrast with the background, regions in other materials, highlights.

A mask follows an object's outline, not its colours. A model trained only on objects of one colour learns to follow
colours and segments, for example, only the white rim of a cup.
"""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageFilter

from .contrast import colour_distance
from .sketch import Drawing
from .textures import coordinates, patches, random_colour, random_pattern, stripes

# Where a drawing has another material: (h, w) in [0, 1].
Region = Callable[[np.random.Generator, Drawing], np.ndarray]

# The colour difference along the boundary that colours are chosen for. Lighting, blur and JPEG may reduce it.
MIN_COLOUR_STEP = 36.0
COLOUR_ATTEMPTS = 8


def contrasting_colour(
    rng: np.random.Generator, texture: np.ndarray, background: np.ndarray, faint: bool = False
) -> np.ndarray:
    """A random colour (3,) that differs from the background along an edge.

    texture: RGB (n, 3) at the pixels of the edge, which will be added to the colour. background: RGB (n, 3) there.
    faint: choose a colour close to the background, only just visible.
    """
    best, best_step = random_colour(rng), -1.0
    for _ in range(COLOUR_ATTEMPTS):
        colour = random_colour(rng)
        if faint:
            mean = background.mean(axis=0)
            away = colour - mean
            colour = mean + away * (1.6 * MIN_COLOUR_STEP / max(float(colour_distance(away, 0 * away)), 1))
        steps = colour_distance((colour + texture).clip(0, 255), background)
        step = float(np.quantile(steps, 0.1)) if len(background) else 255.0
        if step > best_step:
            best, best_step = colour, step
        if best_step >= MIN_COLOUR_STEP:
            break
    return best


def blurred(coverage: np.ndarray, radius: float) -> np.ndarray:
    """Box-blur coverage (h, w) in [0, 1] with the given radius in pixels."""
    image = Image.fromarray((coverage * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.BoxBlur(radius)), dtype=np.float32) / 255


def add_materials(
    rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, background: np.ndarray, solid: bool
) -> np.ndarray:
    """Recolour one to three regions of an object. Takes and returns its colours, RGB (h, w, 3).

    background: RGB (h, w, 3) behind the object, which regions at the outline contrast with.
    """
    coverage = drawing.coverage
    regions = SOLID_REGIONS if solid else THIN_REGIONS
    if drawing.tone.any() and rng.random() < 0.6:
        regions = (lighter_parts, darker_parts)
    edge = (coverage > 0.02) & (coverage < 0.98)
    h, w = coverage.shape
    for _ in range(rng.integers(1, 4)):
        share = regions[rng.integers(len(regions))](rng, drawing)
        texture = np.zeros((h, w, 1), np.float32)
        if rng.random() < 0.5:
            pattern = random_pattern(rng, h, w, max(h, w) / 8)
            texture = (pattern[..., None] - np.float32(0.5)) * np.float32(rng.uniform(10, 60))
        visible_edge = edge & (share > 0.5)
        colour = contrasting_colour(rng, texture[visible_edge], background[visible_edge])
        colours = colours + share[..., None] * ((colour + texture).clip(0, 255) - colours)
    if solid and rng.random() < 0.35:  # the reflection of a lamp or window
        colours = add_highlight(rng, drawing, colours, (0.03, 0.12), 0.015, weakest=0.4)
    return colours


def add_highlight(
    rng: np.random.Generator,
    drawing: Drawing,
    colours: np.ndarray,
    extent: tuple[float, float],
    softness: float,
    weakest: float,
) -> np.ndarray:
    """Add an elliptic bright spot to the colours, RGB (h, w, 3).

    extent: range of its half-axes, softness: width of its edge; both as shares of the drawing's longer side.
    weakest: the least opacity, in [0, 1].
    """
    highlight = blurred(ellipse(rng, drawing, *extent), softness * max(drawing.coverage.shape))
    return colours + highlight[..., None] * np.float32(rng.uniform(weakest, 1)) * (250 - colours)


def core(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    """The inner part of the object, which leaves a rim."""
    depth = blurred(drawing.coverage, rng.uniform(0.03, 0.14) * max(drawing.coverage.shape))
    inside = depth[drawing.coverage > 0.5]
    level = np.quantile(inside, rng.uniform(0.15, 0.7)) if len(inside) else 1.0
    return ((depth - np.float32(level)) * 40 + np.float32(0.5)).clip(0, 1)


def half_plane(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    """One side of a random line."""
    h, w = drawing.coverage.shape
    y, x = coordinates(h, w)
    angle = rng.uniform(0, 2 * np.pi)
    across = (x - w / 2) * np.float32(np.cos(angle)) + (y - h / 2) * np.float32(np.sin(angle))
    return (across - np.float32(rng.uniform(-0.25, 0.25) * max(h, w)) + np.float32(0.5)).clip(0, 1)


def bands(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    """Parallel bands."""
    h, w = drawing.coverage.shape
    return ((stripes(rng, h, w, max(h, w) / rng.uniform(2, 6)) - np.float32(0.5)) * 8 + np.float32(0.5)).clip(0, 1)


def spots(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    """Irregular spots."""
    h, w = drawing.coverage.shape
    return ((patches(rng, h, w, max(h, w) / rng.uniform(3, 8)) - np.float32(0.5)) * 8 + np.float32(0.5)).clip(0, 1)


def ellipse(rng: np.random.Generator, drawing: Drawing, least: float = 0.08, most: float = 0.35) -> np.ndarray:
    """An ellipse around a random point of the object.

    least, most: range of its half-axes, as shares of the longer side.
    """
    h, w = drawing.coverage.shape
    inside = np.flatnonzero(drawing.coverage > 0.5)
    at = int(inside[rng.integers(len(inside))]) if len(inside) else 0
    ry, rx = rng.uniform(least, most, 2) * max(h, w)
    distance = elliptic_distance(h, w, (at // w, at % w), ry, rx)
    return ((1 - distance) * min(ry, rx) + np.float32(0.5)).clip(0, 1).astype(np.float32)


def elliptic_distance(h: int, w: int, centre: Sequence[float] | np.ndarray, ry: float, rx: float) -> np.ndarray:
    """The distance (h, w) from a centre (y, x) in units of the half-axes: 1 on the ellipse."""
    y, x = coordinates(h, w)
    return np.sqrt(((y - np.float32(centre[0])) / ry) ** 2 + ((x - np.float32(centre[1])) / rx) ** 2)


def lighter_parts(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    """The parts that the family draws lighter than the rest."""
    return (drawing.tone > 0.04).astype(np.float32)


def darker_parts(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    """The parts that the family draws darker than the rest."""
    return (drawing.tone < -0.04).astype(np.float32)


SOLID_REGIONS: tuple[Region, ...] = (core, core, half_plane, bands, spots, ellipse)
THIN_REGIONS: tuple[Region, ...] = (half_plane, ellipse)  # smaller regions would cut a thin object into dashes


__all__ = [
    "Region",
    "add_highlight",
    "add_materials",
    "blurred",
    "contrasting_colour",
    "core",
    "elliptic_distance",
]
