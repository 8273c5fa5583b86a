"""Arguments that several commands share."""

import argparse
from typing import TYPE_CHECKING, Any

from ..utils.embedded import EMBEDDED

if TYPE_CHECKING:
    from ..data.reading_options import ReadingOptions
    from ..inference.loading import ModelSpec
    from ..labelling.output_folder import ExtraOutputs


def add_command(
    commands: argparse._SubParsersAction, name: str, help: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """Add a command or an action of a command. examples: shown below its options, with its line breaks."""
    return commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_output_argument(parser: argparse.ArgumentParser | argparse._ArgumentGroup, help: str, **options: Any) -> None:
    """Add the option that names the output, which has the same name in all commands."""
    parser.add_argument("-o", "--output", help=help, **options)


def add_destination(parser: argparse.ArgumentParser, help: str, metavar: str = "OUTPUT") -> None:
    """Let the output be named by `-o` or by the last positional argument. `destination` returns it."""
    parser.add_argument("destination", nargs="?", metavar=metavar, help="another way to give -o")
    add_output_argument(parser, help, metavar=metavar)
    parser.set_defaults(wrong_use=parser.error, take_rest=_take_destination)


def destination(arguments: argparse.Namespace) -> str:
    """The output, which must be given exactly once."""
    if arguments.output is None and arguments.destination is None:
        arguments.wrong_use("the output is missing; name it with -o/--output")
    if arguments.output is not None and arguments.destination is not None:
        arguments.wrong_use(
            f"two outputs were given, {arguments.destination!r} and -o {arguments.output!r}; give one of them"
        )
    return arguments.destination if arguments.output is None else arguments.output


def _take_destination(arguments: argparse.Namespace, rest: list[str]) -> list[str]:
    """Take the destination from the arguments that argparse left over, which it does after an option."""
    if arguments.destination is None and rest and not rest[0].startswith("-"):
        arguments.destination, *rest = rest
    return rest


def add_model_choice(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options that name a model and its input size. Returns the group for further options of the model."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default=EMBEDDED,
        help="HQ-SAM as a folder, Hub repository or checkpoint file (default: the small model inside the package)",
    )
    group.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="side of the model's square input (default: the model's own)"
    )
    return group


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a model, its input size, device and dtype."""
    group = add_model_choice(parser)
    add_device_argument(group)
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="dtype of the model (default: float32)",
    )


def add_device_argument(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 or mps (default: cuda if there is one)")


def add_image_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the options that say how image files are read."""
    parser.add_argument(
        "--max-pixels",
        type=int,
        metavar="N",
        help="read image files of up to N pixels, if you trust them (default: 178956970)",
    )
    parser.add_argument(
        "--value-range",
        type=value_range,
        metavar="LOW,HIGH|percentile",
        help="values that become black and white, such as 0,4095 for data of 12 bits in files of 16; percentile: the "
        "1st and 99th of each image. Needed for images of int32 and of floats beyond 0..1",
    )


def value_range(text: str) -> Any:
    """An argparse type: LOW,HIGH or "percentile"."""
    from ..data.reading_options import ReadingOptions

    try:
        return ReadingOptions(value_range=tuple(text.split(",")) if "," in text else text).value_range  # type: ignore[arg-type]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def image_options(arguments: argparse.Namespace) -> "ReadingOptions":
    """How image files are read, by the options of `add_image_arguments`."""
    from ..data.reading_options import ReadingOptions

    return ReadingOptions(arguments.max_pixels, arguments.value_range)


def add_batch_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options for further files that the commands for many images write."""
    group = parser.add_argument_group("for many images, further files besides coco.json and annotations/IMAGE.json")
    group.add_argument("--overlays", action="store_true", help="overlays/IMAGE.jpg: the masks drawn on the image")
    group.add_argument("--label-maps", action="store_true", help="label_maps/IMAGE.png: pixels hold the mask's number")
    group.add_argument("--parquet", action="store_true", help="parquet/: images and masks as a data set")


def model_spec(arguments: argparse.Namespace) -> "ModelSpec":
    """The model that the options of `add_model_arguments` name."""
    from ..inference.loading import ModelSpec

    return ModelSpec(arguments.model, arguments.device, arguments.dtype, arguments.image_size)


def extra_outputs(arguments: argparse.Namespace) -> "ExtraOutputs":
    """The further files that the options of `add_batch_outputs` name."""
    from ..labelling.output_folder import ExtraOutputs

    return ExtraOutputs(arguments.overlays, arguments.label_maps, arguments.parquet)


def data_source(text: str) -> Any:
    """An argparse type: the root folder of HQSeg-44K, or a mapping that describes custom data."""
    from ..data.factory import parse_source

    try:
        return parse_source(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def comma_separated(text: str) -> list[str]:
    """An argparse type: words separated by commas."""
    return [part.strip() for part in text.split(",")]


__all__ = [
    "add_batch_outputs",
    "add_command",
    "add_destination",
    "add_device_argument",
    "add_image_arguments",
    "add_model_arguments",
    "add_model_choice",
    "add_output_argument",
    "comma_separated",
    "data_source",
    "destination",
    "extra_outputs",
    "image_options",
    "model_spec",
]
