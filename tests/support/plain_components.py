"""Regions and their removal by the plain definitions, and the little of OpenCV that the original asks for."""

import types

import numpy as np


def flood_components(mask: np.ndarray) -> np.ndarray:
    """Labels from 1, 0 outside: the smallest index floods its region, over sides and corners, a pixel per step."""
    height, width = mask.shape
    far = mask.size
    index = np.where(mask, np.arange(far).reshape(mask.shape), far)
    while True:
        framed = np.pad(index, 1, constant_values=far)
        shifted = [framed[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        lowest = np.where(mask, np.minimum.reduce(shifted), far)
        if np.array_equal(lowest, index):
            break
        index = lowest
    firsts = np.unique(index[mask])
    return np.where(mask, np.searchsorted(firsts, index) + 1, 0)


def plainly_without_small_regions(mask: np.ndarray, min_area: float) -> tuple[np.ndarray, bool]:
    """Small holes filled, then small regions dropped, by floods over the whole picture; and whether there were any."""
    holes = flood_components(~mask)
    mask, changed = mask.copy(), False
    for number in range(1, holes.max() + 1):
        if (holes == number).sum() < min_area:
            mask[holes == number] = changed = True
    regions = flood_components(mask)
    areas = [(regions == number).sum() for number in range(1, regions.max() + 1)]
    if not areas or min(areas) >= min_area:
        return mask, changed
    kept = [number for number, area in enumerate(areas, start=1) if area >= min_area] or [np.argmax(areas) + 1]
    return np.isin(regions, kept), True


def fake_cv2() -> types.ModuleType:
    """A module with `connectedComponentsWithStats`, as far as the original reads its answer."""

    def connected_components_with_stats(mask: np.ndarray, connectivity: int):
        assert connectivity == 8
        labels = flood_components(mask.astype(bool))
        areas = np.bincount(labels.ravel())
        return len(areas), labels, np.stack([areas] * 5, axis=1), None

    module = types.ModuleType("cv2")
    module.connectedComponentsWithStats = connected_components_with_stats
    return module
