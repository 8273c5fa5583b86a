"""The command `hq-sam`. Here flags are parsed and nothing else happens."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

SEGMENT_EPILOG = """\
published models: syscv-community/sam-hq-vit-base, syscv-community/sam-hq-vit-large, syscv-community/sam-hq-vit-huge,
                  lkeab/hq-sam/sam_hq_vit_tiny.pth (Light HQ-SAM)
example:          hq-sam segment coffee.jpg --model MODEL --box 165,15,415,310 --overlay coffee_overlay.png
"""


DATA_EPILOG = """\
example: hq-sam data download hqseg44k && hq-sam data check hqseg44k && hq-sam data export hqseg44k -o parquet
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command: 0 on success, 2 on wrong use, 1 on failure with one line on standard error."""
    parser = argparse.ArgumentParser(prog="hq-sam", description="Segment anything in high quality.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_segment_command(commands)
    add_convert_command(commands)
    add_data_command(commands)
    add_train_command(commands)
    add_evaluate_command(commands)
    add_demo_command(commands)
    arguments = parser.parse_args(argv)
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
    parser = commands.add_parser(
        "segment",
        help="masks of objects in a photo, from boxes, points or a mask",
        description="Write masks of the objects that boxes, points or a rough mask point at.",
        epilog=SEGMENT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photo", type=Path, help="picture file; it is turned upright by its EXIF tag")
    parser.add_argument("--model", required=True, help="folder, Hub repository or checkpoint file of an HQ-SAM")
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
    outputs = parser.add_argument_group("what to write (by default PHOTO_mask.png in the current folder)")
    outputs.add_argument("-o", "--output", type=Path, metavar="PNG", help="the mask; numbered for several objects")
    outputs.add_argument("--overlay", type=Path, metavar="FILE", help="the photo with masks and prompts drawn on it")
    outputs.add_argument("--cutout", type=Path, metavar="PNG", help="the object on a transparent background")
    outputs.add_argument("--json", type=Path, metavar="JSON", help="boxes, scores and masks as COCO RLE")
    how = parser.add_argument_group("how")
    how.add_argument("--hq-token-only", action="store_true", help="the HQ mask alone; good for single, clear objects")
    how.add_argument(
        "--multimask", action="store_true", help="best of SAM's three candidates; good for a single click"
    )
    how.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps (by default a GPU where there is one)")
    how.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    how.add_argument("--image-size", type=int, metavar="PIXELS", help="side of the model's input, by default its own")
    parser.set_defaults(run=run_segment)


def run_segment(arguments: argparse.Namespace) -> None:
    from .segment import Outputs, Prompts, load_model, segment_photo

    labels = [1] * len(arguments.point) + [0] * len(arguments.negative_point)
    prompts = Prompts(arguments.box, arguments.point + arguments.negative_point, labels, arguments.mask)
    outputs = Outputs(arguments.output, arguments.overlay, arguments.cutout, arguments.json)
    if outputs == Outputs():
        outputs = Outputs(mask=Path(f"{arguments.photo.stem}_mask.png"))
    _quiet()
    model, processor = load_model(arguments.model, arguments.device, arguments.dtype, arguments.image_size)
    records = segment_photo(
        arguments.photo, prompts, outputs, model, processor, arguments.multimask, arguments.hq_token_only
    )
    for i, record in enumerate(records, start=1):
        print(f"mask {i}: {record['area']} pixels, score {record['score']:.3f}, box (x, y, w, h) {record['bbox']}")
    print("wrote", ", ".join(str(path) for path in vars(outputs).values() if path is not None))


CONVERT_EPILOG = """\
examples: hq-sam convert sam_hq_vit_l.pth hq-sam-vit-l
          hq-sam convert epoch_11.pth my-model --base sam_vit_l_0b3195.pth
          hq-sam convert lkeab/hq-sam/sam_hq_vit_tiny.pth light-hq-sam
          hq-sam convert my-model my_model.pth
          hq-sam convert my-model my-model-samhq --layout transformers
"""


def add_convert_command(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "convert",
        help="checkpoints between the original layout, transformers' and this package's",
        description="Convert an HQ-SAM checkpoint; its layout and sizes are recognised by its weights.",
        epilog=CONVERT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="file, folder, Hub repository, or file of one as ORG/NAME/FILE")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit of a source on the Hub")
    parser.add_argument("destination", help="folder to write, or a .pth file for the original layout")
    parser.add_argument(
        "--layout", choices=("hq_sam", "transformers", "original"), help="by default by the destination"
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
    parser = commands.add_parser(
        "data",
        help="download, check and export HQSeg-44K",
        description="Prepare HQSeg-44K and the four validation sets.",
        epilog=DATA_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    parser.add_argument("root", type=Path, help="folder with the data sets, unpacked, as zip archives or as Parquet")
    parser.add_argument("--split", choices=("train", "validation"), help="by default both")
    parser.add_argument(
        "--sets", type=lambda text: text.split(","), metavar="A,B", help="such as dis,thin; by default all"
    )


def run_data_download(arguments: argparse.Namespace) -> None:
    from .prepare_data import download_data

    print("fetched", ", ".join(str(path) for path in download_data(arguments.root)))


def run_data_check(arguments: argparse.Namespace) -> None:
    from .prepare_data import check_data, format_reports

    reports = check_data(arguments.root, arguments.split, arguments.sets, arguments.threads)
    print(format_reports(reports))
    problems = sum(len(report.problems) for report in reports)
    if problems:
        raise ValueError(f"{problems} problem{'s' if problems > 1 else ''} in {arguments.root}, listed above.")


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
    parser = commands.add_parser(
        "train",
        help="train an HQ head on a SAM, or tune an HQ-SAM",
        description="Train as a YAML file says; its fields are those of TrainingConfig, with the paper's defaults.",
        epilog=TRAIN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="fields that replace those of the file")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in output_dir")
    parser.set_defaults(run=run_train)


def run_train(arguments: argparse.Namespace) -> None:
    from .training import train
    from .training_config import TrainingConfig

    overrides = arguments.overrides + (["resume=true"] if arguments.resume else [])
    print("wrote", train(TrainingConfig.load(arguments.config, overrides)))


EVALUATE_EPILOG = """\
examples: hq-sam evaluate MODEL --data hqseg44k --sets dis,coift,hrsod,thin -o report
          hq-sam evaluate MODEL --data hqseg44k --prompts box,box-noise-0.2,box-noise-0.4,centre,points-5+5,clicks-3
          hq-sam evaluate MODEL --images photos --masks masks --protocol aspect
          accelerate launch -m hq_sam_hf.cli evaluate MODEL --data hqseg44k -o report
"""


def add_evaluate_command(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="IoU and boundary IoU of a model on HQSeg-44K's validation sets or on own data",
        description="Compare masks of the plain SAM inside, the HQ mask and their sum with true masks.",
        epilog=EVALUATE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def listed(text: str) -> list[str]:
        return [part.strip() for part in text.split(",")]

    parser.add_argument("model", help="folder, Hub repository or checkpoint file of an HQ-SAM")
    data = parser.add_argument_group("data, one of")
    data.add_argument("--data", type=Path, metavar="ROOT", help="HQSeg-44K, as of `hq-sam data`")
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
    how.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps (by default a GPU where there is one)")
    how.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    how.add_argument("--image-size", type=int, metavar="PIXELS", help="side of the model's input, by default its own")
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
examples: hq-sam demo --model syscv-community/sam-hq-vit-base
          hq-sam demo --model syscv-community/sam-hq-vit-base my-model --port 8000
"""


def add_demo_command(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "demo",
        help="a page in the browser: click on objects, compare SAM with HQ-SAM",
        description="Serve a web page on which one clicks on objects of a photo. It needs no internet.",
        epilog=DEMO_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        nargs="+",
        required=True,
        metavar="MODEL",
        help="folders, Hub repositories or checkpoint files of HQ-SAMs, to choose from on the page",
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
