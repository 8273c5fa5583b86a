"""`hq-sam segment`."""

import argparse
from collections.abc import Callable
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_command, add_model_arguments, add_wanted_arguments, print_report, quiet

if TYPE_CHECKING:
    from ..inference.text import Detection

SEGMENT_EPILOG = """\
published models: syscv-community/sam-hq-vit-base, syscv-community/sam-hq-vit-large, syscv-community/sam-hq-vit-huge,
                  lkeab/hq-sam/sam_hq_vit_tiny.pth (Light HQ-SAM)
detectors:        IDEA-Research/grounding-dino-tiny, google/owlvit-base-patch32, google/owlv2-base-patch16-ensemble
examples:         hq-sam segment coffee.jpg --model MODEL --box 165,15,415,310 --overlay coffee_overlay.png
                  hq-sam segment coffee.jpg --model MODEL --text "cup. spoon." --detector DETECTOR --json found.json
                  hq-sam segment photos --model MODEL --text "cup. spoon." --detector DETECTOR -o masks --overlays
                  hq-sam segment --prompts objects.csv --model MODEL -o masks --overlays
"""


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


def add_segment_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "segment",
        help="masks of objects in a photo, from boxes, points or a mask",
        description="Write masks of the objects that boxes, points or a rough mask point at.",
        epilog=SEGMENT_EPILOG,
    )
    parser.add_argument(
        "photo",
        nargs="*",
        metavar="PHOTO",
        help="picture file; it is turned upright by its EXIF tag. With --text also several, folders and patterns",
    )
    add_model_arguments(parser)
    prompts = parser.add_argument_group("what to segment, in pixels of the photo")
    xyxy, xy = numbers(4, "x1,y1,x2,y2"), numbers(2, "x,y")
    prompts.add_argument(
        "--box", type=xyxy, action="append", default=[], metavar="X1,Y1,X2,Y2", help="repeat for more objects"
    )
    prompts.add_argument(
        "--point", type=xy, action="append", default=[], metavar="X,Y", help="on the object; may be repeated"
    )
    prompts.add_argument(
        "--negative-point",
        type=xy,
        action="append",
        default=[],
        metavar="X,Y",
        help="not on the object; may be repeated",
    )
    prompts.add_argument("--mask", type=Path, metavar="FILE", help="rough mask of the object, of the photo's size")
    prompts.add_argument("--text", metavar="LABELS", help='what to look for, as "dog. leash."; needs --detector')
    prompts.add_argument("--prompts", type=Path, metavar="CSV|JSON", help="objects of many photos, in place of PHOTO")
    outputs = parser.add_argument_group("what to write (by default PHOTO_mask.png in the current folder)")
    outputs.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PNG",
        help="the mask; numbered for several objects. A folder for --prompts and for many photos",
    )
    outputs.add_argument("--overlay", type=Path, metavar="FILE", help="the photo with masks and prompts drawn on it")
    outputs.add_argument("--cutout", type=Path, metavar="PNG", help="the object on a transparent background")
    outputs.add_argument("--json", type=Path, metavar="JSON", help="boxes, scores and masks as COCO RLE")
    how = parser.add_argument_group("how")
    how.add_argument("--hq-token-only", action="store_true", help="the HQ mask alone; good for single, clear objects")
    how.add_argument(
        "--multimask-output", action="store_true", help="best of SAM's three candidates; good for a single click"
    )
    finding = parser.add_argument_group("how to find objects by --text")
    finding.add_argument("--detector", metavar="NAME", help="such as IDEA-Research/grounding-dino-tiny")
    finding.add_argument("--box-threshold", type=float, metavar="X", help="least score of a box, by default its own")
    finding.add_argument("--text-threshold", type=float, metavar="X", help="of Grounding DINO, least score of a word")
    finding.add_argument("--nms-threshold", type=float, metavar="X", help="IoU of duplicates of a label (0.5)")
    add_wanted_arguments(parser)
    parser.set_defaults(run=run_segment, wrong_use=parser.error)


def run_segment(arguments: argparse.Namespace) -> None:
    if arguments.prompts is not None:
        run_segment_many(arguments)
        return
    if not arguments.photo:
        arguments.wrong_use("give a PHOTO, or --prompts with a file that names photos")
    if arguments.text is None:
        _refuse_flags(arguments, ("detector", "box_threshold", "text_threshold", "nms_threshold"), "--text")
    elif arguments.detector is None or arguments.box or arguments.point or arguments.negative_point or arguments.mask:
        arguments.wrong_use("--text needs --detector, and no other prompts")
    if _names_many(arguments.photo):
        run_segment_by_text(arguments)
    else:
        run_segment_one(arguments, arguments.photo[0])


def _names_many(photos: list[str]) -> bool:
    """Whether these are several pictures, or a folder or pattern, which may be."""
    return len(photos) > 1 or Path(photos[0]).is_dir() or (has_magic(photos[0]) and not Path(photos[0]).is_file())


def run_segment_one(arguments: argparse.Namespace, photo: str) -> None:
    from ..batch.single import Outputs, Prompts, segment_photo
    from ..inference.loading import load_model

    _refuse_flags(arguments, ("overlays", "label_maps", "parquet"), "--prompts or many photos")
    labels = [1] * len(arguments.point) + [0] * len(arguments.negative_point)
    prompts = Prompts(arguments.box, arguments.point + arguments.negative_point, labels, arguments.mask)
    outputs = Outputs(arguments.output, arguments.overlay, arguments.cutout, arguments.json)
    if outputs == Outputs():
        outputs = Outputs(mask=Path(f"{Path(photo).stem}_mask.png"))
    quiet()
    model, processor = load_model(arguments.model, arguments.device, arguments.dtype, arguments.image_size)
    if arguments.text is not None:
        found = _detect(arguments, photo, str(model.device))
        prompts = Prompts(
            [list(one.box) for one in found], found=[{"label": o.label, "score": o.score} for o in found]
        )
    records = segment_photo(
        photo, prompts, outputs, model, processor, arguments.multimask_output, arguments.hq_token_only
    )
    for i, record in enumerate(records, start=1):
        label = f"{record['prompt']['label']} ({record['prompt']['score']:.3f}), " if arguments.text else ""
        print(
            f"mask {i}: {label}{record['area']} pixels, score {record['score']:.3f}, box (x, y, w, h) {record['bbox']}"
        )
    print("wrote", ", ".join(str(path) for path in vars(outputs).values() if path is not None))


def _detect(arguments: argparse.Namespace, photo: str, device: str) -> "list[Detection]":
    from ..inference.text import ZeroShotDetector

    detector = ZeroShotDetector.from_pretrained(arguments.detector, device, **_thresholds(arguments))
    found = detector.detect(photo, arguments.text)
    if not found:
        raise ValueError(f"Nothing in {photo!r} was found by {arguments.text!r}. Try --box-threshold.")
    return found


def _thresholds(arguments: argparse.Namespace) -> dict[str, Any]:
    thresholds = {name: getattr(arguments, name) for name in ("box_threshold", "text_threshold", "nms_threshold")}
    return {name: value for name, value in thresholds.items() if value is not None}


OF_ONE_PHOTO = ("box", "point", "negative_point", "mask", "overlay", "cutout", "json")


def run_segment_by_text(arguments: argparse.Namespace) -> None:
    from ..batch.from_text import segment_by_text

    if arguments.text is None:
        arguments.wrong_use("many photos go with --text; boxes and points for many are read with --prompts")
    _refuse_flags(arguments, OF_ONE_PHOTO, "a single PHOTO")
    if arguments.output is None:
        arguments.wrong_use("masks of many photos go to a folder; name it with -o")
    quiet()
    report = segment_by_text(
        arguments.photo,
        text=arguments.text,
        detector=arguments.detector,
        **_of_many_photos(arguments),
        **_thresholds(arguments),
    )
    print_report(report, arguments.output)


def run_segment_many(arguments: argparse.Namespace) -> None:
    from ..batch.from_prompts import segment_many

    _refuse_flags(arguments, ("photo", "text", "detector", *OF_ONE_PHOTO), "a single PHOTO")
    if arguments.output is None:
        arguments.wrong_use("--prompts writes to a folder; name it with -o")
    quiet()
    print_report(segment_many(arguments.prompts, **_of_many_photos(arguments)), arguments.output)


def _of_many_photos(arguments: argparse.Namespace) -> dict[str, Any]:
    """What many photos are answered with, however their objects are named."""
    from ..batch.runner import Wanted

    names = ("output", "model", "device", "dtype", "image_size", "multimask_output", "hq_token_only")
    wanted = Wanted(arguments.overlays, arguments.label_maps, arguments.parquet)
    return {"wanted": wanted, **{name: getattr(arguments, name) for name in names}}


def _refuse_flags(arguments: argparse.Namespace, names: tuple[str, ...], only_with: str) -> None:
    given = [name for name in names if getattr(arguments, name) not in (None, [], False)]
    if given:
        flags = ", ".join(name.upper() if name == "photo" else f"--{name.replace('_', '-')}" for name in given)
        arguments.wrong_use(f"{flags} goes with {only_with} only")


__all__ = ["add_segment_command"]
