import numpy as np

from hq_sam_hf.scenes import coarse_mask
from support.scenes import scenes_before_noise


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_coarse_masks_keep_bodies_and_lose_details():
    found = {"solid": [], "thin": []}
    for i, scene in enumerate(scenes_before_noise("one")):
        for mask, group in zip(scene.masks, scene.groups):
            coarse = coarse_mask(mask, np.random.default_rng(i))
            assert coarse.dtype == np.float32
            assert set(np.unique(coarse)) == {0, 1}
            found[group].append(iou(coarse > 0.5, mask >= 0.5))
    solid, thin = np.array(found["solid"]), np.array(found["thin"])
    assert len(solid) > 40
    assert len(thin) > 40
    assert solid.min() > 0.5
    assert np.mean((solid > 0.6) & (solid < 0.985)) > 0.97
    assert 0.4 < np.median(thin) < 0.8
    assert thin.max() < 0.95


def test_a_coarse_mask_has_no_small_hole_and_no_thin_part():
    mask = np.zeros((100, 100), dtype=np.float32)
    mask[20:80, 20:60] = 1
    mask[48:51, 38:41] = 0
    mask[50, 60:95] = 1
    coarse = coarse_mask(mask, np.random.default_rng(0))
    assert coarse[49, 39] == 1
    assert coarse[50, 70:95].sum() == 0
    assert coarse[25:75, 25:55].all()


def test_a_coarse_mask_does_not_shrink_at_the_border_of_the_image():
    mask = np.zeros((80, 80), dtype=np.float32)
    mask[:40] = 1
    assert np.array_equal(coarse_mask(mask, np.random.default_rng(0))[:35], mask[:35])


def test_the_coarse_mask_of_an_empty_mask_is_empty():
    assert coarse_mask(np.zeros((30, 40)), np.random.default_rng(0)).sum() == 0
