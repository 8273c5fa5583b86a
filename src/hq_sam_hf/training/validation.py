"""Validation while training: the evaluation's figures in a line, and pictures to look at."""

import logging
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch.utils.data import Subset

from ..evaluation.evaluator import evaluate
from ..evaluation.paper_results import AVERAGE
from ..evaluation.worst_cases import save_cases
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor
from .config import HQ_TARGETS, TrainingConfig

logger = logging.getLogger(__name__)


def validate(
    config: TrainingConfig,
    model: HQSamModel,
    processor: HQSamProcessor,
    accelerator: Accelerator,
    rows: Any,
    folder: Path,
) -> dict[str, float]:
    """Evaluate on the validation data; every process gets the figures.

    Figures are val_OUTPUT_miou and val_OUTPUT_mbiou in per cent, means over the sets for the first prompt, and
    val_OUTPUT_mbiou_SET for each of several sets; for further prompts val_PROMPT_OUTPUT_miou and so on. Of a plain SAM
    in training there is the output "sam" alone. Pictures that cannot be read are warned about; where none can, there
    are no figures.
    rows: the validation data. folder: gets `eval_overlays` pictures, of the same masks every time.
    """
    datasets = {"validation": rows}
    evaluation = evaluate(
        model,
        processor,
        datasets,
        prompts=config.eval_prompts,
        outputs=("sam", "hq", "sum") if config.train in HQ_TARGETS else ("sam",),
        batch_size=config.batch_size,
        seed=config.seed,
        accelerator=accelerator,
    )
    if accelerator.is_main_process:
        for one in evaluation.failures:
            logger.warning("left out of the validation: %s", one["reason"])
        if not evaluation.records:
            logger.warning("no mask of the validation data could be measured")
    figures: dict[str, float] = {}
    summary = evaluation.summary()
    main = config.eval_prompts[0]
    several = any(row["set"] == AVERAGE for row in summary)
    for row in summary:
        prompt = "" if row["prompt"] == main else f"{row['prompt']}_"
        name = f"val_{prompt}{row['output']}"
        if row["set"] == AVERAGE or not several:
            figures[f"{name}_miou"], figures[f"{name}_mbiou"] = row["miou"], row["mbiou"]
        elif not prompt:
            figures[f"{name}_mbiou_{row['set'].rpartition('/')[2]}"] = row["mbiou"]
    if accelerator.is_main_process and config.eval_overlays:
        shown = [one for one in evaluation.records if one["prompt"] == main and one["mask"] == 0]
        shown = [one for one in shown if one["output"] == evaluation.settings["outputs"][-1]][: config.eval_overlays]
        save_cases(evaluation, shown, model, processor, datasets, folder)
    accelerator.wait_for_everyone()
    return figures


def first_of_each_set(rows: Any, count: int | None) -> Any:
    """The first rows of each set, all for None; of generated scenes, whose sets show when they are drawn, of all."""
    if count is None:
        return rows
    if not hasattr(rows, "features"):
        return Subset(rows, range(min(count, len(rows))))
    places: dict[str, list[int]] = {}
    for i, name in enumerate(rows["set"]):
        places.setdefault(name, []).append(i)
    return rows.select(sorted(i for of_set in places.values() for i in of_set[:count]))


def score(figures: dict[str, float], config: TrainingConfig) -> float | None:
    """What `best` is chosen by: mBIoU of the mask that is trained. None where there are no figures."""
    return figures.get("val_hq_mbiou" if config.train in HQ_TARGETS else "val_sam_mbiou")


__all__ = ["first_of_each_set", "score", "validate"]
