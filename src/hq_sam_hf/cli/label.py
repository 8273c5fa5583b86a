"""`hq-sam label`: label the images of any source into a data set."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import (
    add_command,
    add_image_arguments,
    add_model_arguments,
    add_output_argument,
    image_options,
    model_spec,
)
from .console import hide_library_bars, progress
from .generate import add_generator_options, generator_options

if TYPE_CHECKING:
    from ..labelling.labeller import LabellerSpec
    from ..labelling.prompt_sources import PromptSource
    from ..labelling.sources import Source

EXAMPLES = """\
examples: hq-sam label photos -o labels --model MODEL
          hq-sam label photos -o labels --text "cup. spoon." --detector IDEA-Research/grounding-dino-tiny
          hq-sam label 's3://bucket/shards/*.tar' -o labels --prompts detections.json --min-score 0.3
          hq-sam label instances.json --image-folder photos -o labels --boxes-column boxes --labels-column labels
          hq-sam label ORGANISATION/DATASET -o labels --boxes-column objects.bbox --box-format xywh --dry-run
          hq-sam train config.yaml data='{kind: columns, source: labels, mask_column: masks}'
A stopped run goes on when the same command is run again. docs/labelling.md describes sources, prompts and output.
"""

# Options that name a column of the source, the field of ColumnPrompts of each, and its help.
PROMPT_COLUMNS = (
    ("boxes", "boxes of the objects of an image; a dot names a field inside of a column, such as objects.bbox"),
    ("points", "for each object a list of x, y"),
    ("point-labels", "for each object a list of 1 (on the object) and 0 (on the background)"),
    ("masks", "rough masks: COCO segmentations as JSON text, or images"),
    ("labels", "the label of each object, or one for all"),
    ("text", 'labels to find, as "dog. leash." or a list; needs --detector'),
)


def add_label_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "label",
        help="label the images of any source into a data set, from a laptop to a cluster",
        description="Label the images of any source: with masks of everything in them, or of objects that columns, a "
        "detector's file or text point at. The output is a data set in Parquet, with masks as COCO RLE.",
        examples=EXAMPLES,
    )
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="image files, folders, patterns; .parquet or .tar files; a COCO file; a data set of the Hub; or the URL "
        "of files or a folder, such as s3://bucket/photos",
    )
    add_output_argument(parser, "folder for the data set", required=True, type=Path, metavar="FOLDER")
    add_model_arguments(parser)
    _add_source(parser)
    _add_prompts(parser)
    add_image_arguments(parser.add_argument_group("reading images"))
    method = parser.add_argument_group("method")
    method.add_argument("--hq-token-only", action="store_true", help="the HQ mask alone, not its sum with SAM's")
    method.add_argument(
        "--multimask-output",
        action=argparse.BooleanOptionalAction,
        help="the best of SAM's three candidates (default: for automatic masks)",
    )
    add_generator_options(parser)
    _add_outputs(parser)
    _add_engine(parser)
    parser.set_defaults(run=run_label, wrong_use=parser.error)


def _add_source(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("source")
    group.add_argument("--split", default="train", metavar="NAME", help="split of a data set (default: train)")
    group.add_argument("--image-column", metavar="NAME", help="column with the images (default: image, img, jpg, png)")
    group.add_argument(
        "--key-column",
        metavar="NAME",
        help="column that names the images (default: key, __key__, name, file_name, image_id, id, or the path)",
    )
    group.add_argument(
        "--image-folder", metavar="FOLDER", help="folder or URL of the images that a COCO file or table names"
    )


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("prompts, in pixels of the image (default: masks of everything)")
    for name, text in PROMPT_COLUMNS:
        group.add_argument(f"--{name}-column", metavar="NAME", help=text)
    group.add_argument(
        "--box-format",
        choices=("xyxy", "xywh"),
        default="xyxy",
        help="of --boxes-column: x1, y1, x2, y2 or x, y, width, height (default: xyxy)",
    )
    group.add_argument(
        "--prompts", type=Path, metavar="JSON|CSV", help="file of a detector, or of `hq-sam segment --prompts`"
    )
    group.add_argument(
        "--min-score",
        type=float,
        default=0.0,
        metavar="X",
        help="least score of a detection in --prompts (default: 0)",
    )
    group.add_argument("--text", metavar="LABELS", help='labels to find in all images, as "dog. leash."')
    group.add_argument("--detector", metavar="NAME", help="detector, such as IDEA-Research/grounding-dino-tiny")
    for name, text in (
        ("box", "least score of a box (default: the detector's)"),
        ("text", "least score of a word (default: the detector's); Grounding DINO"),
        ("nms", "IoU above which two boxes of a label are duplicates (default: 0.5)"),
    ):
        group.add_argument(f"--{name}-threshold", type=float, metavar="X", help=text)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--images",
        choices=("embed", "reference"),
        default="embed",
        help="whether rows hold the bytes of the images or their paths (default: embed)",
    )
    group.add_argument("--coco", action="store_true", help="also write all masks as coco.json")
    group.add_argument("--shard-size", type=int, default=500, metavar="N", help="images per file (default: 500)")
    group.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="images that are encoded together (default: 8)"
    )
    group.add_argument("--push-to-hub", metavar="NAME", help="data set on the Hub to upload the output to")
    group.add_argument("--private", action="store_true", help="make a new data set on the Hub private")
    group.add_argument("--retry-skipped", action="store_true", help="try again what an earlier run has skipped")
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing: count images and prompts, label a few images and estimate the hours",
    )


def _add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="processes of this machine, or a Ray cluster, which needs the extra `scale` (default: local)",
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="processes with a model (default: one per GPU, else per CPU core)"
    )
    group.add_argument("--address", metavar="ADDRESS", help="of a running Ray cluster, or auto")
    group.add_argument(
        "--gpus-per-worker", type=float, default=0, metavar="X", help="GPUs of each worker of ray (default: 0)"
    )


def run_label(arguments: argparse.Namespace) -> None:
    from ..labelling.engines import EngineOptions
    from ..labelling.estimate import dry_run
    from ..labelling.opening import SourceOptions, open_source
    from ..labelling.run import OutputOptions, label_images

    _check_combinations(arguments)
    hide_library_bars()
    engine = EngineOptions(arguments.engine, arguments.workers, arguments.address, arguments.gpus_per_worker)
    outputs = OutputOptions(
        arguments.shard_size, arguments.batch_size, arguments.coco, arguments.push_to_hub, arguments.private or None
    )
    options = SourceOptions(arguments.split, arguments.image_column, arguments.key_column, arguments.image_folder)
    source = open_source(arguments.source, options, arguments.output)
    prompts = _prompt_source(arguments, source)
    labeller = _labeller_spec(arguments)
    if arguments.dry_run:
        for line in dry_run(source, arguments.output, prompts, labeller, outputs, engine).lines():
            print(line)
        return
    summary = label_images(source, arguments.output, prompts, labeller, outputs, engine, arguments.retry_skipped)
    skipped = f"{len(summary.skipped):,} skipped"
    print(f"images: {summary.done:,} done, {summary.done_before:,} done before, {skipped}; in {arguments.output}")
    if summary.done:
        progress(f"{summary.rate:.3g} images/s; {summary.shares}")
    if summary.left_out:
        print(f"other files, left out: {len(summary.left_out)}")
    if summary.repository is not None:
        print(f"uploaded to {summary.repository}")


def _check_combinations(arguments: argparse.Namespace) -> None:
    """End the command for options that contradict each other."""
    columns = [name for name, _ in PROMPT_COLUMNS if _column(arguments, name) is not None]
    kinds = [
        *(["columns with prompts"] if columns else []),
        *(["--prompts"] if arguments.prompts is not None else []),
        *(["--text"] if arguments.text is not None else []),
    ]
    if len(kinds) > 1:
        arguments.wrong_use(f"prompts come from one place, but {' and '.join(kinds)} are given")
    needs_detector = arguments.text is not None or _column(arguments, "text") is not None
    if needs_detector != (arguments.detector is not None):
        arguments.wrong_use("--text and --text-column need --detector, which goes with them only")
    if kinds and generator_options(arguments):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in generator_options(arguments))
        arguments.wrong_use(f"{names} is for automatic masks only")


def _column(arguments: argparse.Namespace, name: str) -> str | None:
    return getattr(arguments, f"{name.replace('-', '_')}_column")


def _prompt_source(arguments: argparse.Namespace, source: "Source") -> "PromptSource":
    from ..inference.text import split_labels
    from ..labelling.detections import read_prompt_file
    from ..labelling.prompt_sources import AutomaticPrompts, ColumnPrompts, TextPrompts

    columns: dict[str, Any] = {name.replace("-", "_"): _column(arguments, name) for name, _ in PROMPT_COLUMNS}
    if any(columns.values()):
        return ColumnPrompts(box_format=arguments.box_format, **columns)
    if arguments.prompts is not None:
        return read_prompt_file(arguments.prompts, source, arguments.min_score, arguments.image_folder)
    return AutomaticPrompts() if arguments.text is None else TextPrompts(split_labels(arguments.text))


def _labeller_spec(arguments: argparse.Namespace) -> "LabellerSpec":
    from ..inference.text import DetectorSpec
    from ..labelling.labeller import LabellerSpec

    thresholds = (arguments.box_threshold, arguments.text_threshold, arguments.nms_threshold)
    detector = None if arguments.detector is None else DetectorSpec(arguments.detector, *thresholds)
    is_automatic = detector is None and arguments.prompts is None
    is_automatic = is_automatic and not any(_column(arguments, name) for name, _ in PROMPT_COLUMNS)
    multimask = is_automatic if arguments.multimask_output is None else arguments.multimask_output
    return LabellerSpec(
        model_spec(arguments),
        detector,
        generator_options(arguments) if is_automatic else None,
        multimask,
        arguments.hq_token_only,
        image_options(arguments),
        embeds=arguments.images == "embed",
    )


__all__ = ["add_label_command"]
