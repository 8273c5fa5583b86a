"""The engine `ray` without a cluster: its options, its errors, and what its functions check."""

import pickle
import socket
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hq_sam_hf.labelling import ray_engine
from hq_sam_hf.labelling.examples import ImageRecord
from hq_sam_hf.labelling.file_source import FileSource
from hq_sam_hf.labelling.job import LabellingJob
from hq_sam_hf.labelling.labeller import LabellerSpec
from hq_sam_hf.labelling.plan import ShardPlan
from hq_sam_hf.labelling.prompt_sources import AutomaticPrompts
from hq_sam_hf.labelling.ray_cluster import RayCluster, plain_errors
from hq_sam_hf.labelling.ray_engine import label_on_ray
from hq_sam_hf.labelling.ray_tries import TRIES, Tries, tried


def make_job(output: Path) -> LabellingJob:
    """Five images in shards of three and two, in batches of two."""
    names = [f"{i}.png" for i in range(5)]
    return LabellingJob(FileSource("images", names), AutomaticPrompts(), LabellerSpec(), ShardPlan(5, 3, 2), output)


@pytest.mark.parametrize("workers", [0, -1])
def test_a_run_needs_a_worker(workers):
    with pytest.raises(ValueError, match="`workers` must be a whole number from 1 on"):
        RayCluster(workers=workers)


@pytest.mark.parametrize("gpus", [-1, float("nan"), float("inf")])
def test_workers_cannot_have_such_a_number_of_gpus(gpus):
    with pytest.raises(ValueError, match="`gpus_per_worker` must be 0 or more"):
        RayCluster(gpus_per_worker=gpus)


def test_without_ray_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'hq-sam-hf\[scale\]'"):
        next(label_on_ray(make_job(tmp_path), RayCluster()))


def test_a_cluster_that_is_not_there_is_named(tmp_path):
    pytest.importorskip("ray.data")
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{place.getsockname()[1]}"  # nothing listens there
    with pytest.raises(ValueError, match=f"'{address}' cannot be reached .* `ray start --head` and name its address"):
        next(label_on_ray(make_job(tmp_path), RayCluster(address)))


def test_a_job_that_is_done_starts_nothing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    job = make_job(tmp_path)
    for shard in job.plan:
        job.write(shard, records(job, range(shard.start, shard.stop)))
    assert list(label_on_ray(job, RayCluster())) == []


def records(job: LabellingJob, rows: range) -> list[ImageRecord]:
    return [ImageRecord(example.key, problem="not an image") for example in job.examples(rows)]


class Resources:
    """Stands for Ray's module with a cluster of three CPUs and two GPUs."""

    @staticmethod
    def cluster_resources() -> dict[str, float]:
        return {"CPU": 3.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        (RayCluster(), 3),
        (RayCluster(workers=7), 7),
        (RayCluster(gpus_per_worker=1), 2),
        (RayCluster(gpus_per_worker=0.5), 4),
    ],
)
def test_workers_fill_the_cluster_by_default(monkeypatch, cluster, expected):
    monkeypatch.setitem(sys.modules, "ray", Resources)
    assert cluster.number_of_workers() == expected


def test_a_worker_may_not_need_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", Resources)
    with pytest.raises(ValueError, match="A worker needs 3 GPU, but the Ray cluster has 2. Set `gpus_per_worker`"):
        RayCluster(gpus_per_worker=3).number_of_workers()


@pytest.fixture
def shared(monkeypatch, tmp_path):
    """A job as the functions of the pipeline get it, without a cluster."""
    monkeypatch.setattr(ray_engine, "_fetch", lambda job: job)
    return ray_engine._Shared(make_job(tmp_path), None)


def test_tasks_read_a_few_batches_of_one_shard(tmp_path):
    """35 images in shards of 20 and batches of 6: of 4 and 3 batches, of which a task reads 2."""
    names = [f"{i}.png" for i in range(35)]
    plan = ShardPlan(35, shard_size=20, batch_size=6)
    job = LabellingJob(FileSource("images", names), AutomaticPrompts(), LabellerSpec(), plan, tmp_path)
    tasks = [tuple(task.values()) for task in ray_engine._reading_tasks(job, list(plan))]
    assert tasks == [(0, 0, 2), (0, 2, 4), (1, 0, 2), (1, 2, 3)]


def batches(job: LabellingJob, numbers: list[tuple[int, int]]) -> dict[str, np.ndarray]:
    """The columns of some labelled batches, given as (shard, batch)."""
    rows = [job.plan.batches(job.plan[shard])[batch] for shard, batch in numbers]
    return {
        "shard": np.array([shard for shard, _ in numbers]),
        "batch": np.array([batch for _, batch in numbers]),
        "records": np.array([pickle.dumps(records(job, part)) for part in rows], dtype=object),
        "seconds": np.array([pickle.dumps({"encoder": 0.5}) for _ in rows], dtype=object),
    }


def test_the_batches_of_a_shard_become_a_file(shared):
    written = ray_engine._write_shard(batches(shared.job, [(0, 0), (0, 1)]), shared)
    assert written["shard"].tolist() == [0]
    seconds = pickle.loads(written["seconds"][0])
    assert seconds["encoder"] == 1.0
    assert seconds["write"] > 0
    assert [shard.index for shard in shared.job.missing_shards()] == [1]


@pytest.mark.parametrize("numbers", [[(0, 0)], [(0, 1), (0, 0)], [(0, 0), (0, 0)], [(0, 0), (0, 1), (1, 0)]])
def test_a_shard_is_written_from_its_own_batches_in_order_only(shared, numbers):
    with pytest.raises(AssertionError):
        ray_engine._write_shard(batches(shared.job, numbers), shared)
    assert len(shared.job.missing_shards()) == 2


def test_a_batch_whose_process_dies_again_and_again_ends_the_run(monkeypatch):
    """As if the process died within the computation: what it has begun is never finished."""
    ray = pytest.importorskip("ray")
    tries = Tries()

    class Call:
        def __init__(self, method):
            self.remote = method

    class Actor:
        begin, finish = Call(tries.begin), Call(tries.finish)

    monkeypatch.setattr(ray, "get", lambda value: value)
    assert tried(Actor, range(4, 5), lambda: "records") == "records"
    assert tries.begun == Counter()
    for _ in range(TRIES):
        tries.begin(range(2, 4))
    with pytest.raises(ValueError, match=r"5 processes have died on the images in rows 2 to 3 .* smaller `--batch"):
        tried(Actor, range(2, 4), lambda: "records")


@pytest.mark.parametrize("cause", [OSError(28, "No space is left"), ValueError("wrong"), KeyError("name")])
def test_errors_of_tasks_come_back_as_they_were(cause):
    exceptions = pytest.importorskip("ray.exceptions")
    error = exceptions.RayTaskError("write", "a long traceback", cause, "ray::task", 1, "192.0.2.1")
    with pytest.raises(type(cause)) as caught, plain_errors():
        raise error.as_instanceof_cause()
    assert caught.value is cause


@pytest.mark.parametrize("name", ["ActorDiedError", "ModuleNotFoundError", "ExecutionTimeoutError"])
def test_failures_of_the_cluster_say_what_to_check(name):
    pytest.importorskip("ray.data")
    from ray.data import exceptions as data_exceptions
    from ray.exceptions import ActorDiedError, RayTaskError

    if name == "ActorDiedError":
        error = ActorDiedError()
    elif name == "ModuleNotFoundError":
        cause = ModuleNotFoundError("No module named 'hq_sam_hf'")
        error = RayTaskError("f", "traceback", cause, "ray::task", 1, "192.0.2.1").as_instanceof_cause()
    elif hasattr(data_exceptions, name):
        error = data_exceptions.ExecutionTimeoutError("nothing happened for 1800 s")
    else:
        pytest.skip("this version of Ray waits without end")
    with pytest.raises(ValueError, match=f"could not go on .{name}: .* have the same version"), plain_errors():
        raise error


def test_other_errors_stay_as_they_are():
    pytest.importorskip("ray.exceptions")
    with pytest.raises(ZeroDivisionError), plain_errors():
        raise ZeroDivisionError
