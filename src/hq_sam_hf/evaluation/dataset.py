"""Dataset of an evaluation: reads rows and makes their model input, ground truth and prompts in worker processes."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ..data.image_bytes import undecoded
from ..data.reading import MASK_COLUMNS, Sample, read_sample
from ..data.reading_options import READING_COLUMN
from ..masks.rle import foreground
from .prompts import Prompt, PromptPlan, make_prompt
from .protocols import EvaluationProtocol, PreparedImage

# A prompt and the number of its trial, which is 0 unless random prompts are drawn several times.
PromptTrial = tuple[PromptPlan, int]


@dataclass
class PromptedImage:
    """An image at the model input size, with prompts for its objects.

    prompts: for each prompt trial, one prompt per object; at least one. name: for messages.
    """

    name: str
    prepared: PreparedImage
    prompts: dict[PromptTrial, list[Prompt]]

    @property
    def num_objects(self) -> int:
        return len(next(iter(self.prompts.values())))


@dataclass
class EvaluationImage(PromptedImage):
    """An image with those of its masks that can be prompted for.

    ground_truth: bool (N, H, W). mask_fields: for each mask, the record fields that do not depend on the prediction.
    """

    ground_truth: np.ndarray
    mask_fields: list[dict[str, Any]]


@dataclass
class LoadedRow:
    """A row of a data set.

    image: None if the row could not be read or has no usable mask. skipped: why masks were left out, one reason each.
    failure: why the row could not be read, or None.
    """

    dataset: str
    index: int
    name: str
    image: EvaluationImage | None = None
    skipped: list[str] = field(default_factory=list)
    failure: str | None = None


class EvaluationDataset(Dataset):
    """The rows of one or several data sets as `LoadedRow`.

    datasets: a data set, or several by name; their rows follow each other. limit: only the first rows of each.
    Random prompts depend only on the seed, the name of the data set, the row, the mask and the prompt trial.
    """

    def __init__(
        self,
        datasets: Any,
        protocol: EvaluationProtocol,
        prompt_trials: Sequence[PromptTrial],
        seed: int = 0,
        limit: int | None = None,
    ) -> None:
        by_name = datasets if isinstance(datasets, Mapping) else {"": datasets}
        self.datasets = {str(name): _indexable(dataset) for name, dataset in by_name.items()}
        self.protocol, self.prompt_trials, self.seed = protocol, list(prompt_trials), seed
        self.rows = [
            (name, index)
            for name, dataset in self.datasets.items()
            for index in range(len(dataset) if limit is None else min(limit, len(dataset)))
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> LoadedRow:
        dataset, index = self.rows[position]
        try:
            row = self.datasets[dataset][index]
            sample = read_sample(row)
        except (ValueError, TypeError, OSError) as error:
            # Return failures; raising would leave other ranks waiting.
            return LoadedRow(dataset, index, name=f"row {index}", failure=str(error))
        return self._load(dataset, index, row, sample)

    def _load(self, dataset: str, index: int, row: Mapping[str, Any], sample: Sample) -> LoadedRow:
        ground_truth = foreground(sample.masks)
        prepared = self.protocol.prepare(sample.image, sample.masks)
        kept, skipped = [], []
        for i, (mask, prompt_mask) in enumerate(zip(ground_truth, prepared.prompt_masks)):
            if not mask.any():
                skipped.append(f"mask {i} is empty")
            elif not prompt_mask.any():
                skipped.append(f"mask {i} is too thin for the model input size")
            else:
                kept.append(i)
        if not kept:
            return LoadedRow(dataset, index, sample.name, None, skipped)
        prepared.prompt_masks, ground_truth = prepared.prompt_masks[kept], ground_truth[kept]
        prompts = {
            trial: [self._prompt(dataset, index, i, trial, mask) for i, mask in zip(kept, prepared.prompt_masks)]
            for trial in self.prompt_trials
        }
        mask_fields = [
            {
                **_extra_columns(row, i, len(sample.masks)),
                "dataset": dataset,
                "set": sample.set,
                "name": sample.name,
                "index": index,
                "mask": i,
                "height": prepared.size[0],
                "width": prepared.size[1],
                "area": int(mask.sum()),
            }
            for i, mask in zip(kept, ground_truth)
        ]
        image = EvaluationImage(sample.name, prepared, prompts, ground_truth, mask_fields)
        return LoadedRow(dataset, index, sample.name, image, skipped)

    def _prompt(
        self, dataset: str, index: int, mask: int, prompt_trial: PromptTrial, prompt_mask: np.ndarray
    ) -> Prompt:
        plan, trial = prompt_trial
        key = (zlib.crc32(dataset.encode()), index, mask, zlib.crc32(plan.name.encode()), trial)
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
        prompt = make_prompt(plan, prompt_mask, rng)
        assert prompt is not None, "empty masks have been left out"
        return prompt


def _indexable(dataset: Any) -> Any:
    import datasets

    if isinstance(dataset, datasets.IterableDataset) or not hasattr(dataset, "__len__"):
        raise ValueError(
            f"`datasets` must have a length and rows that can be indexed, got a {type(dataset).__name__}. Load the "
            "data set without streaming."
        )
    return undecoded(dataset) if isinstance(dataset, datasets.Dataset) else dataset


def _extra_columns(row: Mapping[str, Any], mask: int, num_masks: int) -> dict[str, Any]:
    """The other columns of a row: plain values, and the value of this mask from lists with one value per mask."""
    extras = {}
    for name, value in row.items():
        if name in ("image", "set", "name", READING_COLUMN, *MASK_COLUMNS):
            continue
        if isinstance(value, list | tuple) and len(value) == num_masks:
            value = value[mask]
        if isinstance(value, str | int | float):
            extras[name] = value
    return extras


__all__ = ["EvaluationDataset", "EvaluationImage", "LoadedRow", "PromptTrial", "PromptedImage"]
