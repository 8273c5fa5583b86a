import itertools
import subprocess
import sys
from collections import Counter
from zlib import crc32

import numpy as np
import pytest

from hq_sam_hf.data.reading import read_sample
from hq_sam_hf.scenes import (
    FAMILIES,
    GROUPS,
    HELD_OUT,
    SceneGenerator,
    boundary_contrast,
    coarse_mask,
    generate_scene,
    scene_dataset,
    trained_families,
)
from hq_sam_hf.scenes import scene as scene_module
from hq_sam_hf.scenes.crowds import crowd
from hq_sam_hf.scenes.objects import pose
from hq_sam_hf.scenes.sketch import Part, Sketch, draw, warp


def relative_width(mask: np.ndarray) -> float:
    """Twice area over outline, which is the width of a long strip, as a share of the object's diagonal."""
    outline = np.hypot(np.diff(mask, axis=0, append=0), np.diff(mask, axis=1, append=0)).sum()
    rows, columns = np.nonzero(mask >= 0.5)
    return float(2 * mask.sum() / outline / np.hypot(np.ptp(rows) + 1, np.ptp(columns) + 1))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture(scope="module")
def scenes():
    return [generate_scene(7, 128, key=(i,)) for i in range(150)]


# Drawing


def test_a_square_covers_its_pixels_and_half_of_those_it_cuts():
    square = [Part(np.array([(2, 2), (6.49, 2), (6.49, 5.99), (2, 5.99)]))]
    drawing = draw(square, 8, 9)
    coverage = np.zeros((8, 9))
    coverage[drawing.window] = drawing.coverage
    expected = np.zeros((8, 9))
    expected[2:6, 2:6] = 1
    expected[2:6, 6] = 0.5  # the outline ends in the middle of this column
    assert np.array_equal(coverage.round(2), expected)


def test_a_hole_is_no_part_of_the_object():
    pen = Sketch()
    pen.ellipse(0, 0, 1)
    pen.ellipse(0, 0, 0.5, erase=True)
    drawing = draw(warp(pen, np.eye(2), np.zeros(2), 40, np.array([50, 50])), 100, 100)
    assert drawing.coverage.sum() == pytest.approx(np.pi * (40**2 - 20**2), rel=0.02)


def test_the_same_object_at_twice_the_size_has_four_times_the_area():
    small, large = (pose(np.random.default_rng(5), "guitar", size, size).coverage.sum() for size in (128, 256))
    assert large / small == pytest.approx(4, rel=0.04)  # Pillow draws outlines an eighth of a pixel outwards


# Families


def test_families_are_many_half_of_them_thin_and_some_held_out():
    assert len(trained_families()) > 40
    assert 0.4 < Counter(GROUPS.values())["thin"] / len(GROUPS) < 0.6
    assert {"bicycle", "insect", "chair", "glasses", "fern"} <= set(HELD_OUT) < set(FAMILIES)
    assert {GROUPS[family] for family in HELD_OUT} == {"solid", "thin"}
    assert not set(HELD_OUT) & set(trained_families())


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_instance_of_a_family_is_an_object_and_thin_ones_are_thin(family):
    widths = []
    for size, seeds in ((128, 10), (256, 3)):
        for seed in range(seeds):
            drawing = pose(np.random.default_rng(seed), family, size, size)
            if drawing is None:  # mostly outside of the frame
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
    pictures = []
    for drawing in filter(None, drawings):
        picture = np.zeros((128, 128))
        picture[drawing.window] = drawing.coverage
        pictures.append(picture >= 0.5)
    assert all(iou(a, b) < 0.9 for i, a in enumerate(pictures) for b in pictures[:i])


# Scenes


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
    pictures = {
        generate_scene(seed, 64, key=key).image.tobytes() for seed in (0, 1) for key in ((), (0,), (0, 0), (1,))
    }
    assert len(pictures) == 8


def test_scenes_are_well_formed_and_disjoint(scenes):
    assert {len(s.masks) for s in scenes} == {1, 2, 3, 4}
    for s in scenes:
        assert s.image.shape == (128, 128, 3)
        assert s.image.dtype == np.uint8
        assert s.masks.shape == (len(s.families), 128, 128)
        assert s.masks.dtype == np.float32
        assert s.groups == tuple(GROUPS[family] for family in s.families)
        assert s.masks.min() >= 0
        assert s.masks.sum(axis=0).max() <= 1 + 1e-5  # each mask is only what is seen of its object
        assert all((mask >= 0.5).sum() >= 10 for mask in s.masks)


def test_solid_and_thin_objects_are_about_equally_common(scenes):
    count = Counter(group for s in scenes for group in s.groups)
    assert 0.4 < count["thin"] / count.total() < 0.6


@pytest.mark.parametrize("materials", ["one", "several", "printed"])
def test_recolouring_an_object_changes_exactly_its_mask(monkeypatch, materials):
    """Without what reaches beyond an edge (camera) or through it (opacity)."""
    for step in ("light", "blur", "develop"):
        monkeypatch.setattr(scene_module, step, lambda rng, image: image)
    monkeypatch.setattr(scene_module, "boundary_contrast", lambda image, mask: 99.0)  # the first attempt is taken
    monkeypatch.setattr(scene_module, "GREY", 0)
    monkeypatch.setattr(scene_module, "PARTS", 0)  # which cover some of their host
    dress = scene_module.dress

    def scene_with_negative_of(repainted, seed):
        def opaque(rng, family, drawing, behind, materials):
            # Colours must not follow the other objects'.
            thing = dress(rng, family, drawing, np.zeros_like(behind), materials)
            thing.opacity = drawing.coverage
            if family == repainted:
                thing.colours = (thing.colours + 128) % 256
            return thing

        monkeypatch.setattr(scene_module, "dress", opaque)
        return generate_scene(seed, 96, materials=materials)

    crowded = 0
    for seed in range(25):
        before = scene_with_negative_of(None, seed)
        if len(set(before.families)) < len(before.families):
            continue
        crowded += len(before.masks) > 1
        for mask, family in zip(before.masks, before.families):
            after = scene_with_negative_of(family, seed)
            changed = np.abs(after.image - before.image).max(axis=2) > 0.5
            assert not changed[mask < 0.001].any()
            assert changed[mask > 0.05].all()
    assert crowded >= 5


def test_in_front_hides_behind(monkeypatch):
    """Two objects of known order: the front one keeps its drawing, the one behind loses what is hidden."""
    drawings = []

    def remembered(*arguments):
        drawings.append(pose(*arguments))
        return drawings[-1]

    monkeypatch.setattr(scene_module, "pose", remembered)
    monkeypatch.setattr(scene_module, "boundary_contrast", lambda image, mask: 99.0)
    rng = np.random.default_rng(0)
    overlaps = 0
    for _ in range(60):
        drawings.clear()
        _, objects, masks = scene_module._compose(rng, 96, trained_families(), "one")
        if len(masks) != 2 or len(drawings) != 2:
            continue
        behind, front = np.zeros((2, 96, 96), dtype=np.float32)
        behind[drawings[0].window], front[drawings[1].window] = drawings[0].coverage, drawings[1].coverage
        assert np.array_equal(masks[1], front)
        assert np.allclose(masks[0], behind * (1 - front), atol=1e-6)
        assert masks[0].sum() >= 0.5 * behind.sum()
        overlaps += bool((behind * front).any())
    assert overlaps >= 3


def test_a_part_of_an_object_has_a_mask_of_its_own_and_belongs_to_its_host_too(monkeypatch):
    monkeypatch.setattr(scene_module, "PARTS", 1)
    pairs = 0
    for i in range(40):
        s = generate_scene(23, 128, key=(i,), materials="printed")
        for one, other in itertools.combinations(s.masks, 2):
            if ((one > 0.6) & (other > 0.6)).any():  # not just two soft edges
                part, host = sorted((one, other), key=np.sum)
                assert (part - host).clip(0).sum() <= 0.05 * part.sum()
                pairs += 1
    assert pairs >= 15


def test_a_crowd_covers_some_of_a_picture():
    covered = []
    for seed in range(30):
        image = np.full((96, 128, 3), 128, np.float32)
        crowd(np.random.default_rng(seed), image, trained_families())
        covered.append((np.abs(image - 128).max(axis=2) > 4).mean())
        assert image.shape == (96, 128, 3)
    assert 0.2 < np.median(covered) < 0.95


@pytest.mark.parametrize("materials", ["one", "several", "printed"])
def test_every_object_stands_out_before_noise_and_jpeg(monkeypatch, materials):
    monkeypatch.setattr(scene_module, "develop", lambda rng, image: image)
    for i in range(70):
        s = generate_scene(13, 128, key=(i,), materials=materials)
        assert min(boundary_contrast(s.image, mask) for mask in s.masks) >= scene_module.CONTRAST_FLOOR


def test_objects_of_several_materials_have_several_colours_printed_ones_more_and_some_pictures_are_grey():
    spreads, grey = {}, {}
    for materials in ("one", "several", "printed"):
        scenes = [generate_scene(19, 64, key=(i,), materials=materials) for i in range(80)]
        solid = [(s, mask) for s in scenes for mask, group in zip(s.masks, s.groups) if group == "solid"]
        spreads[materials] = np.array([s.image[mask > 0.9].std(axis=0).mean() for s, mask in solid])
        grey[materials] = sum(np.ptp(s.image, axis=2).max() < 25 for s in scenes)
    assert np.median(spreads["several"]) > 1.4 * np.median(spreads["one"])
    assert np.median(spreads["printed"]) > 1.3 * np.median(spreads["several"])
    assert (spreads["several"] > 40).mean() > (spreads["one"] > 40).mean() + 0.15
    assert grey["one"] == 0
    assert 2 <= grey["several"] <= 20


def test_contrast_of_grey_squares():
    image = np.full((20, 20, 3), 100, dtype=np.uint8)
    mask = np.zeros((20, 20), dtype=np.float32)
    mask[5:15, 5:15] = 1
    assert boundary_contrast(image, mask) == 0
    image[5:15, 5:15] = 130
    assert boundary_contrast(image, mask) == pytest.approx(30, abs=0.01)
    image[:, 10:] = 130  # half of the outline is lost
    assert boundary_contrast(image, mask) == 0
    assert boundary_contrast(image, np.ones((20, 20))) == float("inf")


@pytest.mark.parametrize("size", [64, 96, 128])
def test_hundreds_of_seeds_draw_without_fail(size):
    for seed in range(100):
        s = generate_scene(seed, size, families=tuple(FAMILIES))
        assert 1 <= len(s.masks) <= len(scene_module.OBJECT_COUNTS)


@pytest.mark.parametrize(
    ("materials", "parts", "least"), [("mixed", ["one", "several"], 6), ("all", ["one", "printed", "several"], 4)]
)
def test_a_mixture_draws_every_scene_of_one_of_its_kinds(monkeypatch, materials, parts, least):
    compose, asked = scene_module._compose, []

    def recorded(rng, size, families, materials):
        asked.append(materials)
        return compose(rng, size, families, materials)

    monkeypatch.setattr(scene_module, "_compose", recorded)
    monkeypatch.setattr(scene_module, "boundary_contrast", lambda image, mask: 0.0)  # all attempts are made
    kinds = []
    for i in range(24):
        asked.clear()
        generate_scene(3, 64, key=(i,), materials=materials)
        assert len(set(asked)) == 1
        kinds.append(asked[0])
    assert sorted(set(kinds)) == parts
    assert min(Counter(kinds).values()) >= least


def test_wrong_arguments_are_refused_with_a_way_out():
    with pytest.raises(ValueError, match="at least 64 pixels.*got 32"):
        generate_scene(0, 32)
    with pytest.raises(ValueError, match=r"one or more of antenna.*got \['unicorn'\]"):
        generate_scene(0, families=["apple", "unicorn"])
    with pytest.raises(ValueError, match="got none"):
        generate_scene(0, families=[])
    with pytest.raises(ValueError, match="one of one, several, printed, mixed, all, got 'gold'"):
        generate_scene(0, materials="gold")


# Coarse labels


def test_coarse_masks_keep_bodies_and_lose_detail():
    found = {"solid": [], "thin": []}
    for i in range(120):
        s = generate_scene(17, 128, key=(i,))
        for mask, group in zip(s.masks, s.groups):
            coarse = coarse_mask(mask, np.random.default_rng(i))
            assert coarse.dtype == np.float32
            assert set(np.unique(coarse)) == {0, 1}
            found[group].append(iou(coarse > 0.5, mask >= 0.5))
    solid, thin = np.array(found["solid"]), np.array(found["thin"])
    assert solid.min() > 0.5
    assert np.mean((solid > 0.6) & (solid < 0.985)) > 0.97
    assert 0.4 < np.median(thin) < 0.8
    assert thin.max() < 0.95


def test_a_coarse_mask_has_no_small_hole_and_no_lone_wire():
    mask = np.zeros((100, 100), dtype=np.float32)
    mask[20:80, 20:60] = 1
    mask[48:51, 38:41] = 0
    mask[50, 60:95] = 1
    coarse = coarse_mask(mask, np.random.default_rng(0))
    assert coarse[49, 39] == 1
    assert coarse[50, 70:95].sum() == 0
    assert coarse[25:75, 25:55].all()


def test_a_coarse_mask_does_not_shrink_from_the_frame():
    mask = np.zeros((80, 80), dtype=np.float32)
    mask[:40] = 1
    assert np.array_equal(coarse_mask(mask, np.random.default_rng(0))[:35], mask[:35])


def test_a_coarse_mask_of_nothing_is_nothing():
    assert coarse_mask(np.zeros((30, 40)), np.random.default_rng(0)).sum() == 0


# Data


def test_generator_is_a_sequence_that_forgets_nothing_and_keeps_nothing():
    scenes = SceneGenerator(4, seed=2, size=64)
    rows = list(scenes)
    assert len(scenes) == len(rows) == 4
    assert scenes[2]["image"].tobytes() == rows[2]["image"].tobytes() == scenes[-2]["image"].tobytes()
    assert scenes[2]["name"] == scenes[-2]["name"] == "train_2_000002"
    assert all((mask.mode, mask.size) == ("L", (64, 64)) for mask in rows[1]["masks"])
    assert read_sample(rows[1]).masks.shape == (len(rows[1]["masks"]), 64, 64)
    assert rows[1]["set"] == GROUPS[rows[1]["families"][0]]
    with pytest.raises(IndexError, match="scene 4 of 4"):
        scenes[4]


def test_coarse_labels_belong_to_the_same_pictures():
    exact, coarse = SceneGenerator(5, size=64), SceneGenerator(5, size=64, labels="coarse")
    for a, b in zip(exact, coarse):
        assert a["image"].tobytes() == b["image"].tobytes()
        assert a["families"] == b["families"]
        assert all(x.tobytes() != y.tobytes() for x, y in zip(a["masks"], b["masks"]))


def test_splits_share_no_scene_and_training_shows_no_held_out_family():
    pictures, families = {}, {}
    for split in ("train", "validation", "held_out"):
        rows = list(SceneGenerator(60, seed=0, size=64, split=split))
        pictures[split] = {row["image"].tobytes() for row in rows}
        families[split] = {family for row in rows for family in row["families"]}
    assert len(set.union(*pictures.values())) == 180
    assert not (families["train"] | families["validation"]) & set(HELD_OUT)
    assert families["held_out"] <= set(HELD_OUT)


def test_generator_refuses_what_would_spoil_a_measurement():
    with pytest.raises(ValueError, match="`families` of split 'train' must be among.*got bicycle"):
        SceneGenerator(1, families=["apple", "bicycle"])
    with pytest.raises(ValueError, match="must be one of train, validation, held_out; got 'test'"):
        SceneGenerator(1, split="test")
    with pytest.raises(ValueError, match='"exact" or "coarse", got \'fine\''):
        SceneGenerator(1, labels="fine")
    with pytest.raises(ValueError, match="one of one, several, printed, mixed, all, got 2"):
        SceneGenerator(1, materials=2)
    assert SceneGenerator(1, size=64, materials="several")[0]["image"] != SceneGenerator(1, size=64)[0]["image"]
    assert SceneGenerator(1, size=64, families=["heart"])[0]["set"] == "solid"


def test_dataset_holds_the_rows_of_the_generator_whatever_the_number_of_processes(tmp_path):
    scenes = SceneGenerator(4, seed=1, size=64, split="held_out")
    for processes in (None, 2):
        data = scene_dataset(
            4, seed=1, size=64, split="held_out", cache_dir=tmp_path / str(processes), num_proc=processes
        )
        assert data.column_names == ["image", "masks", "set", "families", "name"]
        for row, expected in zip(data, scenes):
            assert row["image"].tobytes() == expected["image"].tobytes()
            assert [m.tobytes() for m in row["masks"]] == [m.tobytes() for m in expected["masks"]]
            assert (row["set"], row["families"], row["name"]) == (
                expected["set"], expected["families"], expected["name"],
            )  # fmt: skip
