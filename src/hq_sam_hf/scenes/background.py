"""Backgrounds: textures in two or three colours, and clutter without masks."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .families import sketch_of
from .sketch import SUPERSAMPLING, Sketch, draw, warp
from .textures import paint, random_colour, random_pattern

# Clutter is made of abstract shapes only: a recognisable object without a mask would be a wrong label.
CLUTTER_FAMILIES = ("blob", "polygon", "cutout")


def random_background(rng: np.random.Generator, h: int, w: int, rich: bool = False) -> np.ndarray:
    """Draw a background, RGB float32 (h, w, 3) in 0..255. rich: it may also show large patterned shapes."""
    unit = max(h, w) / 10
    low, high = random_colour(rng), random_colour(rng)
    # Most real backgrounds have little contrast.
    high = low + (high - low) * np.float32(rng.beta(1.2, 1.8))
    image = paint(random_pattern(rng, h, w, unit), low, high)
    if rng.random() < 0.35:
        image = _add_second_texture(rng, image, unit)
    if rich and rng.random() < 0.6:
        image = _add_large_shapes(rng, image, unit)
    if rng.random() < 0.45:
        image = _add_clutter(rng, image)
    return image


def _add_second_texture(rng: np.random.Generator, image: np.ndarray, unit: float) -> np.ndarray:
    """Put another texture below a slanted line, like a floor below a wall."""
    h, w = image.shape[:2]
    low = random_colour(rng)
    high = low + (random_colour(rng) - low) * np.float32(0.4)
    other = paint(random_pattern(rng, h, w, unit), low, high)
    below = Image.new("L", (w * 2, h * 2), 0)
    y0, y1 = rng.uniform(0.3, 0.9, 2) * 2 * h
    ImageDraw.Draw(below).polygon([(0, y0), (2 * w, y1), (2 * w, 2 * h), (0, 2 * h)], fill=255)
    share = np.asarray(below.reduce(2), dtype=np.float32)[..., None] / 255
    return image + share * (other - image)


def _add_large_shapes(rng: np.random.Generator, image: np.ndarray, unit: float) -> np.ndarray:
    """Draw large patterned shapes; half of the images are then blurred, like a distant background."""
    h, w = image.shape[:2]
    image = image.copy()
    for _ in range(rng.integers(1, 6)):
        sketch = _random_shape(rng)
        radius, centre = max(h, w) * rng.uniform(0.1, 0.4), rng.uniform(0, 1, 2) * (w, h)
        drawing = draw(warp(sketch, np.eye(2), np.zeros(2), radius, centre), h, w)
        if drawing is None:
            continue
        low = random_colour(rng)
        high = low + (random_colour(rng) - low) * np.float32(rng.beta(1.2, 2.2))
        behind = image[drawing.window]
        pattern = random_pattern(rng, behind.shape[0], behind.shape[1], unit)
        behind += drawing.coverage[..., None] * (paint(pattern, low, high) - behind)
    if rng.random() < 0.5:
        sharp = Image.fromarray(image.clip(0, 255).astype(np.uint8))
        image = np.asarray(sharp.filter(ImageFilter.GaussianBlur(max(h, w) * rng.uniform(0.004, 0.02))), np.float32)
    return image


def _add_clutter(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Draw small shapes and lines; half of the images are then blurred."""
    h, w = image.shape[:2]
    size, scale = max(h, w), SUPERSAMPLING // 2
    canvas = Image.fromarray(image.clip(0, 255).astype(np.uint8)).resize((w * scale, h * scale), Image.Resampling.BOX)
    pen = ImageDraw.Draw(canvas)
    mean = image.mean(axis=(0, 1))
    for _ in range(rng.integers(3, 14)):
        colour = tuple(np.rint(mean + (random_colour(rng) - mean) * rng.uniform(0.2, 0.7)).astype(int).clip(0, 255))
        x, y = rng.uniform(0, w), rng.uniform(0, h)
        if rng.random() < 0.3:
            end = (x + rng.normal(0, size / 3), y + rng.normal(0, size / 3))
            pen.line([x * scale, y * scale, end[0] * scale, end[1] * scale], colour, width=int(rng.integers(2, 6)))
            continue
        sketch = _random_shape(rng)
        radius = size * rng.uniform(0.02, 0.12)
        for part in sketch.parts:
            if part.width is None and not part.erase:
                pen.polygon(((part.points * radius + (x, y)) * scale).ravel().tolist(), fill=colour)
    cluttered = canvas.reduce(scale)
    if rng.random() < 0.5:
        cluttered = cluttered.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.005, 0.02)))
    return np.asarray(cluttered, dtype=np.float32)


def _random_shape(rng: np.random.Generator) -> Sketch:
    return sketch_of(CLUTTER_FAMILIES[rng.integers(len(CLUTTER_FAMILIES))], rng)


__all__ = ["random_background"]
