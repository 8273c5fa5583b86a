"""Crowded scenes: background objects without masks, and objects that are part of another object.

A model trained only on objects before calm backgrounds learns to follow colours: it segments the pupil instead of the
eye, and the print instead of the badge. In crowded scenes only the box or point tells which object is meant.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from .families import choose_family, sketch_of
from .objects import MIN_PIXELS, colour_object, paste_object
from .sketch import Drawing, draw, rotation, warp

CROWD_SIZE = (2, 12)  # range of the number of objects that are tried, the upper end excluded
MAX_CROWD_SCALE = 1.4  # largest size of a crowd's object, as a multiple of the image's longer side
PART_SCALE = (0.2, 0.7)  # range of the longer side of a part, as a share of its host's
MIN_INSIDE = 0.97  # the share of a part that must lie on its host
MAX_ATTEMPTS = 20


def add_crowd(rng: np.random.Generator, image: np.ndarray, families: Sequence[str]) -> None:
    """Draw a crowd of printed solid objects into an image (H, W, 3) in place; some crowds are blurred."""
    size = max(image.shape[:2])
    for _ in range(rng.integers(*CROWD_SIZE)):
        turn, centre = rng.uniform(-np.pi, np.pi), rng.uniform(0, size, 2)
        radius = size / 2 * min(MAX_CROWD_SCALE, 0.15 / rng.uniform(0.1, 1))
        family, drawing = _random_solid(rng, families, turn, radius, centre, image.shape[:2])
        if drawing is not None:
            paste_object(image, colour_object(rng, family, drawing, image, "printed"))
    if rng.random() < 0.35:
        blurred = Image.fromarray(image.clip(0, 255).astype(np.uint8))
        image[:] = np.asarray(blurred.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.004, 0.02))))


def draw_part(
    rng: np.random.Generator, host: Drawing, image: np.ndarray, families: Sequence[str]
) -> tuple[str, Drawing] | None:
    """Draw a smaller solid object on a host object. Returns its family and drawing, or None if no place is found."""
    host_coverage = np.zeros(image.shape[:2], np.float32)
    host_coverage[host.window] = host.coverage
    inside = np.argwhere(host_coverage > 0.9)
    for _ in range(MAX_ATTEMPTS if len(inside) else 0):
        turn, centre = rng.normal(0, 0.5), inside[rng.integers(len(inside))][::-1]
        radius = max(host.coverage.shape) / 2 * rng.uniform(*PART_SCALE)
        family, drawing = _random_solid(rng, families, turn, radius, centre, image.shape[:2])
        if drawing is None or drawing.coverage.sum() < 2 * MIN_PIXELS:
            continue
        if (host_coverage[drawing.window] * drawing.coverage).sum() >= MIN_INSIDE * drawing.coverage.sum():
            return family, drawing
    return None


def _random_solid(
    rng: np.random.Generator,
    families: Sequence[str],
    turn: float,
    radius: float,
    centre: np.ndarray,
    size: tuple[int, ...],
) -> tuple[str, Drawing | None]:
    """Draw an instance of a random solid family. The drawing is None if too little of it lies in the image."""
    family = choose_family(rng, families, "solid")
    parts = warp(sketch_of(family, rng), rotation(turn), rng.uniform(-0.2, 0.2, 2), radius, centre)
    drawing = draw(parts, *size)
    return family, None if drawing is None or drawing.coverage.sum() < MIN_PIXELS else drawing


__all__ = ["add_crowd", "draw_part"]
