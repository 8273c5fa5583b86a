"""Five images with discs on noise, of different sizes and numbers of masks."""

import numpy as np
from PIL import Image


def picture(seed: int, height: int, width: int, masks: int = 1) -> dict:
    """A row with discs on noise; the discs are the masks."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    discs = []
    for _ in range(masks):
        centre = rng.uniform(0.3, 0.7, 2) * (height, width)
        disc = np.hypot(y - centre[0], x - centre[1]) < rng.uniform(8, 20)
        image[disc] //= 3
        discs.append(Image.fromarray(disc.astype(np.uint8) * 255))
    return {"image": Image.fromarray(image), "masks": discs, "set": "discs", "name": f"picture {seed}"}


ROWS = [picture(0, 70, 100, 2), picture(1, 90, 50), picture(2, 64, 64, 3), picture(3, 60, 61), picture(4, 50, 120)]
