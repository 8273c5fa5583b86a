"""The work behind `hq-sam evaluate`: choose the data, load the model, evaluate, write the report."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
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
    """Exactly one of three kinds of data.

    root: folder of HQSeg-44K, of which `split` and `sets` are taken, or own data as `data_sources` describes them.
    images, masks: folders with files of equal names.
    scenes: number of generated pictures, of `split` "validation" or "held_out", with the model's side.
    """

    root: Path | str | dict[str, Any] | None = None
    split: str = "validation"
    sets: Sequence[str] | None = None
    images: Path | None = None
    masks: Path | None = None
    scenes: int | None = None

    def __post_init__(self) -> None:
        kinds = [self.root is not None, self.images is not None, self.scenes is not None]
        if sum(kinds) != 1 or (self.images is None) != (self.masks is None):
            raise ValueError("Name the data by exactly one of --data ROOT, --images and --masks, or --scenes COUNT.")
        if isinstance(self.root, dict):
            refuse_sets(self.sets)

    def __str__(self) -> str:
        if isinstance(self.root, dict):
            return describe_source(self.root)
        if self.root is not None:
            return f"{self.root} ({self.split}: {', '.join(self.sets) if self.sets else 'all sets'})"
        return f"{self.scenes} scenes ({self.split})" if self.images is None else f"{self.images} and {self.masks}"

    def load(self, image_size: int) -> Any:
        if isinstance(self.root, dict):
            return load_rows(self.root, self.split)
        if self.root is not None:
            return load_hqseg44k(self.root, self.split, self.sets)
        if self.images is not None and self.masks is not None:
            return load_paired_folders(self.images, self.masks)
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
    """Evaluate a model as `evaluation.evaluate` does with `options`, and write the report and `worst` pictures.

    folder: gets evaluation.md, evaluation.json, records.parquet and worst/*.png. None writes nothing.
    Of several launched processes one writes and returns the result; the others return None.
    """
    accelerator = launched_accelerator()
    if accelerator is not None and device is None:
        device = str(accelerator.device)
    model, processor = load_model(model_name, device, dtype, image_size)
    datasets = data.load(model.config.vision_config.image_size)
    result = evaluate(model, processor, datasets, accelerator=accelerator, progress=True, **options)
    if accelerator is not None and not accelerator.is_main_process:
        return None
    result.settings = {"model": model_name, "data": str(data), **result.settings}
    if folder is not None:
        result.save(folder, title=f"Evaluation of {model_name}")
        if worst and result.records:
            save_worst_cases(result, model, processor, datasets, folder / "worst", worst)
    return result


__all__ = ["EvaluationData", "evaluate_and_report"]
