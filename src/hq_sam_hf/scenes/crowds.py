"""Objects among others as busy as they are, as in photos: a crowd behind them, and objects that are part of another.

A model that has seen things before calm grounds alone takes of an eye the pupil, and of a badge what is printed on it:
all it needs there is to follow colours. Here a box or a point must tell what is meant.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from .families import choose_family, sketch_of
from .objects import LEAST_PIXELS, dress, lay
from .sketch import Drawing, draw, rotation, warp

CROWD = (2, 12)  # how many are tried, the upper end not included
LARGEST = 1.4  # the longer side of one of a crowd as a share of the picture's
PART = (0.2, 0.7)  # the longer side of a part as a share of its host's
INSIDE = 0.97  # the share of a part that must lie on its host
TRIES = 20


def crowd(rng: np.random.Generator, image: np.ndarray, families: Sequence[str]) -> None:
    """Lay solid objects with prints on a picture (H, W, 3) in place, many small and a few large; at times blurred."""
    size = max(image.shape[:2])
    for _ in range(rng.integers(*CROWD)):
        turn, centre = rng.uniform(-np.pi, np.pi), rng.uniform(0, size, 2)
        radius = size / 2 * min(LARGEST, 0.15 / rng.uniform(0.1, 1))
        family, drawing = _any_solid(rng, families, turn, radius, centre, image.shape[:2])
        if drawing is not None:
            lay(image, dress(rng, family, drawing, image, "printed"))
    if rng.random() < 0.35:
        picture = Image.fromarray(image.clip(0, 255).astype(np.uint8))
        image[:] = np.asarray(picture.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.004, 0.02))))


def part_of(
    rng: np.random.Generator, host: Drawing, image: np.ndarray, families: Sequence[str]
) -> tuple[str, Drawing] | None:
    """The family and drawing of a smaller solid object that lies on the host; None where no place for one is found."""
    place = np.zeros(image.shape[:2], np.float32)
    place[host.window] = host.coverage
    inside = np.argwhere(place > 0.9)
    for _ in range(TRIES if len(inside) else 0):
        turn, centre = rng.normal(0, 0.5), inside[rng.integers(len(inside))][::-1]
        radius = max(host.coverage.shape) / 2 * rng.uniform(*PART)
        family, drawing = _any_solid(rng, families, turn, radius, centre, image.shape[:2])
        if drawing is None or drawing.coverage.sum() < 2 * LEAST_PIXELS:
            continue
        if (place[drawing.window] * drawing.coverage).sum() >= INSIDE * drawing.coverage.sum():
            return family, drawing
    return None


def _any_solid(
    rng: np.random.Generator,
    families: Sequence[str],
    turn: float,
    radius: float,
    centre: np.ndarray,
    size: tuple[int, ...],
) -> tuple[str, Drawing | None]:
    """A family and a drawing of it, None where too little of it is in the picture."""
    family = choose_family(rng, families, "solid")
    parts = warp(sketch_of(family, rng), rotation(turn), rng.uniform(-0.2, 0.2, 2), radius, centre)
    drawing = draw(parts, *size)
    return family, None if drawing is None or drawing.coverage.sum() < LEAST_PIXELS else drawing


__all__ = ["crowd", "part_of"]
