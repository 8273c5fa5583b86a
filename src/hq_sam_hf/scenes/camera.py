"""What happens between the scene and the file: light, colour cast, blur, noise, JPEG. Geometry never changes."""

import io

import numpy as np
from PIL import Image, ImageFilter

from .textures import coordinates, noise, tilt


def light(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The float32 image (H, W, 3) under uneven light, with a vignette and a colour cast, each at times."""
    h, w = image.shape[:2]
    if rng.random() < 0.5:
        slope = tilt(rng, h, w)
        image = image * (1 + np.float32(rng.uniform(0.1, 0.4)) * slope)[..., None]
    elif rng.random() < 0.4:  # patches of sun
        image = image * (0.7 + 0.5 * noise(rng, h, w, max(h, w) / 3))[..., None]
    if rng.random() < 0.3:
        y, x = coordinates(h, w)
        distance = (x / w - 0.5) ** 2 + (y / h - 0.5) ** 2
        image = image * (1 - np.float32(rng.uniform(0.3, 0.9)) * distance)[..., None]
    if rng.random() < 0.4:
        image = image * rng.uniform(0.82, 1.15, 3).astype(np.float32)
    return image.clip(0, 255)


def blur(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) as uint8, at times a little out of focus."""
    picture = Image.fromarray(np.rint(image).astype(np.uint8))
    if rng.random() < 0.35:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    return np.asarray(picture)


def develop(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The uint8 image (H, W, 3) with sensor noise and the marks of JPEG, each at times."""
    if rng.random() < 0.5:
        spread = np.float32(rng.uniform(1, 9))
        # Every second time the noise is grey, as in old films; that is also three times as fast.
        shape = image.shape if rng.random() < 0.5 else (*image.shape[:2], 1)
        noisy = image + spread * rng.standard_normal(shape, dtype=np.float32)
        image = np.rint(noisy).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=int(rng.integers(40, 96)))
        image = np.array(Image.open(file))
    return image


__all__ = ["blur", "develop", "light"]
