"""What a training step sees: rows of any data set, chosen, augmented and prompted by the numbers of the step alone.

Every random draw comes from a generator seeded by (seed, epoch, index of the image), so the stream of batches does not
depend on the number of workers, processes or accumulated passes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.augmentation import augment
from ..data.prompt_simulation import box_noise, draw_prompt, mask_to_box, paper_kinds, random_points
from ..data.reading import read_sample
from ..masks.rle import foreground
from ..model.configuration_hq_sam import PADDING
from .config import FROM_SCRATCH, TrainingConfig

# Steps of the random sequence below (seed, ...), so that no two uses share numbers.
_ORDER, _SAMPLE, _KIND = range(3)

# An unreadable sample is replaced by the next one; so many in a row mean that the data are wrong.
MOST_REPLACEMENTS = 20

# SAM's own training moves each corner of a box by a tenth of its side, at most 20 pixels of 1024 (its appendix A).
SAM_BOX_NOISE = 0.1


class SampleKey(NamedTuple):
    """Which sample: image number `image` of the data as it is seen in `epoch`, for update `step` of the weights."""

    epoch: int
    step: int
    image: int


@dataclass
class Batch:
    """B images with up to P masks each, as the processor would give them, in pixels of the model's S x S frame.

    images (B, 3, S, S) uint8; masks (B, P, S, S) float32 in [0, 1], -1 where an image has fewer than P;
    boxes (B, P, 4), NaN where absent; points (B, P, N, 2) with labels (B, P, N), -10 where absent;
    mask_prompts (B, P, m, m), NaN where absent; each of them None where no prompt of the batch is of its kind;
    seeds (B, P) int64: for what is drawn while learning, such as the points that the loss looks at.
    names: of the images; skipped: one line for each sample that could not be used.
    """

    images: Tensor
    masks: Tensor
    boxes: Tensor | None
    points: Tensor | None
    labels: Tensor | None
    mask_prompts: Tensor | None
    seeds: Tensor
    names: list[str]
    skipped: list[str]

    @property
    def present(self) -> Tensor:
        """Where there is a mask: bool (B, P)."""
        return self.masks[:, :, 0, 0] >= 0

    def to(self, device: torch.device) -> "Batch":
        fields: dict[str, Any] = dict(vars(self))
        for name, value in fields.items():
            if isinstance(value, Tensor) and name != "seeds":
                fields[name] = value.to(device, non_blocking=True)
        return Batch(**fields)


class TrainingSamples(torch.utils.data.Dataset):
    """Samples by `SampleKey`. rows: anything with a length and rows that `samples.read_sample` reads."""

    def __init__(self, rows: Any, config: TrainingConfig, image_size: int, mask_size: int) -> None:
        self.rows, self.config = rows, config
        self.image_size, self.mask_size = image_size, mask_size

    def __getitems__(self, keys: Sequence[SampleKey]) -> list[dict[str, Any]]:
        # PyTorch rounds a resizing by how many threads share it, and workers have one.
        with _one_thread():
            return self._samples(keys)

    def _samples(self, keys: Sequence[SampleKey]) -> list[dict[str, Any]]:
        samples = [self._sample(key) for key in keys]
        kinds = tuple(self.config.prompts)
        if self.config.paper_exact:
            kinds = paper_kinds([mask for sample in samples for mask in sample["masks"]], kinds)
        for key, sample in zip(keys, samples):
            rng = sample.pop("rng")
            if self.config.train == FROM_SCRATCH:
                prompts = [self._sam_prompt(mask, key.step, rng) for mask in sample["masks"]]
            else:
                prompts = [self._hq_prompt(mask, kinds, rng) for mask in sample["masks"]]
            sample["prompts"] = prompts
            sample["seeds"] = rng.integers(2**62, size=len(prompts))
        return samples

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def _sample(self, key: SampleKey) -> dict[str, Any]:
        skipped: list[str] = []
        for attempt in range(MOST_REPLACEMENTS):
            index = (key.image + attempt) % len(self.rows)
            rng = np.random.default_rng([self.config.seed, _SAMPLE, key.epoch, index])
            try:
                return {**self._augmented(index, rng), "rng": rng, "skipped": skipped}
            except (ValueError, OSError) as error:
                if self.config.bad_samples == "stop":
                    raise
                skipped.append(str(error))
        raise ValueError(f"{MOST_REPLACEMENTS} samples in a row cannot be used, such as: {skipped[0]}")

    def _augmented(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        config = self.config
        sample = read_sample(self.rows[index])
        filled = np.flatnonzero(foreground(sample.masks).any(axis=(1, 2)))
        if len(filled) == 0:
            raise ValueError(f"{sample.set}/{sample.name}: the mask is empty, there is nothing to point at.")
        chosen = rng.permutation(filled)[: config.masks_per_image]
        if config.train == FROM_SCRATCH:  # other prompts for the same object are worth more than padding
            chosen = np.resize(chosen, config.masks_per_image)
        low, high = config.scales or (1.0, 1.0)
        image, masks = augment(
            sample.image, sample.masks[chosen], self.image_size, rng, (low, high), config.flip, config.paper_exact
        )
        if not config.paper_exact:
            masks = masks[foreground(masks).any(axis=(1, 2))]
        if len(masks) == 0:
            raise ValueError(
                f"{sample.set}/{sample.name}: no pixel of the object is left at {self.image_size} pixels."
            )
        return {"image": image, "masks": masks, "name": f"{sample.set}/{sample.name}"}

    def _hq_prompt(self, mask: np.ndarray, kinds: tuple[str, ...], rng: np.random.Generator) -> dict[str, np.ndarray]:
        prompt = draw_prompt(mask, rng, kinds, mask_side=self.mask_size, paper_exact=self.config.paper_exact)
        assert prompt is not None, "empty masks have been dropped"
        return prompt

    def _sam_prompt(self, mask: np.ndarray, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        if _kind_of_step(self.config, step) == "point":
            return {"points": random_points(mask, 1, rng), "labels": np.ones(1, dtype=np.int64)}
        box = mask_to_box(mask)
        assert box is not None, "empty masks have been dropped"
        return {"box": box_noise(box, SAM_BOX_NOISE, self.image_size, rng)}


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _kind_of_step(config: TrainingConfig, step: int) -> str:
    """One kind of first prompt for a whole step, since boxes ask for one mask and single points for three."""
    rng = np.random.default_rng([config.seed, _KIND, step])
    return config.prompts[rng.integers(len(config.prompts))]


def collate(samples: Sequence[dict[str, Any]]) -> Batch:
    count = max(len(sample["prompts"]) for sample in samples)
    size = len(samples[0]["image"])
    prompts = [prompt for sample in samples for prompt in sample["prompts"]]
    most_points = max(len(prompt.get("points", ())) for prompt in prompts)
    mask_side = max(len(prompt.get("mask", ())) for prompt in prompts)
    batch = len(samples)
    images = np.stack([sample["image"] for sample in samples]).transpose(0, 3, 1, 2)
    masks = torch.full((batch, count, size, size), -1.0)
    boxes = torch.full((batch, count, 4), float("nan"))
    points = torch.zeros(batch, count, most_points, 2)
    labels = torch.full((batch, count, most_points), PADDING, dtype=torch.long)
    mask_prompts = torch.full((batch, count, mask_side, mask_side), float("nan"))
    seeds = torch.zeros(batch, count, dtype=torch.long)
    for i, sample in enumerate(samples):
        masks[i, : len(sample["masks"])] = torch.from_numpy(sample["masks"])
        seeds[i, : len(sample["seeds"])] = torch.from_numpy(sample["seeds"])
        for j, prompt in enumerate(sample["prompts"]):
            if "box" in prompt:
                boxes[i, j] = torch.from_numpy(prompt["box"])
            if "points" in prompt:
                number = len(prompt["points"])
                points[i, j, :number] = torch.from_numpy(prompt["points"])
                labels[i, j, :number] = torch.from_numpy(np.asarray(prompt["labels"], dtype=np.int64))
            if "mask" in prompt:
                mask_prompts[i, j] = torch.from_numpy(prompt["mask"])
    return Batch(
        images=torch.from_numpy(np.ascontiguousarray(images)),
        masks=masks,
        boxes=boxes if any("box" in prompt for prompt in prompts) else None,
        points=points if most_points else None,
        labels=labels if most_points else None,
        mask_prompts=mask_prompts if mask_side else None,
        seeds=seeds,
        names=[sample["name"] for sample in samples],
        skipped=[line for sample in samples for line in sample["skipped"]],
    )


class Deliveries(torch.utils.data.Dataset):
    """Batches by the keys of their samples, or the error in place of one: raised in a worker, it loses its words."""

    def __init__(self, samples: TrainingSamples) -> None:
        self.samples = samples

    def __getitem__(self, keys: Sequence[SampleKey]) -> Batch | Exception:
        try:
            return collate(self.samples.__getitems__(keys))
        except (ValueError, OSError) as error:
            return error


class StepBatches:
    """A sampler of batches: the samples of this process from step `first` to `last`, one list per forward pass.

    The images of a step are the same however they are divided among processes and accumulated passes.
    """

    def __init__(
        self,
        count: int,
        seed: int,
        batch_size: int,
        accumulation: int,
        processes: int = 1,
        rank: int = 0,
        first: int = 0,
        last: int = 0,
    ) -> None:
        self.count, self.seed, self.batch_size, self.accumulation = count, seed, batch_size, accumulation
        self.processes, self.rank, self.first, self.last = processes, rank, first, last
        self.images_per_step = batch_size * accumulation * processes
        self.steps_per_epoch = count // self.images_per_step
        if self.steps_per_epoch == 0:
            raise ValueError(
                f"The data hold {count} images, fewer than one step of {self.images_per_step} (batch_size "
                f"{batch_size} x accumulation {accumulation} x {processes} processes). Lower batch_size or "
                "accumulation."
            )

    def __len__(self) -> int:
        return (self.last - self.first) * self.accumulation

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for step in range(self.first, self.last):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(self.count)
            start = step % self.steps_per_epoch * self.images_per_step
            for turn in range(self.accumulation):
                place = start + (turn * self.processes + self.rank) * self.batch_size
                yield [SampleKey(epoch, step, int(index)) for index in order[place : place + self.batch_size]]


__all__ = ["Batch", "Deliveries", "SampleKey", "StepBatches", "TrainingSamples", "collate"]
