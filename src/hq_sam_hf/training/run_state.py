"""The state of a run in its checkpoints: trained weights, optimizer, average, gradient scaler, random numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .ema import WeightAverage
from .state_files import check_tensors, read_earlier_version, read_tensors, write_tensors
from .trained_weights import copy_weights, trained_weights

WEIGHTS_FILE = "trained_weights.safetensors"
AVERAGE_FILE = "average.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
RANDOM_FILE = "random_{}.safetensors"  # of each process

# The files of earlier versions.
EARLIER_WEIGHTS, EARLIER_OPTIMIZER = "learned_weights.pt", "optimizer.bin"
EARLIER_AVERAGE, EARLIER_SCALER = "custom_checkpoint_0.pkl", "scaler.pt"

_MOMENTS = ("exp_avg", "exp_avg_sq")
_SEPARATOR = "/"  # between the name of a state of Adam and that of its weight, which has none


@dataclass
class RunState:
    """What a run changes. Frozen weights are not part of it.

    scaler: of the gradients, for fp16. device: of this process, which has the number `rank`.
    """

    model: nn.Module
    optimizer: Any
    average: WeightAverage
    scaler: Any
    device: torch.device
    rank: int

    def write(self, folder: Path) -> None:
        """Write the files of this process into a folder."""
        write_tensors(folder / RANDOM_FILE.format(self.rank), self._random())
        if self.rank == 0:
            write_tensors(folder / WEIGHTS_FILE, trained_weights(self.model))
            write_tensors(folder / AVERAGE_FILE, self.average.weights, {"steps": self.average.steps})
            scaler = self.scaler.state_dict() if self.scaler else {}
            write_tensors(folder / OPTIMIZER_FILE, self._optimizer_tensors(), scaler)

    def read(self, folder: Path) -> None:
        """Restore the state in a folder. Raises ValueError, with an unchanged run, if a file does not fit."""
        if (folder / EARLIER_WEIGHTS).is_file() and not (folder / WEIGHTS_FILE).is_file():
            self._read_earlier_version(folder)
            return
        weights, _ = read_tensors(folder / WEIGHTS_FILE)
        average, counts = read_tensors(folder / AVERAGE_FILE)
        optimizer, settings = read_tensors(folder / OPTIMIZER_FILE)
        self._check(folder / WEIGHTS_FILE, weights, folder / AVERAGE_FILE, average, counts)
        moments = self._optimizer_state(folder / OPTIMIZER_FILE, optimizer)
        self._check_scaler(folder / OPTIMIZER_FILE, settings)
        self._read_random(folder / RANDOM_FILE.format(self.rank))
        self._restore(weights, average, counts["steps"], moments, settings)

    def _read_earlier_version(self, folder: Path) -> None:
        """Restore a checkpoint of an earlier version, all but its random numbers, which a run does not depend on."""
        prefix = "model."
        weights = {
            str(name).removeprefix(prefix): weight
            for name, weight in read_earlier_version(folder / EARLIER_WEIGHTS).items()
        }
        average = read_earlier_version(folder / EARLIER_AVERAGE)
        counts = {"steps": average.pop("steps", None)}
        self._check(folder / EARLIER_WEIGHTS, weights, folder / EARLIER_AVERAGE, average, counts)
        path = folder / EARLIER_OPTIMIZER
        saved = read_earlier_version(path).get("state")
        names = list(trained_weights(self.model))
        tensors: dict[str, Any] = {}
        for index, values in saved.items() if isinstance(saved, dict) else ():
            if not isinstance(index, int) or not 0 <= index < len(names) or not isinstance(values, dict):
                raise ValueError(f"{str(path)!r} does not fit this run, which trains {len(names)} weights.")
            tensors |= {f"{key}{_SEPARATOR}{names[index]}": value for key, value in values.items()}
        moments = self._optimizer_state(path, tensors)
        scaler = read_earlier_version(folder / EARLIER_SCALER) if self.scaler else {}
        self._check_scaler(folder / EARLIER_SCALER, scaler)
        self._restore(weights, average, counts["steps"], moments, scaler)

    def _check(
        self, path: Path, weights: dict[str, Tensor], average_path: Path, average: dict[str, Tensor], counts: Any
    ) -> None:
        check_tensors(path, weights, trained_weights(self.model))
        check_tensors(average_path, average, self.average.weights)
        if not isinstance(counts, dict) or type(counts.get("steps")) is not int:
            raise ValueError(f"{str(average_path)!r} is damaged: it does not say how many steps it averages.")

    def _random(self) -> dict[str, Tensor]:
        """The state of PyTorch's generators; all other generators of a run are made anew in each step."""
        random = {"cpu": torch.get_rng_state()}
        return random | ({"cuda": torch.cuda.get_rng_state(self.device)} if self.device.type == "cuda" else {})

    def _read_random(self, path: Path) -> None:
        random, _ = read_tensors(path)
        now = self._random()
        if ("cuda" in random) != ("cuda" in now):  # a run may go on on a machine with or without a GPU
            random.pop("cuda", None)
            now.pop("cuda", None)
        check_tensors(path, random, now)
        try:
            torch.set_rng_state(random["cpu"])
            if "cuda" in random:
                torch.cuda.set_rng_state(random["cuda"], self.device)
        except RuntimeError as error:
            raise ValueError(f"{str(path)!r} is damaged ({error}).") from error

    def _check_scaler(self, path: Path, saved: Any) -> None:
        expected = self.scaler.state_dict() if self.scaler else {}
        given = saved if isinstance(saved, dict) else {}
        if not all(isinstance(given.get(name), int | float) for name in expected):
            raise ValueError(f"{str(path)!r} is damaged: it lacks the state of the gradient scaler.")

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        names = list(trained_weights(self.model))
        return {
            f"{key}{_SEPARATOR}{names[index]}": value
            for index, values in self.optimizer.state_dict()["state"].items()
            for key, value in values.items()
        }

    def _optimizer_state(self, path: Path, tensors: dict[str, Any]) -> dict[int, dict[str, Tensor]]:
        """The state of Adam by the number of the weight; a weight that never had a gradient has none."""
        expected: dict[str, Tensor] = {}
        state: dict[int, dict[str, str]] = {}
        for index, (name, weight) in enumerate(trained_weights(self.model).items()):
            keys = {key: f"{key}{_SEPARATOR}{name}" for key in ("step", *_MOMENTS)}
            if not any(stored in tensors for stored in keys.values()):
                continue
            expected |= {keys["step"]: torch.zeros(()), **{keys[key]: weight for key in _MOMENTS}}
            state[index] = keys
        check_tensors(path, tensors, expected)
        return {index: {key: tensors[stored] for key, stored in keys.items()} for index, keys in state.items()}

    def _restore(
        self,
        weights: dict[str, Tensor],
        average: dict[str, Tensor],
        steps: int,
        moments: dict[int, dict[str, Tensor]],
        scaler: Any,
    ) -> None:
        copy_weights(weights, trained_weights(self.model))
        copy_weights(average, self.average.weights)
        self.average.steps = steps
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        if self.scaler:
            self.scaler.load_state_dict(scaler)


__all__ = ["RANDOM_FILE", "WEIGHTS_FILE", "RunState"]
