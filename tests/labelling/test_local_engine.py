"""The engine `local`: shards of one and of several processes, and what happens when one of them ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from hq_sam_hf.labelling import EngineOptions, OutputOptions, label_images, open_source
from hq_sam_hf.labelling.local_engine import default_workers, label_locally
from hq_sam_hf.labelling.progress import Progress, format_duration
from hq_sam_hf.labelling.prompt_sources import AutomaticPrompts
from hq_sam_hf.labelling.run import make_job
from support.labelling import GRID, shards_of, small_spec, write_images

OUTPUT = OutputOptions(shard_size=4, batch_size=2)


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", 11)


def make(images, model_folder, output, **fields):
    return make_job(open_source([images]), output, AutomaticPrompts(), small_spec(model_folder, **fields), OUTPUT)


def test_shards_come_in_order_with_the_seconds_of_their_parts(images, model_folder, tmp_path):
    counts = []
    job = make(images, model_folder, tmp_path / "out")
    found = list(label_locally(job, 1, counts.append))
    assert [shard.index for shard, _ in found] == [0, 1, 2]
    assert counts == [2, 2, 2, 2, 2, 1]
    for _, seconds in found:
        assert seconds.keys() >= {"decode", "encoder", "decoder", "write"}
        assert all(value > 0 for value in seconds.values())
    assert list(label_locally(job, 1)) == []


def test_a_process_is_only_started_for_several_batches(images, model_folder, tmp_path, monkeypatch):
    job = make(images, model_folder, tmp_path / "out")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(32))
    assert default_workers(job, list(job.plan)) == 1  # six batches
    large = make_job(
        open_source([images]), tmp_path / "out", AutomaticPrompts(), small_spec(model_folder), OutputOptions(4, 1)
    )
    assert default_workers(large, list(large.plan)) == 2  # eleven batches
    assert default_workers(large, []) == 1


@pytest.mark.parametrize("workers", [0, -1])
def test_there_is_at_least_one_worker(images, model_folder, tmp_path, workers):
    with pytest.raises(ValueError, match="`workers` must be a whole number from 1 on"):
        list(label_locally(make(images, model_folder, tmp_path / "out"), workers))


def test_options_of_ray_are_refused_for_the_local_engine():
    with pytest.raises(ValueError, match="are options of the engine `ray`"):
        EngineOptions("local", address="auto")
    with pytest.raises(ValueError, match="`engine` must be one of local, ray, got 'spark'"):
        EngineOptions("spark")


def test_progress_tells_rate_shares_and_the_time_that_is_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    progress = Progress(total=100)
    now[0] = 130.0  # loading the model
    progress.add(1)
    now[0] = 140.0
    progress.add(20)
    progress.spend({"decode": 1.0, "encoder": 6.0})
    progress.spend({"decoder": 2.0, "write": 1.0})
    assert progress.rate == pytest.approx(2.0)
    expected = "21 of 100 images, 2 images/s, 40 s left; decode 10%, encoder 60%, decoder 20%, write 10%"
    assert progress.describe() == expected


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    progress = Progress(total=100)
    with caplog.at_level("INFO", "hq_sam_hf"), progress.shown():
        for now[0] in range(0, 70, 5):
            progress.add(1)
    assert len(caplog.records) == 2  # after 30 and 60 seconds
    assert "13 of 100 images" in caplog.text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2.0 h"), (48 * 3600, "2.0 days")]
)
def test_durations_are_for_people(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.slow
def test_one_and_two_processes_write_the_same_bits(images, model_folder, tmp_path):
    (images / "5.png").write_bytes(b"")
    for workers in (1, 2):
        summary = label_images(
            open_source([images]),
            tmp_path / str(workers),
            AutomaticPrompts(),
            small_spec(model_folder),
            OUTPUT,
            EngineOptions(workers=workers),
        )
        assert (summary.done, list(summary.skipped)) == (10, ["5.png"])
    assert shards_of(tmp_path / "1") == shards_of(tmp_path / "2")


@pytest.mark.slow
def test_an_error_of_loading_is_that_of_the_model_in_every_process(images, model_folder, tmp_path):
    job = make(images, model_folder, tmp_path / "out", generator_options={"points_per_side": 0})
    with pytest.raises(ValueError, match="`points_per_side` must be an integer of at least 1"):
        list(label_locally(job, 2))


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_nothing_is_lost(images, model_folder, tmp_path, monkeypatch):
    expected = make(images, model_folder, tmp_path / "whole")
    list(label_locally(expected, 1))
    job = make(images, model_folder, tmp_path / "out")
    kill_each_worker_once(monkeypatch)
    list(label_locally(job, 2))
    assert shards_of(tmp_path / "out") == shards_of(tmp_path / "whole")


def kill_each_worker_once(monkeypatch):
    """Kill a process of the first pool as soon as it has one."""
    whole, pools = ProcessPoolExecutor.submit, []

    def submit(self, *arguments):
        if self not in pools:
            pools.append(self)
            if len(pools) == 1:
                threading.Thread(target=kill, args=(self,), daemon=True).start()
        return whole(self, *arguments)

    def kill(pool):
        while not pool._processes:
            time.sleep(0.01)
        os.kill(next(iter(pool._processes)), signal.SIGKILL)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit)


def children_of(pid):
    """The processes that a process has started, where the system lists them."""
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    return listing.read_text().split() if listing.is_file() else []


def is_running(pid):
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_with_the_same_bits(images, model_folder, tmp_path):
    list(label_locally(make(images, model_folder, tmp_path / "whole"), 1))
    flags = [part for name, value in GRID.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "hq_sam_hf.cli", "label", str(images), "-o", str(tmp_path / "out"), *flags]
    command += ["--model", str(model_folder), "--device", "cpu", "--shard-size", "4", "--batch-size", "2"]
    command += ["--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "out" / "data").is_dir() or not shards_of(tmp_path / "out"):
        assert process.poll() is None
        time.sleep(0.01)
    workers = children_of(process.pid)
    process.kill()
    process.wait()
    while any(map(is_running, workers)):  # they end by themselves
        time.sleep(0.05)
    before = len(shards_of(tmp_path / "out"))
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert before < 3
    assert f"{11 - 4 * before} done, {4 * before} done before, 0 skipped" in result.stdout
    assert shards_of(tmp_path / "out") == shards_of(tmp_path / "whole")
