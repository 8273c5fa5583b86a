"""Checkpoints hold nothing that could run code; files that do not fit are refused, with advice that works."""

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hq_sam_hf.training.trained_weights import trained_weights
from hq_sam_hf.training.trainer import TrainingRun, train
from support.small_runs import assert_equal_weights, small_run

# The files of earlier versions, and others that Accelerate would unpickle.
EARLIER_FILES = ["learned_weights.pt", "optimizer.bin", "custom_checkpoint_0.pkl", "scaler.pt", "random_states_0.pkl"]
OTHER_FILES = ["scheduler.bin", "sampler.bin", "dl_state_dict.bin", "pytorch_model.bin", "model.safetensors"]
FIELDS = {
    "validation": {"kind": "scenes", "count": 2, "size": 64},
    "eval_overlays": 0,
    "ema_decay": 0.9,
    "lora": {"rank": 2},
    "prompts": ["box"],
}


class Planted:
    """An object that writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def plant(path: Path, marker: Path, archive: bool) -> None:
    content = {"step": Planted(marker), "state": Planted(marker)}
    if archive:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.fixture(scope="module")
def stopped_run(base, tmp_path_factory) -> Path:
    """The output folder of a run of two steps with an average, adapters and a best model. Tests copy it."""
    return train(small_run(base, tmp_path_factory.mktemp("runs") / "run", max_steps=2, **FIELDS)).parent


@pytest.fixture
def run(stopped_run, tmp_path) -> Path:
    return shutil.copytree(stopped_run, tmp_path / "run")


def resume(base: Path, run: Path) -> str:
    """Set up the run again, which reads all of its files, and return the error message, if there is one."""
    try:
        TrainingRun(small_run(base, run, resume=True, **FIELDS))
    except (ValueError, OSError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("archive", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["torch.save", "pickle"])
def test_no_file_of_a_run_is_unpickled(base, run, tmp_path, archive):
    marker = tmp_path / "marker"
    shutil.rmtree(run / "final")  # results, which training does not read
    shutil.rmtree(run / "best")
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.suffix != ".png"]
    newest = run / "checkpoints" / "step-00000002"
    assert {path.name for path in files} >= {
        *("trained_weights.safetensors", "average.safetensors", "optimizer.safetensors", "random_0.safetensors"),
        *("position.json", "best.safetensors", "config.yaml", "contents.json"),
    }
    refused = set()
    for path in [*files, *(newest / name for name in [*EARLIER_FILES, *OTHER_FILES]), run / "best.pt"]:
        before = path.read_bytes() if path.is_file() else None
        plant(path, marker, archive)
        message = resume(base, run)
        assert not marker.exists(), path
        assert "\n" not in message
        if message:
            refused.add(path.name)
            assert str(path) in message
        path.unlink() if before is None else path.write_bytes(before)
    assert refused == {
        *("trained_weights.safetensors", "average.safetensors", "optimizer.safetensors", "random_0.safetensors"),
        *("position.json", "best.safetensors", "config.yaml", "contents.json"),
    }


@pytest.mark.parametrize("archive", [True, False], ids=["torch.save", "pickle"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "hq_sam.pth"])
def test_a_model_file_to_start_from_is_not_unpickled(base, tmp_path, name, archive):
    model = shutil.copytree(base, tmp_path / "model")
    (model / "model.safetensors").unlink()
    plant(model / name, tmp_path / "marker", archive)
    source = model / name if name == "hq_sam.pth" else model
    with pytest.raises((ValueError, OSError)):
        TrainingRun(small_run(source, tmp_path / "run"))
    assert not (tmp_path / "marker").exists()


@pytest.fixture(scope="module")
def names(base, tmp_path_factory) -> list[str]:
    """The names of the trained weights, in the order of the optimizer."""
    folder = tmp_path_factory.mktemp("names")
    return list(trained_weights(TrainingRun(small_run(base, folder / "run", **FIELDS)).model))


def write_as_earlier_version(run: Path, names: list[str]) -> None:
    """Write the files of the newest checkpoint, and the best weights, as versions before this one did."""
    folder = sorted((run / "checkpoints").iterdir())[-1]
    weights = load_file(folder / "trained_weights.safetensors")
    torch.save({f"model.{name}": weight for name, weight in weights.items()}, folder / "learned_weights.pt")
    average = load_file(folder / "average.safetensors")
    torch.save({"steps": 2 if average else 0, **average}, folder / "custom_checkpoint_0.pkl")
    state: dict[int, dict] = {}
    for name, value in load_file(folder / "optimizer.safetensors").items():
        key, _, weight = name.partition("/")
        state.setdefault(names.index(weight), {})[key] = value
    torch.save({"state": state, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999)}]}, folder / "optimizer.bin")
    for path in folder.glob("*.safetensors"):
        path.unlink()
    best = run / "best.safetensors"
    if best.is_file():
        torch.save({"weights": load_file(best), "metrics": {"val_hq_mbiou": 1.0}, "step": 2}, run / "best.pt")
        best.unlink()
    (run / "contents.json").unlink()


@pytest.mark.slow
def test_a_checkpoint_of_an_earlier_version_resumes_exactly(base, run, tmp_path, names):
    fields = {**FIELDS, "max_steps": 4}
    train(small_run(base, shutil.copytree(run, tmp_path / "now"), resume=True, **fields))
    write_as_earlier_version(run, names)
    train(small_run(base, run, resume=True, **fields))
    assert_equal_weights(run, tmp_path / "now")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["learned_weights.pt", "optimizer.bin", "custom_checkpoint_0.pkl", "best.pt"])
def test_no_file_of_an_earlier_version_is_unpickled(base, run, tmp_path, names, name):
    write_as_earlier_version(run, names)
    folder = run if name == "best.pt" else run / "checkpoints" / "step-00000002"
    plant(folder / name, tmp_path / "marker", archive=True)
    message = resume(base, run)
    assert not (tmp_path / "marker").exists()
    assert f"{name}' holds Python objects, which are not loaded because they could run code" in message
    assert "Remove the f" in message


def test_the_advice_on_a_damaged_checkpoint_works(base, finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    weights = run / "checkpoints" / "step-00000004" / "trained_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is missing, damaged or not a safetensors file") as error:
        train(small_run(base, run, resume=True))
    folder, then = re.search("Remove the folder (.*) to resume the run from (.*),", str(error.value)).groups()
    assert then == "step-00000003"
    shutil.rmtree(folder)
    train(small_run(base, run, resume=True))
    assert_equal_weights(run, finished_run)


def rename_weight(state):
    state["other"] = state.pop(next(iter(state)))


def reshape_weight(state):
    state[next(iter(state))] = torch.zeros(3)


def change_type(state):
    name = next(iter(state))
    state[name] = state[name].half()


def add_weight(state):
    state["mask_decoder.other"] = torch.zeros(3)


@pytest.mark.parametrize("change", [rename_weight, reshape_weight, change_type, add_weight])
@pytest.mark.parametrize("name", ["trained_weights", "average", "optimizer", "random_0"])
def test_tensors_that_do_not_fit_are_named(base, run, name, change):
    path = run / "checkpoints" / "step-00000002" / f"{name}.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, {"values": json.dumps({"steps": 2})})
    assert f"{name}.safetensors' does not fit this run" in resume(base, run)


@pytest.mark.parametrize(
    "position", ["[]", "{}", '{"step": "2"}', '{"step": -1}', '{"step": 2, "metrics": {"a": "b"}}', "{", "[" * 100_000]
)
def test_a_damaged_position_is_refused(base, run, position):
    (run / "checkpoints" / "step-00000002" / "position.json").write_text(position)
    message = resume(base, run)
    assert "step-00000002" in message
    assert "Remove th" in message


def test_the_gradient_scaler_of_fp16_is_restored(base, tmp_path):
    """On a CPU, where no run uses it."""
    folder = tmp_path / "state"
    folder.mkdir()
    saved = TrainingRun(small_run(base, tmp_path / "saved")).checkpoints.state
    saved.scaler = torch.amp.GradScaler("cpu", init_scale=512.0, growth_interval=77)
    saved.scaler.scale(torch.ones(()))  # it makes its state when it is used first
    saved.write(folder)
    restored = TrainingRun(small_run(base, tmp_path / "restored")).checkpoints.state
    restored.scaler = torch.amp.GradScaler("cpu")
    restored.read(folder)
    assert restored.scaler.state_dict() == saved.scaler.state_dict()
    saved.scaler = None
    saved.write(folder)
    with pytest.raises(ValueError, match="it lacks the state of the gradient scaler"):
        restored.read(folder)


def test_a_run_may_go_on_on_a_machine_without_a_gpu(base, run):
    path = run / "checkpoints" / "step-00000002" / "random_0.safetensors"
    save_file({**load_file(path), "cuda": torch.zeros(16, dtype=torch.uint8)}, path)
    assert resume(base, run) == ""


def test_files_of_a_checkpoint_can_be_read_by_those_who_read_the_folder(run):
    for path in (run / "checkpoints").rglob("*.safetensors"):
        assert path.stat().st_mode & 0o777 == (path.parent / "position.json").stat().st_mode & 0o777
