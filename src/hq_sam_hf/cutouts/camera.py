"""What a camera adds to a composed image: light, colour cast, grey film, blur, grain, JPEG. Masks stay."""

import numpy as np
from PIL import Image, ImageFilter

from ..scenes.camera import compress
from .fields import noise, ramp


def photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Turn a composed image, RGB float32 (H, W, 3) in 0..255, into uint8 with random effects."""
    height, width = image.shape[:2]
    if rng.random() < 0.12:
        image = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1)
    elif rng.random() < 0.4:
        image = image * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    if rng.random() < 0.3:
        image = image * (1 + np.float32(rng.uniform(0.1, 0.6)) * ramp(rng, height, width))[..., None]
    contrast, brightness = np.float32(rng.uniform(0.7, 1.15)), np.float32(rng.uniform(-25, 25))
    image = (image - 128) * contrast + (128 + brightness)
    if rng.random() < 0.3:
        blurred = Image.fromarray(image.clip(0, 255).astype(np.uint8))
        image = np.asarray(
            blurred.filter(ImageFilter.GaussianBlur(max(height, width) / 256 * rng.uniform(0.3, 1))), np.float32
        )
    if rng.random() < 0.6:
        image = image + np.float32(rng.uniform(1, 9)) * _grain(rng, height, width)
    pixels = image.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        pixels = compress(rng, pixels)
    return pixels


def _grain(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Grain (height, width, 1 or 3): of all colours, or grey; a third of it is coarse."""
    if rng.random() < 1 / 3:
        return noise(rng, height, width)[..., None]
    return rng.standard_normal((height, width, 1 if rng.random() < 0.5 else 3), dtype=np.float32)


__all__ = ["photograph"]
