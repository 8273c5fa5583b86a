"""The paper's benchmarks: annotation files, predicted masks on the disk, metrics and results pages.

May import: model, masks, data, inference, evaluation, utils.
"""

from typing import TYPE_CHECKING

from ..utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .average_precision import AveragePrecision, image_ap
    from .benchmarks import BENCHMARKS, Benchmark
    from .command import BenchmarkData, run_benchmark
    from .predictions import read_predictions
    from .prompt_choice import PromptChoice
    from .region_contour import JAndF, j_and_f
    from .run import RunSettings
    from .tube_ap import video_ap

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "benchmarks": ["BENCHMARKS", "Benchmark"],
        "command": ["BenchmarkData", "run_benchmark"],
        "average_precision": ["AveragePrecision", "image_ap"],
        "predictions": ["read_predictions"],
        "prompt_choice": ["PromptChoice"],
        "region_contour": ["JAndF", "j_and_f"],
        "run": ["RunSettings"],
        "tube_ap": ["video_ap"],
    },
)

__all__ = [
    "BENCHMARKS",
    "AveragePrecision",
    "Benchmark",
    "BenchmarkData",
    "JAndF",
    "PromptChoice",
    "RunSettings",
    "image_ap",
    "j_and_f",
    "read_predictions",
    "run_benchmark",
    "video_ap",
]
