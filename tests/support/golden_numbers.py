"""The answers of the original's training code to small inputs; tests/golden/make.py says how they were made."""

import functools
from collections.abc import Iterator

import numpy as np

from support.paths import TESTS


@functools.cache
def golden() -> dict[str, np.ndarray]:
    with np.load(TESTS / "golden" / "golden.npz") as stored:
        return dict(stored)


def metric_cases() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """200 times prediction, truth, [IoU, boundary IoU] and the truth's box."""
    data, start = golden(), 0
    for (height, width), values, box in zip(data["metrics_sizes"], data["metrics_values"], data["metrics_boxes"]):
        count = 2 * int(height) * int(width)
        stop = start + (count + 7) // 8
        bits = np.unpackbits(data["metrics_bits"][start:stop], count=count)
        pred, truth = bits.astype(bool).reshape(2, height, width)
        yield pred, truth, values, box
        start = stop
