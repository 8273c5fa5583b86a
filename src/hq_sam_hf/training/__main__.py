"""The command `python -m hq_sam_hf.training CONFIG.yaml`, for `accelerate launch -m` and `torchrun -m`."""

import argparse
from pathlib import Path

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
        train(TrainingConfig.load(arguments.config, arguments.overrides, arguments.resume))
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        raise SystemExit(f"hq_sam_hf.training: {' '.join(str(error).split())}") from None


if __name__ == "__main__":
    main()
