"""`hq-sam evaluate`."""

import argparse
from pathlib import Path

from .arguments import add_command, add_model_arguments, data_source, quiet

EVALUATE_EPILOG = """\
examples: hq-sam evaluate --model MODEL --data hqseg44k --sets dis,coift,hrsod,thin -o report
          hq-sam evaluate --model MODEL --data hqseg44k --prompts box,box-noise-0.2,centre,points-5+5,clicks-3
          hq-sam evaluate --model MODEL --images photos --masks masks --protocol aspect
          hq-sam evaluate --model MODEL --data '{kind: coco, annotations: instances.json, images: photos}'
          hq-sam evaluate --scenes 20
          accelerate launch -m hq_sam_hf.cli evaluate --model MODEL --data hqseg44k -o report
"""


def add_evaluate_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "evaluate",
        help="IoU and boundary IoU of a model on HQSeg-44K's validation sets or on own data",
        description="Compare masks of the plain SAM inside, the HQ mask and their sum with true masks.",
        epilog=EVALUATE_EPILOG,
    )

    def listed(text: str) -> list[str]:
        return [part.strip() for part in text.split(",")]

    add_model_arguments(parser)
    data = parser.add_argument_group("data, one of")
    data.add_argument("--data", type=data_source, metavar="ROOT", help="HQSeg-44K or own data, as of `hq-sam data`")
    data.add_argument("--images", type=Path, metavar="DIR", help="own pictures, with --masks")
    data.add_argument("--masks", type=Path, metavar="DIR", help="masks with the names of --images")
    data.add_argument("--scenes", type=int, metavar="COUNT", help="generated pictures, which need no download")
    data.add_argument("--sets", type=listed, metavar="A,B", help="of --data, such as dis,thin; by default all")
    data.add_argument(
        "--split", choices=("validation", "train", "held_out"), default="validation", help="held_out is of --scenes"
    )
    data.add_argument("--limit", type=int, metavar="N", help="only the first N pictures")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--prompts",
        type=listed,
        default=["box"],
        metavar="A,B",
        help="box, box-noise-0.2, points-5, points-5+3 (with negative ones), centre, clicks-3; by default box",
    )
    how.add_argument("--outputs", type=listed, default=["sam", "hq", "sum"], metavar="A,B", help="of sam, hq, sum")
    how.add_argument(
        "--protocol", choices=("stretch", "aspect"), default="stretch", help="stretch is the paper's, and the default"
    )
    how.add_argument("--multimask-output", action="store_true", help="best of SAM's three candidates")
    how.add_argument("--seed", type=int, default=0, help="of random prompts, by default 0")
    how.add_argument("--trials", type=int, default=1, metavar="N", help="draw random prompts N times")
    how.add_argument("--batch-size", type=int, default=1, metavar="N", help="pictures encoded together")
    how.add_argument("--workers", type=int, default=0, metavar="N", help="processes that read pictures")
    report = parser.add_argument_group("report")
    report.add_argument("-o", "--output", type=Path, metavar="DIR", help="tables, a record per mask, worst cases")
    report.add_argument("--worst", type=int, default=8, metavar="N", help="pictures of the N hardest, by default 8")
    parser.set_defaults(run=run_evaluate)


def run_evaluate(arguments: argparse.Namespace) -> None:
    from ..evaluation.command import EvaluationData, evaluate_and_report

    data = EvaluationData(
        arguments.data, arguments.split, arguments.sets, arguments.images, arguments.masks, arguments.scenes
    )
    quiet()
    result = evaluate_and_report(
        arguments.model,
        data,
        arguments.output,
        arguments.worst,
        arguments.device,
        arguments.dtype,
        arguments.image_size,
        prompts=arguments.prompts,
        outputs=arguments.outputs,
        protocol=arguments.protocol,
        multimask_output=arguments.multimask_output,
        seed=arguments.seed,
        trials=arguments.trials,
        batch_size=arguments.batch_size,
        num_workers=arguments.workers,
        limit=arguments.limit,
    )
    if result is None:  # another process has it
        return
    print(result.markdown())
    if arguments.output is not None:
        print("wrote", arguments.output)
    if result.failures:
        count = f"{len(result.failures)} of {result.settings['pictures']}"
        raise ValueError(f"Could not be read, and left out of the figures: {count} pictures, listed above.")


__all__ = ["add_evaluate_command"]
