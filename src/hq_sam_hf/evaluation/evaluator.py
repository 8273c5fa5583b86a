"""Evaluate a model: IoU and boundary IoU of its masks with ground truth, for prompts derived from the ground truth.

Each image is encoded once, and every prompt is decoded for up to three outputs: `sam`, the mask of the plain SAM
inside; `hq`, the HQ mask alone; `sum`, SAM + HQ, the model's default.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..masks.json_values import json_value
from ..masks.metrics import boundary_iou, mask_iou
from ..model.configuration_hq_sam import HQSamConfig
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor
from ..utils.distributed import connect
from .dataset import EvaluationDataset, LoadedRow, PromptTrial
from .decoding import OUTPUTS, Prediction, predict
from .prompts import parse_prompt
from .protocols import PROTOCOLS
from .results import Evaluation

if TYPE_CHECKING:
    from accelerate import Accelerator


def evaluate(
    model: HQSamModel,
    processor: HQSamProcessor,
    datasets: Any,
    prompts: str | Sequence[str] = "box",
    outputs: str | Sequence[str] = tuple(OUTPUTS),
    protocol: str = "stretch",
    batch_size: int = 1,
    num_workers: int = 0,
    seed: int = 0,
    trials: int = 1,
    limit: int | None = None,
    multimask_output: bool = False,
    accelerator: "Accelerator | None" = None,
    progress: bool = False,
) -> Evaluation:
    """Evaluate a model on one or several data sets.

    datasets: a data set, or several by name. Each has a length and rows that `read_sample` reads, such as those of
        `load_hqseg44k` and `scene_dataset`. Other columns with plain values, one per image or one per mask, are copied
        into the records.
    prompts: names as in `evaluation.prompts`. outputs: one or more of "sam", "hq", "sum".
    protocol: "stretch" as in the paper, or "aspect" as in the predictor; see `evaluation.protocols`.
    batch_size: images encoded together, per process. num_workers: worker processes that read images.
    seed, trials: random prompts are drawn `trials` times. They depend on the seed, the name of the data set, the row,
        the mask and the prompt, but not on batches or processes.
    limit: evaluate only the first rows of each data set.
    multimask_output: use the best scored of SAM's three candidates instead of its single mask.
    accelerator: shares the images among its processes; each process gets all records. By default one is created where
        several processes have been launched. The model stays on its device.

    Returns the records with their means and tables. It lists images that cannot be read and empty masks separately.
    Raises ValueError for wrong arguments, a model that does not fit its processor, or logits that are not finite.
    """
    prompts, outputs = _as_list(prompts), _as_list(outputs)
    _check_arguments(model, processor, outputs, protocol, trials)
    dataset = EvaluationDataset(
        datasets, PROTOCOLS[protocol](processor.image_processor), _prompt_trials(prompts, trials), seed, limit
    )
    settings = {
        "protocol": protocol,
        "prompts": prompts,
        "outputs": outputs,
        "seed": seed,
        "trials": trials,
        "limit": limit,
        "multimask_output": multimask_output,
        "image_size": model.config.vision_config.image_size,
        "backbone": backbone_name(model.config),
        "dtype": str(model.dtype).removeprefix("torch."),
        "images": len(dataset),
    }
    settings = json_value(settings, "settings")  # before the work, so that a report of it can be written
    evaluator = _BatchEvaluator(model, dataset, outputs, multimask_output)
    results = _evaluate_all(evaluator, batch_size, num_workers, accelerator or launched_accelerator(), progress)
    return _in_order(dataset, results, settings)


@dataclass
class _RowResult:
    """The records of a row. It has no tensors, because processes exchange it as pickled objects."""

    dataset: str
    index: int
    name: str
    skipped: list[str]
    failure: str | None
    records: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _BatchEvaluator:
    """Evaluates batches of loaded rows."""

    model: HQSamModel
    dataset: EvaluationDataset
    outputs: list[str]
    multimask_output: bool

    def evaluate(self, rows: list[LoadedRow]) -> list[_RowResult]:
        results = [_RowResult(row.dataset, row.index, row.name, row.skipped, row.failure) for row in rows]
        with_image = [(row.image, result) for row, result in zip(rows, results) if row.image is not None]
        images = [image for image, _ in with_image]
        predictions = predict(
            self.model,
            self.dataset.protocol,
            images,
            self.dataset.prompt_trials,
            self.outputs,
            self.multimask_output,
        )
        for prediction in predictions:
            image, result = with_image[prediction.image]
            fields = image.mask_fields[prediction.mask]
            result.records += self._records(prediction, image.ground_truth[prediction.mask], fields)
        return results

    def _records(
        self, prediction: Prediction, ground_truth: np.ndarray, fields: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """One record per output. ground_truth: bool (H, W)."""
        expected = torch.from_numpy(ground_truth).to(prediction.masks.device)
        ious = mask_iou(prediction.masks, expected).tolist()
        boundary_ious = boundary_iou(prediction.masks, expected).tolist()
        fields = {**fields, "prompt": prediction.prompt, "trial": prediction.trial}
        return [
            {**fields, "output": output, "iou": iou, "boundary_iou": of_boundary, "score": score}
            for output, iou, of_boundary, score in zip(self.outputs, ious, boundary_ious, prediction.scores)
        ]


def _evaluate_all(
    evaluator: _BatchEvaluator,
    batch_size: int,
    num_workers: int,
    accelerator: "Accelerator | None",
    progress: bool,
) -> dict[tuple[str, int], _RowResult]:
    """Evaluate every row, shared among processes. Each process gets all results by (data set, index)."""
    model, dataset = evaluator.model, evaluator.dataset
    # Without a generator of its own the loader would draw from PyTorch's global one and change a training run.
    loader: Any = DataLoader(
        dataset, batch_size, collate_fn=list, num_workers=num_workers, generator=torch.Generator().manual_seed(0)
    )
    if accelerator is not None:
        loader = accelerator.prepare_data_loader(loader, device_placement=False)
    is_main = accelerator is None or accelerator.is_main_process
    results: dict[tuple[str, int], _RowResult] = {}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), tqdm(total=len(dataset), unit="image", disable=not (progress and is_main)) as bar:
            for rows in loader:
                batch = evaluator.evaluate(rows)
                if accelerator is not None:
                    # Drops the rows that the sampler repeats so that every process has equally many.
                    batch = accelerator.gather_for_metrics(batch, use_gather_object=True)
                results.update({(one.dataset, one.index): one for one in batch})
                bar.update(len(batch))
    finally:
        model.train(was_training)
    return results


def _in_order(
    dataset: EvaluationDataset, results: dict[tuple[str, int], _RowResult], settings: dict[str, Any]
) -> Evaluation:
    """Collect the results in the order of the data sets."""
    evaluation = Evaluation(settings)
    for row in dataset.rows:
        result = results[row]
        evaluation.records += result.records
        about = {"dataset": result.dataset, "index": result.index, "name": result.name}
        evaluation.skipped += [{**about, "reason": reason} for reason in result.skipped]
        if result.failure is not None:
            evaluation.failures.append({**about, "reason": result.failure})
    return evaluation


def _as_list(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))


def _prompt_trials(prompts: Sequence[str], trials: int) -> list[PromptTrial]:
    """Every prompt with its trials: `trials` for random prompts, one for the others."""
    if not prompts:
        raise ValueError("`prompts` must name at least one prompt, got none.")
    plans = [parse_prompt(prompt) for prompt in prompts]
    # clicks-5 also gives the results of clicks-1 to clicks-4.
    most_clicks = max((plan.count for plan in plans if plan.kind == "clicks"), default=0)
    plans = [plan for plan in plans if plan.kind != "clicks" or plan.count == most_clicks]
    return [(plan, trial) for plan in plans for trial in range(trials if plan.is_random else 1)]


def _check_arguments(
    model: HQSamModel, processor: HQSamProcessor, outputs: Sequence[str], protocol: str, trials: int
) -> None:
    processor.check_fit(model.config)
    if not outputs or set(outputs) - set(OUTPUTS):
        raise ValueError(f"`outputs` must be among {', '.join(OUTPUTS)}, got {list(outputs)}.")
    if protocol not in PROTOCOLS:
        raise ValueError(f"`protocol` must be one of {', '.join(PROTOCOLS)}, got {protocol!r}.")
    if trials < 1:
        raise ValueError(f"`trials` must be at least 1, got {trials}.")


def launched_accelerator() -> "Accelerator | None":
    """An Accelerator where several processes have been launched, else None.

    Accelerate configures a process once, by its first Accelerator, so none is created without need.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or (
        torch.distributed.is_available() and torch.distributed.is_initialized()
    ):
        from accelerate import Accelerator

        return connect(Accelerator)
    return None


def backbone_name(config: HQSamConfig) -> str | None:
    """The published backbone that a configuration has, at any image size: vit_b, vit_l, vit_h, vit_tiny or None."""
    vision = config.vision_config
    for name in ("vit_b", "vit_l", "vit_h", "vit_tiny"):
        preset = HQSamConfig.from_preset(name).vision_config
        fields = ("model_type", "hidden_size", "num_hidden_layers", "embed_dims", "depths", "patch_size")
        if all(_plain(getattr(vision, key, None)) == _plain(getattr(preset, key, None)) for key in fields):
            return name
    return None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


__all__ = ["backbone_name", "evaluate", "launched_accelerator"]
