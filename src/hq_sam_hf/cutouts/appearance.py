"""Change how a cut-out object looks: colours, parts of other colours, texture, light. Its outline stays."""

import numpy as np
from PIL import Image, ImageFilter

from .backgrounds import Backgrounds
from .fields import noise, ramp, region

GREY = np.float32(1 / np.sqrt(3))  # the axis of hue rotation is (GREY, GREY, GREY)


def change_appearance(
    rng: np.random.Generator, colours: np.ndarray, alpha: np.ndarray, behind: np.ndarray, backgrounds: Backgrounds
) -> np.ndarray:
    """Recolour, texture and light an object.

    Args:
        colours: RGB float32 (h, w, 3) in 0..255 of the object.
        alpha: float32 (h, w) in [0, 1], the share of each pixel that the object covers.
        behind: RGB float32 (h, w, 3) of the image behind the object.
        backgrounds: photos whose parts become surfaces.

    Returns new colours; values may lie outside 0..255.
    """
    height, width = alpha.shape
    if rng.random() < 0.75:
        colours = _recoloured(rng, colours)
    if rng.random() < 0.3:  # parts of unlike colours that are one thing
        share = region(rng, height, width)[..., None]
        colours = colours + share * (_recoloured(rng, colours) - colours)
    if rng.random() < 0.6:
        strength = np.float32(rng.uniform(0.03, 0.25))
        colours = colours * (1 + strength * noise(rng, height, width))[..., None]
    if backgrounds.has_photos and rng.random() < 0.45:
        colours = _with_photo_surface(rng, colours, backgrounds)
    if rng.random() < 0.12:  # about the colours of what is behind
        inside = alpha > 0.5
        if inside.any():
            change = behind[inside].mean(axis=0) - colours[inside].mean(axis=0)
            colours = colours + np.float32(rng.uniform(0.5, 0.95)) * change
    return _lit(rng, colours, alpha)


def _recoloured(rng: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    """Turn the hue, change the saturation, the contrast and the brightness; all in one linear map."""
    matrix = np.eye(3, dtype=np.float32)
    if rng.random() < 0.6:
        angle = rng.uniform(-np.pi, np.pi)
        cross = np.array([[0, -GREY, GREY], [GREY, 0, -GREY], [-GREY, GREY, 0]])
        matrix = (matrix + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross).astype(np.float32)
    saturation = (1.0, 1.0, rng.uniform(0.3, 0.8), rng.uniform(0, 0.4))[rng.integers(4)]
    matrix = saturation * matrix + np.float32(1 - saturation) / 3
    contrast, brightness = rng.uniform(0.4, 1.25), rng.uniform(-70, 45)
    matrix = (matrix * contrast).astype(np.float32)
    offset = 128 - matrix.sum(axis=1) * 128 + np.float32(brightness)
    return (colours.reshape(-1, 3) @ matrix.T + offset).reshape(colours.shape)


def _with_photo_surface(rng: np.random.Generator, colours: np.ndarray, backgrounds: Backgrounds) -> np.ndarray:
    """Add a part of a photo to the surface, or, for one object in six, take the photo instead of the surface."""
    height, width = colours.shape[:2]
    surface = np.asarray(backgrounds.crop(rng, height, width), dtype=np.float32)
    if rng.random() < 1 / 6:
        keep = np.float32(rng.uniform(0, 0.4))
        return keep * colours + (1 - keep) * _recoloured(rng, surface)
    surface = surface - surface.mean(axis=(0, 1))
    if rng.random() < 0.5:
        surface = surface.mean(axis=-1, keepdims=True)
    return colours + surface * np.float32(rng.uniform(0.2, 0.8))


def _lit(rng: np.random.Generator, colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Shade an object: from one side to the other, round like a ball, with a soft or hard shadow, or a highlight."""
    height, width = alpha.shape
    if rng.random() < 0.4:
        colours = colours * (1 + np.float32(rng.uniform(0.2, 1.0)) * ramp(rng, height, width))[..., None]
    if rng.random() < 0.3:
        colours = colours * (1 + _roundness(rng, alpha))[..., None]
    if rng.random() < 0.25:  # a shadow across the object
        hardness = np.float32(np.exp(rng.uniform(np.log(2), np.log(40))))
        bent = ramp(rng, height, width) + np.float32(rng.uniform(0, 0.15)) * noise(rng, height, width)
        dark = ((bent - np.float32(rng.normal(0, 0.15))) * hardness + 0.5).clip(0, 1)
        colours = colours * (1 - np.float32(rng.uniform(0.25, 0.7)) * dark)[..., None]
    if rng.random() < 0.2:
        y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] - np.float32(rng.normal(0, 0.2))
        x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None] - np.float32(rng.normal(0, 0.2))
        radius = rng.uniform(0.03, 0.2)
        spot = np.exp((y * y + x * x) * np.float32(-1 / (2 * radius * radius)))
        colours = colours + np.float32(rng.uniform(60, 200)) * spot[..., None]
    return colours


def _roundness(rng: np.random.Generator, alpha: np.ndarray) -> np.ndarray:
    """Relative brightness (h, w) of an object that bulges towards the viewer, lit from a random direction."""
    height, width = alpha.shape
    small = Image.fromarray((alpha * 255).astype(np.uint8)).resize((48, 48), Image.Resampling.BILINEAR)
    bulge = np.asarray(small.filter(ImageFilter.GaussianBlur(rng.uniform(4, 9))), dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.gradient(bulge, axis=0) * np.float32(np.sin(angle)) + np.gradient(bulge, axis=1) * np.float32(
        np.cos(angle)
    )
    slope = slope * np.float32(rng.uniform(0.2, 0.8) / max(float(np.abs(slope).max()), 1e-3))
    return np.asarray(Image.fromarray(slope).resize((width, height), Image.Resampling.BILINEAR))


__all__ = ["change_appearance"]
