"""A step gives the same weights for any split among processes and accumulated forward passes."""

import itertools
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from hq_sam_hf.training.trainer import train
from support.launched import LAUNCHER, LEFT_OPEN
from support.small_runs import ARCHITECTURE, FINAL, assert_close_weights, read_log, small_run


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


ADAPTERS: list[dict[str, Any] | None] = [
    None,
    {"rank": 2},
    {"rank": 2, "encoder": False, "decoder": True},
    {"rank": 2, "decoder": True},
]
PROMPTS = [["box"], ["points"], ["mask"], ["box", "points", "point", "mask"]]


def all_objectives() -> dict[str, dict[str, Any]]:
    """The fields of runs by name: every objective with all adapters that it allows, and with all prompts."""
    runs: dict[str, dict[str, Any]] = {}
    for train_, lora, prompts in itertools.product(
        ["hq_head", "hq_head_and_decoder", "sam_mask_token", "sam_decoder"], ADAPTERS, PROMPTS
    ):
        if train_.endswith("decoder") and lora and lora.get("decoder"):
            continue  # refused: the decoder is trained itself
        name = "-".join([train_, str(ADAPTERS.index(lora)), *prompts])
        runs[name] = {"train": train_, "lora": lora, "prompts": prompts}
    for prompts in (["box"], ["point"], ["box", "point"]):
        fields = {"train": "sam", "prompts": prompts, "model": None, "architecture": ARCHITECTURE}
        runs["-".join(["sam", *prompts])] = fields
    return runs


@pytest.mark.slow
def test_every_objective_trains_on_two_processes_as_on_one(base, tmp_path):
    """With and without accumulation, for all adapters and kinds of prompts. All runs are launched at once."""
    splits = {"passes-1": {"batch_size": 2}, "passes-2": {"batch_size": 1, "accumulation": 2}}
    common = {"max_steps": 2, "save_steps": 9, "max_grad_norm": 0.1}
    launched = []
    for name, fields in all_objectives().items():
        train(small_run(base, tmp_path / "one" / name, **common, **fields))
        launched += [
            small_run(base, tmp_path / split / name, **common, **fields, **sizes).to_dict()
            for split, sizes in splits.items()
        ]
    file = tmp_path / "runs.yaml"
    file.write_text(yaml.safe_dump(launched))
    done = subprocess.run([*LAUNCHER, "support.train_many", str(file)], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, split in itertools.product(all_objectives(), splits):
        assert_same_run(tmp_path / split / name, tmp_path / "one" / name)


def assert_same_run(first: Path, second: Path) -> None:
    """Assert that two runs differ by rounding only, in the loss of the second step more than in that of the first."""
    for one, two in zip(read_log(first), read_log(second), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4), first
    weights, expected = load_file(first / FINAL), load_file(second / FINAL)
    assert weights.keys() == expected.keys()
    for name in weights:
        assert (weights[name] - expected[name]).norm() <= 1e-3 * expected[name].norm() + 1e-5, (first, name)


@pytest.mark.parametrize(
    ("variable", "name"), [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")]
)
def test_sharded_training_is_refused(base, tmp_path, monkeypatch, variable, name):
    monkeypatch.setenv(variable, "true")  # as `accelerate launch` sets it
    with pytest.raises(ValueError, match=f"one process or with DDP, got {name}"):
        train(small_run(base, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
