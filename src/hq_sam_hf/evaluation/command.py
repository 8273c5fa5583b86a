"""The work of `hq-sam evaluate`: load the data and the model, evaluate, write the report."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.custom import load_paired_folders
from ..data.factory import describe_source, load_rows, refuse_sets
from ..data.hqseg44k import load_hqseg44k
from ..inference.loading import load_model
from ..model.destinations import first_foreign, refuse_inputs
from ..model.files import remove_leftovers, whole_folder
from ..scenes import scene_dataset
from ..utils.output_lock import LOCK_FILE, output_lock
from .evaluator import evaluate, launched_accelerator
from .results import REPORT_LINE, Evaluation
from .worst_cases import save_worst_cases

REPORT_FILES = ("evaluation.md", "evaluation.json", "records.parquet")
WORST, WORST_FILES = "worst", re.compile(r"\d{2,}_.*\.png", re.DOTALL)


@dataclass
class EvaluationData:
    """The data of an evaluation. Exactly one of `root`, `images` with `masks`, and `scenes` is given.

    root: folder of HQSeg-44K, or a description of custom data as in `data.factory`.
    split: of HQSeg-44K, of custom data or of generated scenes ("validation" or "held_out").
    sets: sets of HQSeg-44K, by default all.
    images, masks: two folders whose files have equal names.
    scenes: number of generated images, which have the model input size.
    reading: how the files of custom data are read: `data.ReadingOptions` by name, such as {"mask_type": "instances"}.
    """

    root: Path | str | dict[str, Any] | None = None
    split: str = "validation"
    sets: Sequence[str] | None = None
    images: Path | None = None
    masks: Path | None = None
    scenes: int | None = None
    reading: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = [self.root is not None, self.images is not None, self.scenes is not None]
        if sum(given) != 1 or (self.images is None) != (self.masks is None):
            raise ValueError("Name the data by exactly one of --data ROOT, --images and --masks, or --scenes COUNT.")
        if self.reading and not isinstance(self.root, dict) and self.images is None:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in self.reading)
            raise ValueError(f"{options} says how files of custom data are read, and these are others. Omit it.")
        if isinstance(self.root, dict):
            refuse_sets(self.sets)
            self.root = {**self.root, **self.reading}

    def __str__(self) -> str:
        if isinstance(self.root, dict):
            return describe_source(self.root)
        if self.root is not None:
            return f"{self.root} ({self.split}: {', '.join(self.sets) if self.sets else 'all sets'})"
        if self.images is None:
            return f"{self.scenes} scenes ({self.split})"
        return f"{self.images} and {self.masks}" + (f" ({describe_source(self.reading)})" if self.reading else "")

    def load(self, image_size: int) -> Any:
        """Load the data set. image_size: side of generated scenes, in pixels."""
        if isinstance(self.root, dict):
            return load_rows(self.root, self.split)
        if self.root is not None:
            return load_hqseg44k(self.root, self.split, self.sets)
        if self.images is not None and self.masks is not None:
            return load_paired_folders(self.images, self.masks, **self.reading)
        return scene_dataset(self.scenes or 0, size=image_size, split=self.split)  # type: ignore[arg-type]


def evaluate_and_report(
    model_name: str | os.PathLike,
    data: EvaluationData,
    folder: Path | None = None,
    worst: int = 8,
    device: str | None = None,
    dtype: str = "float32",
    image_size: int | None = None,
    **options: Any,
) -> Evaluation | None:
    """Load a model, evaluate it with the `options` of `evaluate`, and write a report.

    folder: receives evaluation.md, evaluation.json, records.parquet and worst/*.png; None writes nothing.
    worst: number of masks to draw into worst/. device, dtype, image_size: as for `load_model`.
    If several processes were launched, the main process writes and returns the results. The others return None.
    Raises ValueError, before anything is loaded, if another process is writing the folder, or if it holds other files
    than an earlier report, which is replaced.
    """
    accelerator = launched_accelerator()
    is_main = accelerator is None or accelerator.is_main_process
    inputs = [model_name, data.root if not isinstance(data.root, dict) else None, data.images, data.masks]
    names = {"model": os.fspath(model_name), "data": str(data)}
    with _report_folder(folder, inputs) if folder is not None and is_main else nullcontext():
        if accelerator is not None and device is None:
            device = str(accelerator.device)
        model, processor = load_model(model_name, device, dtype, image_size)
        datasets = data.load(model.config.vision_config.image_size)
        evaluation = evaluate(model, processor, datasets, accelerator=accelerator, progress=True, **options)
        if not is_main:
            return None
        evaluation.settings = {**names, **evaluation.settings}
        if folder is not None:
            evaluation.save(folder, title=f"Evaluation of {model_name}")
            if worst and evaluation.records:
                with whole_folder(folder / WORST, _check_worst) as temporary:
                    save_worst_cases(evaluation, model, processor, datasets, temporary, worst)
            elif (folder / WORST).is_dir():  # of an earlier report
                shutil.rmtree(folder / WORST)
        return evaluation


@contextmanager
def _report_folder(folder: Path, inputs: Sequence[str | os.PathLike | None]) -> Iterator[None]:
    """Let no other process write a report to the folder during the block.

    Raises ValueError if it holds anything but an earlier report, or one of the inputs.
    """
    with output_lock(folder):
        refuse_inputs(folder, inputs)
        for name in (*REPORT_FILES, WORST):
            remove_leftovers(folder / name)
        foreign = _find_foreign(folder)
        if foreign is not None:
            raise ValueError(
                f"{str(folder)!r} is not empty and holds other files than an earlier report, such as {foreign!r}. "
                "Choose another folder."
            )
        yield


def _find_foreign(folder: Path) -> str | None:
    """The name of an entry that no report has written; None if there is none."""
    if not any(path.name != LOCK_FILE for path in folder.iterdir()):
        return None
    for path in sorted(folder.iterdir()):
        is_file = path.is_file() and not path.is_symlink() and path.name in (*REPORT_FILES, LOCK_FILE)
        if not is_file and (path.name != WORST or path.is_symlink() or not path.is_dir()):
            return path.name
    if (folder / WORST).is_dir() and (name := first_foreign(folder / WORST, WORST_FILES)):
        return f"{WORST}/{name}"
    table = folder / REPORT_FILES[0]  # the first file to be written, also by a report that was interrupted
    is_ours = table.is_file() and REPORT_LINE in table.read_text(encoding="utf-8", errors="replace")
    return None if is_ours else min(path.name for path in folder.iterdir() if path.name != LOCK_FILE)


def _check_worst(folder: Path) -> None:
    """Raise ValueError if other files have come into the folder of the worst cases."""
    name = first_foreign(folder, WORST_FILES)
    if name is not None:
        raise ValueError(f"The worst cases are not drawn, since {str(folder)!r} holds {name!r}. Move it elsewhere.")


__all__ = ["EvaluationData", "evaluate_and_report"]
