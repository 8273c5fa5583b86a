"""`hq-sam export`: a model as ONNX."""

import argparse
from pathlib import Path

from .arguments import add_command, add_destination, add_model_choice, destination
from .console import hide_library_bars, progress

EXAMPLES = """\
examples: hq-sam export --model syscv-community/sam-hq-vit-base -o onnx-model
          hq-sam export --model MODEL --intermediate separate --multimask-output -o onnx-model
          hq-sam export --model lkeab/hq-sam/sam_hq_vit_tiny.pth --intermediate first -o onnx-model
"""


def add_export_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "export",
        help="export a model as ONNX, for annotation tools and programs without Python",
        description="Write encoder.onnx and decoder.onnx. The decoder has the inputs and outputs of the original's.",
        examples=EXAMPLES,
    )
    add_destination(parser, "folder to write", metavar="FOLDER")
    add_model_choice(parser)
    parser.add_argument(
        "--intermediate",
        choices=("stacked", "separate", "first"),
        default="stacked",
        help="how the encoder outputs the embeddings of its inner blocks: stacked in one tensor, as the original's "
        "decoder takes them (the default); in a separate tensor each; or only the first, which is all that the "
        "decoder uses",
    )
    parser.add_argument(
        "--multimask-output",
        action="store_true",
        help="the best of SAM's three candidates, not its single mask",
    )
    parser.add_argument("--hq-token-only", action="store_true", help="the HQ mask alone, not its sum with SAM's")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export, but no other files")
    parser.set_defaults(run=run_export)


def run_export(arguments: argparse.Namespace) -> None:
    output = destination(arguments)
    from ..export.onnx_export import export_onnx, lock_export
    from ..inference.loading import load_model

    hide_library_bars()
    with lock_export(Path(output), arguments.overwrite, inputs=[arguments.model]):
        model, processor = load_model(arguments.model, "cpu", "float32", arguments.image_size)
        progress("exporting the encoder and the decoder, which takes a minute ...")
        paths = export_onnx(
            model,
            processor,
            output,
            intermediate=arguments.intermediate,
            multimask_output=arguments.multimask_output,
            hq_token_only=arguments.hq_token_only,
            overwrite=arguments.overwrite,
        )
    for path in paths:
        progress(f"wrote {path} ({path.stat().st_size / 2**20:.1f} MiB)")


__all__ = ["add_export_command"]
