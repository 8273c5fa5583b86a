import itertools

import numpy as np

from hq_sam_hf.scenes import scene as scene_module
from hq_sam_hf.scenes import trained_families
from hq_sam_hf.scenes.crowds import add_crowd


def test_a_crowd_covers_some_of_the_image():
    covered = []
    for seed in range(15):
        image = np.full((96, 128, 3), 128, np.float32)
        add_crowd(np.random.default_rng(seed), image, trained_families())
        covered.append((np.abs(image - 128).max(axis=2) > 4).mean())
        assert image.shape == (96, 128, 3)
    assert 0.2 < np.median(covered) < 0.95


def test_the_pixels_of_a_part_belong_to_its_own_mask_and_to_that_of_its_host(monkeypatch):
    monkeypatch.setattr(scene_module, "PART_PROBABILITY", 1)
    monkeypatch.setattr(scene_module, "CROWD_PROBABILITY", 0)  # a crowd has no masks
    rng = np.random.default_rng(23)
    pairs = 0
    for _ in range(40):
        layout = scene_module._compose(rng, 128, trained_families(), "printed")
        for one, other in itertools.combinations(layout.masks, 2):
            if ((one > 0.6) & (other > 0.6)).any():  # more than two soft edges
                part, host = sorted((one, other), key=np.sum)
                assert (part - host).clip(0).sum() <= 0.05 * part.sum()
                pairs += 1
    assert pairs >= 15
