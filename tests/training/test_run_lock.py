"""One run at a time in a folder, and what a run may replace there."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from hq_sam_hf.model import files
from hq_sam_hf.training import trainer
from hq_sam_hf.training.checkpoints import TrainingCheckpoints
from hq_sam_hf.training.run_lock import hold_run_folder
from hq_sam_hf.training.trainer import train
from hq_sam_hf.utils.output_lock import LOCK_FILE, output_lock
from support.small_runs import assert_equal_weights, read_log, small_run


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_is_refused_before_anything_is_loaded(tmp_path, monkeypatch, resume):
    monkeypatch.setattr(trainer, "TrainingRun", lambda *_: pytest.fail("it was set up"))
    config = small_run("base", tmp_path / "run", resume=resume)
    with output_lock(tmp_path / "run"), ThreadPoolExecutor(1) as other:
        message = f"run' is being written by process {os.getpid()}.*Wait until it has ended"
        with pytest.raises(ValueError, match=message):
            other.submit(train, config).result()
    assert not (tmp_path / "run").exists()


def test_the_lock_is_held_while_a_run_works_and_released_after_it(base, tmp_path, monkeypatch):
    held = []
    save = TrainingCheckpoints.save

    def save_and_look(self, position):
        held.append((tmp_path / "run" / LOCK_FILE).is_file())
        return save(self, position)

    monkeypatch.setattr(TrainingCheckpoints, "save", save_and_look)
    train(small_run(base, tmp_path / "run", max_steps=1))
    assert held == [True]
    assert not (tmp_path / "run" / LOCK_FILE).exists()


def test_a_run_that_cannot_be_set_up_leaves_nothing(tmp_path):
    with pytest.raises((ValueError, OSError)):
        train(small_run(tmp_path / "no-model", tmp_path / "deep" / "run"))
    assert os.listdir(tmp_path) == []


def test_leftovers_of_a_killed_run_are_removed_when_it_is_resumed(base, finished_run, tmp_path):
    output = tmp_path / "run"
    train(small_run(base, output, max_steps=2))
    leftovers = [
        ".final.0123456789abcdef.part",
        ".config.yaml.0123456789abcdef.part",
        "checkpoints/.step-00000003.part",
    ]
    for name in leftovers:
        (output / name).mkdir()
    (output / LOCK_FILE).touch()
    newest = output / "checkpoints" / "step-00000002"
    newest.rename(newest.with_name(".step-00000002.old"))  # a killed run had moved it away to replace it
    (output / "final").rename(output / ".final.fedcba9876543210.old")
    train(small_run(base, output, resume=True))
    assert not [path for path in output.rglob("*") if path.name.startswith(".")]
    assert_equal_weights(output, finished_run)
    assert read_log(output) == read_log(finished_run)


@pytest.mark.parametrize("name", ["config.yaml", "log.jsonl", "best.safetensors", "final/notes.txt", "overlays/a.png"])
def test_files_of_another_origin_are_not_replaced(tmp_path, name):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text("model: mine  # with my comment")
    for resume in (False, True):
        with pytest.raises(ValueError, match="which no run has written.*Choose another output_dir"):
            train(small_run("base", tmp_path / "run", resume=resume))
    assert path.read_text() == "model: mine  # with my comment"
    assert sorted(os.listdir(tmp_path / "run")) == [name.partition("/")[0]]


def test_other_files_beside_those_of_a_run_are_no_obstacle(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "slurm-7.out").write_text("log of the scheduler")
    with hold_run_folder(tmp_path / "run"):
        pass
    assert os.listdir(tmp_path / "run") == ["slurm-7.out"]


def test_files_that_were_added_to_the_result_are_not_lost(base, tmp_path):
    output = tmp_path / "run"
    train(small_run(base, output, max_steps=1))
    (output / "final" / "onnx").mkdir()
    (output / "final" / "onnx" / "encoder.onnx").touch()
    with pytest.raises(ValueError, match="holds 'onnx', which is no file of a result. Move it elsewhere, then"):
        train(small_run(base, output, max_steps=2, resume=True))
    assert (output / "final" / "onnx" / "encoder.onnx").is_file()
    (output / "final" / "onnx").rename(tmp_path / "onnx")  # as the message says
    train(small_run(base, output, max_steps=2, resume=True))


def test_a_checkpoint_that_is_replaced_is_always_complete(base, tmp_path, monkeypatch):
    """A checkpoint of the same step exists where a resumed run repeats it."""
    output = tmp_path / "run"
    train(small_run(base, output, max_steps=1))
    step = output / "checkpoints" / "step-00000001"
    (step / "earlier").touch()
    checkpoints = TrainingCheckpoints.__new__(TrainingCheckpoints)
    new = step.with_name(".step-00000001.part")
    new.mkdir()
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    rename = os.rename

    def fail(source, target):
        if str(source).endswith(".part"):
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        files.replace_folder(new, step)
    checkpoints.folder = step.parent
    assert checkpoints.all() == [step]
    assert (step / "earlier").exists()
