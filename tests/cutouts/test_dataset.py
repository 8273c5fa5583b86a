import pickle

import pytest

from hq_sam_hf.cutouts import CutoutGenerator
from hq_sam_hf.data import read_sample
from hq_sam_hf.data.factory import load_rows
from hq_sam_hf.training import TrainingConfig, train
from support.cutout_objects import write_objects, write_photos
from support.small_runs import ARCHITECTURE


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    return write_objects(tmp_path_factory.mktemp("objects"), count=16)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"))


def test_a_generator_is_a_sequence_of_rows(objects, photos):
    images = CutoutGenerator(objects, photos, count=4, seed=2, size=64)
    rows = list(images)
    assert len(images) == len(rows) == 4
    assert images[2]["image"].tobytes() == rows[2]["image"].tobytes() == images[-2]["image"].tobytes()
    assert images[2]["name"] == images[-2]["name"] == "train_2_000002"
    assert rows[1]["set"] == "cutouts"
    assert len(rows[1]["objects"]) == len(rows[1]["masks"])
    assert all((mask.mode, mask.size) == ("L", (64, 64)) for mask in rows[1]["masks"])
    assert read_sample(rows[1]).masks.shape == (len(rows[1]["masks"]), 64, 64)
    with pytest.raises(IndexError, match="no image 4 of 4"):
        images[4]


def test_rows_do_not_depend_on_the_order_or_the_process(objects, photos):
    images = CutoutGenerator(objects, photos, count=6, size=64)
    backwards = [images[index]["image"].tobytes() for index in reversed(range(6))]
    copy = pickle.loads(pickle.dumps(images))
    assert [row["image"].tobytes() for row in copy] == backwards[::-1]


def test_coarse_labels_belong_to_the_same_images(objects, photos):
    exact = CutoutGenerator(objects, photos, count=5, size=64)
    coarse = CutoutGenerator(objects, photos, count=5, size=64, labels="coarse")
    for a, b in zip(exact, coarse):
        assert a["image"].tobytes() == b["image"].tobytes()
        assert a["objects"] == b["objects"]
        assert set(b["masks"][0].tobytes()) <= {0, 255}
        assert [mask.tobytes() for mask in a["masks"]] != [mask.tobytes() for mask in b["masks"]]


def test_splits_and_seeds_share_no_image_and_splits_no_object(objects, photos):
    images, names = {}, {}
    for split in ("train", "validation"):
        for seed in (0, 1):
            rows = list(CutoutGenerator(objects, photos, count=10, seed=seed, size=64, split=split))
            images[split, seed] = {row["image"].tobytes() for row in rows}
            names[split] = names.get(split, set()) | {name for row in rows for name in row["objects"]}
    assert len(set.union(*images.values())) == 40
    assert names["validation"] == {"thing_0", "thing_2"}  # the first and the ninth of the sorted names
    assert not names["train"] & names["validation"]


def test_without_photos_backgrounds_are_generated(objects):
    assert CutoutGenerator(objects, count=1, size=64)[0]["image"].size == (64, 64)


def test_a_generator_raises_errors_for_wrong_arguments(objects):
    with pytest.raises(ValueError, match='"exact" or "coarse", got \'fine\''):
        CutoutGenerator(objects, labels="fine")
    with pytest.raises(ValueError, match="number of images, 0 or more, got -1"):
        CutoutGenerator(objects, count=-1)
    with pytest.raises(ValueError, match="`size` must be at least 64 pixels, got 32"):
        CutoutGenerator(objects, size=32)


def test_a_description_names_the_files_and_a_wrong_file_is_found_at_once(objects, photos, tmp_path):
    rows = load_rows(
        {"kind": "cutouts", "objects": str(objects), "backgrounds": str(photos), "count": 3}, "validation"
    )
    assert len(rows) == 3
    assert rows[0]["name"] == "validation_0_000000"
    (tmp_path / "broken.webp").write_bytes(b"not a WebP")
    with pytest.raises(ValueError, match=r"broken\.webp is not a readable image"):
        load_rows({"kind": "cutouts", "objects": str(tmp_path)}, "train")
    with pytest.raises(ValueError, match="do not fit their kind.*'colour'"):
        load_rows({"kind": "cutouts", "objects": str(objects), "colour": "red"}, "train")


def test_a_model_trains_on_cutouts(objects, photos, tmp_path):
    data = {"kind": "cutouts", "objects": str(objects), "backgrounds": str(photos), "count": 8, "size": 64}
    config = TrainingConfig(
        data={**data, "labels": "coarse"}, architecture=ARCHITECTURE, train="sam",
        output_dir=str(tmp_path), max_steps=1, batch_size=2, accumulation=1, scales=None, num_workers=0, trackers=[],
    )  # fmt: skip
    train(config)
    assert (tmp_path / "final" / "model.safetensors").exists()
