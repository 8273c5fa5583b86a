"""The Ray cluster of a labelling run: connecting to it, what it has, and the errors that come back from it."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Batches travel in blocks of about this size. Smaller blocks cost more messages, larger ones more memory.
BLOCK_BYTES = 8 << 20
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class RayCluster:
    """Where and on what a job runs.

    address: of a running cluster, or "auto" for the one that this machine belongs to. None starts one on this machine,
        which ends with the run.
    workers: number of processes with a model. None for as many as the cluster has GPUs for, or CPUs if
        `gpus_per_worker` is 0.
    gpus_per_worker: 1 or more, or a fraction, if several workers share a GPU. 0 for workers on CPUs.
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float = 0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"`workers` must be a whole number from 1 on, got {self.workers!r}.")
        if not 0 <= self.gpus_per_worker < float("inf"):
            raise ValueError(f"`gpus_per_worker` must be 0 or more, got {self.gpus_per_worker!r}.")

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connect to the cluster while the block runs. A program that is connected already stays so.

        Raises ValueError if Ray is not installed or the cluster cannot be reached.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a command that labels images reports nothing elsewhere
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise ValueError(
                f"The engine `ray` needs Ray Data ({error}). Install it with `pip install 'hq-sam-hf[scale]'`, or use "
                "the engine `local`."
            ) from error
        own = not ray.is_initialized()
        if own:
            logging.getLogger("ray").setLevel(logging.ERROR)  # else it warns before `init` sets this level
            try:
                self._check_address()
                ray.init(self.address or "local", logging_level=logging.ERROR, log_to_driver=False)
            except (OSError, ValueError, RuntimeError) as error:
                raise ValueError(
                    f"The Ray cluster {self.address!r} cannot be reached ({str(error).rstrip('.')}). Start it with "
                    "`ray start --head` and name its address, or omit the address to use this machine alone."
                ) from error
        try:
            with _data_settings():
                yield
        finally:
            if own:
                ray.shutdown()

    def _check_address(self) -> None:
        """Raise OSError if nothing listens at the address. Ray itself would try it for minutes."""
        host, _, port = (self.address or "").removeprefix("ray://").rpartition(":")
        if port.isdigit():
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()

    def number_of_workers(self) -> int:
        """The number of workers on the cluster that is connected.

        Raises ValueError if it has not even what one worker needs.
        """
        import ray

        resources = ray.cluster_resources()
        if self.gpus_per_worker:
            kind, each, remedy = "GPU", self.gpus_per_worker, "Set `gpus_per_worker` to less, or add nodes with GPUs"
        else:
            kind, each, remedy = "CPU", 1.0, "Add nodes with CPUs"
        there = resources.get(kind, 0.0)
        if there < each:
            raise ValueError(f"A worker needs {each:g} {kind}, but the Ray cluster has {there:g}. {remedy}.")
        return self.workers or int(there // each)


@contextmanager
def _data_settings() -> Iterator[None]:
    """Set what the engine needs in Ray Data: the order of the batches, their size in blocks, no output of its own."""
    import ray.data

    context: Any = ray.data.DataContext.get_current()
    logger = logging.getLogger("ray.data")
    level = logger.level
    settings = [
        (context.execution_options, "preserve_order", True),
        (context, "target_max_block_size", BLOCK_BYTES),
        (context, "enable_progress_bars", False),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in settings]
    try:
        for owner, name, value in settings:
            setattr(owner, name, value)
        logger.setLevel(logging.ERROR)
        yield
    finally:
        logger.setLevel(level)
        for owner, name, value in before:
            setattr(owner, name, value)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise the error that happened in a process of the cluster itself, without Ray's reports around it.

    Raises ValueError where Ray failed, or where nodes lack what they need.
    """
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except Exception as error:
        links = list(_chain(error))
        task = next((link for link in links if isinstance(link, RayTaskError)), None)
        cause = error if task is None else task.cause
        if isinstance(cause, OSError | ValueError | TypeError) and not isinstance(cause, RayError):
            raise cause from None
        if task is not None and not isinstance(cause, RayError | ImportError):
            raise cause from error
        if not any(type(link).__module__.startswith("ray.") for link in links):
            raise
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise ValueError(
            f"The Ray cluster could not go on ({reason:.300}). Check that all of its nodes run and have the same "
            "version of `hq-sam-hf[scale]` installed. The same command goes on from here."
        ) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes, the innermost last."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


__all__ = ["RayCluster", "plain_errors"]
