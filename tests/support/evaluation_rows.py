"""Rows of five images of different sizes, with discs on noise as their masks."""

import numpy as np
from PIL import Image


def disc_row(seed: int, height: int, width: int, masks: int = 1) -> dict:
    """A row of a data set: an image with random discs on noise, and a mask of each disc."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    discs = []
    for _ in range(masks):
        centre = rng.uniform(0.3, 0.7, 2) * (height, width)
        disc = np.hypot(y - centre[0], x - centre[1]) < rng.uniform(8, 20)
        image[disc] //= 3
        discs.append(Image.fromarray(disc.astype(np.uint8) * 255))
    return {"image": Image.fromarray(image), "masks": discs, "set": "discs", "name": f"image {seed}"}


ROWS = [
    disc_row(0, 70, 100, 2),
    disc_row(1, 90, 50),
    disc_row(2, 64, 64, 3),
    disc_row(3, 60, 61),
    disc_row(4, 50, 120),
]
