"""The engine `local`: a labelling job on the processes of this machine.

Every process computes whole batches with PyTorch on one thread, so that the shards have the same bits whatever the
number of processes is.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from ..utils.threads import one_thread
from .examples import ImageRecord
from .job import LabellingJob
from .labeller import Labeller, label_batch, label_prepared
from .plan import Shard
from .preparation import prepare_batch
from .progress import add_seconds

# Starting a process takes seconds, so each should have so many batches at least.
BATCHES_PER_WORKER = 4
MOST_WORKERS = 8  # by default; each holds a copy of the model
# A worker that was killed is replaced so often without a new shard in between.
RESTARTS = 2

Seconds = Mapping[str, float]


class LabelledBatch(NamedTuple):
    """The records of a batch, and how many seconds each part took."""

    records: list[ImageRecord]
    seconds: dict[str, float]


def label_locally(
    job: LabellingJob, workers: int | None = None, on_batch: Callable[[int], object] = lambda count: None
) -> Iterator[tuple[Shard, Seconds]]:
    """Label the missing shards of a job. Gives each shard when it is written, with the seconds of each part.

    workers: number of processes, each with a copy of the model; by default `default_workers`.
    on_batch: called with the number of images of each batch that is done.

    Raises the first error that does not concern a single image, such as OSError for a full disk, and ValueError if
    processes are killed again and again.
    """
    shards = job.missing_shards()
    if workers is not None and workers < 1:
        raise ValueError(f"`workers` must be a whole number from 1 on, got {workers!r}.")
    workers = default_workers(job, shards) if workers is None else workers
    if not shards:
        return
    batches = _in_this_process(job, shards) if workers == 1 else _in_processes(job, shards, workers)
    for shard in shards:
        records: list[ImageRecord] = []
        seconds: dict[str, float] = {}
        for _ in job.plan.batches(shard):
            batch = next(batches)
            records += batch.records
            add_seconds(seconds, batch.seconds)
            on_batch(len(batch.records))
        started = time.perf_counter()
        job.write(shard, records)
        seconds["write"] = time.perf_counter() - started
        yield shard, seconds


def default_workers(job: LabellingJob, shards: Sequence[Shard]) -> int:
    """One process per GPU, or per CPU core if there is none, but no more than there is work for."""
    if job.labeller.model.device is not None and job.labeller.model.device != "cpu":
        return 1
    gpus = torch.cuda.device_count() if job.labeller.model.device is None else 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    batches = sum(len(job.plan.batches(shard)) for shard in shards)
    return max(1, min(gpus or min(cores, MOST_WORKERS), batches // BATCHES_PER_WORKER))


def label_rows_once(job: LabellingJob, batches: Sequence[range]) -> Iterator[LabelledBatch]:
    """Label some batches in this process for a measurement, after a first one that is not counted."""
    with one_thread():
        labeller = job.labeller.load()
        for rows in batches[:1]:
            label_batch(job.examples(rows), labeller)
        for rows in batches:
            yield _timed(labeller, lambda: label_batch(job.examples(rows), labeller))  # noqa: B023


def _in_this_process(job: LabellingJob, shards: Sequence[Shard]) -> Iterator[LabelledBatch]:
    """All batches in order. The next one is prepared in a thread while the model works on this one."""
    with one_thread():
        labeller = job.labeller.load()
    all_rows = [rows for shard in shards for rows in job.plan.batches(shard)]

    def prepare(rows: range) -> Any:
        return prepare_batch(job.examples(rows), labeller.preparation)

    with ThreadPoolExecutor(1) as ahead:
        prepared = ahead.submit(prepare, all_rows[0])
        for following in [*all_rows[1:], None]:
            images = prepared.result()
            if following is not None:
                prepared = ahead.submit(prepare, following)
            with one_thread():
                batch = _timed(labeller, lambda: label_prepared(images, labeller))  # noqa: B023
            yield batch


def _in_processes(job: LabellingJob, shards: Sequence[Shard], workers: int) -> Iterator[LabelledBatch]:
    """All batches in order, computed by several processes, which work at most two batches each ahead."""
    waiting = deque(rows for shard in shards for rows in job.plan.batches(shard))
    failures = 0
    while waiting:
        started: deque[tuple[range, Future[LabelledBatch]]] = deque()
        with _pool(job, workers) as pool:
            try:
                while waiting or started:
                    while waiting and len(started) < 2 * workers:
                        started.append((waiting[0], pool.submit(_label_rows, waiting[0])))
                        waiting.popleft()
                    batch = started[0][1].result()
                    started.popleft()
                    failures = 0
                    yield batch
            except BrokenProcessPool as error:
                waiting.extendleft(rows for rows, _ in reversed(started))
                failures += 1
                if failures > RESTARTS:
                    raise ValueError(
                        f"A process was killed {failures} times on the images from row {waiting[0].start} on, perhaps "
                        "because memory ran out. Use fewer `--workers` or a smaller `--batch-size`, or leave these "
                        "images out. The same command goes on from here."
                    ) from error


@contextmanager
def _pool(job: LabellingJob, workers: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")  # a forked process must not use the GPU of its parent
    numbers = context.SimpleQueue()
    for number in range(2 * workers):
        numbers.put(number % workers)
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(job, numbers))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# The job and the labeller of a process that the pool has started.
_own: dict[str, Any] = {}


def _start(job: LabellingJob, numbers: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the first one ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    gpus = torch.cuda.device_count()
    device = f"cuda:{numbers.get() % gpus}" if gpus and job.labeller.model.device is None else None
    try:
        _own.update(job=job, labeller=job.labeller.load(device))
    except Exception as error:  # the pool would only say that a process has ended
        _own["error"] = error


def _end_with_parent() -> None:
    """End this process when the one that started it has been killed, for which the pool would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _label_rows(rows: range) -> LabelledBatch:
    if "error" in _own:
        raise _own["error"]
    job, labeller = _own["job"], _own["labeller"]
    return _timed(labeller, lambda: label_batch(job.examples(rows), labeller))


def _timed(labeller: Labeller, label: Callable[[], list[ImageRecord]]) -> LabelledBatch:
    """The records, and how long each part took for them."""
    labeller.seconds.clear()
    records = label()
    return LabelledBatch(records, dict(labeller.seconds))


__all__ = ["LabelledBatch", "default_workers", "label_locally", "label_rows_once"]
