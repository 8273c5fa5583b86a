"""Checkpoints of a training run: complete or not there, with all that an exact resume needs; and the best weights."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..model.files import write_atomically

WEIGHTS_FILE = "learned_weights.pt"
POSITION_FILE = "position.json"
_NAME = re.compile(r"step-(\d{8})")


class TrainingCheckpoints:
    """The folder `checkpoints/` of a run. `step-00000500/` holds the state after 500 steps.

    `Accelerator.save_state` writes trained weights, optimizer, gradient scaler, average and random states to a hidden
    folder. The folder is renamed when it is complete, and older ones are removed after that. Frozen weights are not
    saved.

    keep: number of checkpoints to keep.
    """

    def __init__(self, accelerator: Accelerator, folder: Path, keep: int) -> None:
        self.accelerator, self.folder, self.keep = accelerator, folder, keep
        accelerator.register_save_state_pre_hook(self._save_trained)
        accelerator.register_load_state_pre_hook(self._load_trained)

    def all(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob("step-*") if _NAME.fullmatch(path.name))

    def save(self, position: dict[str, Any]) -> Path:
        """Write the state after `position["step"]` steps.

        Raises OSError, with the last complete checkpoint in the message, if that fails.
        """
        target = self.folder / f"step-{position['step']:08d}"
        temporary = self.folder / f".{target.name}.part"
        is_main = self.accelerator.is_main_process
        with self._errors_name_last_checkpoint(target.name, temporary):
            if is_main:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
            self.accelerator.wait_for_everyone()
            self.accelerator.save_state(str(temporary))
            if is_main:
                (temporary / POSITION_FILE).write_text(json.dumps(position))
            self.accelerator.wait_for_everyone()
            if is_main:
                shutil.rmtree(target, ignore_errors=True)
                temporary.rename(target)
                for old in self.all()[: -self.keep]:
                    shutil.rmtree(old)
            self.accelerator.wait_for_everyone()
        return target

    def newest_position(self) -> dict[str, Any] | None:
        """The position that the newest checkpoint was saved with; None if there is no checkpoint."""
        found = self.all()
        return json.loads((found[-1] / POSITION_FILE).read_text()) if found else None

    def load_newest(self) -> None:
        """Restore the state of the newest checkpoint."""
        self.accelerator.load_state(str(self.all()[-1]))

    def remove_incomplete(self) -> None:
        """Remove hidden folders of a process that was killed while it saved."""
        for temporary in self.folder.glob(".step-*.part"):
            shutil.rmtree(temporary)

    def _save_trained(self, models: list[nn.Module], weights: list[dict[str, Tensor]], folder: str) -> None:
        weights.clear()
        if self.accelerator.is_main_process:
            trained = trained_weights(self.accelerator.unwrap_model(models[0]))
            torch.save({name: tensor.cpu() for name, tensor in trained.items()}, Path(folder) / WEIGHTS_FILE)

    def _load_trained(self, models: list[nn.Module], folder: str) -> None:
        path = Path(folder) / WEIGHTS_FILE
        if models and path.is_file():
            module = self.accelerator.unwrap_model(models.pop())
            copy_weights(torch.load(path, map_location="cpu", weights_only=True), trained_weights(module))

    @contextmanager
    def _errors_name_last_checkpoint(self, name: str, temporary: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            shutil.rmtree(temporary, ignore_errors=True)
            found = self.all()
            last = f"The last complete checkpoint is {found[-1]}." if found else "There is no earlier checkpoint."
            raise OSError(
                f"Cannot write the checkpoint {name}: {error}. {last} Free some space and start again with --resume."
            ) from error


class BestWeights(NamedTuple):
    """The trained weights with the best validation so far, its metrics and its step: the file `best.pt`."""

    weights: dict[str, Tensor]
    metrics: dict[str, float]
    step: int

    def save(self, path: Path) -> None:
        state = {**self._asdict(), "weights": {name: weight.cpu() for name, weight in self.weights.items()}}
        write_atomically(path, lambda file: torch.save(state, file))

    @classmethod
    def load(cls, path: Path) -> "BestWeights | None":
        """The weights in a file; None if it does not exist."""
        return cls(**torch.load(path, map_location="cpu", weights_only=True)) if path.is_file() else None


def trained_weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights of a module that require gradients, by name."""
    return {name: weight.detach() for name, weight in module.named_parameters() if weight.requires_grad}


@torch.no_grad()
def copy_weights(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    """Copy the weights of `source` into those of `target` with the same names."""
    for name, weight in source.items():
        target[name].copy_(weight)


__all__ = ["BestWeights", "TrainingCheckpoints", "copy_weights", "trained_weights"]
