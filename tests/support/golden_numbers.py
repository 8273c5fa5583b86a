"""Golden outputs of the original's training code for small inputs, written by tests/golden/make.py."""

import functools
from collections.abc import Iterator

import numpy as np

from support.paths import TESTS


@functools.cache
def golden() -> dict[str, np.ndarray]:
    with np.load(TESTS / "golden" / "golden.npz") as stored:
        return dict(stored)


def metric_cases() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """200 cases of prediction, ground truth, [IoU, boundary IoU] and the box of the ground truth."""
    data, start = golden(), 0
    for (height, width), values, box in zip(data["metrics_sizes"], data["metrics_values"], data["metrics_boxes"]):
        count = 2 * int(height) * int(width)
        stop = start + (count + 7) // 8
        bits = np.unpackbits(data["metrics_bits"][start:stop], count=count)
        prediction, ground_truth = bits.astype(bool).reshape(2, height, width)
        yield prediction, ground_truth, values, box
        start = stop
