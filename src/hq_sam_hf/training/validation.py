"""Validation of a training run: metrics by name, and overlays to look at."""

import logging
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch.utils.data import Subset

from ..data.several import SeveralDataSets
from ..evaluation.evaluator import evaluate
from ..evaluation.paper_results import AVERAGE
from ..evaluation.results import Evaluation
from ..evaluation.worst_cases import save_cases
from .config import TrainingConfig
from .objectives import AnyModel, Objective

logger = logging.getLogger(__name__)


def validate(
    config: TrainingConfig,
    objective: Objective,
    model: AnyModel,
    processor: Any,
    accelerator: Accelerator,
    rows: Any,
    folder: Path,
) -> dict[str, float]:
    """Evaluate on the validation data and return the metrics, on every process.

    Metrics are in percent. For the first prompt they are val_OUTPUT_miou and val_OUTPUT_mbiou, means over the sets,
    and val_OUTPUT_mbiou_SET if there are several sets; for the other prompts val_PROMPT_OUTPUT_miou and
    val_PROMPT_OUTPUT_mbiou. Images that cannot be read are left out with a warning; without any image there are no
    metrics.

    rows: the validation data. folder: for `eval_overlays` overlays, of the same masks every time.
    """
    datasets = {"validation": rows}
    evaluation = evaluate(
        model,
        processor,
        datasets,
        prompts=config.eval_prompts,
        outputs=objective.evaluated_outputs,
        batch_size=config.batch_size,
        seed=config.seed,
        accelerator=accelerator,
    )
    if accelerator.is_main_process:
        for failure in evaluation.failures:
            logger.warning("left out of the validation: %s", failure["reason"])
        if not evaluation.records:
            logger.warning("no mask of the validation data could be measured")
        if config.eval_overlays:
            shown = _first_masks(evaluation, config.eval_prompts[0], config.eval_overlays)
            save_cases(evaluation, shown, model, processor, datasets, folder)
    accelerator.wait_for_everyone()
    return _metrics(evaluation, config.eval_prompts[0])


def _metrics(evaluation: Evaluation, first_prompt: str) -> dict[str, float]:
    metrics: dict[str, float] = {}
    summary = evaluation.summary()
    has_several_sets = any(row["set"] == AVERAGE for row in summary)
    for row in summary:
        prompt = "" if row["prompt"] == first_prompt else f"{row['prompt']}_"
        name = f"val_{prompt}{row['output']}"
        if row["set"] == AVERAGE or not has_several_sets:
            metrics[f"{name}_miou"], metrics[f"{name}_mbiou"] = row["miou"], row["mbiou"]
        elif not prompt:
            metrics[f"{name}_mbiou_{row['set'].rpartition('/')[2]}"] = row["mbiou"]
    return metrics


def _first_masks(evaluation: Evaluation, prompt: str, count: int) -> list[dict[str, Any]]:
    """Records to draw: of the first mask of the first images, for one prompt and the last output."""
    output = evaluation.settings["outputs"][-1]
    chosen = (prompt, 0, output)
    return [one for one in evaluation.records if (one["prompt"], one["mask"], one["output"]) == chosen][:count]


def first_of_each_set(rows: Any, count: int | None) -> Any:
    """The first `count` rows of each set; all rows for None.

    Generated scenes know their sets only once they are drawn, so of them these are the first `count` rows in all.
    """
    if count is None:
        return rows
    if isinstance(rows, SeveralDataSets):
        return SeveralDataSets([first_of_each_set(part, count) for part in rows.parts])
    if not hasattr(rows, "features"):
        return Subset(rows, range(min(count, len(rows))))
    indices: dict[str, list[int]] = {}
    for index, name in enumerate(rows["set"]):
        indices.setdefault(name, []).append(index)
    return rows.select(sorted(index for of_set in indices.values() for index in of_set[:count]))


__all__ = ["first_of_each_set", "validate"]
