"""The command `hq-sam`: the table of its commands, and its exit codes."""

import argparse
import os
import sys

import hq_sam_hf

from .console import log_to_stderr, output_has_no_reader, print_error
from .convert import add_convert_command
from .data import add_data_command
from .demo import add_demo_command
from .env import add_env_command
from .evaluate import add_evaluate_command
from .export import add_export_command
from .generate import add_generate_command
from .label import add_label_command
from .segment import add_segment_command
from .train import add_train_command

COMMANDS = (
    add_segment_command,
    add_generate_command,
    add_label_command,
    add_demo_command,
    add_data_command,
    add_train_command,
    add_evaluate_command,
    add_convert_command,
    add_export_command,
    add_env_command,
)

EXAMPLES = """\
examples: hq-sam segment photo.jpg --box 165,15,415,310 -o mask.png
          hq-sam generate photos -o masks --overlays
          hq-sam segment --help
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code.

    0: success. 1: failure, with one line on standard error. 2: wrong use. 130: interrupted. 141: what reads the
    output, such as `head`, ended first.
    """
    parser = build_parser()
    _complete(parser)
    arguments, rest = parser.parse_known_args(argv)
    if hasattr(arguments, "take_rest"):
        rest = arguments.take_rest(arguments, rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if not hasattr(arguments, "run"):
        parser.print_help(sys.stderr)
        return 2
    try:
        with log_to_stderr(getattr(arguments, "log_format", "%(message)s")):
            arguments.run(arguments)
            sys.stdout.flush()  # here, and not while Python ends, so that a closed pipe is noticed
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        if isinstance(error, BrokenPipeError) and output_has_no_reader():
            return 141
        print_error(str(error))
        return 1
    except KeyboardInterrupt:
        print_error("interrupted")
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hq-sam",
        description="Segment anything in high quality.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hq-sam-hf {hq_sam_hf.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add_command in COMMANDS:
        add_command(commands)
    return parser


def _complete(parser: argparse.ArgumentParser) -> None:
    """Write the candidates and exit, if a shell has started this process to complete a command line."""
    if "_ARGCOMPLETE" in os.environ:
        try:
            import argcomplete
        except ImportError:  # the shell's argcomplete belongs to another Python environment
            sys.exit(1)
        argcomplete.autocomplete(parser)


__all__ = ["build_parser", "main"]
