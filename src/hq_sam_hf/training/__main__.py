"""The command `python -m hq_sam_hf.training CONFIG.yaml`, for `accelerate launch -m` and `torchrun -m`."""

import argparse
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from .config import TrainingConfig
from .trainer import train


def main(argv: list[str] | None = None) -> None:
    """Train from a YAML file, with fields replaced by KEY=VALUE. Errors that a user can mend end it in one line."""
    parser = argparse.ArgumentParser(prog="hq_sam_hf.training", description="Run a training; see `hq-sam train`.")
    parser.add_argument("config", type=Path, help="YAML file with the fields of TrainingConfig")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="fields that replace those of the file")
    parser.add_argument("--resume", action="store_true", help="resume from the newest checkpoint in output_dir")
    arguments = parser.parse_intermixed_args(argv)
    try:
        with _log_to_stderr():
            train(TrainingConfig.load(arguments.config, arguments.overrides, arguments.resume))
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        raise SystemExit(f"hq_sam_hf.training: {' '.join(str(error).split())}") from None


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Show the package's log on standard error: info and above, in other than the main process warnings and above."""
    package = logging.getLogger("hq_sam_hf")
    handler, level = logging.StreamHandler(), package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    try:
        with logging_redirect_tqdm([package]):
            yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)


if __name__ == "__main__":
    main()
