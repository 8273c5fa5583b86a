"""A run may be resumed where its folders have moved, if the content is the same; data sets in memory; several ones."""

import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from PIL import Image

from hq_sam_hf.scenes import SceneGenerator
from hq_sam_hf.training.config import TrainingConfig
from hq_sam_hf.training.trainer import TrainingRun, train
from support.small_runs import assert_equal_weights, read_log, small_run


@pytest.fixture(scope="module")
def scenes() -> list:
    """Images with one mask each."""
    binary = [255 * (value > 127) for value in range(256)]
    return [(scene["image"], scene["masks"][0].point(binary)) for scene in SceneGenerator(8, size=64)]


@pytest.fixture
def folders(scenes, tmp_path) -> dict[str, str]:
    """A description of folders with eight images."""
    for kind in ("images", "masks"):
        (tmp_path / "a" / kind).mkdir(parents=True)
    for i, (image, mask) in enumerate(scenes):
        image.save(tmp_path / "a" / "images" / f"{i}.png")
        mask.save(tmp_path / "a" / "masks" / f"{i}.png")
    return {"kind": "folders", "images": str(tmp_path / "a/images"), "masks": str(tmp_path / "a/masks")}


def moved(data: dict[str, str], folder: Path) -> dict[str, str]:
    """The description of a copy of the data in another folder."""
    shutil.copytree(Path(data["images"]).parent, folder)
    return {**data, "images": str(folder / "images"), "masks": str(folder / "masks")}


@pytest.mark.slow
def test_a_run_goes_on_where_its_data_its_model_and_itself_have_moved(base, folders, tmp_path):
    train(small_run(base, tmp_path / "whole", data=folders))
    train(small_run(base, tmp_path / "run", data=folders, max_steps=2))
    there = moved(folders, tmp_path / "b")
    model = shutil.copytree(base, tmp_path / "model")
    run = shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "a")
    train(small_run(model, run, data=there, resume=True))
    assert_equal_weights(run, tmp_path / "whole")
    assert read_log(run) == read_log(tmp_path / "whole")
    assert yaml.safe_load((run / "config.yaml").read_text())["data"] == there


def rename_image(folder: Path) -> None:
    for kind in ("images", "masks"):
        (folder / kind / "3.png").rename(folder / kind / "9.png")


def add_image(folder: Path) -> None:
    for kind in ("images", "masks"):
        shutil.copy(folder / kind / "3.png", folder / kind / "9.png")


def change_mask(folder: Path) -> None:
    Image.new("L", (64, 64), 255).save(folder / "masks" / "3.png")


def change_image(folder: Path) -> None:
    Image.new("RGB", (64, 64)).save(folder / "images" / "3.png")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (rename_image, "other file names"),
        (add_image, "8 images then, 9 now"),
        (change_mask, "other images or masks"),
        (change_image, "other images or masks"),
    ],
)
def test_a_run_does_not_go_on_with_other_data_in_another_place(base, folders, tmp_path, change, reason):
    TrainingRun(small_run(base, tmp_path / "run", data=folders))
    there = moved(folders, tmp_path / "b")
    change(tmp_path / "b")
    with pytest.raises(ValueError, match=f"`data` has another content than when the run was started: {reason}"):
        TrainingRun(small_run(base, tmp_path / "run", data=there, resume=True))
    TrainingRun(small_run(base, tmp_path / "run", data=folders, resume=True))  # as the message advises


@pytest.mark.parametrize("change", [rename_image, add_image])
def test_a_run_does_not_go_on_with_other_images_in_the_same_place(base, folders, tmp_path, change):
    TrainingRun(small_run(base, tmp_path / "run", data=folders))
    change(tmp_path / "a")
    with pytest.raises(ValueError, match="`data` has another content"):
        TrainingRun(small_run(base, tmp_path / "run", data=folders, resume=True))


def test_a_file_that_was_repaired_in_its_place_does_not_stop_a_run(base, folders, tmp_path):
    TrainingRun(small_run(base, tmp_path / "run", data=folders))
    change_mask(tmp_path / "a")
    TrainingRun(small_run(base, tmp_path / "run", data=folders, resume=True))


def test_a_run_does_not_go_on_with_another_model_in_another_place(base, finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    model = shutil.copytree(finished_run / "final", tmp_path / "model")
    with pytest.raises(ValueError, match="`model` has another content than when the run was started: other weights"):
        TrainingRun(small_run(model, run, resume=True))


def test_a_run_of_an_earlier_version_goes_on_in_its_place_only(base, folders, tmp_path):
    TrainingRun(small_run(base, tmp_path / "run", data=folders))
    (tmp_path / "run" / "contents.json").unlink()
    with pytest.raises(ValueError, match="`data` has another path than .* Set the path back"):
        TrainingRun(small_run(base, tmp_path / "run", data=moved(folders, tmp_path / "b"), resume=True))
    TrainingRun(small_run(base, tmp_path / "run", data=folders, resume=True))


def test_arguments_of_data_that_are_no_paths_may_not_change(base):
    earlier = small_run(base, "out").to_dict()
    with pytest.raises(ValueError, match="`data` was .*'count': 8.* and is .*'count': 9"):
        small_run(base, "out", data={"kind": "scenes", "count": 9, "size": 64}).refuse_changes(earlier)


def in_memory(scenes) -> datasets.Dataset:
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    images, masks = zip(*scenes)
    return datasets.Dataset.from_dict({"image": list(images), "mask": list(masks)}, features=features)


@pytest.mark.parametrize("splits", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_data_sets_in_memory_are_trained_on_and_resumed(base, scenes, tmp_path, splits):
    data = in_memory(scenes)
    source = datasets.DatasetDict({"train": data, "validation": data.select(range(2))}) if splits else data
    fields = {"data": {"kind": "columns", "source": source}}
    train(small_run(base, tmp_path / "whole", **fields))
    train(small_run(base, tmp_path / "run", **fields, max_steps=1))
    again = in_memory(scenes)
    fields["data"] = {"kind": "columns", "source": again}
    train(small_run(base, tmp_path / "run", **fields, resume=True))
    assert_equal_weights(tmp_path / "run", tmp_path / "whole")
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert saved["data"] == {"kind": "columns", "source": "a data set in memory: Dataset of 8 rows"}
    assert "a data set in memory" in (tmp_path / "run" / "final" / "README.md").read_text()
    with pytest.raises(ValueError, match="which no file can hold. Give the data set in Python again"):
        TrainingRun(TrainingConfig.load(tmp_path / "run" / "config.yaml", [], resume=True))
    other = datasets.concatenate_datasets([again.select(range(4))] * 2)
    fields["data"] = {"kind": "columns", "source": other}
    with pytest.raises(ValueError, match="`data` has another content"):
        TrainingRun(small_run(base, tmp_path / "run", **fields, resume=True))


def test_a_folder_of_save_to_disk_trains_from_yaml_as_the_data_set_in_memory(base, scenes, tmp_path):
    data = in_memory(scenes)
    data.save_to_disk(tmp_path / "saved")
    source = {"kind": "columns", "source": str(tmp_path / "saved")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(small_run(base, tmp_path / "run", data=source).to_dict()))
    train(TrainingConfig.load(tmp_path / "run.yaml"))
    train(small_run(base, tmp_path / "memory", data={"kind": "columns", "source": data}))
    assert_equal_weights(tmp_path / "run", tmp_path / "memory")


@pytest.mark.slow
def test_several_data_sets_train_and_resume_exactly(base, folders, tmp_path):
    data = [{**folders, "weight": 0.5}, {"kind": "scenes", "count": 2, "size": 64, "weight": 2}]
    fields = {"data": data}
    train(small_run(base, tmp_path / "whole", **fields))
    train(small_run(base, tmp_path / "run", **fields, max_steps=3))
    train(small_run(base, tmp_path / "run", **fields, resume=True))
    assert_equal_weights(tmp_path / "run", tmp_path / "whole")
    assert len([line for line in read_log(tmp_path / "run") if "loss" in line]) == 4  # 4 + 4 images an epoch
    contents = json.loads((tmp_path / "run" / "contents.json").read_text())
    assert [part["images"] for part in contents["data"]] == [8, 2]
    data[1]["weight"] = 3
    with pytest.raises(ValueError, match="`data` was .*'weight': 2.*'weight': 3"):
        TrainingRun(small_run(base, tmp_path / "run", **fields, resume=True))


def test_other_validation_data_in_another_place_are_refused(base, folders, tmp_path):
    fields = {"validation": [folders, {"kind": "scenes", "count": 3, "size": 64}], "eval_samples": 2}
    run = TrainingRun(small_run(base, tmp_path / "run", **fields))
    assert len(run.validation_rows) == 4  # two of each
    there = moved(folders, tmp_path / "b")
    fields["validation"] = [there, {"kind": "scenes", "count": 3, "size": 64}]
    TrainingRun(small_run(base, tmp_path / "run", **fields, resume=True))
    Image.new("L", (64, 64), 255).save(tmp_path / "b" / "masks" / "0.png")
    fields["validation"][0] = moved(there, tmp_path / "c")
    with pytest.raises(ValueError, match="`validation` has another content .*: other images or masks"):
        TrainingRun(small_run(base, tmp_path / "run", **fields, resume=True))


@pytest.mark.slow
def test_several_data_sets_are_validated_on(base, folders, tmp_path):
    validation = [folders, {"kind": "scenes", "count": 2, "size": 64}]
    train(small_run(base, tmp_path / "run", validation=validation, eval_samples=2, eval_overlays=3, max_steps=1))
    (line,) = [line for line in read_log(tmp_path / "run") if "val_hq_mbiou" in line]
    assert "val_hq_mbiou_a" in line  # the folder's name
    assert len(list((tmp_path / "run" / "overlays").rglob("*.png"))) == 3


def test_one_data_set_in_a_list_trains_as_without_a_list(base, finished_run, tmp_path):
    train(small_run(base, tmp_path / "run", data=[{"kind": "scenes", "count": 8, "size": 64}]))
    assert_equal_weights(tmp_path / "run", finished_run)


def test_numbers_of_numpy_in_a_description_are_written_as_numbers(base, tmp_path):
    data = {"kind": "scenes", "count": np.int64(8), "size": np.int64(64)}
    assert small_run(base, tmp_path / "run", data=data).to_dict()["data"] == {"kind": "scenes", "count": 8, "size": 64}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"validation": [{"kind": "scenes", "weight": 2}]}, "`validation` must be without `weight`"),
        ({"validation": {"kind": "scenes", "weight": 2}}, "`validation` must be without `weight`"),
        ({"data": [{"kind": "scenes", "weight": 0}]}, "`weight` of data must be a positive number, got 0"),
        ({"data": [3]}, "`data` must be texts and mappings with `kind`, if it is a list, got 3"),
        ({"data": {"kind": "scenes", "families": {1, 2}}}, "`data.families` must be text, a number, .* got {1, 2}"),
    ],
)
def test_a_wrong_list_is_refused(base, fields, message):
    with pytest.raises(ValueError, match=message):
        small_run(base, "out", **fields)
