"""Evaluate a model: how well its masks, and their boundaries, agree with true ones, for prompts made from these.

Each picture is encoded once and every prompt decoded up to three ways: `sam`, the plain SAM inside; `hq`, the HQ mask
alone; `sum`, SAM + HQ, which is what the model gives by default.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..masks.metrics import DILATION_RATIO, boundary_iou, mask_iou
from ..model.configuration_hq_sam import HQSamConfig
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor
from ..utils.distributed import connect
from .dataset import EvaluationSamples, LoadedRow
from .decoding import OUTPUTS, answer
from .prompts import PromptPlan, parse_prompt
from .protocols import PROTOCOLS
from .results import Evaluation

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass
class _Measured:
    """What an evaluation found about one row; without tensors, to be sent between processes."""

    dataset: str
    index: int
    name: str
    skipped: list[str]
    failure: str | None
    records: list[dict[str, Any]] = field(default_factory=list)


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
    dilation_ratio: float = DILATION_RATIO,
    accelerator: "Accelerator | None" = None,
    progress: bool = False,
) -> Evaluation:
    """Ask a model for every mask of some data sets.

    datasets: a data set, or several by their names; each anything with a length whose rows `read_sample` reads, such
        as those of `load_hqseg44k` and `scene_dataset`. A picture with several masks is encoded once. Other columns of
        plain values, one per picture or one per mask, go into the records.
    prompts: names as in `evaluation_prompts`. outputs: one or more of "sam", "hq", "sum".
    protocol: "stretch" as in the paper, or "aspect"; see `evaluation_protocols`.
    batch_size: pictures encoded together, per process. num_workers: processes that read pictures.
    seed, trials: random prompts are drawn `trials` times; they depend on the seed, the data set's name, row, mask and
        prompt, and not on batches or processes.
    limit: only the first rows of each data set.
    multimask_output: the best scored of SAM's three candidates instead of its single mask.
    dilation_ratio: of the boundary IoU, 0.02 of the diagonal in the paper.
    accelerator: shares the pictures among its processes, and each gets all records. By default one is made where
        several processes have been launched. The model stays on its device.

    Returns the records and what is made of them; pictures that cannot be read, and empty masks, are left out and
    listed there. Raises ValueError for wrong arguments, a model that does not fit its processor, or one whose logits
    are not finite.
    """
    prompts, outputs = _names(prompts), _names(outputs)
    _check(model, processor, outputs, protocol, trials)
    plans = _plans(prompts)
    questions = [(plan, trial) for plan in plans for trial in range(trials if plan.is_random else 1)]
    samples = EvaluationSamples(datasets, PROTOCOLS[protocol](processor.image_processor), questions, seed, limit)
    settings = {
        "protocol": protocol,
        "prompts": prompts,
        "outputs": outputs,
        "seed": seed,
        "trials": trials,
        "limit": limit,
        "multimask_output": multimask_output,
        "dilation_ratio": dilation_ratio,
        "image_size": model.config.vision_config.image_size,
        "backbone": backbone_name(model.config),
        "dtype": str(model.dtype).removeprefix("torch."),
        "pictures": len(samples),
    }

    def measure(loaded: list[LoadedRow]) -> list[_Measured]:
        measured = [_Measured(row.dataset, row.index, row.name, row.skipped, row.failure) for row in loaded]
        pictures = [row.picture for row in loaded if row.picture is not None]
        places = [place for place, row in zip(measured, loaded) if row.picture is not None]
        for one in answer(model, samples.protocol, pictures, questions, outputs, multimask_output):
            picture = pictures[one.picture]
            truth = torch.from_numpy(picture.truths[one.mask]).to(one.masks.device)
            ious = mask_iou(one.masks, truth).tolist()
            boundary_ious = boundary_iou(one.masks, truth, dilation_ratio).tolist()
            about = {**picture.about[one.mask], "prompt": one.prompt, "trial": one.trial}
            places[one.picture].records += [
                {**about, "output": output, "iou": iou, "boundary_iou": of_boundary, "score": score}
                for output, iou, of_boundary, score in zip(outputs, ious, boundary_ious, one.scores)
            ]
        return measured

    found = _for_all(samples, measure, model, batch_size, num_workers, accelerator or launched_accelerator(), progress)
    return _collect(samples, found, settings)


def _for_all(
    samples: EvaluationSamples,
    measure: Callable[[list[LoadedRow]], list[_Measured]],
    model: HQSamModel,
    batch_size: int,
    num_workers: int,
    accelerator: "Accelerator | None",
    progress: bool,
) -> dict[tuple[str, int], _Measured]:
    """Measure every sample, shared among processes; each gets all results."""
    # A generator of its own, or the loader would take a number from PyTorch's global one and disturb a training run.
    loader: Any = DataLoader(
        samples, batch_size, collate_fn=list, num_workers=num_workers, generator=torch.Generator().manual_seed(0)
    )
    if accelerator is not None:
        loader = accelerator.prepare_data_loader(loader, device_placement=False)
    is_main = accelerator is None or accelerator.is_main_process
    found: dict[tuple[str, int], _Measured] = {}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), tqdm(total=len(samples), unit="picture", disable=not (progress and is_main)) as bar:
            for loaded in loader:
                measured = measure(loaded)
                if accelerator is not None:
                    # Drops the pictures that were repeated so that every process had as many.
                    measured = accelerator.gather_for_metrics(measured, use_gather_object=True)
                found.update({(one.dataset, one.index): one for one in measured})
                bar.update(len(measured))
    finally:
        model.train(was_training)
    return found


def _collect(
    samples: EvaluationSamples, found: dict[tuple[str, int], _Measured], settings: dict[str, Any]
) -> Evaluation:
    """The result, in the order of the data sets."""
    evaluation = Evaluation(settings)
    for row in samples.rows:
        one = found[row]
        evaluation.records += one.records
        about = {"dataset": one.dataset, "index": one.index, "name": one.name}
        evaluation.skipped += [{**about, "reason": reason} for reason in one.skipped]
        if one.failure is not None:
            evaluation.failures.append({**about, "reason": one.failure})
    return evaluation


def _names(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))


def _plans(prompts: Sequence[str]) -> list[PromptPlan]:
    if not prompts:
        raise ValueError("`prompts` must name at least one prompt.")
    plans = [parse_prompt(prompt) for prompt in prompts]
    # More clicks pass through fewer.
    most_clicks = max((plan.count for plan in plans if plan.kind == "clicks"), default=0)
    return [plan for plan in plans if plan.kind != "clicks" or plan.count == most_clicks]


def _check(model: HQSamModel, processor: HQSamProcessor, outputs: Sequence[str], protocol: str, trials: int) -> None:
    processor.check_fit(model.config)
    if not outputs or set(outputs) - set(OUTPUTS):
        raise ValueError(f"`outputs` must be among {', '.join(OUTPUTS)}, got {list(outputs)}.")
    if protocol not in PROTOCOLS:
        raise ValueError(f"`protocol` must be one of {', '.join(PROTOCOLS)}, got {protocol!r}.")
    if trials < 1:
        raise ValueError(f"`trials` must be at least 1, got {trials}.")


def launched_accelerator() -> "Accelerator | None":
    """An Accelerator where several processes were launched, else None: the first one sets the terms for all later."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or (
        torch.distributed.is_available() and torch.distributed.is_initialized()
    ):
        from accelerate import Accelerator

        return connect(Accelerator)
    return None


def backbone_name(config: HQSamConfig) -> str | None:
    """The published backbone of a configuration, at any image size: vit_b, vit_l, vit_h or vit_tiny, or None."""
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
