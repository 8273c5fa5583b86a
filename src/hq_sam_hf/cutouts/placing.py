"""Place an object in an image: turn, scale, stretch and shear it, and paste it."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from .image_pyramid import ImagePyramid


class Placed(NamedTuple):
    """The part of a placed object that lies in the image.

    rows, columns: its window in the image. colours: RGB float32 (h, w, 3) in 0..255. alpha: float32 (h, w) in [0, 1].
    """

    rows: slice
    columns: slice
    colours: np.ndarray
    alpha: np.ndarray

    @property
    def window(self) -> tuple[slice, slice]:
        return self.rows, self.columns


def place(
    rng: np.random.Generator,
    pyramid: ImagePyramid,
    size: int,
    length: float,
    centre: tuple[float, float] | None = None,
) -> Placed | None:
    """Turn an object and place it, where given at a centre (x, y), in a square image.

    size: side of the image in pixels. length: longer side of the object in pixels before it is stretched.

    Returns None if the object does not touch the image.
    """
    turn = rng.normal(0, 0.35) if rng.random() < 0.75 else rng.uniform(-np.pi, np.pi)
    stretch, shear = float(np.exp(rng.normal(0, 0.15))), float(rng.normal(0, 0.12))
    scale = length / max(pyramid.size)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    c, s = np.cos(turn), np.sin(turn)
    forward = np.array([[c, -s], [s, c]]) @ [[1, shear], [0, 1]] @ np.diag([flip * stretch, 1 / stretch]) * scale
    half = np.abs(forward) @ (np.array(pyramid.size) / 2)  # half of the width and height of the turned object
    middle = np.array(centre) if centre is not None else _random_centre(rng, half, size)
    low = np.maximum(np.floor(middle - half), 0).astype(int)
    high = np.minimum(np.ceil(middle + half), size).astype(int)
    if (high - low < 2).any():
        return None
    # The smallest copy that is nowhere enlarged more than the whole object would be.
    source, source_scale = pyramid.level(min(1.0, float(np.linalg.svd(forward, compute_uv=False)[0])))
    backward = np.linalg.inv(forward) * source_scale
    offset = backward @ (low - middle) + np.array(source.size) / 2
    data = (*backward[0], offset[0], *backward[1], offset[1])
    width, height = (int(side) for side in high - low)
    warped = source.transform((width, height), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    if rng.random() < 0.25:  # an object out of focus
        warped = warped.filter(ImageFilter.GaussianBlur(size / 256 * float(rng.uniform(0.3, 1.3))))
    pixels = np.asarray(warped, dtype=np.float32)
    rows, columns = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
    return Placed(rows, columns, pixels[..., :3], pixels[..., 3] * np.float32(1 / 255))


def _random_centre(rng: np.random.Generator, half: np.ndarray, size: int) -> np.ndarray:
    """The centre (x, y) of an object: three in four lie inside the image, if they fit, the others may be cut off."""
    inside = rng.random() < 0.75
    margin = np.minimum(half if inside else 0.35 * half, 0.5 * size)
    return rng.uniform(margin, size - margin)


def paste(image: np.ndarray, placed: Placed) -> None:
    """Paste an object on an RGB float32 image (H, W, 3), in place."""
    under = image[placed.window]
    under += placed.alpha[..., None] * (placed.colours.clip(0, 255) - under)


def cast_shadow(rng: np.random.Generator, image: np.ndarray, placed: Placed) -> None:
    """Darken the image beside an object, in place, before the object is pasted."""
    height, width = placed.alpha.shape
    radius = max(1.0, max(height, width) * float(rng.uniform(0.01, 0.08)))
    margin = int(2 * radius)
    grown = Image.new("L", (width + 2 * margin, height + 2 * margin))
    grown.paste(Image.fromarray((placed.alpha * 255).astype(np.uint8)), (margin, margin))
    soft = np.asarray(grown.filter(ImageFilter.BoxBlur(radius)), dtype=np.float32)
    dx, dy = (int(step) for step in rng.normal(0, 1.2 * radius, 2) + (0, 0.5 * radius))
    top, left = placed.rows.start - margin + dy, placed.columns.start - margin + dx
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + soft.shape[0], image.shape[0]), min(left + soft.shape[1], image.shape[1])
    if y1 > y0 and x1 > x0:
        dark = soft[y0 - top : y1 - top, x0 - left : x1 - left] * np.float32(rng.uniform(0.15, 0.65) / 255)
        image[y0:y1, x0:x1] *= 1 - dark[..., None]


__all__ = ["Placed", "cast_shadow", "paste", "place"]
