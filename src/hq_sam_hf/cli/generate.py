"""`hq-sam generate`."""

import argparse
from pathlib import Path

from .arguments import add_command, add_model_arguments, add_wanted_arguments, print_report, quiet

GENERATE_EPILOG = """\
example: hq-sam generate photos -o masks --model MODEL --overlays --parquet
on several GPUs: accelerate launch -m hq_sam_hf.cli generate photos -o masks --model MODEL
Run it again to go on where it stopped. What it writes is in docs/automatic_masks.md.
"""


def add_generate_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "generate",
        help="masks of everything in photos, without prompts",
        description="Find masks of everything in one or many photos, from a grid of points.",
        epilog=GENERATE_EPILOG,
    )
    parser.add_argument("sources", nargs="+", metavar="PHOTO|FOLDER|PATTERN", help="pictures; folders with subfolders")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="gets coco.json and more")
    add_model_arguments(parser)
    add_wanted_arguments(parser)
    # Only what is given is passed on: the defaults are those of HQSamMaskGenerator, the original's.
    options = parser.add_argument_group("how to look, by default as the original", argument_default=argparse.SUPPRESS)
    for name, kind, text in (
        ("points-per-side", int, "the grid has so many points squared (32)"),
        ("points-per-batch", int, "points answered at a time (64)"),
        ("pred-iou-thresh", float, "drop masks with a predicted IoU of at most this (0.88)"),
        ("stability-score-thresh", float, "drop masks less stable than this (0.95)"),
        ("stability-score-offset", float, "by which the threshold moves to measure that (1.0)"),
        ("box-nms-thresh", float, "IoU of boxes from which masks are duplicates (0.7)"),
        ("crop-n-layers", int, "look also at 4 crops, and 16, ... (0)"),
        ("crop-nms-thresh", float, "IoU of boxes from which masks of two crops are duplicates (0.7)"),
        ("crop-overlap-ratio", float, "overlap of crops, of the short side (0.341)"),
        ("crop-n-points-downscale-factor", int, "fewer points per side in each layer of crops (1)"),
        ("min-mask-region-area", int, "fill holes and drop parts of fewer pixels (0)"),
        ("candidates", int, "masks per point: 1, or 3 as SAM (1)"),
    ):
        options.add_argument(f"--{name}", type=kind, help=text, metavar="N" if kind is int else "X")
    options.add_argument("--hq-token-only", action="store_true", help="the HQ mask alone")
    options.add_argument("--single-mask", dest="multimask_output", action="store_false", help="not the best of three")
    parser.set_defaults(run=run_generate)


def run_generate(arguments: argparse.Namespace) -> None:
    from ..batch.generate import generate_masks
    from ..batch.runner import Wanted

    quiet()
    given = {key: value for key, value in vars(arguments).items() if key != "run"}
    wanted = Wanted(given.pop("overlays"), given.pop("label_maps"), given.pop("parquet"))
    print_report(generate_masks(**given, wanted=wanted), arguments.output)


__all__ = ["add_generate_command"]
