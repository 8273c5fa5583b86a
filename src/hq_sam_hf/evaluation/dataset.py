"""Rows of data sets made ready for an evaluation, in worker processes: frames, true masks and prompts."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ..data.image_bytes import undecoded
from ..data.reading import MASK_COLUMNS, Sample, read_sample
from ..masks.rle import foreground
from .prompts import Prompt, PromptPlan, make_prompt
from .protocols import EvaluationProtocol, Framed

# How a prompt is made, and the number of the trial where it is random.
Question = tuple[PromptPlan, int]


@dataclass
class Picture:
    """A picture with those of its masks that can be asked for.

    truths: bool (N, H, W). prompts: per question, one per mask. about: per mask, what its records say beside figures.
    """

    framed: Framed
    truths: np.ndarray
    prompts: dict[Question, list[Prompt]]
    about: list[dict[str, Any]]


@dataclass
class LoadedRow:
    """A row of a data set: its picture, if it has a mask to ask for; masks that are left out, or why it failed."""

    dataset: str
    index: int
    name: str
    picture: Picture | None = None
    skipped: list[str] = field(default_factory=list)
    failure: str | None = None


class EvaluationSamples(Dataset):
    """The first rows of a data set, or of several by their names, one after the other, as `LoadedRow`.

    What is drawn depends on the seed, the name of the data set, the row, the mask and the question alone.
    """

    def __init__(
        self,
        datasets: Any,
        protocol: EvaluationProtocol,
        questions: Sequence[Question],
        seed: int = 0,
        limit: int | None = None,
    ) -> None:
        named = datasets if isinstance(datasets, Mapping) else {"": datasets}
        self.datasets = {str(name): _rows(dataset) for name, dataset in named.items()}
        self.protocol, self.questions, self.seed = protocol, list(questions), seed
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
            # As an answer, since an error in a worker loses its words, and one process would leave the others waiting.
            return LoadedRow(dataset, index, name=f"row {index}", failure=str(error))
        return self._load(dataset, index, row, sample)

    def _load(self, dataset: str, index: int, row: Mapping[str, Any], sample: Sample) -> LoadedRow:
        truths = foreground(sample.masks)
        framed = self.protocol.frame(sample.image, sample.masks)
        kept, skipped = [], []
        for i, (truth, prompt_mask) in enumerate(zip(truths, framed.prompt_masks)):
            if not truth.any():
                skipped.append(f"mask {i} is empty")
            elif not prompt_mask.any():
                skipped.append(f"mask {i} is too thin for the model's frame")
            else:
                kept.append(i)
        framed.prompt_masks, truths = framed.prompt_masks[kept], truths[kept]
        prompts = {
            question: [self._prompt(dataset, index, i, question, mask) for i, mask in zip(kept, framed.prompt_masks)]
            for question in self.questions
        }
        about = [
            {
                **_extras(row, i, len(sample.masks)),
                "dataset": dataset,
                "set": sample.set,
                "name": sample.name,
                "index": index,
                "mask": i,
                "height": framed.size[0],
                "width": framed.size[1],
                "area": int(truth.sum()),
            }
            for i, truth in zip(kept, truths)
        ]
        picture = Picture(framed, truths, prompts, about) if kept else None
        return LoadedRow(dataset, index, sample.name, picture, skipped)

    def _prompt(self, dataset: str, index: int, mask: int, question: Question, prompt_mask: np.ndarray) -> Prompt:
        plan, trial = question
        key = (zlib.crc32(dataset.encode()), index, mask, zlib.crc32(plan.name.encode()), trial)
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
        prompt = make_prompt(plan, prompt_mask, rng)
        assert prompt is not None, "empty masks have been left out"
        return prompt


def _rows(dataset: Any) -> Any:
    import datasets

    if isinstance(dataset, datasets.IterableDataset) or not hasattr(dataset, "__len__"):
        raise ValueError(
            f"`datasets` must have a length and rows by their index, got a {type(dataset).__name__}. Load the data "
            "set without streaming."
        )
    return undecoded(dataset) if isinstance(dataset, datasets.Dataset) else dataset


def _extras(row: Mapping[str, Any], mask: int, num_masks: int) -> dict[str, Any]:
    """Other columns of a row: plain values, and of lists with a plain value per mask that of this mask."""
    extras = {}
    for name, value in row.items():
        if name in ("image", "set", "name", *MASK_COLUMNS):
            continue
        if isinstance(value, list | tuple) and len(value) == num_masks:
            value = value[mask]
        if isinstance(value, str | int | float):
            extras[name] = value
    return extras


__all__ = ["EvaluationSamples", "LoadedRow", "Picture", "Question"]
