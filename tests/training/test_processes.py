"""A step gives the same weights for any split among processes and accumulated forward passes."""

import subprocess

import pytest
import yaml

from hq_sam_hf.training.trainer import train
from support.launched import LAUNCHER, LEFT_OPEN
from support.small_runs import assert_close_weights, read_log, small_run


def test_a_step_of_accumulated_passes_gives_the_same_weights(base, finished_run, tmp_path):
    train(small_run(base, tmp_path / "run", batch_size=2, accumulation=2))
    assert_close_weights(tmp_path / "run", finished_run, base)
    assert [line["loss"] for line in read_log(tmp_path / "run")] == pytest.approx(
        [line["loss"] for line in read_log(finished_run)], rel=1e-5
    )


@pytest.mark.slow
def test_a_step_on_two_processes_gives_the_same_weights(base, finished_run, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(small_run(base, tmp_path / "run", batch_size=2).to_dict()))
    command = [*LAUNCHER, "hq_sam_hf.training", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert LEFT_OPEN not in done.stderr
    assert_close_weights(tmp_path / "run", finished_run, base)
    assert [line["loss"] for line in read_log(tmp_path / "run")] == pytest.approx(
        [line["loss"] for line in read_log(finished_run)], rel=1e-5
    )
    with pytest.raises(ValueError, match="started with 4 images per step, got 2 on 1 process"):
        train(small_run(base, tmp_path / "run", batch_size=2, resume=True))


@pytest.mark.parametrize(
    ("variable", "name"), [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")]
)
def test_sharded_training_is_refused(base, tmp_path, monkeypatch, variable, name):
    monkeypatch.setenv(variable, "true")  # as `accelerate launch` sets it
    with pytest.raises(ValueError, match=f"one process or with DDP, got {name}"):
        train(small_run(base, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
