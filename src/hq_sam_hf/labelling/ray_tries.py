"""How often the processes of a Ray cluster have begun a batch without finishing it.

Ray starts what a dead process was doing again, without end. An image may be what kills the processes.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

# A batch whose process dies so often is the reason for it.
TRIES = 5


class Tries:
    """Counts how often each batch was begun and not finished."""

    def __init__(self) -> None:
        self.begun: Counter[range] = Counter()

    def begin(self, rows: range) -> int:
        self.begun[rows] += 1
        return self.begun[rows]

    def finish(self, rows: range) -> None:
        del self.begun[rows]


def start_counter() -> Any:
    """Start the actor that counts, on the node of this process: if that is lost, the run is lost anyway."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Tries).options(num_cpus=0, scheduling_strategy=here).remote()


def tried(counter: Any, rows: range, compute: Callable[[], Any]) -> Any:
    """Compute something about the images of these rows.

    Raises ValueError if the processes that tried it before have died. Ray would start it again forever.
    """
    import ray

    if ray.get(counter.begin.remote(rows)) > TRIES:
        raise ValueError(
            f"{TRIES} processes have died on the images in rows {rows.start} to {rows.stop - 1} of the source, "
            "perhaps because memory ran out. Use fewer `--workers` or a smaller `--batch-size`, or leave these images "
            "out. The same command goes on from here."
        )
    result = compute()
    counter.finish.remote(rows)
    return result


__all__ = ["TRIES", "Tries", "start_counter", "tried"]
