"""`hq-sam data`."""

import argparse
from pathlib import Path

from .arguments import add_command, data_source

DATA_EPILOG = """\
examples: hq-sam data download hqseg44k && hq-sam data check hqseg44k && hq-sam data export hqseg44k -o parquet
          hq-sam data check '{kind: folders, images: photos, masks: masks}'
          hq-sam data export '{kind: coco, annotations: instances.json, images: photos}' -o parquet
"""


def add_data_command(commands: argparse._SubParsersAction) -> None:
    parser = add_command(
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
        type=data_source,
        help="folder with the data sets, unpacked, as zip archives or as Parquet; or own data, described as by `data` "
        "of a training configuration",
    )
    parser.add_argument("--split", choices=("train", "validation"), help="by default both; of own data, train")
    parser.add_argument(
        "--sets", type=lambda text: text.split(","), metavar="A,B", help="such as dis,thin; by default all"
    )


def run_data_download(arguments: argparse.Namespace) -> None:
    from ..data.prepare import download_data

    print("fetched", ", ".join(str(path) for path in download_data(arguments.root)))


def run_data_check(arguments: argparse.Namespace) -> None:
    from ..data.factory import describe_source
    from ..data.prepare import check_data, format_reports

    reports = check_data(arguments.root, arguments.split, arguments.sets, arguments.threads)
    print(format_reports(reports))
    problems = sum(len(report.problems) for report in reports)
    if problems:
        name = describe_source(arguments.root)
        raise ValueError(f"{problems} problem{'s' if problems > 1 else ''} in {name}, listed above.")


def run_data_export(arguments: argparse.Namespace) -> None:
    from ..data.prepare import export_data

    rows = export_data(arguments.root, arguments.output, arguments.split, arguments.sets, arguments.shard_size)
    for (split, name), count in rows.items():
        print(f"{name} ({split}): {count} rows")
    print("wrote", arguments.output)


__all__ = ["add_data_command"]
