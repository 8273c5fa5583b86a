"""The command `hq-sam`. Here flags are parsed and nothing else happens."""

import argparse
import sys
from collections.abc import Callable
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .embedded import EMBEDDED

if TYPE_CHECKING:
    from .many_pictures import Report
    from .text_prompts import Detection

SEGMENT_EPILOG = """\
published models: syscv-community/sam-hq-vit-base, syscv-community/sam-hq-vit-large, syscv-community/sam-hq-vit-huge,
                  lkeab/hq-sam/sam_hq_vit_tiny.pth (Light HQ-SAM)
detectors:        IDEA-Research/grounding-dino-tiny, google/owlvit-base-patch32, google/owlv2-base-patch16-ensemble
examples:         hq-sam segment coffee.jpg --model MODEL --box 165,15,415,310 --overlay coffee_overlay.png
                  hq-sam segment coffee.jpg --model MODEL --text "cup. spoon." --detector DETECTOR --json found.json
                  hq-sam segment photos --model MODEL --text "cup. spoon." --detector DETECTOR -o masks --overlays
                  hq-sam segment --prompts objects.csv --model MODEL -o masks --overlays
"""


DATA_EPILOG = """\
examples: hq-sam data download hqseg44k && hq-sam data check hqseg44k && hq-sam data export hqseg44k -o parquet
          hq-sam data check '{kind: folders, images: photos, masks: masks}'
          hq-sam data export '{kind: coco, annotations: instances.json, images: photos}' -o parquet
"""


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
    parser = _add_command(
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
    _add_model_arguments(parser)
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
        "--multimask", action="store_true", help="best of SAM's three candidates; good for a single click"
    )
    finding = parser.add_argument_group("how to find objects by --text")
    finding.add_argument("--detector", metavar="NAME", help="such as IDEA-Research/grounding-dino-tiny")
    finding.add_argument("--box-threshold", type=float, metavar="X", help="least score of a box, by default its own")
    finding.add_argument("--text-threshold", type=float, metavar="X", help="of Grounding DINO, least score of a word")
    finding.add_argument("--nms-threshold", type=float, metavar="X", help="IoU of duplicates of a label (0.5)")
    _add_wanted_arguments(parser)
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
    from .segment import Outputs, Prompts, load_model, segment_photo

    _refuse_flags(arguments, ("overlays", "label_maps", "parquet"), "--prompts or many photos")
    labels = [1] * len(arguments.point) + [0] * len(arguments.negative_point)
    prompts = Prompts(arguments.box, arguments.point + arguments.negative_point, labels, arguments.mask)
    outputs = Outputs(arguments.output, arguments.overlay, arguments.cutout, arguments.json)
    if outputs == Outputs():
        outputs = Outputs(mask=Path(f"{Path(photo).stem}_mask.png"))
    _quiet()
    model, processor = load_model(arguments.model, arguments.device, arguments.dtype, arguments.image_size)
    if arguments.text is not None:
        found = _detect(arguments, photo, str(model.device))
        prompts = Prompts(
            [list(one.box) for one in found], found=[{"label": o.label, "score": o.score} for o in found]
        )
    records = segment_photo(photo, prompts, outputs, model, processor, arguments.multimask, arguments.hq_token_only)
    for i, record in enumerate(records, start=1):
        label = f"{record['prompt']['label']} ({record['prompt']['score']:.3f}), " if arguments.text else ""
        print(
            f"mask {i}: {label}{record['area']} pixels, score {record['score']:.3f}, box (x, y, w, h) {record['bbox']}"
        )
    print("wrote", ", ".join(str(path) for path in vars(outputs).values() if path is not None))


def _detect(arguments: argparse.Namespace, photo: str, device: str) -> "list[Detection]":
    from .text_prompts import ZeroShotDetector

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
    from .text_many import segment_by_text

    if arguments.text is None:
        arguments.wrong_use("many photos go with --text; boxes and points for many are read with --prompts")
    _refuse_flags(arguments, OF_ONE_PHOTO, "a single PHOTO")
    if arguments.output is None:
        arguments.wrong_use("masks of many photos go to a folder; name it with -o")
    _quiet()
    report = segment_by_text(
        arguments.photo,
        text=arguments.text,
        detector=arguments.detector,
        **_of_many_photos(arguments),
        **_thresholds(arguments),
    )
    _print_report(report, arguments.output)


def run_segment_many(arguments: argparse.Namespace) -> None:
    from .segment_many import segment_many

    _refuse_flags(arguments, ("photo", "text", "detector", *OF_ONE_PHOTO), "a single PHOTO")
    if arguments.output is None:
        arguments.wrong_use("--prompts writes to a folder; name it with -o")
    _quiet()
    _print_report(segment_many(arguments.prompts, **_of_many_photos(arguments)), arguments.output)


def _of_many_photos(arguments: argparse.Namespace) -> dict[str, Any]:
    """What many photos are answered with, however their objects are named."""
    from .many_pictures import Wanted

    names = ("output", "model", "device", "dtype", "image_size", "multimask", "hq_token_only")
    wanted = Wanted(arguments.overlays, arguments.label_maps, arguments.parquet)
    return {"wanted": wanted, **{name: getattr(arguments, name) for name in names}}


def _refuse_flags(arguments: argparse.Namespace, names: tuple[str, ...], only_with: str) -> None:
    given = [name for name in names if getattr(arguments, name) not in (None, [], False)]
    if given:
        flags = ", ".join(name.upper() if name == "photo" else f"--{name.replace('_', '-')}" for name in given)
        arguments.wrong_use(f"{flags} goes with {only_with} only")


GENERATE_EPILOG = """\
example: hq-sam generate photos -o masks --model MODEL --overlays --parquet
on several GPUs: accelerate launch -m hq_sam_hf.cli generate photos -o masks --model MODEL
Run it again to go on where it stopped. What it writes is in docs/automatic_masks.md.
"""


def add_generate_command(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "generate",
        help="masks of everything in photos, without prompts",
        description="Find masks of everything in one or many photos, from a grid of points.",
        epilog=GENERATE_EPILOG,
    )
    parser.add_argument("sources", nargs="+", metavar="PHOTO|FOLDER|PATTERN", help="pictures; folders with subfolders")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="gets coco.json and more")
    _add_model_arguments(parser)
    _add_wanted_arguments(parser)
    # Only what is given is passed on: the defaults are those of HQSamMaskGenerator, the original's.
    options = parser.add_argument_group("how to look, by default as the original", argument_default=argparse.SUPPRESS)
    for name, kind, text in (
        ("points-per-side", int, "the grid has so many points squared (32)"),
        ("points-per-batch", int, "points answered at a time (64)"),
        ("pred-iou-thresh", float, "drop masks with a predicted IoU of at most this (0.88)"),
        ("stability-score-thresh", float, "drop masks less stable than this (0.95)"),
        ("stability-score-offset", float, "by which the threshold moves to measure that (1.0)"),
        ("box-nms-thresh", float, "IoU of boxes from which masks are duplicates (0.7)"),
        ("crop-n-layers", int, "look also at 4 crops, and 16, ... (0)"),
        ("crop-nms-thresh", float, "IoU of boxes from which masks of two crops are duplicates (0.7)"),
        ("crop-overlap-ratio", float, "overlap of crops, of the short side (0.341)"),
        ("crop-n-points-downscale-factor", int, "fewer points per side in each layer of crops (1)"),
        ("min-mask-region-area", int, "fill holes and drop parts of fewer pixels (0)"),
        ("candidates", int, "masks per point: 1, or 3 as SAM (1)"),
    ):
        options.add_argument(f"--{name}", type=kind, help=text, metavar="N" if kind is int else "X")
    options.add_argument("--hq-token-only", action="store_true", help="the HQ mask alone")
    options.add_argument("--single-mask", dest="multimask_output", action="store_false", help="not the best of three")
    parser.set_defaults(run=run_generate)


def run_generate(arguments: argparse.Namespace) -> None:
    from .generate import generate_masks
    from .many_pictures import Wanted

    _quiet()
    given = {key: value for key, value in vars(arguments).items() if key != "run"}
    wanted = Wanted(given.pop("overlays"), given.pop("label_maps"), given.pop("parquet"))
    _print_report(generate_masks(**given, wanted=wanted), arguments.output)


def _add_command(
    commands: argparse._SubParsersAction, name: str, help: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=epilog,  # shown as it stands
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=EMBEDDED,
        help="folder, Hub repository or checkpoint file of an HQ-SAM; by default the small one inside the package",
    )
    how = parser.add_argument_group("model")
    how.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps (by default a GPU where there is one)")
    how.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    how.add_argument("--image-size", type=int, metavar="PIXELS", help="side of the model's input, by default its own")


def _add_wanted_arguments(parser: argparse.ArgumentParser) -> None:
    wanted = parser.add_argument_group("what to write besides coco.json and pictures/PHOTO.json, for many photos")
    wanted.add_argument("--overlays", action="store_true", help="overlays/PHOTO.jpg, the masks drawn on the photo")
    wanted.add_argument("--label-maps", action="store_true", help="label_maps/PHOTO.png, numbers of masks as pixels")
    wanted.add_argument("--parquet", action="store_true", help="parquet/, photos and masks as a data set")


def _print_report(report: "Report | None", output: Path) -> None:
    if report is None:  # not the main process
        return
    print(
        f"pictures: {report.done} done, {report.done_before} done before, {len(report.failed)} left out; in {output}"
    )
    if report.failed:
        names = sorted(report.failed)
        listing = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise ValueError(f"pictures left out: {len(names)} ({listing}). The reasons stand above.")


CONVERT_EPILOG = """\
examples: hq-sam convert sam_hq_vit_l.pth hq-sam-vit-l
          hq-sam convert epoch_11.pth my-model --base sam_vit_l_0b3195.pth
          hq-sam convert lkeab/hq-sam/sam_hq_vit_tiny.pth light-hq-sam
          hq-sam convert my-model my_model.pth
          hq-sam convert my-model my-model-samhq --layout transformers
          hq-sam convert my-model plain-sam --layout sam
"""


def add_convert_command(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
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
    from .converting import convert

    _quiet()
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


def add_data_command(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "data",
        help="download, check and export HQSeg-44K, or own data",
        description="Prepare HQSeg-44K and the four validation sets, or own data.",
        epilog=DATA_EPILOG,
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")

    download = actions.add_parser("download", help="fetch the three archives (7.3 GB) from the Hub; may be continued")
    download.add_argument("root", type=Path, help="the archives go to ROOT/data")
    download.set_defaults(run=run_data_download)

    check = actions.add_parser("check", help="read every image and mask; exit code 1 if something is wrong")
    _add_choice_of_sets(check)
    check.add_argument("--threads", type=int, metavar="N", help="by default one per core, at most 8")
    check.set_defaults(run=run_data_check)

    export = actions.add_parser("export", help="write sharded Parquet with the original bytes of the pictures")
    _add_choice_of_sets(export)
    export.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="gets DIR/SPLIT/SET-*.parquet")
    export.add_argument("--shard-size", type=int, default=500, metavar="MB", help="of one file, by default 500")
    export.set_defaults(run=run_data_export)


def _add_choice_of_sets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "root",
        type=_data_source,
        help="folder with the data sets, unpacked, as zip archives or as Parquet; or own data, described as by `data` "
        "of a training configuration",
    )
    parser.add_argument("--split", choices=("train", "validation"), help="by default both; of own data, train")
    parser.add_argument(
        "--sets", type=lambda text: text.split(","), metavar="A,B", help="such as dis,thin; by default all"
    )


def _data_source(text: str) -> Any:
    """An argparse type: the root of HQSeg-44K, or a mapping that describes own data."""
    from .data_sources import parse_source

    try:
        return parse_source(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run_data_download(arguments: argparse.Namespace) -> None:
    from .prepare_data import download_data

    print("fetched", ", ".join(str(path) for path in download_data(arguments.root)))


def run_data_check(arguments: argparse.Namespace) -> None:
    from .data_sources import describe_source
    from .prepare_data import check_data, format_reports

    reports = check_data(arguments.root, arguments.split, arguments.sets, arguments.threads)
    print(format_reports(reports))
    problems = sum(len(report.problems) for report in reports)
    if problems:
        name = describe_source(arguments.root)
        raise ValueError(f"{problems} problem{'s' if problems > 1 else ''} in {name}, listed above.")


def run_data_export(arguments: argparse.Namespace) -> None:
    from .prepare_data import export_data

    rows = export_data(arguments.root, arguments.output, arguments.split, arguments.sets, arguments.shard_size)
    for (split, name), count in rows.items():
        print(f"{name} ({split}): {count} rows")
    print("wrote", arguments.output)


TRAIN_EPILOG = """\
examples: hq-sam train config.yaml
          hq-sam train config.yaml model=facebook/sam-vit-large data=hqseg44k output_dir=runs/large precision=bf16
          hq-sam train config.yaml --resume
          accelerate launch --num_processes 8 -m hq_sam_hf.training config.yaml
"""


def add_train_command(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
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
    from .training import train
    from .training_config import TrainingConfig

    print("wrote", train(TrainingConfig.load(arguments.config, arguments.overrides, arguments.resume)))


EVALUATE_EPILOG = """\
examples: hq-sam evaluate --model MODEL --data hqseg44k --sets dis,coift,hrsod,thin -o report
          hq-sam evaluate --model MODEL --data hqseg44k --prompts box,box-noise-0.2,centre,points-5+5,clicks-3
          hq-sam evaluate --model MODEL --images photos --masks masks --protocol aspect
          hq-sam evaluate --model MODEL --data '{kind: coco, annotations: instances.json, images: photos}'
          hq-sam evaluate --scenes 20
          accelerate launch -m hq_sam_hf.cli evaluate --model MODEL --data hqseg44k -o report
"""


def add_evaluate_command(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
        commands,
        "evaluate",
        help="IoU and boundary IoU of a model on HQSeg-44K's validation sets or on own data",
        description="Compare masks of the plain SAM inside, the HQ mask and their sum with true masks.",
        epilog=EVALUATE_EPILOG,
    )

    def listed(text: str) -> list[str]:
        return [part.strip() for part in text.split(",")]

    _add_model_arguments(parser)
    data = parser.add_argument_group("data, one of")
    data.add_argument("--data", type=_data_source, metavar="ROOT", help="HQSeg-44K or own data, as of `hq-sam data`")
    data.add_argument("--images", type=Path, metavar="DIR", help="own pictures, with --masks")
    data.add_argument("--masks", type=Path, metavar="DIR", help="masks with the names of --images")
    data.add_argument("--scenes", type=int, metavar="COUNT", help="generated pictures, which need no download")
    data.add_argument("--sets", type=listed, metavar="A,B", help="of --data, such as dis,thin; by default all")
    data.add_argument(
        "--split", choices=("validation", "train", "held_out"), default="validation", help="held_out is of --scenes"
    )
    data.add_argument("--limit", type=int, metavar="N", help="only the first N pictures")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--prompts",
        type=listed,
        default=["box"],
        metavar="A,B",
        help="box, box-noise-0.2, points-5, points-5+3 (with negative ones), centre, clicks-3; by default box",
    )
    how.add_argument("--outputs", type=listed, default=["sam", "hq", "sum"], metavar="A,B", help="of sam, hq, sum")
    how.add_argument(
        "--protocol", choices=("stretch", "aspect"), default="stretch", help="stretch is the paper's, and the default"
    )
    how.add_argument("--multimask", action="store_true", help="best of SAM's three candidates")
    how.add_argument("--seed", type=int, default=0, help="of random prompts, by default 0")
    how.add_argument("--trials", type=int, default=1, metavar="N", help="draw random prompts N times")
    how.add_argument("--batch-size", type=int, default=1, metavar="N", help="pictures encoded together")
    how.add_argument("--workers", type=int, default=0, metavar="N", help="processes that read pictures")
    report = parser.add_argument_group("report")
    report.add_argument("-o", "--output", type=Path, metavar="DIR", help="tables, a record per mask, worst cases")
    report.add_argument("--worst", type=int, default=8, metavar="N", help="pictures of the N hardest, by default 8")
    parser.set_defaults(run=run_evaluate)


def run_evaluate(arguments: argparse.Namespace) -> None:
    from .evaluation_command import EvaluationData, evaluate_and_report

    data = EvaluationData(
        arguments.data, arguments.split, arguments.sets, arguments.images, arguments.masks, arguments.scenes
    )
    _quiet()
    result = evaluate_and_report(
        arguments.model,
        data,
        arguments.output,
        arguments.worst,
        arguments.device,
        arguments.dtype,
        arguments.image_size,
        prompts=arguments.prompts,
        outputs=arguments.outputs,
        protocol=arguments.protocol,
        multimask_output=arguments.multimask,
        seed=arguments.seed,
        trials=arguments.trials,
        batch_size=arguments.batch_size,
        num_workers=arguments.workers,
        limit=arguments.limit,
    )
    if result is None:  # another process has it
        return
    print(result.markdown())
    if arguments.output is not None:
        print("wrote", arguments.output)
    if result.failures:
        count = f"{len(result.failures)} of {result.settings['pictures']}"
        raise ValueError(f"Could not be read, and left out of the figures: {count} pictures, listed above.")


DEMO_EPILOG = """\
examples: hq-sam demo
          hq-sam demo --model syscv-community/sam-hq-vit-base
          hq-sam demo --model syscv-community/sam-hq-vit-base my-model --port 8000
"""


def add_demo_command(commands: argparse._SubParsersAction) -> None:
    parser = _add_command(
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
    from .demo import run_demo

    _quiet()
    run_demo(arguments.model, arguments.host, arguments.port, arguments.device)


def _quiet() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


if __name__ == "__main__":
    sys.exit(main())
