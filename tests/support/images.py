"""Synthetic images for small models, for which a photo has too much detail."""

import numpy as np
import pytest
from PIL import Image, features


def random_image(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Blocks of random colours with some noise, RGB uint8 (height, width, 3)."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    rows, columns = (np.arange(side) * cells // side for side, cells in zip(size, (5, 6)))
    return np.clip(coarse[rows][:, columns].astype(int) + random.integers(-9, 9, (*size, 3)), 0, 255).astype(np.uint8)


def require_writer(suffix: str) -> None:
    """Skip a test of an image format that this version of Pillow cannot write."""
    Image.init()
    kind = Image.EXTENSION.get(suffix)
    if kind not in Image.SAVE or (kind == "AVIF" and not features.check("avif")):
        pytest.skip(f"this Pillow does not write {suffix}")
