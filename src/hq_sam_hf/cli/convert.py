"""`hq-sam convert`: checkpoints from one layout to another."""

import argparse

from .arguments import add_command, add_destination, destination
from .console import hide_library_bars, progress

EXAMPLES = """\
examples: hq-sam convert sam_hq_vit_l.pth -o hq-sam-vit-l
          hq-sam convert epoch_11.pth -o my-model --base sam_vit_l_0b3195.pth
          hq-sam convert lkeab/hq-sam/sam_hq_vit_tiny.pth -o light-hq-sam
          hq-sam convert my-model -o my_model.pth
          hq-sam convert my-model -o my-model-samhq --layout transformers
          hq-sam convert my-model -o plain-sam --layout sam
          hq-sam convert sam2.1_hq_hiera_large.pt -o hq-sam2-large
"""


def add_convert_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "convert",
        help="convert a checkpoint between the layouts of the original, of transformers and of this package",
        description="Convert an HQ-SAM or HQ-SAM 2 checkpoint. Its kind and sizes are recognised from its weights.",
        examples=EXAMPLES,
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="file, folder, Hub repository, or a file in one: ORGANISATION/NAME/FILE"
    )
    add_destination(parser, "folder to write, or a .pth file for the original layout")
    parser.add_argument(
        "--layout",
        choices=("hq_sam", "transformers", "sam", "original"),
        help="layout to write (default: original for a .pth or .pt file, else hq_sam); sam is the plain SAM or SAM 2 "
        "inside, without the HQ head",
    )
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit of a source on the Hub")
    parser.add_argument(
        "--base",
        metavar="SOURCE",
        help="the SAM of a source that is only a mask decoder or only an HQ head, or the SAM 2 with the weights for "
        "video that an HQ-SAM 2 for images lacks",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="dtype to write (default: as in the source)"
    )
    parser.add_argument(
        "--max-shard-size", metavar="SIZE", default="5GB", help="largest size of a file of weights (default: 5GB)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier conversion, but no other files")
    parser.add_argument("--verify", action="store_true", help="compare masks with the original implementation")
    parser.add_argument("--push-to-hub", metavar="REPO", help="upload the folder to this repository")
    parser.set_defaults(run=run_convert)


def run_convert(arguments: argparse.Namespace) -> None:
    output = destination(arguments)
    from ..export.conversion import convert

    hide_library_bars()
    convert(
        arguments.source,
        output,
        layout=arguments.layout,
        base=arguments.base,
        dtype=arguments.dtype,
        max_shard_size=arguments.max_shard_size,
        overwrite=arguments.overwrite,
        verify=arguments.verify,
        push_to=arguments.push_to_hub,
        revision=arguments.revision,
        report=progress,
    )


__all__ = ["add_convert_command"]
