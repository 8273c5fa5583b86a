"""The Accelerator of a training run: its processes, device, precision and trackers."""

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import GradientAccumulationPlugin, LoggerType

from ..utils.distributed import connect
from .config import TrainingConfig
from .launcher import PRECISIONS, refuse_contradictions


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Connect the launched processes, if there are several.

    Raises ValueError for a launcher that contradicts the configuration or did less than it was asked, for trackers
    that are not installed, and for fp16 without a GPU.
    """
    refuse_contradictions(config)
    _refuse_missing_trackers(config.trackers)
    accelerator = connect(
        Accelerator,
        mixed_precision=PRECISIONS[config.precision],
        log_with=config.trackers or None,
        project_dir=config.output_dir,
        # The loss is a sum over all passes, which Accelerate would divide by their number.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
    if config.precision == "fp16" and accelerator.device.type == "cpu":  # Accelerate would use fp32 instead
        raise ValueError("`precision: fp16` needs a GPU. On a CPU choose bf16 or fp32.")
    return accelerator


@contextmanager
def fresh_accelerator_state() -> Iterator[None]:
    """Let the block have an Accelerator of its own, and keep that of the program.

    Accelerate shares the settings of a process's first Accelerator between all, and refuses another precision. It has
    no public function that changes this, so its shared settings are put aside and put back.
    """
    settings = AcceleratorState._shared_state
    before = dict(settings)
    settings.clear()
    try:
        yield
    finally:
        settings.clear()
        settings.update(before)


def _refuse_missing_trackers(trackers: list[str]) -> None:
    """Accelerate would train without them."""
    known = {str(tracker) for tracker in LoggerType.list()}
    available = {str(tracker) for tracker in [*get_available_trackers(), "all"]}
    missing = sorted(set(trackers) & (known - available))
    if missing:
        raise ValueError(f"`trackers` names {', '.join(missing)}, which is not installed: pip install it.")


__all__ = ["fresh_accelerator_state", "make_accelerator"]
