"""The engines that run a labelling job: `local` on this machine, `ray` on a cluster."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from .job import LabellingJob
from .local_engine import label_locally
from .plan import Shard

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class EngineOptions:
    """Where a job runs.

    name: "local", or "ray", which needs the extra `scale`.
    workers: number of processes with a model; by default as the engine decides.
    address, gpus_per_worker: of `ray`, see `ray_engine.RayCluster`.
    """

    name: str = "local"
    workers: int | None = None
    address: str | None = None
    gpus_per_worker: float = 0

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise ValueError(f"`engine` must be one of {', '.join(ENGINES)}, got {self.name!r}.")
        if self.name == "local" and (self.address is not None or self.gpus_per_worker):
            raise ValueError("`address` and `gpus_per_worker` are options of the engine `ray`. Omit them.")

    def run(self, job: LabellingJob, on_batch: Callable[[int], object]) -> Iterator[tuple[Shard, Mapping[str, float]]]:
        """Label the missing shards. Gives each shard when it is written, with the seconds of each part.

        on_batch: called with numbers of images that are done; together with all shards they are all images.
        """
        if self.name == "local":
            yield from label_locally(job, self.workers, on_batch)
            return
        from .ray_engine import RayCluster, label_on_ray

        for shard, seconds in label_on_ray(job, RayCluster(self.address, self.workers, self.gpus_per_worker)):
            on_batch(len(shard))
            yield shard, seconds


__all__ = ["ENGINES", "EngineOptions"]
