"""`hq-sam train`: train an HQ head, or fine-tune an HQ-SAM."""

import argparse
import json
from pathlib import Path

from .arguments import add_command, add_output_argument
from .console import progress

EXAMPLES = """\
examples: hq-sam train config.yaml
          hq-sam train config.yaml model=facebook/sam-vit-large data=hqseg44k precision=bf16 -o runs/large
          hq-sam train config.yaml --resume
          accelerate launch --num_processes 8 -m hq_sam_hf.training config.yaml
"""


def add_train_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "train",
        help="train an HQ head on a SAM, or fine-tune an HQ-SAM",
        description="Train as a YAML file describes. Its fields are those of TrainingConfig, whose defaults are the "
        "paper's.",
        examples=EXAMPLES,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="fields that replace those of the file")
    add_output_argument(parser, "folder to write; the same as output_dir=FOLDER", metavar="FOLDER")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint in the output")
    parser.set_defaults(run=run_train, take_rest=_take_overrides)


def _take_overrides(arguments: argparse.Namespace, rest: list[str]) -> list[str]:
    """Take overrides from the arguments that argparse left over, which it does after an option."""
    if any(text.startswith("-") for text in rest):
        return rest
    arguments.overrides += rest
    return []


def run_train(arguments: argparse.Namespace) -> None:
    from ..training.config import TrainingConfig
    from ..training.trainer import train

    overrides = list(arguments.overrides)
    if arguments.output is not None:
        overrides.append(f"output_dir={json.dumps(arguments.output)}")  # a string in YAML, whatever it looks like
    progress(f"wrote {train(TrainingConfig.load(arguments.config, overrides, arguments.resume))}")


__all__ = ["add_train_command"]
