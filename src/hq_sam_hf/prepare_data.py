"""Download, check and export HQSeg-44K: the work behind `hq-sam data`."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .hqseg44k import SETS, FoundSet, find_sets, load_found, load_hqseg44k
from .parquet_shards import export_parquet
from .raw_pictures import undecoded
from .samples import read_sample

REPOSITORY = "sam-hq-team/sam-hq-training"
ARCHIVES = ("data/DIS5K.zip", "data/cascade_psp.zip", "data/thin_object_detection.zip")


@dataclass
class SetReport:
    """What `check_data` found in one set. Sizes are (height, width) of the images with the fewest and most pixels."""

    set: str
    split: str
    read: int = 0
    skipped: int = 0
    empty: int = 0
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    problems: list[str] = field(default_factory=list)


def download_data(root: str | os.PathLike) -> list[Path]:
    """Fetch the three archives of HQSeg-44K from the Hub to root/data, 7.3 GB. A broken download is continued."""
    from huggingface_hub import hf_hub_download

    paths = []
    for name in ARCHIVES:
        try:
            paths.append(Path(hf_hub_download(REPOSITORY, name, local_dir=Path(root))))
        except OSError as error:
            raise ValueError(
                f"Cannot fetch {name} of the Hub repository {REPOSITORY} ({type(error).__name__}: {error}). Check the "
                f"connection and run the command again, or put the archives into {Path(root) / 'data'} yourself."
            ) from error
    return paths


def check_data(
    root: str | os.PathLike, split: str | None = None, sets: Sequence[str] | None = None, threads: int | None = None
) -> list[SetReport]:
    """Read every image and mask of the chosen sets; by default of both splits, absent sets being problems."""
    reports = []
    for one_split, name in _chosen(split, sets):
        report = SetReport(name, one_split)
        reports.append(report)
        try:
            found = find_sets(root, one_split, [name])[0]
        except ValueError as error:
            if not Path(root).is_dir():
                raise
            report.problems.append(str(error))
            continue
        _check_set(found, report, threads or min(8, os.cpu_count() or 1))
    return reports


def _chosen(split: str | None, sets: Sequence[str] | None) -> list[tuple[str, str]]:
    splits = [split] if split else list(SETS)
    known = {name for one in splits for name in SETS[one]}
    unknown = [name for name in sets or [] if name not in known]
    if unknown:
        raise ValueError(f"Sets must be among {', '.join(sorted(known))}; got {', '.join(unknown)}.")
    chosen = [(one, [name for name in SETS[one] if sets is None or name in sets]) for one in splits]
    return [(one, name) for one, names in chosen for name in names]


def _check_set(found: FoundSet, report: SetReport, threads: int) -> None:
    from tqdm import tqdm

    report.problems += found.problems
    report.skipped = len(found.skipped)
    dataset = undecoded(load_found([found], found.split))

    def examine(i: int) -> tuple[str, tuple[int, int], bool] | str:
        """Name and size of an item and whether its mask is empty, or what is wrong with it."""
        try:
            sample = read_sample(dataset[i])
        except ValueError as error:
            return str(error)
        height, width = sample.image.shape[:2]
        return sample.name, (height, width), not sample.masks.any()

    pool = ThreadPoolExecutor(threads)
    try:
        examined = pool.map(examine, range(len(dataset)))
        for result in tqdm(examined, total=len(dataset), desc=f"{found.name} ({found.split})", disable=None):
            if isinstance(result, str):
                report.problems.append(result)
                continue
            name, size, empty = result
            report.read += 1
            report.smallest = min(report.smallest or size, size, key=_area)
            report.largest = max(report.largest or size, size, key=_area)
            if empty:
                report.empty += 1
                report.problems.append(f"{found.name}/{name}: the mask is empty.")
    finally:
        pool.shutdown(cancel_futures=True)


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def format_reports(reports: Sequence[SetReport]) -> str:
    """A table with a row per set, and below it a line per problem."""
    header = ("split", "set", "read", "known broken", "empty masks", "smallest", "largest", "problems")
    rows: list[tuple[str, ...]] = [header]
    for report in reports:
        sizes = [f"{size[0]}x{size[1]}" if size else "-" for size in (report.smallest, report.largest)]
        counts = [str(number) for number in (report.read, report.skipped, report.empty)]
        rows.append((report.split, report.set, *counts, *sizes, str(len(report.problems))))
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    problems = [problem for report in reports for problem in report.problems]
    return "\n".join([*lines, *([""] if problems else []), *problems])


def export_data(
    root: str | os.PathLike,
    folder: str | os.PathLike,
    split: str | None = None,
    sets: Sequence[str] | None = None,
    shard_megabytes: int = 500,
) -> dict[tuple[str, str], int]:
    """Export the chosen sets to sharded Parquet, by default all of both splits; gives rows by (split, set)."""
    rows = {}
    by_split: dict[str, list[str]] = {}
    for one_split, name in _chosen(split, sets):
        by_split.setdefault(one_split, []).append(name)
    # All must be there before hours of writing.
    for one_split, names in by_split.items():
        find_sets(root, one_split, names)
    for one_split, names in by_split.items():
        dataset = load_hqseg44k(root, one_split, names)
        counts = export_parquet(dataset, folder, one_split, shard_megabytes)
        rows.update({(one_split, name): count for name, count in counts.items()})
    return rows


__all__ = ["SetReport", "check_data", "download_data", "export_data", "format_reports"]
