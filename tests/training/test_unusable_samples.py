"""Runs on data of which many images have no object, such as the slices of a scan."""

import subprocess

import numpy as np
import pytest
import yaml
from PIL import Image

from hq_sam_hf.scenes import SceneGenerator
from hq_sam_hf.training.trainer import train
from support.launched import LAUNCHER
from support.small_runs import assert_close_weights, assert_equal_weights, read_log, small_run

FILLED = (1, 4)  # of eight images


@pytest.fixture(scope="module")
def slices(tmp_path_factory) -> dict[str, str]:
    """A description of folders with eight images, of which two have an object."""
    folder = tmp_path_factory.mktemp("slices")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i, scene in enumerate(SceneGenerator(8, size=64)):
        mask = np.asarray(scene["masks"][0]) > 127
        scene["image"].save(folder / f"images/{i}.png")
        Image.fromarray(mask & (i in FILLED)).save(folder / f"masks/{i}.png")
    return {"kind": "folders", "images": str(folder / "images"), "masks": str(folder / "masks")}


def skipped(folder) -> list[int]:
    return [line.get("skipped", 0) for line in read_log(folder)]


def test_a_run_goes_on_and_logs_how_many_samples_it_skipped(base, tmp_path, slices, caplog):
    train(small_run(base, tmp_path / "run", data=slices))
    counts = skipped(tmp_path / "run")
    assert len(counts) == 4
    assert counts == sorted(counts)
    warnings = [record.message for record in caplog.records]
    assert counts[-1] == sum("the mask is empty" in line for line in warnings) >= 2 * 6  # in each of two epochs
    assert f"{counts[-1]} unusable samples were replaced, for 16 in use" in warnings


@pytest.mark.slow
@pytest.mark.parametrize("empty_images", ["skip", "negative"])
def test_a_resumed_run_gives_the_same_weights_and_counts(base, tmp_path, slices, empty_images):
    fields = {"data": slices, "empty_images": empty_images}
    train(small_run(base, tmp_path / "whole", **fields))
    train(small_run(base, tmp_path / "two", max_steps=2, **fields))
    train(small_run(base, tmp_path / "two", resume=True, num_workers=1, **fields))
    assert_equal_weights(tmp_path / "whole", tmp_path / "two")
    assert read_log(tmp_path / "two") == read_log(tmp_path / "whole")
    assert (skipped(tmp_path / "two")[-1] > 0) == (empty_images == "skip")


def test_negatives_train_the_objective_of_a_plain_sam_too(base, tmp_path, slices):
    train(small_run(base, tmp_path / "run", data=slices, empty_images="negative", train="sam", max_steps=2))
    assert all(np.isfinite(line["loss"]) for line in read_log(tmp_path / "run"))
    assert skipped(tmp_path / "run") == [0, 0]


@pytest.mark.slow
def test_two_processes_skip_the_same_samples(base, tmp_path, slices):
    train(small_run(base, tmp_path / "one", data=slices))
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(small_run(base, tmp_path / "two", data=slices, batch_size=2).to_dict()))
    command = [*LAUNCHER, "hq_sam_hf.training", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert skipped(tmp_path / "two") == skipped(tmp_path / "one")
    assert_close_weights(tmp_path / "two", tmp_path / "one", base)
