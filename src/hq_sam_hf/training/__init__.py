"""Training and fine-tuning with Accelerate: the work behind `hq-sam train`.

May import: model, masks, data, evaluation, export, utils.
"""

from typing import TYPE_CHECKING

from ..utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .config import TrainingConfig
    from .trainer import TrainingRun, train

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "config": ["TrainingConfig"],
        "trainer": ["TrainingRun", "train"],
    },
)

__all__ = ["TrainingConfig", "TrainingRun", "train"]
