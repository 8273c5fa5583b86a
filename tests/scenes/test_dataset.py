import pytest

from hq_sam_hf.data.reading import read_sample
from hq_sam_hf.scenes import GROUPS, HELD_OUT, SceneGenerator, scene_dataset


def test_a_generator_is_a_sequence_of_rows():
    scenes = SceneGenerator(4, seed=2, size=64)
    rows = list(scenes)
    assert len(scenes) == len(rows) == 4
    assert scenes[2]["image"].tobytes() == rows[2]["image"].tobytes() == scenes[-2]["image"].tobytes()
    assert scenes[2]["name"] == scenes[-2]["name"] == "train_2_000002"
    assert all((mask.mode, mask.size) == ("L", (64, 64)) for mask in rows[1]["masks"])
    assert read_sample(rows[1]).masks.shape == (len(rows[1]["masks"]), 64, 64)
    assert rows[1]["set"] == GROUPS[rows[1]["families"][0]]
    with pytest.raises(IndexError, match="no scene 4 of 4"):
        scenes[4]


def test_coarse_labels_belong_to_the_same_images():
    exact, coarse = SceneGenerator(5, size=64), SceneGenerator(5, size=64, labels="coarse")
    for a, b in zip(exact, coarse):
        assert a["image"].tobytes() == b["image"].tobytes()
        assert a["families"] == b["families"]
        assert all(x.tobytes() != y.tobytes() for x, y in zip(a["masks"], b["masks"]))


def test_splits_share_no_scene_and_training_shows_no_held_out_family():
    images, families = {}, {}
    for split in ("train", "validation", "held_out"):
        rows = list(SceneGenerator(40, seed=0, size=64, split=split))
        images[split] = {row["image"].tobytes() for row in rows}
        families[split] = {family for row in rows for family in row["families"]}
    assert len(set.union(*images.values())) == 120
    assert not (families["train"] | families["validation"]) & set(HELD_OUT)
    assert families["held_out"] <= set(HELD_OUT)


def test_a_generator_raises_errors_for_wrong_arguments():
    with pytest.raises(ValueError, match="`families` of split 'train' must be among.*got bicycle"):
        SceneGenerator(1, families=["apple", "bicycle"])
    with pytest.raises(ValueError, match="must be one of train, validation, held_out; got 'test'"):
        SceneGenerator(1, split="test")
    with pytest.raises(ValueError, match='"exact" or "coarse", got \'fine\''):
        SceneGenerator(1, labels="fine")
    with pytest.raises(ValueError, match="one of one, several, printed, mixed, all, got 2"):
        SceneGenerator(1, materials=2)


def test_a_generator_passes_materials_and_families_on():
    assert SceneGenerator(1, size=64, materials="several")[0]["image"] != SceneGenerator(1, size=64)[0]["image"]
    assert SceneGenerator(1, size=64, families=["heart"])[0]["set"] == "solid"


def test_a_data_set_holds_the_rows_of_the_generator_for_any_number_of_processes(tmp_path):
    scenes = SceneGenerator(4, seed=1, size=64, split="held_out")
    for processes in (None, 2):
        data = scene_dataset(
            4, seed=1, size=64, split="held_out", cache_dir=tmp_path / str(processes), num_proc=processes
        )
        assert data.column_names == ["image", "masks", "set", "families", "name"]
        for row, expected in zip(data, scenes):
            assert row["image"].tobytes() == expected["image"].tobytes()
            assert [m.tobytes() for m in row["masks"]] == [m.tobytes() for m in expected["masks"]]
            for column in ("set", "families", "name"):
                assert row[column] == expected[column]
