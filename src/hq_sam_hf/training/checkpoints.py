"""Checkpoints of a training run: complete or not there, with all that an exact resume needs; and the best weights."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import Accelerator
from torch import Tensor

from ..model.files import replace_folder
from .run_state import RunState
from .state_files import check_tensors, read_earlier_version, read_json, read_tensors, write_tensors

POSITION_FILE = "position.json"
BEST_FILE = "best.safetensors"
EARLIER_BEST = "best.pt"  # the file of earlier versions
_NAME = re.compile(r"step-(\d{8})")


class TrainingCheckpoints:
    """The folder `checkpoints/` of a run. `step-00000500/` holds the state after 500 steps.

    The processes write their parts of the state to a hidden folder. The folder is renamed when it is complete, and
    older ones are removed after that. Frozen weights are not saved.

    state: what is saved. keep: number of checkpoints to keep.
    """

    def __init__(self, accelerator: Accelerator, state: RunState, folder: Path, keep: int) -> None:
        self.accelerator, self.state, self.folder, self.keep = accelerator, state, folder, keep

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
            self.state.write(temporary)
            if is_main:
                (temporary / POSITION_FILE).write_text(json.dumps(position))
            self.accelerator.wait_for_everyone()
            if is_main:
                replace_folder(temporary, target)
                for old in self.all()[: -self.keep]:
                    removed = old.with_name(f".{old.name}.part")  # so that no half of it looks complete
                    old.rename(removed)
                    shutil.rmtree(removed)
            self.accelerator.wait_for_everyone()
        return target

    def newest_position(self) -> dict[str, Any] | None:
        """The position that the newest checkpoint was saved with; None if there is no checkpoint."""
        found = self.all()
        if not found:
            return None
        with self._errors_say_what_to_remove():
            return read_json(found[-1] / POSITION_FILE)

    def load_newest(self) -> None:
        """Restore the state of the newest checkpoint. Raises ValueError if it is damaged or does not fit the run."""
        with self._errors_say_what_to_remove():
            self.state.read(self.all()[-1])

    def remove_incomplete(self) -> None:
        """Remove hidden folders of a process that was killed while it saved."""
        for temporary in self.folder.glob(".step-*.part"):
            shutil.rmtree(temporary)

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

    @contextmanager
    def _errors_say_what_to_remove(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            *earlier, newest = self.all()
            then = f"from {earlier[-1].name}" if earlier else "at its first step"
            raise ValueError(
                f"{error} Remove the folder {newest} to resume the run {then}, or choose another output_dir."
            ) from error


class BestWeights(NamedTuple):
    """The trained weights with the best validation so far, its metrics and its step: a file of `output_dir`."""

    weights: dict[str, Tensor]
    metrics: dict[str, float]
    step: int

    def save(self, output: Path) -> None:
        write_tensors(output / BEST_FILE, self.weights, {"metrics": self.metrics, "step": self.step})

    @classmethod
    def load(cls, output: Path, expected: dict[str, Tensor]) -> "BestWeights | None":
        """The weights in a run's folder; None if there are none.

        expected: the trained weights of the run. Raises ValueError for a file that does not fit them.
        """
        path = output / BEST_FILE
        try:
            if path.is_file():
                weights, values = read_tensors(path)
            elif (path := output / EARLIER_BEST).is_file():
                values = read_earlier_version(path)
                weights = values.get("weights", {})
            else:
                return None
            if not isinstance(values, dict) or not isinstance(weights, dict):
                raise ValueError(f"{str(path)!r} is damaged: it lacks the weights or their step.")
            metrics, step = values.get("metrics"), values.get("step")
            numbers = metrics.values() if isinstance(metrics, dict) else [None]
            if type(step) is not int or not all(isinstance(one, int | float) for one in numbers):
                raise ValueError(f"{str(path)!r} is damaged: it lacks the metrics of the weights or their step.")
            check_tensors(path, weights, expected)
        except ValueError as error:
            remedy = "Remove the file to go on without best/, or choose another output_dir."
            raise ValueError(f"{error} {remedy}") from error
        return cls(weights, dict(metrics or {}), step)


__all__ = ["BestWeights", "TrainingCheckpoints"]
