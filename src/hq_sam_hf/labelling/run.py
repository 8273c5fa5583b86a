"""`label_images`: label the images of any source into a data set, for `hq-sam label`."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..model.image_files import describe_left_out
from ..utils.distributed import SIZES
from ..utils.output_lock import output_lock
from .engines import EngineOptions
from .file_source import FileSource
from .job import LabellingJob, find_duplicates
from .label_folder import finish_folder, forget_skipped, prepare_folder, push_folder
from .labeller import LabellerSpec
from .plan import ShardPlan
from .progress import Progress
from .prompt_sources import AutomaticPrompts, ColumnPrompts, PromptSource
from .shards import read_skipped
from .sources import Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OutputOptions:
    """What a run writes.

    shard_size: images per Parquet file. batch_size: images that are encoded together.
    with_coco: also write coco.json.
    push_to_hub: name of a data set on the Hub to upload the output to. private: whether it is, if it is created.
    """

    shard_size: int = 500
    batch_size: int = 8
    with_coco: bool = False
    push_to_hub: str | None = None
    private: bool | None = None


AUTOMATIC, LOCAL, DEFAULT_OUTPUT = AutomaticPrompts(), EngineOptions(), OutputOptions()
EMBEDDING_LABELLER = LabellerSpec(multimask_output=True, embeds=True)


@dataclass
class LabelSummary:
    """How a run ended.

    done, done_before: numbers of images that this run and earlier runs labelled.
    skipped: the reason for each image that was skipped, in this run or an earlier one.
    left_out: files of the source that are no images. rate: images per second. shares: what the time went to.
    repository: the address of the data set on the Hub, if it was uploaded.
    """

    done: int
    done_before: int
    skipped: dict[str, str]
    left_out: Sequence[str] = ()
    rate: float = 0.0
    shares: str = ""
    repository: str | None = field(default=None)


def label_images(
    source: Source,
    output: str | os.PathLike,
    prompts: PromptSource = AUTOMATIC,
    labeller: LabellerSpec = EMBEDDING_LABELLER,
    output_options: OutputOptions = DEFAULT_OUTPUT,
    engine: EngineOptions = LOCAL,
    retry_skipped: bool = False,
) -> LabelSummary:
    """Label the images of a source into a folder, which `label_folder` and `shards` describe.

    source: as `open_source` gives it. prompts: where the prompts come from. labeller: models and options.
    retry_skipped: make the shards again from which an earlier run has left out images.

    A stopped or killed run goes on when it is started again with the same options: every image is then in the output
    once, with the same bits as without the interruption. Images that cannot be labelled are skipped, with a warning
    that names them. With several workers, call this under `if __name__ == "__main__":`, because Python starts each
    process by importing the program.

    Raises ValueError for options that do not fit the source, and if another run is writing the folder.
    """
    job = make_job(source, output, prompts, labeller, output_options)
    with output_lock(job.output):
        prepare_folder(job)
        if retry_skipped:
            forget_skipped(job)
        left_out = source.left_out if isinstance(source, FileSource) else ()
        if left_out:
            logger.warning("%s", describe_left_out(left_out))
        missing = sum(len(shard) for shard in job.missing_shards())
        progress = Progress(missing)
        new_skipped: dict[str, str] = {}
        with progress.shown():
            for shard, seconds in engine.run(job, progress.add):
                progress.spend(seconds)
                of_shard = read_skipped(job.output, [shard])
                for key, problem in of_shard.items():
                    logger.warning("skipped %s: %s", key, problem)
                new_skipped.update(of_shard)
        skipped = finish_folder(job, output_options.with_coco)
    summary = LabelSummary(
        missing - len(new_skipped),
        len(source) - missing - (len(skipped) - len(new_skipped)),
        skipped,
        left_out,
        progress.rate,
        progress.shares(),
    )
    if output_options.push_to_hub is not None:
        summary.repository = push_folder(job.output, output_options.push_to_hub, output_options.private)
    return summary


def make_job(
    source: Source,
    output: str | os.PathLike,
    prompts: PromptSource,
    labeller: LabellerSpec,
    output_options: OutputOptions = DEFAULT_OUTPUT,
) -> LabellingJob:
    """Check that the options fit the source, and put them together. Writes nothing."""
    for variable in SIZES:
        size = os.environ.get(variable, "1")
        if size.isdigit() and int(size) > 1:
            raise ValueError(
                f"This is one of {size} processes that a launcher has started ({variable}), and each would do all the "
                "work. Start a single one; it starts `--workers` processes itself."
            )
    if isinstance(prompts, ColumnPrompts):
        prompts.check(source.columns)
    if not labeller.embeds and not source.has_addresses:
        raise ValueError(
            "The images of the source have no files of their own, so the output cannot refer to them. Use `--images "
            "embed`, or `embeds=True` in Python."
        )
    plan = ShardPlan(len(source), output_options.shard_size, output_options.batch_size)
    return LabellingJob(source, prompts, labeller, plan, Path(os.path.abspath(output)), find_duplicates(source))


__all__ = ["LabelSummary", "OutputOptions", "label_images", "make_job"]
