"""Backgrounds: a texture in two or three colours, and clutter that no mask belongs to."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .families import sketch_of
from .sketch import SUPERSAMPLING, Sketch, draw, warp
from .textures import paint, random_colour, random_pattern

CLUTTER = ("blob", "polygon", "cutout")  # shapes without a name: a thing that lies about would deserve a mask


def random_background(rng: np.random.Generator, h: int, w: int, several: bool = False) -> np.ndarray:
    """RGB float32 (h, w, 3) from 0 to 255. several: large shapes in materials of their own may stand in it."""
    unit = max(h, w) / 10
    low, high = random_colour(rng), random_colour(rng)
    # Most real grounds vary little; wild ones are the exception.
    high = low + (high - low) * np.float32(rng.beta(1.2, 1.8))
    image = paint(random_pattern(rng, h, w, unit), low, high)
    if rng.random() < 0.35:  # a second ground, as a wall above a floor
        image = _joined(rng, image, unit)
    if several and rng.random() < 0.6:
        image = _furnished(rng, image, unit)
    if rng.random() < 0.45:
        image = _cluttered(rng, image)
    return image


def _joined(rng: np.random.Generator, image: np.ndarray, unit: float) -> np.ndarray:
    h, w = image.shape[:2]
    low = random_colour(rng)
    high = low + (random_colour(rng) - low) * np.float32(0.4)
    other = paint(random_pattern(rng, h, w, unit), low, high)
    line = Image.new("L", (w * 2, h * 2), 0)
    y0, y1 = rng.uniform(0.3, 0.9, 2) * 2 * h
    ImageDraw.Draw(line).polygon([(0, y0), (2 * w, y1), (2 * w, 2 * h), (0, 2 * h)], fill=255)
    share = np.asarray(line.reduce(2), dtype=np.float32)[..., None] / 255
    return image + share * (other - image)


def _furnished(rng: np.random.Generator, image: np.ndarray, unit: float) -> np.ndarray:
    """Large nameless shapes, patterned, half of the times out of focus as a far background is."""
    h, w = image.shape[:2]
    image = image.copy()
    for _ in range(rng.integers(1, 6)):
        sketch = _nameless_shape(rng)
        radius, centre = max(h, w) * rng.uniform(0.1, 0.4), rng.uniform(0, 1, 2) * (w, h)
        drawing = draw(warp(sketch, np.eye(2), np.zeros(2), radius, centre), h, w)
        if drawing is None:
            continue
        low = random_colour(rng)
        high = low + (random_colour(rng) - low) * np.float32(rng.beta(1.2, 2.2))
        ground = image[drawing.window]
        pattern = random_pattern(rng, ground.shape[0], ground.shape[1], unit)
        ground += drawing.coverage[..., None] * (paint(pattern, low, high) - ground)
    if rng.random() < 0.5:
        picture = Image.fromarray(image.clip(0, 255).astype(np.uint8))
        image = np.asarray(picture.filter(ImageFilter.GaussianBlur(max(h, w) * rng.uniform(0.004, 0.02))), np.float32)
    return image


def _cluttered(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Distractors: nameless shapes and lines, half of the times out of focus."""
    h, w = image.shape[:2]
    size, scale = max(h, w), SUPERSAMPLING // 2
    canvas = Image.fromarray(image.clip(0, 255).astype(np.uint8)).resize((w * scale, h * scale), Image.Resampling.BOX)
    pen = ImageDraw.Draw(canvas)
    here = image.mean(axis=(0, 1))
    for _ in range(rng.integers(3, 14)):
        colour = tuple(np.rint(here + (random_colour(rng) - here) * rng.uniform(0.2, 0.7)).astype(int).clip(0, 255))
        x, y = rng.uniform(0, w), rng.uniform(0, h)
        if rng.random() < 0.3:
            end = (x + rng.normal(0, size / 3), y + rng.normal(0, size / 3))
            pen.line([x * scale, y * scale, end[0] * scale, end[1] * scale], colour, width=int(rng.integers(2, 6)))
            continue
        sketch = _nameless_shape(rng)
        radius = size * rng.uniform(0.02, 0.12)
        for part in sketch.parts:
            if part.width is None and not part.erase:
                pen.polygon(((part.points * radius + (x, y)) * scale).ravel().tolist(), fill=colour)
    picture = canvas.reduce(scale)
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.005, 0.02)))
    return np.asarray(picture, dtype=np.float32)


def _nameless_shape(rng: np.random.Generator) -> Sketch:
    return sketch_of(CLUTTER[rng.integers(len(CLUTTER))], rng)


__all__ = ["random_background"]
