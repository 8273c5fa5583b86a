"""`hq-sam evaluate`: metrics of a model on data sets."""

import argparse
from pathlib import Path

from .arguments import (
    add_command,
    add_image_arguments,
    add_model_arguments,
    add_output_argument,
    comma_separated,
    data_source,
)
from .benchmark import EXAMPLES as BENCHMARK_EXAMPLES
from .benchmark import add_benchmark_arguments, is_benchmark, run_benchmark_command
from .console import hide_library_bars, progress

EXAMPLES = """\
examples: hq-sam evaluate --model MODEL --data hqseg44k --sets dis,coift,hrsod,thin -o report
          hq-sam evaluate --model MODEL --data hqseg44k --prompts box,box-noise-0.2,centre,points-5+5,clicks-3
          hq-sam evaluate --model MODEL --images photos --masks masks --protocol aspect
          hq-sam evaluate --model MODEL --data '{kind: coco, annotations: instances.json, images: photos}'
          hq-sam evaluate --model MODEL --images photos --masks maps --mask-type instances --ignore-index 255
          hq-sam evaluate --scenes 20
          accelerate launch -m hq_sam_hf.cli evaluate --model MODEL --data hqseg44k -o report
"""


# Options that say how the files of custom data are read.
READING = ("max_pixels", "value_range", "mask_type", "ignore_index", "mask_pixels")


def add_evaluate_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "evaluate",
        help="measure a model on HQSeg-44K's validation sets, on custom data or on the paper's other benchmarks",
        description="Compare the masks of the plain SAM inside, the HQ masks and their sum with the ground truth.",
        examples=EXAMPLES + BENCHMARK_EXAMPLES,
    )
    add_model_arguments(parser)
    _add_data_arguments(parser)
    add_benchmark_arguments(parser)
    method = parser.add_argument_group("method")
    method.add_argument(
        "--prompts",
        type=comma_separated,
        metavar="A,B",
        help="box, box-noise-0.2, points-5, points-5+3 (5 positive, 3 negative), centre, clicks-3 (default: box); of "
        "benchmarks one of box, box-noise-0.2 and mask",
    )
    method.add_argument(
        "--outputs",
        type=comma_separated,
        default=["sam", "hq", "sum"],
        metavar="A,B",
        help="masks to measure (default: sam,hq,sum)",
    )
    method.add_argument(
        "--protocol",
        choices=("stretch", "aspect"),
        help="stretch images to a square, as the paper does (the default), or keep their aspect ratio (the default of "
        "benchmarks other than hqseg)",
    )
    method.add_argument(
        "--multimask-output", action="store_true", help="the best of SAM's three candidates, not its single mask"
    )
    method.add_argument("--seed", type=int, default=0, metavar="N", help="seed of random prompts (default: 0)")
    method.add_argument("--trials", type=int, metavar="N", help="draw random prompts N times (default: 1)")
    method.add_argument("--batch-size", type=int, default=1, metavar="N", help="images encoded together (default: 1)")
    method.add_argument(
        "--workers", type=int, metavar="N", help="processes that read images (default: 0); of benchmarks threads (2)"
    )
    report = parser.add_argument_group("report")
    add_output_argument(
        report, "folder for tables, a record per mask and the worst cases", type=Path, metavar="FOLDER"
    )
    report.add_argument("--worst", type=int, metavar="N", help="draw the N worst cases (default: 8)")
    parser.set_defaults(run=run_evaluate, wrong_use=parser.error)


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data: give --data, or --images and --masks, or --scenes")
    data.add_argument("--data", type=data_source, metavar="DATA", help="HQSeg-44K or custom data, see `hq-sam data`")
    data.add_argument("--images", type=Path, metavar="FOLDER", help="images")
    data.add_argument("--masks", type=Path, metavar="FOLDER", help="masks with the file names of the images")
    data.add_argument("--scenes", type=int, metavar="N", help="N generated images, which need no download")
    data.add_argument(
        "--sets", type=comma_separated, metavar="A,B", help="sets of --data, such as dis,thin (default: all)"
    )
    data.add_argument(
        "--split",
        choices=("validation", "train", "held_out"),
        help="split (default: validation); held_out is a split of --scenes",
    )
    add_image_arguments(data)
    data.add_argument(
        "--mask-type",
        choices=("binary", "soft", "alpha", "instances", "classes"),
        help="what mask files are (default: binary, one object each); maps of instances or classes are split",
    )
    data.add_argument("--ignore-index", type=int, metavar="N", help="value of mask files that counts as background")
    data.add_argument(
        "--mask-pixels",
        choices=("upright", "stored"),
        help="which pixels of images with an EXIF rotation the masks were made for (default: upright)",
    )
    data.add_argument("--limit", type=int, metavar="N", help="use only the first N images")


def run_evaluate(arguments: argparse.Namespace) -> None:
    if is_benchmark(arguments):
        run_benchmark_command(arguments)
        return
    from ..evaluation.command import EvaluationData, evaluate_and_report

    data = EvaluationData(
        arguments.data,
        arguments.split or "validation",
        arguments.sets,
        arguments.images,
        arguments.masks,
        arguments.scenes,
        {name: getattr(arguments, name) for name in READING if getattr(arguments, name) is not None},
    )
    hide_library_bars()
    result = evaluate_and_report(
        arguments.model,
        data,
        arguments.output,
        8 if arguments.worst is None else arguments.worst,
        arguments.device,
        arguments.dtype,
        arguments.image_size,
        prompts=arguments.prompts or ["box"],
        outputs=arguments.outputs,
        protocol=arguments.protocol or "stretch",
        multimask_output=arguments.multimask_output,
        seed=arguments.seed,
        trials=1 if arguments.trials is None else arguments.trials,
        batch_size=arguments.batch_size,
        num_workers=arguments.workers or 0,
        limit=arguments.limit,
    )
    if result is None:  # the main process has it
        return
    print(result.markdown())
    if arguments.output is not None:
        progress(f"wrote {arguments.output}")
    if result.failures:
        count = f"{len(result.failures)} of {result.settings['images']}"
        raise ValueError(f"{count} images could not be read and are not in the results. They are listed above.")


__all__ = ["add_evaluate_command"]
