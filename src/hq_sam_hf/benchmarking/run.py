"""Run a model over a benchmark: resumable, over several processes, in memory that does not grow with the images."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from ..evaluation.decoding import predict
from ..evaluation.protocols import PROTOCOLS
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor
from .parts import BenchmarkImage, BenchmarkPart
from .predictions import PredictionRow, write_shard
from .preparation import TRIAL, Preparation, prediction_rows
from .prompt_sources import PromptSource
from .run_folder import RunFolder

if TYPE_CHECKING:
    from accelerate import PartialState

IMAGES_PER_SHARD = 32  # what a killed process has to do again at most

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class RunSettings:
    """What the masks depend on, besides the model and the files.

    outputs: one or more of "sam", "hq", "sum". protocol: "aspect" or "stretch", see `evaluation.protocols`.
    noise: scale of the noise of boxes, 0 for none, drawn from `seed`.
    batch_size: images that are encoded together. multimask_output: the best of SAM's three candidates.
    is_exclusive: a pixel belongs to one object of an image only.
    """

    outputs: Sequence[str] = ("sam", "hq", "sum")
    protocol: str = "aspect"
    noise: float = 0.0
    seed: int = 0
    batch_size: int = 1
    multimask_output: bool = False
    is_exclusive: bool = False


@dataclass
class BenchmarkRun:
    """Writes the shards of predictions that a folder lacks.

    sources: the prompts of each part, by its name. workers: threads that read images.
    """

    model: HQSamModel
    processor: HQSamProcessor
    folder: RunFolder
    settings: RunSettings
    workers: int = 2

    def run(
        self,
        parts: Sequence[BenchmarkPart],
        sources: Mapping[str, PromptSource],
        state: "PartialState",
        progress: bool = False,
    ) -> int:
        """Predict all images whose shard is not there. The processes share the shards.

        Returns the number of images that this process has predicted.
        """
        from accelerate.utils import broadcast_object_list
        from tqdm.auto import tqdm

        # One process looks, because another one may already write its first shard.
        missing = [self._missing(parts) if state.is_main_process else None]
        broadcast_object_list(missing)
        own = (missing[0] or [])[state.process_index :: state.num_processes]
        by_name = {part.name: part for part in parts}
        todo = sum(len(shard_images(by_name[name], number)) for name, number in own)
        self.model.eval()
        with tqdm(total=todo, unit="image", disable=not (progress and state.is_main_process)) as bar:
            for name, number in own:
                images = shard_images(by_name[name], number)
                rows = self._predict(name, images, sources[name])
                write_shard(self.folder.predictions(name), number, rows)
                bar.update(len(images))
        return todo

    def _missing(self, parts: Sequence[BenchmarkPart]) -> list[tuple[str, int]]:
        return [
            (part.name, number)
            for part in parts
            for number in self.folder.missing_shards(part.name, -(-len(part.images) // IMAGES_PER_SHARD))
        ]

    @torch.no_grad()
    def _predict(self, part: str, images: Sequence[BenchmarkImage], source: PromptSource) -> list[PredictionRow]:
        settings, image_processor = self.settings, self.processor.image_processor
        protocol = PROTOCOLS[settings.protocol](image_processor)
        prepare = Preparation(part, source, protocol, image_processor, settings.noise, settings.seed)
        workers = 0 if source.uses_model else self.workers
        rows: list[PredictionRow] = []
        for prepared in _batches(_prefetched(prepare, images, workers), settings.batch_size):
            prepared = [one for one in prepared if one.prompted is not None]
            prompted: list[Any] = [one.prompted for one in prepared]
            found = predict(self.model, protocol, prompted, [TRIAL], settings.outputs, settings.multimask_output)
            rows += prediction_rows(prepared, found, settings.outputs, settings.is_exclusive)
        return rows


def shard_images(part: BenchmarkPart, number: int) -> list[BenchmarkImage]:
    """The images of a shard."""
    return part.images[number * IMAGES_PER_SHARD : (number + 1) * IMAGES_PER_SHARD]


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _prefetched(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """The results in order, computed in threads a few items ahead."""
    if workers < 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


__all__ = ["IMAGES_PER_SHARD", "BenchmarkRun", "RunSettings", "shard_images"]
