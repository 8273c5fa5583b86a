"""`hq-sam data`: download, check and export data sets."""

import argparse
from pathlib import Path

from .arguments import (
    add_command,
    add_destination,
    add_output_argument,
    comma_separated,
    data_source,
    destination,
)
from .benchmark import NAMES as BENCHMARKS
from .console import progress

EXAMPLES = """\
examples: hq-sam data download hqseg44k && hq-sam data check hqseg44k && hq-sam data export hqseg44k -o parquet
          hq-sam data check '{kind: folders, images: photos, masks: masks}'
          hq-sam data export '{kind: coco, annotations: instances.json, images: photos}' -o parquet
"""
DOWNLOAD_EXAMPLES = """\
example: hq-sam data download -o hqseg44k
"""
CHECK_EXAMPLES = """\
examples: hq-sam data check hqseg44k --split validation --sets dis,thin
          hq-sam data check '{kind: folders, images: photos, masks: masks}'
          hq-sam data check '{kind: folders, images: photos, masks: maps, mask_type: instances, ignore_index: 255}'
          hq-sam data check '{kind: coco, annotations: instances.json, images: photos, mask_pixels: stored}'
          hq-sam data check coco --benchmark coco
"""
EXPORT_EXAMPLES = """\
examples: hq-sam data export hqseg44k -o parquet
          hq-sam data export '{kind: coco, annotations: instances.json, images: photos}' -o parquet
"""


def add_data_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
        commands,
        "data",
        help="download, check and export HQSeg-44K or custom data",
        description="Prepare HQSeg-44K with the four validation sets, or custom data.",
        examples=EXAMPLES,
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")

    text = "download the three archives (7.3 GB) of HQSeg-44K from the Hub; a stopped download continues"
    download = add_command(actions, "download", text, text[0].upper() + text[1:] + ".", DOWNLOAD_EXAMPLES)
    add_destination(download, "folder to write; the archives go to FOLDER/data", metavar="FOLDER")
    download.set_defaults(run=run_data_download)

    text = "read every image and mask; the exit code is 1 if something is wrong"
    check = add_command(actions, "check", text, text[0].upper() + text[1:] + ".", CHECK_EXAMPLES)
    _add_choice_of_sets(check)
    check.add_argument("--benchmark", choices=BENCHMARKS, help="DATA is the folder of a benchmark of the paper")
    check.add_argument("--threads", type=int, metavar="N", help="threads that read (default: one per core, at most 8)")
    check.set_defaults(run=run_data_check, wrong_use=parser.error)

    text = "write sharded Parquet with the original bytes of the images"
    export = add_command(actions, "export", text, text[0].upper() + text[1:] + ".", EXPORT_EXAMPLES)
    _add_choice_of_sets(export)
    add_output_argument(
        export, "folder to write, as FOLDER/SPLIT/SET-*.parquet", type=Path, required=True, metavar="FOLDER"
    )
    export.add_argument("--shard-size", type=int, default=500, metavar="MB", help="size of a file (default: 500)")
    export.set_defaults(run=run_data_export)


def _add_choice_of_sets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        type=data_source,
        metavar="DATA",
        help="folder with the data sets, unpacked, as zip archives or as Parquet; or custom data, described as in the "
        "field `data` of a training configuration, with max_pixels, value_range, mask_type, ignore_index and "
        "mask_pixels to say how files are read",
    )
    parser.add_argument(
        "--split", choices=("train", "validation"), help="one split (default: both; of custom data, train)"
    )
    parser.add_argument(
        "--sets", type=comma_separated, metavar="A,B", help="names of sets, such as dis,thin (default: all)"
    )


def run_data_download(arguments: argparse.Namespace) -> None:
    output = destination(arguments)
    from ..data.prepare import download_data

    progress(f"downloaded {', '.join(str(path) for path in download_data(Path(output)))}")


def run_data_check(arguments: argparse.Namespace) -> None:
    from ..data.factory import describe_source
    from ..data.prepare import check_data, format_reports

    if arguments.benchmark is not None:
        from ..benchmarking.checking import check_benchmark

        if not isinstance(arguments.data, str) or arguments.split is not None or arguments.sets is not None:
            arguments.wrong_use("--benchmark goes with a folder as DATA, and without --split and --sets")
        reports = check_benchmark(arguments.benchmark, Path(arguments.data), arguments.threads)
    else:
        reports = check_data(arguments.data, arguments.split, arguments.sets, arguments.threads)
    print(format_reports(reports))
    problems = sum(len(report.problems) for report in reports)
    if problems:
        name = describe_source(arguments.data)
        raise ValueError(f"{problems} problem{'s' if problems > 1 else ''} in {name}, listed above.")


def run_data_export(arguments: argparse.Namespace) -> None:
    from ..data.prepare import export_data

    rows = export_data(arguments.data, arguments.output, arguments.split, arguments.sets, arguments.shard_size)
    for (split, name), count in rows.items():
        print(f"{name} ({split}): {count} rows")
    progress(f"wrote {arguments.output}")


__all__ = ["add_data_command"]
