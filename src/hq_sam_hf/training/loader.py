"""Loading of training batches: the sampler of a run's steps, and the loader with its worker processes."""

import signal
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from .batch import Batch, collate
from .dataset import SampleKey, TrainingDataset
from .image_order import ImageOrder

# Seconds that workers live on after SIGTERM, so that the run can finish the current step and save it.
GRACE_PERIOD = 60


class StepSampler:
    """The samples of one process from step `first` to step `last`: a list of keys for each forward pass.

    The images of a step are the same for any split among processes and accumulated forward passes.

    images: their number, or their order if there are several data sets. batch_size: per process and forward pass.
    accumulation: forward passes per step.
    """

    def __init__(
        self,
        images: int | ImageOrder,
        seed: int,
        batch_size: int,
        accumulation: int,
        processes: int = 1,
        rank: int = 0,
        first: int = 0,
        last: int = 0,
    ) -> None:
        self.order = images if isinstance(images, ImageOrder) else ImageOrder([(images, 1.0)], seed)
        self.batch_size, self.accumulation = batch_size, accumulation
        self.processes, self.rank, self.first, self.last = processes, rank, first, last
        self.images_per_step = batch_size * accumulation * processes
        count = len(self.order)
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
        epoch, order = -1, np.empty((0, 2), dtype=np.int64)
        for step in range(self.first, self.last):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = self.order.epoch(epoch)
            start_of_step = step % self.steps_per_epoch * self.images_per_step
            for number in range(self.accumulation):
                start = start_of_step + (number * self.processes + self.rank) * self.batch_size
                chosen = order[start : start + self.batch_size].tolist()
                yield [SampleKey(seen, step, image) for seen, image in chosen]


class _BatchesOrErrors(torch.utils.data.Dataset):
    """Batches by the keys of their samples.

    Return the exception of a batch that cannot be made; worker exceptions lose their message.
    """

    def __init__(self, dataset: TrainingDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, keys: Sequence[SampleKey]) -> Batch | Exception:
        try:
            return collate(self.dataset.__getitems__(keys))
        except (ValueError, OSError) as error:
            return error


def load_batches(dataset: TrainingDataset, sampler: StepSampler, num_workers: int) -> Iterator[Batch]:
    """The batches of a sampler, on the CPU. Raises the ValueError or OSError of a sample that stops the run."""
    loader: Any = DataLoader(
        _BatchesOrErrors(dataset),
        sampler=sampler,
        batch_size=None,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_delay_stop_signals,
    )
    for batch in loader:
        if isinstance(batch, Exception):
            raise batch
        yield batch


def _delay_stop_signals(_: int) -> None:
    """Keep a worker alive until the current step is saved, also where all processes of a run get the signal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):  # the alarm ends the process; Windows has neither alarms nor such signals
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_PERIOD))


__all__ = ["StepSampler", "load_batches"]
