"""What the commands print: results on standard output; progress, warnings and errors on standard error."""

import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ..labelling.folder_run import RunSummary

PACKAGE = "hq_sam_hf"  # the parent of the loggers of all modules

logger = logging.getLogger(__name__)


@contextmanager
def log_to_stderr(message_format: str = "%(message)s") -> Iterator[None]:
    """Show the package's log on standard error: info and above, in other than the main process warnings and above."""
    package_logger = logging.getLogger(PACKAGE)
    level = package_logger.level
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter(message_format, datefmt="%H:%M:%S"))
    package_logger.addHandler(handler)
    # Launchers number the processes that they start.
    package_logger.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    try:
        yield
    finally:
        package_logger.removeHandler(handler)
        package_logger.setLevel(level)


class _StderrHandler(logging.Handler):
    """Writes lines above the progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)


def progress(text: str) -> None:
    """Report a step that takes long, or that has ended, in one line on standard error."""
    logger.info("%s", text)


def output_has_no_reader() -> bool:
    """Whether what reads standard output, such as `head`, has ended. If so, further output is thrown away."""
    try:
        output = sys.stdout.fileno()
    except OSError:  # standard output is an object of Python, not a file
        return False
    if not hasattr(select, "poll"):  # Windows
        return False
    pipe = select.poll()
    pipe.register(output, 0)  # errors are reported without being asked for
    if not pipe.poll(0):
        return False
    # Python flushes the output once more when it ends, which must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


def print_error(text: str) -> None:
    """Print one line, however many lines the message has."""
    prefix = "hq-sam:"
    if uses_colour(sys.stderr):
        prefix = f"\033[1;31m{prefix}\033[0m"
    print(f"{prefix} {' '.join(text.split())}", file=sys.stderr)


def uses_colour(stream: TextIO) -> bool:
    """Whether to colour text: on a terminal only, and never where NO_COLOR is set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_summary(summary: "RunSummary | None", output: Path) -> None:
    """Print how a run over many images ended. Raises ValueError if some images failed.

    summary: None in other processes than the main one, which print nothing.
    """
    if summary is None:
        return
    print(f"images: {summary.done} done, {summary.done_before} done before, {len(summary.failed)} failed; in {output}")
    if summary.left_out:
        print(f"other files, left out: {len(summary.left_out)}")
    if summary.failed:
        names = sorted(summary.failed)
        listing = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise ValueError(f"{len(names)} images failed ({listing}). The lines above say why.")


def hide_library_bars() -> None:
    """Hide the progress bars of transformers, which count weights while a model is loaded."""
    from transformers.utils import logging

    logging.disable_progress_bar()


__all__ = [
    "hide_library_bars",
    "log_to_stderr",
    "output_has_no_reader",
    "print_error",
    "print_summary",
    "progress",
    "uses_colour",
]
