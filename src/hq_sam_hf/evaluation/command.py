"""The work of `hq-sam evaluate`: load the data and the model, evaluate, write the report."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.custom import load_paired_folders
from ..data.factory import describe_source, load_rows, refuse_sets
from ..data.hqseg44k import load_hqseg44k
from ..inference.loading import load_model
from ..scenes import scene_dataset
from .evaluator import evaluate, launched_accelerator
from .results import Evaluation
from .worst_cases import save_worst_cases


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
    """
    accelerator = launched_accelerator()
    if accelerator is not None and device is None:
        device = str(accelerator.device)
    model, processor = load_model(model_name, device, dtype, image_size)
    datasets = data.load(model.config.vision_config.image_size)
    evaluation = evaluate(model, processor, datasets, accelerator=accelerator, progress=True, **options)
    if accelerator is not None and not accelerator.is_main_process:
        return None
    evaluation.settings = {"model": model_name, "data": str(data), **evaluation.settings}
    if folder is not None:
        evaluation.save(folder, title=f"Evaluation of {model_name}")
        if worst and evaluation.records:
            save_worst_cases(evaluation, model, processor, datasets, folder / "worst", worst)
    return evaluation


__all__ = ["EvaluationData", "evaluate_and_report"]
