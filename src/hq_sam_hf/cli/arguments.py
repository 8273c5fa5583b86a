"""Arguments that several commands share, and how they report."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.embedded import EMBEDDED

if TYPE_CHECKING:
    from ..batch.runner import Report


def add_command(
    commands: argparse._SubParsersAction, name: str, help: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=epilog,  # shown as it stands
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_model_choice(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Which model, at which size; gives the group for what else is said of it."""
    parser.add_argument(
        "--model",
        default=EMBEDDED,
        help="folder, Hub repository or checkpoint file of an HQ-SAM; by default the small one inside the package",
    )
    how = parser.add_argument_group("model")
    how.add_argument("--image-size", type=int, metavar="PIXELS", help="side of the model's input, by default its own")
    return how


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    how = add_model_choice(parser)
    how.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps (by default a GPU where there is one)")
    how.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")


def add_wanted_arguments(parser: argparse.ArgumentParser) -> None:
    wanted = parser.add_argument_group("what to write besides coco.json and pictures/PHOTO.json, for many photos")
    wanted.add_argument("--overlays", action="store_true", help="overlays/PHOTO.jpg, the masks drawn on the photo")
    wanted.add_argument("--label-maps", action="store_true", help="label_maps/PHOTO.png, numbers of masks as pixels")
    wanted.add_argument("--parquet", action="store_true", help="parquet/, photos and masks as a data set")


def data_source(text: str) -> Any:
    """An argparse type: the root of HQSeg-44K, or a mapping that describes own data."""
    from ..data.factory import parse_source

    try:
        return parse_source(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def print_report(report: "Report | None", output: Path) -> None:
    if report is None:  # not the main process
        return
    print(
        f"pictures: {report.done} done, {report.done_before} done before, {len(report.failed)} left out; in {output}"
    )
    if report.failed:
        names = sorted(report.failed)
        listing = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise ValueError(f"pictures left out: {len(names)} ({listing}). The reasons stand above.")


def quiet() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


__all__ = [
    "add_command",
    "add_model_arguments",
    "add_model_choice",
    "add_wanted_arguments",
    "data_source",
    "print_report",
    "quiet",
]
