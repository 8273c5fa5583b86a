"""Objects of several materials: parts, rims, bands and prints in colours of their own, and highlights.

A mask follows an object's outline, not its colours. A model that sees one-coloured objects alone learns to follow
colours, and takes of a cup the white rim.
"""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageFilter

from .contrast import colour_distance
from .sketch import Drawing
from .textures import coordinates, patches, random_colour, random_pattern, stripes

Region = Callable[[np.random.Generator, Drawing], np.ndarray]

FAINTEST = 36.0  # the least colour step that colours are chosen for; light, blur and file may take a part of it
COLOUR_TRIES = 8


def standing_out(rng: np.random.Generator, relief: np.ndarray, ground: np.ndarray, faint: bool = False) -> np.ndarray:
    """A colour (3,) that can be told from the ground along an edge.

    relief, ground: RGB (n, 3) at the edge's pixels: what is added to the colour, and what lies behind. faint: as near
    to the ground as a person can still see.
    """
    best, seen = random_colour(rng), -1.0
    for _ in range(COLOUR_TRIES):
        colour = random_colour(rng)
        if faint:
            away = colour - ground.mean(axis=0)
            colour = ground.mean(axis=0) + away * (1.6 * FAINTEST / max(float(colour_distance(away, 0 * away)), 1))
        steps = colour_distance((colour + relief).clip(0, 255), ground)
        step = float(np.quantile(steps, 0.1)) if len(ground) else 255.0
        if step > seen:
            best, seen = colour, step
        if seen >= FAINTEST:
            break
    return best


def blurred(coverage: np.ndarray, radius: float) -> np.ndarray:
    """The mean of coverage (h, w) in [0, 1] over a square that reaches `radius` pixels to each side."""
    picture = Image.fromarray((coverage * 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.BoxBlur(radius)), dtype=np.float32) / 255


def several_materials(
    rng: np.random.Generator, drawing: Drawing, colours: np.ndarray, ground: np.ndarray, solid: bool
) -> np.ndarray:
    """The colours (h, w, 3) of a drawn object with up to three of its regions in another material.

    ground: RGB (h, w, 3) behind it, that regions at the outline stand out from.
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
        seen = edge & (share > 0.5)
        colour = standing_out(rng, texture[seen], ground[seen])
        colours = colours + share[..., None] * ((colour + texture).clip(0, 255) - colours)
    if solid and rng.random() < 0.35:  # what a lamp or a window leaves on a smooth thing
        colours = with_glint(rng, drawing, colours, (0.03, 0.12), 0.015, weakest=0.4)
    return colours


def with_glint(
    rng: np.random.Generator,
    drawing: Drawing,
    colours: np.ndarray,
    extent: tuple[float, float],
    softness: float,
    weakest: float,
) -> np.ndarray:
    """The colours (h, w, 3) with a light spot; its half-axes and its edge's width as shares of the longer side."""
    glint = blurred(ellipse(rng, drawing, *extent), softness * max(drawing.coverage.shape))
    return colours + glint[..., None] * np.float32(rng.uniform(weakest, 1)) * (250 - colours)


def core(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    """What lies deep inside, so that a rim is left."""
    depth = blurred(drawing.coverage, rng.uniform(0.03, 0.14) * max(drawing.coverage.shape))
    inside = depth[drawing.coverage > 0.5]
    level = np.quantile(inside, rng.uniform(0.15, 0.7)) if len(inside) else 1.0
    return ((depth - np.float32(level)) * 40 + np.float32(0.5)).clip(0, 1)


def beyond_a_line(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    h, w = drawing.coverage.shape
    y, x = coordinates(h, w)
    angle = rng.uniform(0, 2 * np.pi)
    across = (x - w / 2) * np.float32(np.cos(angle)) + (y - h / 2) * np.float32(np.sin(angle))
    return (across - np.float32(rng.uniform(-0.25, 0.25) * max(h, w)) + np.float32(0.5)).clip(0, 1)


def bands(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    h, w = drawing.coverage.shape
    return ((stripes(rng, h, w, max(h, w) / rng.uniform(2, 6)) - np.float32(0.5)) * 8 + np.float32(0.5)).clip(0, 1)


def spots(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    h, w = drawing.coverage.shape
    return ((patches(rng, h, w, max(h, w) / rng.uniform(3, 8)) - np.float32(0.5)) * 8 + np.float32(0.5)).clip(0, 1)


def ellipse(rng: np.random.Generator, drawing: Drawing, least: float = 0.08, most: float = 0.35) -> np.ndarray:
    """Around a point of the object, with half-axes of `least` to `most` of the object's longer side."""
    h, w = drawing.coverage.shape
    inside = np.flatnonzero(drawing.coverage > 0.5)
    at = int(inside[rng.integers(len(inside))]) if len(inside) else 0
    ry, rx = rng.uniform(least, most, 2) * max(h, w)
    distance = elliptic_distance(h, w, (at // w, at % w), ry, rx)
    return ((1 - distance) * min(ry, rx) + np.float32(0.5)).clip(0, 1).astype(np.float32)


def elliptic_distance(h: int, w: int, centre: Sequence[float] | np.ndarray, ry: float, rx: float) -> np.ndarray:
    """The distance (h, w) from a centre (y, x), 1 on the ellipse around it with these half-axes."""
    y, x = coordinates(h, w)
    return np.sqrt(((y - np.float32(centre[0])) / ry) ** 2 + ((x - np.float32(centre[1])) / rx) ** 2)


def lighter_parts(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    return (drawing.tone > 0.04).astype(np.float32)


def darker_parts(rng: np.random.Generator, drawing: Drawing) -> np.ndarray:
    return (drawing.tone < -0.04).astype(np.float32)


SOLID_REGIONS: tuple[Region, ...] = (core, core, beyond_a_line, bands, spots, ellipse)
THIN_REGIONS: tuple[Region, ...] = (beyond_a_line, ellipse)  # finer ones would cut a thin object into dashes


__all__ = [
    "Region",
    "blurred",
    "core",
    "elliptic_distance",
    "several_materials",
    "standing_out",
    "with_glint",
]
