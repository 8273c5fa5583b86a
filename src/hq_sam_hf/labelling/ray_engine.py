"""The engine `ray`: a labelling job on the processes of a Ray cluster, through Ray Data.

    tasks on CPUs                actors with the models       tasks on CPUs
    read, decode, resize  ───>   encode and decode     ───>   write a shard
    a row per batch              a row per batch              a row per shard

Ray Data streams the rows, holds back what runs ahead, and repeats what was lost with a process or a node. It keeps
their order, so the writer receives a shard as a whole; it checks that, and the file appears atomically. Which shards
are done follows from the files alone: docs/architecture.md says why this does not use the checkpoints of Ray Data.
"""

import pickle
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .job import LabellingJob
from .labeller import label_prepared
from .plan import Shard
from .preparation import Preparation, prepare_batch
from .ray_cluster import RayCluster, plain_errors
from .ray_tries import start_counter, tried

if TYPE_CHECKING:
    import ray
    import ray.data

# Images that a task reads. Batches leave in order, and a task whose turn has not come may hold two blocks. A task with
# more blocks would stop in the middle, and so the tasks would wait for each other.
IMAGES_PER_TASK = 16
# Ray Data takes a millisecond to set up a task, all of them before it starts.
TASKS_AT_ONCE = 100_000

Columns = dict[str, Any]  # of some rows, as Ray Data passes them


class _Shared(NamedTuple):
    """What all processes share: the job, and the actor that counts how often a batch was begun.

    Ray Data would resolve a reference that is an argument itself, and so copy the job for every task.
    """

    job: "ray.ObjectRef"
    tries: Any


def label_on_ray(job: LabellingJob, cluster: RayCluster) -> Iterator[tuple[Shard, Mapping[str, float]]]:
    """Label the missing shards of a job. Gives each shard when it is written, with the seconds of each part.

    Raises ValueError if Ray is not installed, if the cluster cannot be reached or lacks what a worker needs, and if
    processes die on a batch again and again; besides the first error that does not concern a single image, such as
    OSError for a full disk.
    """
    shards = job.missing_shards()
    if not shards:
        return
    with cluster.connected():
        import ray

        shared = _Shared(ray.put(job), start_counter())
        at_once = max(1, TASKS_AT_ONCE // len(_reading_tasks(job, shards[:1])))
        with plain_errors():
            for start in range(0, len(shards), at_once):
                for row in _pipeline(shared, job, shards[start : start + at_once], cluster).iter_rows():
                    yield job.plan[int(row["shard"])], pickle.loads(row["seconds"])


def _reading_tasks(job: LabellingJob, shards: Sequence[Shard]) -> list[dict[str, int]]:
    """The tasks that read some shards: the numbers of a shard, of a batch, and of the one after the last batch."""
    step = max(1, IMAGES_PER_TASK // job.plan.batch_size)
    counts = [(shard.index, len(job.plan.batches(shard))) for shard in shards]
    return [
        {"shard": index, "start": start, "stop": min(start + step, count)}
        for index, count in counts
        for start in range(0, count, step)
    ]


def _pipeline(shared: _Shared, job: LabellingJob, shards: Sequence[Shard], cluster: RayCluster) -> "ray.data.Dataset":
    """A row per written shard. Iterating over the rows computes them."""
    import ray.data

    workers = cluster.number_of_workers()
    # On GPUs, the tasks have the CPUs for themselves. Elsewhere the workers have them, and the tasks run beside them
    # without a claim: if they had to wait for a free CPU, a cluster that has lost a node would wait forever.
    if cluster.gpus_per_worker:
        tasks, actors = {"num_cpus": 1}, {"num_gpus": cluster.gpus_per_worker}
    else:
        tasks, actors = {"num_cpus": 0, "compute": ray.data.TaskPoolStrategy(size=workers)}, {"num_cpus": 1.0}
    device = "cuda" if cluster.gpus_per_worker else "cpu"
    rows = _reading_tasks(job, shards)
    return (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map_batches(_read_batches, batch_size=1, fn_kwargs={"shared": shared}, **tasks)
        .map_batches(
            _Worker,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            fn_constructor_args=(shared, device),
            **actors,
        )
        .map_batches(_write_shard, batch_size=len(job.plan.batches(shards[0])), fn_kwargs={"shared": shared}, **tasks)
    )


def _read_batches(columns: Columns, shared: _Shared) -> Iterator[Columns]:
    """The images of some batches of a shard, ready for the model: a row per batch."""
    job, preparation = _fetch(shared.job), _preparation(shared.job)
    for number, start, stop in zip(*(columns[name].tolist() for name in ("shard", "start", "stop"))):
        for batch in range(start, stop):
            rows = job.plan.batches(job.plan[number])[batch]
            images = tried(shared.tries, rows, lambda: prepare_batch(job.examples(rows), preparation))  # noqa: B023
            yield _row(number, batch, images=images)


class _Worker:
    """Labels batches, with a model that is loaded once."""

    def __init__(self, shared: _Shared, device: str) -> None:
        torch.set_num_threads(1)  # other numbers change the last digits of the scores
        self.shared = shared
        self.job = _fetch(shared.job)
        self.labeller = self.job.labeller.load(device)

    def __call__(self, columns: Columns) -> Iterator[Columns]:
        for number, batch, images in zip(columns["shard"].tolist(), columns["batch"].tolist(), columns["images"]):
            self.labeller.seconds.clear()
            rows = self.job.plan.batches(self.job.plan[number])[batch]
            records = tried(self.shared.tries, rows, lambda: label_prepared(pickle.loads(images), self.labeller))  # noqa: B023
            yield _row(number, batch, records=records, seconds=dict(self.labeller.seconds))


def _write_shard(columns: Columns, shared: _Shared) -> Columns:
    """Write a shard from its batches."""
    job = _fetch(shared.job)
    shard = job.plan[int(columns["shard"][0])]
    received = list(zip(columns["shard"].tolist(), columns["batch"].tolist()))
    assert received == [(shard.index, batch) for batch in range(len(job.plan.batches(shard)))], received
    records = [record for part in columns["records"] for record in pickle.loads(part)]
    started = time.perf_counter()
    job.write(shard, records)
    seconds = Counter({"write": time.perf_counter() - started})
    for part in columns["seconds"]:
        seconds.update(pickle.loads(part))
    return {"shard": np.array([shard.index]), "seconds": _pickled(dict(seconds))}


def _row(shard: int, batch: int, **values: Any) -> Columns:
    """A row about a batch."""
    return {
        "shard": np.array([shard]),
        "batch": np.array([batch]),
        **{name: _pickled(value) for name, value in values.items()},
    }


def _pickled(value: Any) -> np.ndarray:
    """A column of one value, as bytes, which Ray Data passes on as they are."""
    return np.array([pickle.dumps(value, protocol=5)], dtype=object)


@lru_cache(maxsize=1)
def _fetch(job: "ray.ObjectRef") -> LabellingJob:
    """The job, once for all tasks of a process."""
    import ray

    return ray.get(job)


@lru_cache(maxsize=1)
def _preparation(job: "ray.ObjectRef") -> Preparation:
    """What prepares the images of the job, once for all tasks of a process."""
    return _fetch(job).labeller.load_preparation()


__all__ = ["RayCluster", "label_on_ray"]
