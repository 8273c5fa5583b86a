import subprocess
import sys
from collections import Counter
from zlib import crc32

import numpy as np
import pytest

from hq_sam_hf.scenes import FAMILIES, GROUPS, boundary_contrast, generate_scene, trained_families
from hq_sam_hf.scenes import scene as scene_module
from hq_sam_hf.scenes.objects import pose
from support.scenes import scenes_before_noise

ONE_BY_ONE = ["one", "several", "printed"]  # the materials that are not a mixture


def test_equal_seeds_give_equal_bytes_in_another_process_and_in_any_order():
    code = (
        "from zlib import crc32\n"
        "from hq_sam_hf.scenes import generate_scene\n"
        "for i in (2, 0, 1):\n"
        "    s = generate_scene(3, 128, key=(i,))\n"
        "    print(i, crc32(s.image.tobytes()), crc32(s.masks.tobytes()), s.families)"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for line in other.splitlines():
        i = int(line.split()[0])
        s = generate_scene(3, 128, key=(i,))
        assert line == f"{i} {crc32(s.image.tobytes())} {crc32(s.masks.tobytes())} {s.families}"


def test_seeds_and_keys_give_different_scenes():
    images = {generate_scene(seed, 64, key=key).image.tobytes() for seed in (0, 1) for key in ((), (0,), (0, 0), (1,))}
    assert len(images) == 8


def test_images_and_masks_have_the_documented_form_and_masks_are_disjoint():
    scenes = scenes_before_noise("one")
    assert {len(s.masks) for s in scenes} == {1, 2, 3, 4}
    for s in scenes:
        assert s.image.shape == (96, 96, 3)
        assert s.image.dtype == np.uint8
        assert s.masks.shape == (len(s.families), 96, 96)
        assert s.masks.dtype == np.float32
        assert s.groups == tuple(GROUPS[family] for family in s.families)
        assert s.masks.min() >= 0
        assert s.masks.sum(axis=0).max() <= 1 + 1e-5  # each mask holds only the visible part of its object
        assert all((mask >= 0.5).sum() >= 10 for mask in s.masks)


def test_solid_and_thin_objects_are_about_equally_frequent():
    count = Counter(group for s in scenes_before_noise("one") for group in s.groups)
    assert 0.4 < count["thin"] / count.total() < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("materials", ONE_BY_ONE)
def test_recolouring_an_object_changes_exactly_the_pixels_of_its_mask(monkeypatch, materials):
    """Without the camera, which blurs across edges, and without transparency."""
    for step in ("add_lighting", "blur", "add_noise"):
        monkeypatch.setattr(scene_module, step, lambda rng, image: image)
    monkeypatch.setattr(scene_module, "boundary_contrast", lambda image, mask: 99.0)  # takes the first attempt
    monkeypatch.setattr(scene_module, "GREY_PROBABILITY", 0)
    monkeypatch.setattr(scene_module, "PART_PROBABILITY", 0)  # a part covers pixels of its host's mask
    colour_object = scene_module.colour_object

    def scene_with_inverted(recoloured, seed):
        def opaque(rng, family, drawing, image, materials):
            # A black image, because colours must not depend on the other objects.
            scene_object = colour_object(rng, family, drawing, np.zeros_like(image), materials)
            scene_object.opacity = drawing.coverage
            if family == recoloured:
                scene_object.colours = (scene_object.colours + 128) % 256
            return scene_object

        monkeypatch.setattr(scene_module, "colour_object", opaque)
        return generate_scene(seed, 96, materials=materials)

    with_several_objects = 0
    for seed in range(14):
        before = scene_with_inverted(None, seed)
        if len(set(before.families)) < len(before.families):
            continue
        with_several_objects += len(before.masks) > 1
        for mask, family in zip(before.masks, before.families):
            after = scene_with_inverted(family, seed)
            changed = np.abs(after.image - before.image).max(axis=2) > 0.5
            assert not changed[mask < 0.001].any()
            assert changed[mask > 0.05].all()
    assert with_several_objects >= 5


def test_an_object_in_front_removes_its_pixels_from_the_masks_behind(monkeypatch):
    drawings = []

    def recorded_pose(*arguments):
        drawings.append(pose(*arguments))
        return drawings[-1]

    monkeypatch.setattr(scene_module, "pose", recorded_pose)
    rng = np.random.default_rng(0)
    overlaps = 0
    for _ in range(60):
        drawings.clear()
        masks = scene_module._compose(rng, 96, trained_families(), "one").masks
        if len(masks) != 2 or len(drawings) != 2:
            continue
        behind, front = np.zeros((2, 96, 96), dtype=np.float32)
        behind[drawings[0].window], front[drawings[1].window] = drawings[0].coverage, drawings[1].coverage
        assert np.array_equal(masks[1], front)
        assert np.allclose(masks[0], behind * (1 - front), atol=1e-6)
        assert masks[0].sum() >= 0.5 * behind.sum()
        overlaps += bool((behind * front).any())
    assert overlaps >= 3


@pytest.mark.slow
@pytest.mark.parametrize("materials", ONE_BY_ONE)
def test_every_object_contrasts_with_its_background_before_noise_and_jpeg(materials):
    for s in scenes_before_noise(materials):
        assert min(boundary_contrast(s.image, mask) for mask in s.masks) >= scene_module.MIN_CONTRAST


@pytest.mark.slow
def test_more_materials_give_more_colours_per_object_and_some_grey_images():
    spreads, grey = {}, {}
    for materials in ONE_BY_ONE:
        scenes = scenes_before_noise(materials)
        solid = [(s, mask) for s in scenes for mask, group in zip(s.masks, s.groups) if group == "solid"]
        spreads[materials] = np.array([s.image[mask > 0.9].std(axis=0).mean() for s, mask in solid])
        # The channels of a grey image are proportional; light may have tinted it.
        correlations = [np.corrcoef(s.image.reshape(-1, 3).T).min() for s in scenes]
        grey[materials] = sum(correlation > 0.9999 for correlation in correlations)
    assert np.median(spreads["several"]) > 1.4 * np.median(spreads["one"])
    assert np.median(spreads["printed"]) > 1.3 * np.median(spreads["several"])
    assert (spreads["several"] > 40).mean() > (spreads["one"] > 40).mean() + 0.15
    assert grey["one"] == 0
    assert 2 <= grey["several"] <= 15


@pytest.mark.slow
@pytest.mark.parametrize(("size", "seeds"), [(64, 100), (96, 60), (128, 40)])
def test_hundreds_of_seeds_give_scenes(size, seeds):
    for seed in range(seeds):
        s = generate_scene(seed, size, families=tuple(FAMILIES))
        assert 1 <= len(s.masks) <= len(scene_module.OBJECT_COUNT_PROBABILITIES)


@pytest.mark.parametrize(
    ("materials", "parts", "least"), [("mixed", ["one", "several"], 6), ("all", ["one", "printed", "several"], 4)]
)
def test_each_scene_of_a_mixture_has_one_kind_of_materials(monkeypatch, materials, parts, least):
    compose, composed = scene_module._compose, []

    def recorded_compose(rng, size, families, materials):
        composed.append(materials)
        return compose(rng, size, families, materials)

    monkeypatch.setattr(scene_module, "_compose", recorded_compose)
    monkeypatch.setattr(scene_module, "boundary_contrast", lambda image, mask: 0.0)  # no attempt is good enough
    monkeypatch.setattr(scene_module, "MAX_ATTEMPTS", 2)
    kinds = []
    for i in range(24):
        composed.clear()
        generate_scene(3, 64, key=(i,), materials=materials)
        assert len(composed) == 2
        assert len(set(composed)) == 1
        kinds.append(composed[0])
    assert sorted(set(kinds)) == parts
    assert min(Counter(kinds).values()) >= least


def test_errors_name_the_wrong_argument_and_the_allowed_values():
    with pytest.raises(ValueError, match="at least 64 pixels.*got 32"):
        generate_scene(0, 32)
    with pytest.raises(ValueError, match=r"one or more of antenna.*got \['unicorn'\]"):
        generate_scene(0, families=["apple", "unicorn"])
    with pytest.raises(ValueError, match="got none"):
        generate_scene(0, families=[])
    with pytest.raises(ValueError, match="one of one, several, printed, mixed, all, got 'gold'"):
        generate_scene(0, materials="gold")
