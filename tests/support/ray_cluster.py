"""A Ray cluster of two nodes on this machine, whose processes a test can kill."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

# Ray reports nothing elsewhere, writes no token into the home folder, and its processes have the usual priority.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 << 20}
# A node counts as lost after two seconds without a sign of life, not after half a minute.
LOST_SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}


class TwoNodes:
    """A head and a second node, each a set of processes."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {**NODE, "include_dashboard": False, "_system_config": LOST_SOON}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.add_second()

    @property
    def address(self) -> str:
        return self._cluster.address

    def add_second(self) -> None:
        self._second = self._cluster.add_node(**NODE)

    def lose_second(self) -> None:
        """Kill all processes of the second node, as if its machine had been switched off."""
        self._cluster.remove_node(self._second, allow_graceful=False)

    def kill_a_process(self, choice: random.Random) -> None:
        """Send SIGKILL to one of the processes that read, label or write, as soon as there is one."""
        while not (found := [one for one in psutil.Process().children(recursive=True) if "MapBatches" in title(one)]):
            time.sleep(0.1)
        os.kill(choice.choice(found).pid, signal.SIGKILL)

    def close(self) -> None:
        self._cluster.shutdown()


def title(process: psutil.Process) -> str:
    """What a process of Ray says that it does; empty for one that has just ended."""
    try:
        return "".join(process.cmdline()[:1])
    except psutil.NoSuchProcess:  # zombies too
        return ""


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Start the cluster, and end all of its processes afterwards."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    cluster = TwoNodes()
    try:
        yield cluster
    finally:
        cluster.close()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
