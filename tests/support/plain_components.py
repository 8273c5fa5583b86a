"""Connected components and the removal of small ones by their plain definitions, and a substitute for OpenCV."""

import types
from collections.abc import Iterator

import numpy as np


def flood_components(mask: np.ndarray) -> np.ndarray:
    """Label the 8-connected components of a bool mask (height, width): 0 outside, then from 1 in reading order.

    The smallest pixel index floods its component, one pixel per step.
    """
    height, width = mask.shape
    largest = mask.size
    index = np.where(mask, np.arange(largest).reshape(mask.shape), largest)
    while True:
        padded = np.pad(index, 1, constant_values=largest)
        shifted = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        lowest = np.where(mask, np.minimum.reduce(shifted), largest)
        if np.array_equal(lowest, index):
            break
        index = lowest
    firsts = np.unique(index[mask])
    return np.where(mask, np.searchsorted(firsts, index) + 1, 0)


def plainly_without_small_regions(mask: np.ndarray, min_area: float) -> tuple[np.ndarray, bool]:
    """Fill small holes, then remove small components, by floods over the whole image; and whether there were any."""
    holes = flood_components(~mask)
    mask, changed = mask.copy(), False
    for number in range(1, holes.max() + 1):
        if (holes == number).sum() < min_area:
            mask[holes == number] = changed = True
    components = flood_components(mask)
    areas = [(components == number).sum() for number in range(1, components.max() + 1)]
    if not areas or min(areas) >= min_area:
        return mask, changed
    kept = [number for number, area in enumerate(areas, start=1) if area >= min_area] or [np.argmax(areas) + 1]
    return np.isin(components, kept), True


def fake_cv2() -> types.ModuleType:
    """A module with `connectedComponentsWithStats`, which returns what the original uses of it."""

    def connected_components_with_stats(mask: np.ndarray, connectivity: int):
        assert connectivity == 8
        labels = flood_components(mask.astype(bool))
        areas = np.bincount(labels.ravel())
        return len(areas), labels, np.stack([areas] * 5, axis=1), None

    module = types.ModuleType("cv2")
    module.connectedComponentsWithStats = connected_components_with_stats
    return module


def masks_of_many_kinds() -> Iterator[np.ndarray]:
    """154 small bool masks: empty, full, diagonal, noise, and blobs with holes, some at the border of their image."""
    random = np.random.default_rng(0)
    yield np.zeros((4, 5), dtype=bool)
    yield np.ones((4, 5), dtype=bool)
    yield np.eye(7, dtype=bool)
    yield ~np.eye(7, dtype=bool)
    for i in range(150):
        height, width = random.integers(1, 26, 2)
        mask = np.zeros((height, width), dtype=bool)
        top, left = random.integers(0, height), random.integers(0, width)
        part = mask[top : random.integers(top, height) + 1, left : random.integers(left, width) + 1]
        if i % 2:
            part[:] = random.random(part.shape) < random.random()
        else:
            rows, columns = (np.arange(side) // random.integers(1, 5) for side in part.shape)
            part[:] = (random.random((26, 26)) < 0.6)[rows][:, columns]
        yield mask
