"""Fields of random numbers over an image: fractal noise, ramps and regions, made in a fraction of a millisecond."""

from functools import cache

import numpy as np

SIDE, COUNT = 512, 24  # of the stored maps of noise
SEED = 20261128  # the maps are the same in every process


@cache
def _noise_maps() -> np.ndarray:
    """Periodic maps (COUNT, SIDE, SIDE) of mean 0 and deviation 1, from coarse and smooth to fine and rough."""
    rng = np.random.default_rng(SEED)
    y, x = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    maps = np.empty((COUNT, SIDE, SIDE), dtype=np.float32)
    for number in range(COUNT):
        # A third of the maps have longer features along one axis, like wood or cloth.
        stretch = (1.0, 1.0, 4.0)[number % 3]
        frequency = np.sqrt((y * stretch) ** 2 + x**2)
        frequency[0, 0] = np.inf
        exponent = 0.5 + 1.5 * number / (COUNT - 1)
        spectrum = np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) / frequency**exponent
        field = np.fft.irfft2(spectrum, (SIDE, SIDE))
        maps[number] = (field - field.mean()) / field.std()
    return maps


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A random part (height, width) of fractal noise of random roughness, with mean about 0 and deviation about 1."""
    field = _noise_maps()[rng.integers(COUNT)]
    if rng.random() < 0.5:
        field = field.T
    step = int(rng.integers(1, 4))  # makes the features smaller
    rows, columns = np.arange(height) * step + rng.integers(SIDE), np.arange(width) * step + rng.integers(SIDE)
    return field.take(rows, axis=0, mode="wrap").take(columns, axis=1, mode="wrap")


def ramp(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A linear ramp (height, width) in a random direction, 0 in the middle and 0.5 to 0.7 in the corners."""
    angle = rng.uniform(0, 2 * np.pi)
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    return y + np.linspace(-0.5, 0.5, width, dtype=np.float32)[None] * np.float32(np.cos(angle))


def region(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """The share (height, width) of each pixel that lies in a random region: one side of a line, a band, or patches."""
    kind = rng.random()
    if kind < 0.45:
        distance = (ramp(rng, height, width) - np.float32(rng.normal(0, 0.12))) * max(height, width)
    elif kind < 0.65:
        half = rng.uniform(0.04, 0.2)
        distance = (np.float32(half) - np.abs(ramp(rng, height, width) - np.float32(rng.normal(0, 0.15)))) * max(
            height, width
        )
    else:
        distance = (noise(rng, height, width) - np.float32(rng.uniform(-0.3, 0.8))) * 8
    return (distance + 0.5).clip(0, 1)


__all__ = ["noise", "ramp", "region"]
