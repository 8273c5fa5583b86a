"""Labelling on a Ray cluster whose processes, nodes and driver are killed: every image is in the output once."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from hq_sam_hf.cli import main
from support.images import random_image

pytest.importorskip("ray.data")
from support.ray_cluster import TwoNodes, two_nodes

pytestmark = pytest.mark.slow

IMAGES, SHARD_SIZE = 120, 6
KILLS = 5
OPTIONS = ["--image-size", "128", "--points-per-side", "4", "--pred-iou-thresh", "0.3", "--images", "reference"]
OPTIONS += ["--shard-size", str(SHARD_SIZE), "--batch-size", "3"]


@pytest.fixture(scope="module")
def cluster():
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of images of two sizes, one of them without content and one cut off."""
    folder = tmp_path_factory.mktemp("images")
    for i in range(IMAGES):
        Image.fromarray(random_image((64, 96) if i % 3 else (80, 64), seed=i)).save(folder / f"{i:03d}.png")
    (folder / "050.png").write_bytes(b"")
    (folder / "100.png").write_bytes((folder / "101.png").read_bytes()[:500])
    return folder


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory):
    """The shards that this process writes alone, by their names."""
    output = tmp_path_factory.mktemp("expected") / "labels"
    assert main(["label", str(source), "-o", str(output), *OPTIONS, "--workers", "1"]) == 0
    return shards(output)


def shards(output: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(output.glob("data/train-*.parquet"))}


class Run:
    """`hq-sam label` on the cluster, in a process of its own."""

    def __init__(self, source: Path, output: Path, cluster: TwoNodes, workers: int = 2) -> None:
        self.output = output
        command = [sys.executable, "-m", "hq_sam_hf.cli", "label", str(source), "-o", str(output), *OPTIONS]
        command += ["--engine", "ray", "--address", cluster.address, "--workers", str(workers)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait_for_shards(self, count: int) -> None:
        """Wait until so many shards are written."""
        while len(shards(self.output)) < count:
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.05)

    def finish(self) -> None:
        printed, _ = self.process.communicate(timeout=180)
        assert self.process.returncode == 0, printed
        assert "2 skipped" in printed


def check_that_nothing_is_lost(
    source: Path, folder: Path, cluster: TwoNodes, expected: dict[str, bytes], kill: Callable[[], None], seed: int
) -> None:
    """Call `kill` at random moments of runs, and compare their output. A run that has ended is followed by another."""
    choice = random.Random(seed)
    kills = 0
    while kills < KILLS:
        run = Run(source, folder / f"labels_{kills}", cluster)
        run.wait_for_shards(1)
        while kills < KILLS and run.process.poll() is None:
            time.sleep(choice.uniform(0, 2))
            kill()
            kills += 1
        run.finish()
        assert shards(run.output) == expected


def test_killed_workers_lose_and_double_nothing(cluster, source, expected, tmp_path):
    choice = random.Random(1)
    check_that_nothing_is_lost(source, tmp_path, cluster, expected, lambda: cluster.kill_a_process(choice), seed=2)


def test_lost_nodes_lose_and_double_nothing(cluster, source, expected, tmp_path):
    def lose_a_node() -> None:
        cluster.lose_second()
        cluster.add_second()

    check_that_nothing_is_lost(source, tmp_path, cluster, expected, lose_a_node, seed=3)


def test_a_killed_command_goes_on(cluster, source, expected, tmp_path):
    choice = random.Random(3)
    counts = sorted(choice.sample(range(len(expected)), KILLS))
    for count in counts:
        run = Run(source, tmp_path / "labels", cluster, workers=1)
        run.wait_for_shards(count)
        time.sleep(choice.uniform(0, 1))
        os.kill(run.process.pid, signal.SIGKILL)
        run.process.communicate()
        written = shards(tmp_path / "labels")
        assert written == {name: expected[name] for name in written}
    assert len(written) < len(expected)
    Run(source, tmp_path / "labels", cluster, workers=1).finish()
    assert shards(tmp_path / "labels") == expected
