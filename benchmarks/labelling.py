"""Measure `hq-sam label`: engines against a bare loop, one and two workers, and memory over many images.

example: python benchmarks/labelling.py --images 400 --images-for-memory 5000

The images are generated scenes of 256 pixels with a box per object, and the model is the one inside the package, so
labelling an image is as cheap as it gets and the share of the engines as large. Speed is the difference between a run
over twice the images and a run over the images: starting processes takes seconds, which many images make up for.
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
from hq_sam_hf.labelling.job import LabellingJob
from hq_sam_hf.labelling.labeller import LabellerSpec, label_batch
from hq_sam_hf.labelling.opening import open_source
from hq_sam_hf.labelling.plan import Shard
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
    parser.add_argument("--images", type=int, default=400, help="images per run, and twice as many (default: 400)")
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
        labeller = LabellerSpec(ModelSpec(image_size=image_size), embeds=True)
        return make_job(source, output, ColumnPrompts(boxes="boxes"), labeller, OutputOptions(SHARD_SIZE, 8))


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
class Cost:
    """What a run took: seconds on the clock, seconds of all processors, and seconds of each part."""

    clock: float
    processors: float
    parts: Counter[str]


def measure(name: str, job: LabellingJob) -> Cost:
    parts: Counter[str] = Counter()
    started, used = time.perf_counter(), processor_time()
    for _, seconds in ENGINES[name](job):
        parts.update(seconds)
    return Cost(time.perf_counter() - started, processor_time() - used, parts)


def processor_time() -> float:
    """Processor seconds so far of this process and of all that it has started, also of those that have ended."""
    return sum(sum(process.cpu_times()[:4]) for process in family())


def family() -> list[psutil.Process]:
    own = psutil.Process()
    return [one for one in (own, *own.children(recursive=True)) if one.is_running()]


def print_speed(names: Sequence[str], jobs: Jobs, images: int, rounds: int) -> None:
    found: dict[str, list[tuple[Cost, Cost]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append((measure(name, jobs.make(images)), measure(name, jobs.make(2 * images))))
    print(f"| {images} images, median of {rounds} | images/s | processor ms per image | start, s | parts |")
    print("|---|---:|---:|---:|---|")
    for name, pairs in found.items():
        clock = statistics.median(long.clock - short.clock for short, long in pairs)
        used = statistics.median(long.processors - short.processors for short, long in pairs)
        start = statistics.median(2 * short.clock - long.clock for short, long in pairs)
        parts = sum((long.parts for _, long in pairs), Counter())
        shares = ", ".join(f"{part} {seconds / parts.total():.0%}" for part, seconds in parts.most_common())
        print(f"| {name} | {images / clock:.1f} | {1000 * used / images:.0f} | {start:.1f} | {shares} |")


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
