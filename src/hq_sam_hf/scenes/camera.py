"""Effects on the whole image: lighting, colour cast, blur, sensor noise, JPEG. They change colours, never masks."""

import io

import numpy as np
from PIL import Image, ImageFilter

from .textures import coordinates, noise, tilt


def add_lighting(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Apply uneven light, a vignette and a colour cast, each at random, to a float32 image (H, W, 3)."""
    h, w = image.shape[:2]
    if rng.random() < 0.5:
        slope = tilt(rng, h, w)
        image = image * (1 + np.float32(rng.uniform(0.1, 0.4)) * slope)[..., None]
    elif rng.random() < 0.4:  # patches of sunlight
        image = image * (0.7 + 0.5 * noise(rng, h, w, max(h, w) / 3))[..., None]
    if rng.random() < 0.3:  # a vignette
        y, x = coordinates(h, w)
        distance = (x / w - 0.5) ** 2 + (y / h - 0.5) ** 2
        image = image * (1 - np.float32(rng.uniform(0.3, 0.9)) * distance)[..., None]
    if rng.random() < 0.4:  # a colour cast
        image = image * rng.uniform(0.82, 1.15, 3).astype(np.float32)
    return image.clip(0, 255)


def blur(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Convert a float image (H, W, 3) to uint8, in some images slightly out of focus."""
    blurred = Image.fromarray(np.rint(image).astype(np.uint8))
    if rng.random() < 0.35:
        blurred = blurred.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    return np.asarray(blurred)


def add_noise(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Add sensor noise and JPEG artefacts, each at random, to a uint8 image (H, W, 3)."""
    if rng.random() < 0.5:
        spread = np.float32(rng.uniform(1, 9))
        # Half of the noise is grey, as of old films; that also takes a third of the time.
        shape = image.shape if rng.random() < 0.5 else (*image.shape[:2], 1)
        noisy = image + spread * rng.standard_normal(shape, dtype=np.float32)
        image = np.rint(noisy).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        image = compress(rng, image)
    return image


def compress(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Add the artefacts of a JPEG file of random quality to a uint8 image (H, W, 3)."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(rng.integers(40, 96)))
    return np.array(Image.open(file))


__all__ = ["add_lighting", "add_noise", "blur", "compress"]
