from collections import Counter

import numpy as np
import pytest

from hq_sam_hf.scenes import FAMILIES, GROUPS, HELD_OUT, trained_families
from hq_sam_hf.scenes.objects import pose


def relative_width(mask: np.ndarray) -> float:
    """Twice the area over the outline (the width of a long strip), as a share of the object's diagonal."""
    outline = np.hypot(np.diff(mask, axis=0, append=0), np.diff(mask, axis=1, append=0)).sum()
    rows, columns = np.nonzero(mask >= 0.5)
    return float(2 * mask.sum() / outline / np.hypot(np.ptp(rows) + 1, np.ptp(columns) + 1))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_about_half_of_the_families_are_thin_and_some_are_held_out():
    assert len(trained_families()) > 40
    assert 0.4 < Counter(GROUPS.values())["thin"] / len(GROUPS) < 0.6
    assert {"bicycle", "insect", "chair", "glasses", "fern"} <= set(HELD_OUT) < set(FAMILIES)
    assert {GROUPS[family] for family in HELD_OUT} == {"solid", "thin"}
    assert not set(HELD_OUT) & set(trained_families())


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_instances_have_a_visible_area_and_the_width_of_their_group(family):
    widths = []
    for size, seeds in ((128, 10), (256, 3)):
        for seed in range(seeds):
            drawing = pose(np.random.default_rng(seed), family, size, size)
            if drawing is None:  # mostly outside the image
                continue
            mask = drawing.coverage >= 0.5
            assert mask.sum() >= 60
            assert mask.mean() < 0.95, "fills its box"
            assert min(mask.any(axis=0).sum(), mask.any(axis=1).sum()) >= 5
            widths.append(relative_width(drawing.coverage))
    assert len(widths) >= 6
    if GROUPS[family] == "thin":
        assert np.median(widths) < 0.04
        assert max(widths) < 0.08
    else:
        assert np.median(widths) > 0.06


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_instances_of_a_family_differ(family):
    drawings = [pose(np.random.default_rng([9, seed]), family, 128, 128) for seed in range(4)]
    masks = []
    for drawing in filter(None, drawings):
        coverage = np.zeros((128, 128))
        coverage[drawing.window] = drawing.coverage
        masks.append(coverage >= 0.5)
    assert all(iou(a, b) < 0.9 for i, a in enumerate(masks) for b in masks[:i])


def test_an_object_has_four_times_the_area_in_an_image_of_twice_the_size():
    small, large = (pose(np.random.default_rng(5), "guitar", size, size).coverage.sum() for size in (128, 256))
    assert large / small == pytest.approx(4, rel=0.04)  # Pillow draws outlines an eighth of a pixel outwards
