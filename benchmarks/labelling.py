"""Measure `hq-sam label`: engines against a bare loop, one and two workers, and memory over many images.

example: python benchmarks/labelling.py --images 400 --images-for-memory 5000

The images are generated scenes of 256 pixels with a box per object, and the model is the one inside the package, so
labelling an image is as cheap as it gets and the share of the engines as large. Time counts from the first batch that
a worker labels to the last: starting processes takes seconds, which many images make up for. How much of it a worker
labels is compared with the bare loop, so that other load on the machine, which slows everything down, matters little.
"""

import argparse
import io
import os
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import datasets
import psutil
import torch

from hq_sam_hf.inference.loading import ModelSpec
from hq_sam_hf.labelling.engines import EngineOptions
from hq_sam_hf.labelling.examples import ImageRecord
from hq_sam_hf.labelling.job import LabellingJob
from hq_sam_hf.labelling.labeller import Labeller, LabellerSpec, label_batch
from hq_sam_hf.labelling.opening import open_source
from hq_sam_hf.labelling.plan import Shard
from hq_sam_hf.labelling.preparation import PreparedImage
from hq_sam_hf.labelling.prompt_sources import ColumnPrompts
from hq_sam_hf.labelling.run import OutputOptions, make_job
from hq_sam_hf.scenes import SceneGenerator

SIDE, SCENES, SEED = 256, 64, 20261128
SHARD_SIZE = 40
SIDE_FOR_MEMORY = 64  # of the model input, so that many images take minutes
OBJECT_STORE = 300 << 20  # bytes, of Ray

Run = Iterator[tuple[Shard, Mapping[str, float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400, help="images per run (default: 400)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each engine, in turns (default: 2)")
    parser.add_argument("--engines", nargs="*", default=list(ENGINES), choices=list(ENGINES), help="those to measure")
    parser.add_argument("--images-for-memory", type=int, default=0, metavar="N", help="also measure memory over these")
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder, ray_on_this_machine():
        jobs = Jobs(Path(folder))
        if arguments.engines:
            print_speed(arguments.engines, jobs, arguments.images, arguments.rounds)
        if arguments.images_for_memory:
            for name in ("local-1", "ray-1"):
                print_memory(name, jobs.make(arguments.images_for_memory, SIDE_FOR_MEMORY))


class Jobs:
    """Makes jobs with output folders of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0

    def make(self, images: int, image_size: int | None = None) -> LabellingJob:
        file = self.folder / f"images_{images}.parquet"
        if not file.exists():
            write_images(file, images)
        self.number += 1
        source = open_source([file])
        output = self.folder / f"labels_{self.number}"
        labeller = TimedSpec(ModelSpec(image_size=image_size), embeds=True, log=f"{output}.log")
        return make_job(source, output, ColumnPrompts(boxes="boxes"), labeller, OutputOptions(SHARD_SIZE, 8))


@dataclass(frozen=True)
class TimedSpec(LabellerSpec):
    """Its labellers write a line for each batch into the file `log`: their process, and when they began and ended."""

    log: str = ""

    def load(self, device: str | None = None) -> Labeller:
        labeller = super().load(device)
        label = labeller.label

        def label_and_log(images: Sequence[PreparedImage]) -> list[ImageRecord]:
            began = time.time()
            records = label(images)
            with open(self.log, "a") as file:
                file.write(f"{os.getpid()} {began} {time.time()}\n")
            return records

        labeller.label = label_and_log  # type: ignore[method-assign]
        return labeller


def write_images(file: Path, images: int) -> None:
    """A Parquet file of JPEG images, each scene several times under names of its own."""
    rows = []
    for scene in SceneGenerator(SCENES, SEED, SIDE):
        content = io.BytesIO()
        scene["image"].save(content, format="JPEG", quality=92)
        boxes = [box for mask in scene["masks"] if (box := mask.getbbox()) is not None]
        rows.append({"image": {"bytes": content.getvalue(), "path": None}, "boxes": [list(box) for box in boxes]})
    table = [{"key": f"{i:06d}", **rows[i % len(rows)]} for i in range(images)]
    datasets.Dataset.from_list(table).to_parquet(file, batch_size=SHARD_SIZE)


def bare_loop(job: LabellingJob) -> Run:
    """What the engines are compared with: read, label and write in one process, one after the other."""
    torch.set_num_threads(1)
    labeller = job.labeller.load("cpu")
    for shard in job.missing_shards():
        records = [record for rows in job.plan.batches(shard) for record in label_batch(job.examples(rows), labeller)]
        job.write(shard, records)
        yield shard, {}


def engine(options: EngineOptions) -> Callable[[LabellingJob], Run]:
    return lambda job: options.run(job, lambda images: None)


ENGINES: dict[str, Callable[[LabellingJob], Run]] = {
    "bare": bare_loop,
    **{f"{name}-{workers}": engine(EngineOptions(name, workers)) for name in ("local", "ray") for workers in (1, 2)},
}


@dataclass
class Timing:
    """Of one run: images per second, the share of the time in which workers label, and the seconds of each part."""

    rate: float
    labelling: float
    parts: Counter[str]


def measure(name: str, job: LabellingJob) -> Timing:
    parts: Counter[str] = Counter()
    for _, seconds in ENGINES[name](job):
        parts.update(seconds)
    assert isinstance(job.labeller, TimedSpec)
    by_worker: dict[str, list[tuple[float, float]]] = {}
    for line in Path(job.labeller.log).read_text().splitlines():
        worker, began, ended = line.split()
        by_worker.setdefault(worker, []).append((float(began), float(ended)))
    spans = [(times[0][0], times[-1][1]) for times in by_worker.values()]
    busy = sum(ended - began for times in by_worker.values() for began, ended in times)
    clock = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return Timing(job.plan.images / clock, busy / sum(end - begin for begin, end in spans), parts)


def family() -> list[psutil.Process]:
    own = psutil.Process()
    return [one for one in (own, *own.children(recursive=True)) if one.is_running()]


def print_speed(names: Sequence[str], jobs: Jobs, images: int, rounds: int) -> None:
    found: dict[str, list[Timing]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(measure(name, jobs.make(images)))
    print(f"| {images} images, median of {rounds} | images/s | of the time, workers label | parts |")
    print("|---|---:|---:|---|")
    for name, timings in found.items():
        rate = statistics.median(timing.rate for timing in timings)
        labelling = statistics.median(timing.labelling for timing in timings)
        parts = sum((timing.parts for timing in timings), Counter())
        shares = ", ".join(f"{part} {seconds / parts.total():.0%}" for part, seconds in parts.most_common())
        print(f"| {name} | {rate:.1f} | {labelling:.1%} | {shares} |")


def print_memory(name: str, job: LabellingJob) -> None:
    """Peaks of the memory of all processes, over tenths of a run."""
    peaks = [0.0] * 10
    position, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            peaks[position[0]] = max(peaks[position[0]], used_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number, _ in enumerate(ENGINES[name](job), start=1):
            position[0] = min(9, 10 * number // len(job.plan))
    finally:
        done.set()
        watcher.join()
    tenths = ", ".join(f"{peak / 2**20:.0f}" for peak in peaks)
    print(f"{name}: peak memory in MiB over {job.plan.images} images, in tenths of the run: {tenths}")


def used_memory() -> float:
    """Bytes that this process and those below it hold, shared libraries counted once per process."""
    total = 0.0
    for process in family():
        try:
            total += process.memory_full_info().uss
        except psutil.NoSuchProcess:
            continue
    return total


@contextmanager
def ray_on_this_machine() -> Iterator[None]:
    """A Ray cluster with a small object store, started once for all runs."""
    import ray

    os.environ["RAY_worker_niceness"] = "0"  # the bare loop and the engine `local` have the usual priority
    ray.init(
        "local", object_store_memory=OBJECT_STORE, include_dashboard=False, log_to_driver=False, logging_level="error"
    )
    try:
        yield
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
