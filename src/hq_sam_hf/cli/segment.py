"""`hq-sam segment`: masks of the objects that prompts point at."""

import argparse
import os
from collections.abc import Callable
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import (
    add_batch_outputs,
    add_command,
    add_image_arguments,
    add_model_arguments,
    add_output_argument,
    extra_outputs,
    image_options,
    model_spec,
)
from .console import hide_library_bars, print_summary, progress

if TYPE_CHECKING:
    from ..inference.text import Detection, DetectorSpec

EXAMPLES = """\
published models: syscv-community/sam-hq-vit-base, syscv-community/sam-hq-vit-large, syscv-community/sam-hq-vit-huge,
                  lkeab/hq-sam/sam_hq_vit_tiny.pth (Light HQ-SAM)
detectors:        IDEA-Research/grounding-dino-tiny, google/owlvit-base-patch32, google/owlv2-base-patch16-ensemble
examples:         hq-sam segment coffee.jpg --model MODEL --box 165,15,415,310 --overlay coffee_overlay.png
                  hq-sam segment coffee.jpg --model MODEL --text "cup. spoon." --detector DETECTOR --json found.json
                  hq-sam segment photos --model MODEL --text "cup. spoon." --detector DETECTOR -o masks --overlays
                  hq-sam segment --prompts objects.csv --model MODEL -o masks --overlays
"""

# Options for a single image, and options that belong to --text.
ONE_IMAGE_ONLY = ("box", "point", "negative_point", "mask", "overlay", "cutout", "json")
TEXT_ONLY = ("detector", "box_threshold", "text_threshold", "nms_threshold")


def add_segment_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "segment",
        help="write masks of objects in an image, from boxes, points, a mask or text",
        description="Write masks of the objects that boxes, points, a rough mask or text point at.",
        examples=EXAMPLES,
    )
    parser.add_argument(
        "image",
        nargs="*",
        metavar="IMAGE",
        help="image file, which is turned upright by its EXIF tag; with --text also several, folders and patterns",
    )
    add_model_arguments(parser)
    _add_prompts(parser)
    _add_outputs(parser)
    add_image_arguments(parser.add_argument_group("reading images and masks"))
    method = parser.add_argument_group("method")
    method.add_argument(
        "--hq-token-only", action="store_true", help="the HQ mask alone, for an image with one clear object"
    )
    method.add_argument(
        "--multimask-output", action="store_true", help="the best of SAM's three candidates, for a single click"
    )
    finding = parser.add_argument_group("objects by --text")
    finding.add_argument("--detector", metavar="NAME", help="detector, such as IDEA-Research/grounding-dino-tiny")
    finding.add_argument(
        "--box-threshold", type=float, metavar="X", help="least score of a box (default: the detector's)"
    )
    finding.add_argument(
        "--text-threshold",
        type=float,
        metavar="X",
        help="least score of a word (default: the detector's); Grounding DINO",
    )
    finding.add_argument(
        "--nms-threshold",
        type=float,
        metavar="X",
        help="IoU above which two boxes of a label are duplicates (default: 0.5)",
    )
    add_batch_outputs(parser)
    parser.set_defaults(run=run_segment, wrong_use=parser.error)


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("prompts, in pixels of the image (coordinates from 0 to 1 are refused)")
    xyxy, xy = numbers(4, "x1,y1,x2,y2"), numbers(2, "x,y")
    group.add_argument(
        "--box", type=xyxy, action="append", default=[], metavar="X1,Y1,X2,Y2", help="box; repeat for more objects"
    )
    group.add_argument(
        "--point", type=xy, action="append", default=[], metavar="X,Y", help="point on the object; may be repeated"
    )
    group.add_argument(
        "--negative-point",
        type=xy,
        action="append",
        default=[],
        metavar="X,Y",
        help="point on the background; may be repeated",
    )
    group.add_argument("--mask", type=Path, metavar="FILE", help="rough mask of the object, of the size of the image")
    group.add_argument("--text", metavar="LABELS", help='labels to find, as "dog. leash."; needs --detector')
    group.add_argument("--prompts", type=Path, metavar="CSV|JSON", help="objects of many images, in place of IMAGE")
    group.add_argument(
        "--image-folder", type=Path, metavar="FOLDER", help="where paths of --prompts may lead, besides its own folder"
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("outputs (default: IMAGE_mask.png in the current folder)")
    add_output_argument(
        group,
        "mask, numbered for several objects; for --prompts and for many images a folder",
        type=Path,
        metavar="PNG|FOLDER",
    )
    group.add_argument("--overlay", type=Path, metavar="FILE", help="the image with masks and prompts drawn on it")
    group.add_argument("--cutout", type=Path, metavar="PNG", help="the object on a transparent background")
    group.add_argument("--json", type=Path, metavar="JSON", help="boxes, scores and masks as COCO RLE")


def numbers(count: int, form: str) -> Callable[[str], list[float]]:
    """An argparse type: `count` numbers separated by commas."""

    def parse(text: str) -> list[float]:
        try:
            values = [float(part) for part in text.split(",")]
        except ValueError:
            values = []
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"expected {form} in pixels, got {text!r}")
        return values

    return parse


def run_segment(arguments: argparse.Namespace) -> None:
    if arguments.prompts is not None:
        run_segment_many(arguments)
        return
    _refuse_options(arguments, ("image_folder",), "--prompts")
    if not arguments.image:
        arguments.wrong_use("give an IMAGE, or --prompts with a file that names images")
    if arguments.text is None:
        _refuse_options(arguments, TEXT_ONLY, "--text")
    elif arguments.detector is None or arguments.box or arguments.point or arguments.negative_point or arguments.mask:
        arguments.wrong_use("--text needs --detector, and excludes other prompts")
    else:
        _check_text(arguments.text)
    if _names_many(arguments.image):
        run_segment_by_text(arguments)
    else:
        run_segment_one(arguments, arguments.image[0])


def _check_text(text: str) -> None:
    """Raise ValueError for text without labels, before models are loaded."""
    from ..inference.text import split_labels

    split_labels(text)


def _names_many(images: list[str]) -> bool:
    """Whether these are several images, a folder or a pattern."""
    return len(images) > 1 or os.path.isdir(images[0]) or (has_magic(images[0]) and not os.path.isfile(images[0]))


def run_segment_one(arguments: argparse.Namespace, image: str) -> None:
    from ..labelling.single import ImagePrompts, OutputFiles, segment_image

    _refuse_options(arguments, ("overlays", "label_maps", "parquet"), "--prompts or many images")
    labels = [1] * len(arguments.point) + [0] * len(arguments.negative_point)
    prompts = ImagePrompts(arguments.box, arguments.point + arguments.negative_point, labels, arguments.mask)
    outputs = OutputFiles(arguments.output, arguments.overlay, arguments.cutout, arguments.json)
    if outputs == OutputFiles():
        outputs = OutputFiles(mask=Path(f"{Path(image).stem}_mask.png"))
    outputs.check([image, arguments.mask], max(1, len(arguments.box)))
    hide_library_bars()
    model, processor = model_spec(arguments).load()
    if arguments.text is not None:
        found = _detect(arguments, image, str(model.device))
        detections = [{"label": one.label, "score": one.score} for one in found]
        prompts = ImagePrompts([list(one.box) for one in found], detections=detections)
    records = segment_image(
        image,
        prompts,
        outputs,
        model,
        processor,
        arguments.multimask_output,
        arguments.hq_token_only,
        image_options(arguments),
    )
    for i, record in enumerate(records, start=1):
        label = f"{record['prompt']['label']} ({record['prompt']['score']:.3f}), " if arguments.text else ""
        print(
            f"mask {i}: {label}{record['area']} pixels, score {record['score']:.3f}, box (x, y, w, h) {record['bbox']}"
        )
    progress(f"wrote {', '.join(str(path) for path in vars(outputs).values() if path is not None)}")


def _detect(arguments: argparse.Namespace, image: str, device: str) -> "list[Detection]":
    progress(f"loading the detector {arguments.detector} ...")
    found = _detector_spec(arguments).load(device).detect(image_options(arguments).load(image), arguments.text)
    if not found:
        raise ValueError(
            f"Nothing in {image!r} was found for {arguments.text!r}. Try a lower --box-threshold or other words."
        )
    return found


def _detector_spec(arguments: argparse.Namespace) -> "DetectorSpec":
    from ..inference.text import DetectorSpec

    return DetectorSpec(arguments.detector, arguments.box_threshold, arguments.text_threshold, arguments.nms_threshold)


def run_segment_by_text(arguments: argparse.Namespace) -> None:
    from ..labelling.from_text import segment_by_text

    if arguments.text is None:
        arguments.wrong_use("many images need --text; give boxes and points of many images with --prompts")
    _refuse_options(arguments, ONE_IMAGE_ONLY, "a single IMAGE")
    if arguments.output is None:
        arguments.wrong_use("masks of many images go to a folder; name it with -o")
    hide_library_bars()
    summary = segment_by_text(
        arguments.image,
        arguments.output,
        arguments.text,
        _detector_spec(arguments),
        **_batch_options(arguments),
    )
    print_summary(summary, arguments.output)


def run_segment_many(arguments: argparse.Namespace) -> None:
    from ..labelling.from_prompts import segment_many

    _refuse_options(arguments, ("image", "text", "detector", *ONE_IMAGE_ONLY), "a single IMAGE")
    if arguments.output is None:
        arguments.wrong_use("--prompts writes to a folder; name it with -o")
    hide_library_bars()
    options = _batch_options(arguments)
    summary = segment_many(arguments.prompts, arguments.output, image_folder=arguments.image_folder, **options)
    print_summary(summary, arguments.output)


def _batch_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that a run over many images takes, from a file of prompts or by text."""
    return {
        "model": model_spec(arguments),
        "extra_outputs": extra_outputs(arguments),
        "multimask_output": arguments.multimask_output,
        "hq_token_only": arguments.hq_token_only,
        "image_options": image_options(arguments),
    }


def _refuse_options(arguments: argparse.Namespace, names: tuple[str, ...], only_with: str) -> None:
    given = [name for name in names if getattr(arguments, name) not in (None, [], False)]
    if given:
        options = ", ".join(name.upper() if name == "image" else f"--{name.replace('_', '-')}" for name in given)
        arguments.wrong_use(f"{options} goes with {only_with} only")


__all__ = ["add_segment_command"]
