"""The folder of a benchmark's run.

    RUN/options.json                       what the masks depend on; a run with other options needs another folder
    RUN/predictions/PART/00000.parquet     predicted masks, a shard for every 32 images; an image in a shard is done
    RUN/results/PART.OUTPUT.json           the same as COCO results; for videos as results of YouTube-VIS
    RUN/results/PART.OUTPUT/VIDEO/*.png    for DAVIS, label maps as its own tools read them
and the files of the report. Every file is written as a whole, so that a killed run leaves no partial ones.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..masks.json_values import json_value
from ..model.destinations import refuse_inputs
from ..model.files import remove_leftovers, write_atomically
from ..utils.output_lock import LOCK_FILE
from ..utils.run_options import describe_changes, read_options
from .predictions import find_shards, shard_path

OPTIONS, PREDICTIONS, RESULTS = "options.json", "predictions", "results"


class RunFolder:
    """The folder of a run. report: names of the files and folders that the report writes."""

    def __init__(self, path: str | os.PathLike, report: Sequence[str] = ()) -> None:
        self.path, self.report = Path(path), tuple(report)

    def predictions(self, part: str) -> Path:
        return self.path / PREDICTIONS / part

    def results(self, part: str, output: str, suffix: str = ".json") -> Path:
        return self.path / RESULTS / f"{part}.{output}{suffix}"

    def check(self, inputs: Iterable[str | os.PathLike | None]) -> None:
        """Raise ValueError if the folder holds other files than an earlier run, or one of the inputs."""
        refuse_inputs(self.path, inputs)
        own = {OPTIONS, PREDICTIONS, RESULTS, LOCK_FILE, *self.report}
        for name in own:
            remove_leftovers(self.path / name)
        others = sorted(path.name for path in self.path.iterdir() if path.name not in own)
        if others or (not self._is_empty() and self._earlier_options() is None):
            foreign = others[0] if others else min(path.name for path in self.path.iterdir() if path.name != LOCK_FILE)
            raise ValueError(
                f"{str(self.path)!r} is not empty and holds other files than an earlier run, such as {foreign!r}. "
                "Choose another folder."
            )

    def start(self, options: Mapping[str, Any]) -> None:
        """Write options.json and remove what a killed run left.

        Raises ValueError if the folder belongs to a run with other options.
        """
        options = json_value(options, "options")
        earlier = self._earlier_options()
        if earlier is not None and any((self.path / PREDICTIONS).rglob("*.parquet")):
            changes = describe_changes(earlier, options, most=100)
            if changes:
                raise ValueError(
                    f"{str(self.path)!r} holds predictions that were made with other options: {changes}. Use another "
                    "folder."
                )
        for name in (PREDICTIONS, RESULTS):
            for partial in list((self.path / name).rglob(".*.part")):
                shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
        write_atomically(self.path / OPTIONS, lambda file: file.write(json.dumps(options, indent=1).encode()))

    def missing_shards(self, part: str, count: int) -> list[int]:
        """The shards of a part that are not there, of so many. Raises ValueError if there are more."""
        folder = self.predictions(part)
        if len(find_shards(folder)) > len([n for n in range(count) if shard_path(folder, n).is_file()]):
            raise ValueError(f"{str(folder)!r} holds more shards than the {count} of this run. Use another folder.")
        return [number for number in range(count) if not shard_path(folder, number).is_file()]

    def _is_empty(self) -> bool:
        return all(path.name == LOCK_FILE for path in self.path.iterdir())

    def _earlier_options(self) -> dict[str, Any] | None:
        return read_options(self.path / OPTIONS, ["benchmark"])


__all__ = ["OPTIONS", "PREDICTIONS", "RESULTS", "RunFolder"]
