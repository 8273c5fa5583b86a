"""A resumed run gives the same weights and log as one that was never stopped."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from hq_sam_hf.training.trainer import train
from support.small_runs import assert_equal_weights, read_log, small_run


@pytest.mark.parametrize("stopped_after", [1, 3])
def test_a_resumed_run_equals_an_uninterrupted_one(base, finished_run, tmp_path, stopped_after):
    train(small_run(base, tmp_path / "run", max_steps=stopped_after))
    train(small_run(base, tmp_path / "run", resume=True))
    assert_equal_weights(tmp_path / "run", finished_run)
    assert read_log(tmp_path / "run") == read_log(finished_run)


@pytest.mark.parametrize(
    "stops", [[2, 5], *(pytest.param(stops, marks=pytest.mark.slow) for stops in ([1], [3], [4, 7]))]
)
def test_a_resumed_log_has_the_means_of_an_uninterrupted_one(base, tmp_path, stops):
    """Its lines stand for three steps each, also where the run was resumed between two lines."""
    fields = {"epochs": 4, "log_steps": 3}
    for steps in [*stops, 8]:
        train(small_run(base, tmp_path / "run", **fields, max_steps=steps, resume=True))
        assert read_log(tmp_path / "run")[-1]["step"] == steps  # the last line of a run may stand for fewer
    train(small_run(base, tmp_path / "whole", **fields))
    assert [line["step"] for line in read_log(tmp_path / "whole")] == [3, 6, 8]
    assert read_log(tmp_path / "run") == read_log(tmp_path / "whole")


@pytest.mark.slow
def test_resume_without_a_checkpoint_starts_a_run(base, finished_run, tmp_path, caplog):
    train(small_run(base, tmp_path / "run", resume=True))
    assert f"no checkpoint to resume from in {tmp_path / 'run' / 'checkpoints'}" in caplog.text
    assert_equal_weights(tmp_path / "run", finished_run)


def test_a_run_with_another_number_of_processes_is_not_resumed(base, tmp_path):
    train(small_run(base, tmp_path / "run", max_steps=1))
    position = tmp_path / "run" / "checkpoints" / "step-00000001" / "position.json"
    position.write_text(position.read_text().replace('"images_per_step": 4', '"images_per_step": 8'))
    message = "started with 8 images per step, got 4 on 1 process. Resume it with as many processes as before"
    with pytest.raises(ValueError, match=message):
        train(small_run(base, tmp_path / "run", resume=True))


def test_a_checkpoint_of_another_version_may_have_other_fields(base, finished_run, tmp_path):
    train(small_run(base, tmp_path / "run", max_steps=3))
    file = tmp_path / "run" / "checkpoints" / "step-00000003" / "position.json"
    position = json.loads(file.read_text())
    del position["metrics"], position["images_per_step"]
    file.write_text(json.dumps({**position, "of_another_version": 1}))
    train(small_run(base, tmp_path / "run", resume=True))
    assert_equal_weights(tmp_path / "run", finished_run)
    last = tmp_path / "run" / "checkpoints" / "step-00000004" / "position.json"
    assert json.loads(last.read_text()) == {**position, "step": 4, "images_per_step": 4, "metrics": {}}


@pytest.mark.slow
def test_a_run_with_averages_and_accumulation_resumes_exactly(base, tmp_path):
    fields = {"optimizer": "adamw", "ema_decay": 0.9, "max_grad_norm": 0.1, "warmup_steps": 3, "accumulation": 2}
    fields |= {"batch_size": 2, "train": "hq_head_and_decoder"}
    train(small_run(base, tmp_path / "whole", **fields))
    train(small_run(base, tmp_path / "run", max_steps=2, **fields))
    train(small_run(base, tmp_path / "run", resume=True, **fields))
    assert_equal_weights(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_a_run_killed_at_any_moment_resumes_exactly(base, tmp_path):
    fields = {"epochs": 8, "num_workers": 1}
    train(small_run(base, tmp_path / "whole", **fields))
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(small_run(base, tmp_path / "run", **fields).to_dict()))
    delays = np.random.default_rng(5)
    for _ in range(3):
        process = start_run(file)
        wait_for(lambda: any((tmp_path / "run" / "checkpoints").glob("step-*")), process)
        time.sleep(delays.uniform(0.0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = start_run(file)
    assert process.wait(timeout=120) == 0
    assert_equal_weights(tmp_path / "run", tmp_path / "whole")
    assert read_log(tmp_path / "run") == read_log(tmp_path / "whole")


def start_run(file: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "hq_sam_hf.training", str(file), "--resume"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(condition, process: subprocess.Popen) -> None:
    limit = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_folder_with_another_run_stays_unchanged(base, finished_run, tmp_path):
    before = (finished_run / "config.yaml").read_bytes()
    with pytest.raises(ValueError, match="already holds a run. Pass --resume"):
        train(small_run(base, finished_run))
    with pytest.raises(ValueError, match="`learning_rate` was 0.001 and is 0.1"):
        train(small_run(base, finished_run, learning_rate=0.1, resume=True))
    assert (finished_run / "config.yaml").read_bytes() == before
