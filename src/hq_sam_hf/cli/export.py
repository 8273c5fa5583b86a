"""`hq-sam export`."""

import argparse
from pathlib import Path

from .arguments import add_command, add_model_choice, quiet

EXPORT_EPILOG = """\
examples: hq-sam export onnx-model --model syscv-community/sam-hq-vit-base
          hq-sam export onnx-model --model MODEL --intermediate separate --multimask-output
          hq-sam export onnx-model --model lkeab/hq-sam/sam_hq_vit_tiny.pth --intermediate first
"""


def add_export_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "export",
        help="a model as ONNX: encoder and decoder, for annotation tools and programs without Python",
        description="Write encoder.onnx and decoder.onnx. The decoder has the inputs and outputs of the original's.",
        epilog=EXPORT_EPILOG,
    )
    parser.add_argument("destination", type=Path, help="folder to write")
    add_model_choice(parser)
    parser.add_argument(
        "--intermediate",
        choices=("stacked", "separate", "first"),
        default="stacked",
        help="how the encoder gives its inner embeddings: in one tensor, in one each, or the first alone, which is "
        "all that is needed (default stacked, as the original's decoder takes them)",
    )
    parser.add_argument("--multimask-output", action="store_true", help="best of SAM's three candidates")
    parser.add_argument("--hq-token-only", action="store_true", help="the HQ mask alone, not its sum with SAM's")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing folder")
    parser.set_defaults(run=run_export)


def run_export(arguments: argparse.Namespace) -> None:
    from ..export.onnx_export import export_onnx
    from ..inference.loading import load_model

    quiet()
    model, processor = load_model(arguments.model, "cpu", "float32", arguments.image_size)
    paths = export_onnx(
        model,
        processor,
        arguments.destination,
        intermediate=arguments.intermediate,
        multimask_output=arguments.multimask_output,
        hq_token_only=arguments.hq_token_only,
        overwrite=arguments.overwrite,
    )
    for path in paths:
        print(f"wrote {path} ({path.stat().st_size / 2**20:.1f} MiB)")


__all__ = ["add_export_command"]
