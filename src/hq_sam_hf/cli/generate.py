"""`hq-sam generate`: masks of everything in images."""

import argparse
from pathlib import Path
from typing import Any

from .arguments import (
    add_batch_outputs,
    add_command,
    add_image_arguments,
    add_model_arguments,
    add_output_argument,
    extra_outputs,
    image_options,
    model_spec,
)
from .console import hide_library_bars, print_summary

EXAMPLES = """\
examples: hq-sam generate photos -o masks --model MODEL --overlays --parquet
          accelerate launch -m hq_sam_hf.cli generate photos -o masks --model MODEL   (on several GPUs)
A stopped run continues when the same command is run again. docs/automatic_masks.md describes the files.
"""

# Options of HQSamMaskGenerator with a number, and the default of each in its help.
NUMBERS = (
    ("points-per-side", int, "points along each side of the grid (default: 32)"),
    ("points-per-batch", int, "points decoded together (default: 64)"),
    ("pred-iou-thresh", float, "drop masks with a predicted IoU of at most this (default: 0.88, HQ-SAM 2 0.8)"),
    ("stability-score-thresh", float, "drop masks with a stability score below this (default: 0.95)"),
    ("stability-score-offset", float, "shift of the logit threshold that measures stability (default: 1.0)"),
    ("box-nms-thresh", float, "box IoU above which two masks are duplicates (default: 0.7)"),
    ("crop-n-layers", int, "layers of crops to search too: 4 crops, then 16, ... (default: 0)"),
    ("crop-nms-thresh", float, "box IoU above which masks of two crops are duplicates (default: 0.7)"),
    ("crop-overlap-ratio", float, "overlap of crops as a share of the short side (default: 0.341)"),
    ("crop-n-points-downscale-factor", int, "divides points per side in each layer of crops (default: 1)"),
    ("min-mask-region-area", int, "fill holes and remove parts of fewer pixels (default: 0)"),
    ("candidates", int, "masks per point: 1, or 3 as SAM (default: 1, HQ-SAM 2 3)"),
)
FLAGS = ("hq_token_only", "multimask_output")


def add_generate_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "generate",
        help="write masks of everything in images, without prompts",
        description="Find the masks of everything in one or many images, from a grid of points.",
        examples=EXAMPLES,
    )
    parser.add_argument(
        "sources", nargs="+", metavar="IMAGE|FOLDER|PATTERN", help="images; folders include their subfolders"
    )
    add_output_argument(parser, "folder for coco.json and more", type=Path, required=True, metavar="FOLDER")
    add_model_arguments(parser)
    add_image_arguments(parser.add_argument_group("reading images"))
    add_batch_outputs(parser)
    options = add_generator_options(parser)
    options.add_argument("--hq-token-only", action="store_true", help="the HQ mask alone, not its sum with SAM's")
    options.add_argument(
        "--single-mask",
        dest="multimask_output",
        action="store_false",
        help="SAM's single mask, not the best of its three candidates",
    )
    parser.set_defaults(run=run_generate)


def add_generator_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options of automatic masks with a number. Returns their group for further ones."""
    # Only options that were given are passed on: the defaults are those of HQSamMaskGenerator, the original's.
    group = parser.add_argument_group("mask generation", argument_default=argparse.SUPPRESS)
    for name, kind, text in NUMBERS:
        group.add_argument(f"--{name}", type=kind, help=text, metavar="N" if kind is int else "X")
    return group


def generator_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_generator_options` that were given."""
    names = [name.replace("-", "_") for name, _, _ in NUMBERS]
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def run_generate(arguments: argparse.Namespace) -> None:
    from ..labelling.generate import generate_masks

    hide_library_bars()
    options = {name: getattr(arguments, name) for name in FLAGS if hasattr(arguments, name)}
    summary = generate_masks(
        arguments.sources,
        arguments.output,
        model_spec(arguments),
        extra_outputs(arguments),
        image_options=image_options(arguments),
        **generator_options(arguments),
        **options,
    )
    print_summary(summary, arguments.output)


__all__ = ["add_generate_command", "add_generator_options", "generator_options"]
