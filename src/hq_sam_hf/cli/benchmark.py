"""`hq-sam evaluate --benchmark`, and custom COCO data with `--annotations`: options and the call."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import model_spec
from .console import hide_library_bars, progress

if TYPE_CHECKING:
    from ..benchmarking.prompt_choice import PromptChoice

EXAMPLES = """\
benchmarks: hq-sam evaluate --model MODEL --benchmark coco --root coco --detections boxes.json -o run
            hq-sam evaluate --model MODEL --benchmark sginw --root seginw --detector DETECTOR -o run
            hq-sam evaluate --model MODEL --benchmark davis --root DAVIS --detections tracker -o run
            hq-sam evaluate --model MODEL --annotations instances.json --images photos --prompts box -o run
"""
# The keys of `benchmarking.BENCHMARKS`, whose import would load torch for every command.
NAMES = ("hqseg", "coco", "lvis", "uvo", "sginw", "big", "hq-ytvis", "ytvis", "davis")

# Options of one way to evaluate, which the other one does not have.
BENCHMARK_ONLY = ("root", "detections", "detector", "coarse_masks", "max_dets")
OTHERS_ONLY = (
    "data",
    "masks",
    "scenes",
    "sets",
    "split",
    "trials",
    "max_pixels",
    "value_range",
    "mask_type",
    "ignore_index",
    "mask_pixels",
    "worst",
)


def add_benchmark_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "benchmarks: give --benchmark and --root, or --annotations and --images for custom COCO data"
    )
    group.add_argument("--benchmark", choices=NAMES, help="a benchmark of the paper")
    group.add_argument("--root", type=Path, metavar="FOLDER", help="its data, which `hq-sam data check` checks")
    group.add_argument("--annotations", type=Path, metavar="JSON", help="COCO annotations of the images in --images")
    group.add_argument(
        "--detections",
        type=Path,
        metavar="PATH",
        help="boxes of a detector as COCO results; for videos tracks as results of YouTube-VIS, for DAVIS a folder of "
        "label maps, for SGinW a folder with a file per data set",
    )
    group.add_argument("--detector", metavar="NAME", help="zero-shot detector for SGinW, a Grounding DINO")
    group.add_argument(
        "--coarse-masks",
        type=Path,
        metavar="FOLDER",
        help="NAME_seg.png for BIG with --prompts mask (default: beside the images)",
    )
    group.add_argument(
        "--max-dets",
        type=int,
        metavar="N",
        help="boxes per image, or tracks per video, that are prompts and count (default: 100; LVIS 300)",
    )


def is_benchmark(arguments: argparse.Namespace) -> bool:
    """Whether a benchmark or custom COCO data are evaluated. Exits with the usage for options that do not fit."""
    chosen = arguments.benchmark is not None or arguments.annotations is not None
    wrong = [name for name in (OTHERS_ONLY if chosen else BENCHMARK_ONLY) if getattr(arguments, name) is not None]
    if chosen and arguments.benchmark is not None and arguments.images is not None:
        wrong.append("images")
    if wrong:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
        others = "--data, --images with --masks, or --scenes" if chosen else "--benchmark or --annotations"
        arguments.wrong_use(f"{options} goes with {others} only")
    return chosen


def run_benchmark_command(arguments: argparse.Namespace) -> None:
    from ..benchmarking.command import BenchmarkData, run_benchmark
    from ..benchmarking.run import RunSettings

    if arguments.output is None:
        arguments.wrong_use("a benchmark writes its predictions to a folder; name it with -o")
    data = BenchmarkData(arguments.benchmark, arguments.root, arguments.annotations, arguments.images, arguments.limit)
    hide_library_bars()
    tables = run_benchmark(
        data,
        arguments.output,
        model_spec(arguments),
        _prompt_choice(arguments),
        RunSettings(
            outputs=arguments.outputs,
            seed=arguments.seed,
            batch_size=arguments.batch_size,
            multimask_output=arguments.multimask_output,
        ),
        arguments.protocol,
        arguments.max_dets,
        2 if arguments.workers is None else arguments.workers,
    )
    if tables is not None:  # the main process has them
        print(tables)
        progress(f"wrote {arguments.output}")


def _prompt_choice(arguments: argparse.Namespace) -> "PromptChoice":
    from ..benchmarking.prompt_choice import PromptChoice
    from ..inference.text import DetectorSpec

    if arguments.prompts is not None and len(arguments.prompts) > 1:
        arguments.wrong_use(f"a benchmark takes one prompt, got --prompts {','.join(arguments.prompts)}")
    return PromptChoice(
        None if arguments.prompts is None else arguments.prompts[0],
        arguments.detections,
        None if arguments.detector is None else DetectorSpec(arguments.detector),
        arguments.coarse_masks,
    )


__all__ = ["EXAMPLES", "add_benchmark_arguments", "is_benchmark", "run_benchmark_command"]
