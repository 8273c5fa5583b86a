"""The command `hq-sam`. Here flags are parsed and nothing else happens; larger commands have files of their own."""

import argparse
import sys
from pathlib import Path

from ..utils.embedded import EMBEDDED
from .arguments import add_command, quiet
from .data import add_data_command
from .evaluate import add_evaluate_command
from .export import add_export_command
from .generate import add_generate_command
from .segment import add_segment_command


def main(argv: list[str] | None = None) -> int:
    """Run a command: 0 on success, 2 on wrong use, 1 on failure with one line on standard error."""
    parser = argparse.ArgumentParser(prog="hq-sam", description="Segment anything in high quality.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_segment_command(commands)
    add_generate_command(commands)
    add_convert_command(commands)
    add_data_command(commands)
    add_train_command(commands)
    add_evaluate_command(commands)
    add_export_command(commands)
    add_demo_command(commands)
    arguments, further = parser.parse_known_args(argv)
    if further and hasattr(arguments, "overrides") and not any(text.startswith("-") for text in further):
        arguments.overrides += further  # argparse takes none after an option
    elif further:
        parser.error(f"unrecognized arguments: {' '.join(further)}")
    try:
        arguments.run(arguments)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"hq-sam: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("hq-sam: interrupted", file=sys.stderr)
        return 130
    return 0


CONVERT_EPILOG = """\
examples: hq-sam convert sam_hq_vit_l.pth hq-sam-vit-l
          hq-sam convert epoch_11.pth my-model --base sam_vit_l_0b3195.pth
          hq-sam convert lkeab/hq-sam/sam_hq_vit_tiny.pth light-hq-sam
          hq-sam convert my-model my_model.pth
          hq-sam convert my-model my-model-samhq --layout transformers
          hq-sam convert my-model plain-sam --layout sam
"""


def add_convert_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "convert",
        help="checkpoints between the original layout, transformers' and this package's",
        description="Convert an HQ-SAM checkpoint; its layout and sizes are recognised by its weights.",
        epilog=CONVERT_EPILOG,
    )
    parser.add_argument("source", help="file, folder, Hub repository, or file of one as ORG/NAME/FILE")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit of a source on the Hub")
    parser.add_argument("destination", help="folder to write, or a .pth file for the original layout")
    parser.add_argument(
        "--layout",
        choices=("hq_sam", "transformers", "sam", "original"),
        help="by default by the destination; sam is the plain SAM inside, without the HQ head",
    )
    parser.add_argument("--base", metavar="SOURCE", help="the SAM that a mask decoder or HQ head alone was trained on")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="by default as in the source")
    parser.add_argument("--max-shard-size", metavar="SIZE", default="5GB", help="split larger weights (default 5GB)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing destination")
    parser.add_argument("--verify", action="store_true", help="compare masks with the original implementation")
    parser.add_argument("--push-to-hub", metavar="REPO", help="upload the folder to this repository")
    parser.set_defaults(run=run_convert)


def run_convert(arguments: argparse.Namespace) -> None:
    from ..export.conversion import convert

    quiet()
    convert(
        arguments.source,
        arguments.destination,
        layout=arguments.layout,
        base=arguments.base,
        dtype=arguments.dtype,
        max_shard_size=arguments.max_shard_size,
        overwrite=arguments.overwrite,
        verify=arguments.verify,
        push_to=arguments.push_to_hub,
        revision=arguments.revision,
    )


TRAIN_EPILOG = """\
examples: hq-sam train config.yaml
          hq-sam train config.yaml model=facebook/sam-vit-large data=hqseg44k output_dir=runs/large precision=bf16
          hq-sam train config.yaml --resume
          accelerate launch --num_processes 8 -m hq_sam_hf.training config.yaml
"""


def add_train_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "train",
        help="train an HQ head on a SAM, or tune an HQ-SAM",
        description="Train as a YAML file says; its fields are those of TrainingConfig, with the paper's defaults.",
        epilog=TRAIN_EPILOG,
    )
    parser.add_argument("config", type=Path, help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="fields that replace those of the file")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in output_dir")
    parser.set_defaults(run=run_train)


def run_train(arguments: argparse.Namespace) -> None:
    from ..training.config import TrainingConfig
    from ..training.trainer import train

    print("wrote", train(TrainingConfig.load(arguments.config, arguments.overrides, arguments.resume)))


DEMO_EPILOG = """\
examples: hq-sam demo
          hq-sam demo --model syscv-community/sam-hq-vit-base
          hq-sam demo --model syscv-community/sam-hq-vit-base my-model --port 8000
"""


def add_demo_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "demo",
        help="a page in the browser: click on objects, compare SAM with HQ-SAM",
        description="Serve a web page on which one clicks on objects of a photo. It needs no internet.",
        epilog=DEMO_EPILOG,
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=[str(EMBEDDED)],
        metavar="MODEL",
        help="folders, Hub repositories or checkpoint files of HQ-SAMs, to choose from on the page; by default the "
        "small one inside the package",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; by default only this machine can see the page"
    )
    parser.add_argument("--port", type=int, help="by default the first free one from 7860")
    parser.add_argument(
        "--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps (by default a GPU where there is one)"
    )
    parser.set_defaults(run=run_demo)


def run_demo(arguments: argparse.Namespace) -> None:
    from ..demo.page import run_demo

    quiet()
    run_demo(arguments.model, arguments.host, arguments.port, arguments.device)
