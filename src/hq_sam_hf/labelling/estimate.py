"""Estimate a labelling run from a measured sample, without writing anything."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from .engines import EngineOptions
from .examples import ImageRecord
from .labeller import LabellerSpec
from .local_engine import default_workers, label_rows_once
from .progress import Progress, format_duration
from .prompt_sources import PromptSource
from .run import OutputOptions, make_job
from .sources import Source

# Batches that are labelled, evenly spread over the source. The first one is run twice, and its first time not counted.
SAMPLED_BATCHES = 4


@dataclass
class Estimate:
    """What a run would do.

    images: of the source. missing: those that an earlier run has not done. duplicates: rows whose key comes twice.
    sampled: images that were labelled. skipped: those of them that were skipped, with the reasons.
    objects: masks found in the sample.
    seconds_per_image: of one worker. shares: what the time goes to. bytes_per_image: of the output, about.
    """

    images: int
    missing: int
    duplicates: int
    sampled: int
    skipped: dict[str, str]
    objects: int
    seconds_per_image: float
    shares: str
    bytes_per_image: float
    workers: int

    @property
    def seconds(self) -> float:
        """How long the run would take, if the workers do not hold each other up."""
        return self.missing * self.seconds_per_image / self.workers

    def lines(self) -> Iterator[str]:
        """The estimate for people."""
        before = self.images - self.missing
        yield f"images: {self.images:,}, of which {before:,} are done and {self.duplicates:,} have the key of another"
        if not self.missing:
            yield "estimate: nothing is left to do"
            return
        found = self.sampled - len(self.skipped)
        yield (
            f"sample: {self.sampled:,} images, {self.objects / max(found, 1):.1f} masks per image, "
            f"{len(self.skipped):,} skipped"
        )
        for key, problem in self.skipped.items():
            yield f"skipped {key}: {problem}"
        yield f"measured: {self.seconds_per_image:.3g} s per image on one worker; {self.shares}"
        workers = f"{self.workers} worker" + ("s" if self.workers > 1 else "")
        yield (
            f"estimate: {format_duration(self.seconds)} ({self.seconds / 3600:.3g} hours) on {workers}, "
            f"{self.bytes_per_image * self.missing / 1e9:.3g} GB of output"
        )


def dry_run(
    source: Source,
    output: str | os.PathLike,
    prompts: PromptSource,
    labeller: LabellerSpec,
    output_options: OutputOptions,
    engine: EngineOptions,
) -> Estimate:
    """Label some batches, evenly spread over the source, and estimate the whole run. The arguments are those of
    `label_images`. Raises ValueError for options that do not fit the source.
    """
    job = make_job(source, output, prompts, labeller, output_options)
    shards = job.missing_shards()
    batches = [rows for shard in shards for rows in job.plan.batches(shard)]
    number = min(SAMPLED_BATCHES, len(batches))
    chosen = [batches[i * len(batches) // number] for i in range(number)]
    progress = Progress(0)
    records: list[ImageRecord] = []
    for batch in label_rows_once(job, chosen):
        records += batch.records
        progress.spend(batch.seconds)
    workers = engine.workers or (default_workers(job, shards) if engine.name == "local" else 1)
    return Estimate(
        images=len(source),
        missing=sum(len(shard) for shard in shards),
        duplicates=len(job.duplicates),
        sampled=len(records),
        skipped={record.key: record.problem for record in records if record.problem is not None},
        objects=sum(len(record.masks) for record in records),
        seconds_per_image=sum(progress.seconds.values()) / max(len(records), 1),
        shares=progress.shares(),
        bytes_per_image=sum(map(_size, records)) / max(len(records), 1),
        workers=workers,
    )


def _size(record: ImageRecord) -> int:
    """About how many bytes a record takes in a shard."""
    masks = sum(len(mask["segmentation"]["counts"]) + 100 for mask in record.masks)
    return len(record.place.content or b"") + masks


__all__ = ["Estimate", "dry_run"]
