"""Checkpoints of a training run: everything that resuming exactly needs, whole or not there."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

WEIGHTS_FILE = "learned_weights.pt"
POSITION_FILE = "position.json"
_NAME = re.compile(r"step-(\d{8})")


class Checkpoints:
    """The folder `checkpoints/` of a run; `step-00000500/` is the state after 500 steps.

    Learned weights, optimizer, scheduler, scaler and random states are written by `Accelerator.save_state` to a
    hidden folder that is renamed when it is whole; only then older ones are removed. Frozen weights are not written.
    """

    def __init__(self, accelerator: Accelerator, folder: Path, keep: int) -> None:
        self.accelerator, self.folder, self.keep = accelerator, folder, keep
        accelerator.register_save_state_pre_hook(self._save_learned)
        accelerator.register_load_state_pre_hook(self._load_learned)

    def all(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob("step-*") if _NAME.fullmatch(path.name))

    def save(self, position: dict[str, Any]) -> Path:
        """Write the state after `position["step"]` steps.

        Raises OSError, which names the last whole checkpoint, where that fails.
        """
        target = self.folder / f"step-{position['step']:08d}"
        part = self.folder / f".{target.name}.part"
        main = self.accelerator.is_main_process
        with self._explained(part):
            if main:
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
            self.accelerator.wait_for_everyone()
            self.accelerator.save_state(str(part))
            if main:
                (part / POSITION_FILE).write_text(json.dumps(position))
            self.accelerator.wait_for_everyone()
            if main:
                shutil.rmtree(target, ignore_errors=True)
                part.rename(target)
                for old in self.all()[: -self.keep]:
                    shutil.rmtree(old)
            self.accelerator.wait_for_everyone()
        return target

    def newest_position(self) -> dict[str, Any] | None:
        """The position of the newest state; None where there is none."""
        found = self.all()
        return json.loads((found[-1] / POSITION_FILE).read_text()) if found else None

    def load_newest(self) -> None:
        """Put the newest state in place."""
        self.accelerator.load_state(str(self.all()[-1]))

    def _save_learned(self, models: list[nn.Module], weights: list[dict[str, Tensor]], folder: str) -> None:
        weights.clear()
        if self.accelerator.is_main_process:
            learned = learned_weights(self.accelerator.unwrap_model(models[0]))
            torch.save({name: tensor.cpu() for name, tensor in learned.items()}, Path(folder) / WEIGHTS_FILE)

    def _load_learned(self, models: list[nn.Module], folder: str) -> None:
        path = Path(folder) / WEIGHTS_FILE
        if models and path.is_file():
            module = self.accelerator.unwrap_model(models.pop())
            copy_weights(torch.load(path, map_location="cpu", weights_only=True), learned_weights(module))

    @contextmanager
    def _explained(self, part: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            shutil.rmtree(part, ignore_errors=True)
            found = self.all()
            left = f"The last whole one is {found[-1]}." if found else "There is none yet."
            raise OSError(
                f"Cannot write the checkpoint {part.name.strip('.').removesuffix('.part')}: {error}. {left} Make room "
                "and start again with --resume."
            ) from error


def learned_weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights of a module that require gradients, by name."""
    return {name: weight.detach() for name, weight in module.named_parameters() if weight.requires_grad}


@torch.no_grad()
def copy_weights(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    """Write the weights of `source` into those of the same names in `target`."""
    for name, weight in source.items():
        target[name].copy_(weight)


__all__ = ["Checkpoints", "copy_weights", "learned_weights"]
