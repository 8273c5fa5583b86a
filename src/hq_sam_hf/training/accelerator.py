"""The Accelerator of a training run: its processes, device, precision and trackers."""

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType, parse_flag_from_env

from ..utils.distributed import connect
from .config import TrainingConfig

# Launch variables that Accelerate ignores on a CPU.
SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Connect the launched processes, if there are several.

    Raises ValueError for sharding, for trackers that are not installed, and for fp16 without a GPU.
    """
    _refuse_sharding()
    _refuse_missing_trackers(config.trackers)
    find_unused = config.objective_class.find_unused_parameters
    accelerator = connect(
        Accelerator,
        mixed_precision=PRECISIONS[config.precision],
        log_with=config.trackers or None,
        project_dir=config.output_dir,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=find_unused)],
    )
    if config.precision == "fp16" and accelerator.device.type == "cpu":  # Accelerate would use fp32 instead
        raise ValueError("`precision: fp16` needs a GPU. On a CPU choose bf16 or fp32.")
    return accelerator


@contextmanager
def fresh_accelerator_state() -> Iterator[None]:
    """Forget the settings of the block's Accelerator when the block ends.

    Accelerate keeps the settings of a process's first Accelerator and refuses another precision. It has no public
    function that forgets them, so this calls the one of its own tests.
    """
    try:
        yield
    finally:
        AcceleratorState._reset_state()


def _refuse_sharding() -> None:
    for variable, name in SHARDING.items():
        if parse_flag_from_env(variable):
            raise ValueError(
                f"Training runs on one process or with DDP, got {name}. Choose multi-GPU in `accelerate config`: the "
                "trained part is small, so there is nothing to shard."
            )


def _refuse_missing_trackers(trackers: list[str]) -> None:
    """Accelerate would train without them."""
    known = {str(tracker) for tracker in LoggerType.list()}
    available = {str(tracker) for tracker in [*get_available_trackers(), "all"]}
    missing = sorted(set(trackers) & (known - available))
    if missing:
        raise ValueError(f"`trackers` names {', '.join(missing)}, which is not installed: pip install it.")


__all__ = ["fresh_accelerator_state", "make_accelerator"]
