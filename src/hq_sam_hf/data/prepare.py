"""Download HQSeg-44K, check and export it or own data: the work behind `hq-sam data`."""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .factory import load_rows, load_source, refuse_sets
from .hqseg44k import SETS, find_sets, load_found, load_hqseg44k
from .image_bytes import undecoded
from .parquet import export_parquet
from .reading import read_sample

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
    source: str | os.PathLike | dict[str, Any],
    split: str | None = None,
    sets: Sequence[str] | None = None,
    threads: int | None = None,
) -> list[SetReport]:
    """Read every image and mask.

    source: the root of HQSeg-44K, of which `split` and `sets` are chosen, by default all, absent ones being problems;
        or own data, as `data_sources.load_source` describes them.
    """
    threads = threads or min(8, os.cpu_count() or 1)
    if isinstance(source, dict):
        return _check_own(source, split, sets, threads)
    reports = []
    for one_split, name in _chosen(split, sets):
        report = SetReport(name, one_split)
        reports.append(report)
        try:
            found = find_sets(source, one_split, [name])[0]
        except ValueError as error:
            if not Path(source).is_dir():
                raise
            report.problems.append(str(error))
            continue
        report.problems += found.problems
        report.skipped = len(found.skipped)
        _examine(undecoded(load_found([found], found.split)), {name: report}, one_split, threads)
    return reports


def _check_own(source: dict[str, Any], split: str | None, sets: Sequence[str] | None, threads: int) -> list[SetReport]:
    refuse_sets(sets)
    with _collected_warnings() as warnings:
        rows = load_rows(source, split or "train")
    reports: dict[str, SetReport] = {}
    _examine(rows, reports, split or "-", threads)
    if not reports:
        raise ValueError(f"The data {source!r} have no rows.")
    if warnings:  # files without partner and the like, which are of no set in particular
        next(iter(reports.values())).problems[:0] = warnings
    return list(reports.values())


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """What the loaders of own data warn about within the block."""
    found: list[str] = []
    collector = logging.Handler()
    collector.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    loaders = logging.getLogger("hq_sam_hf.data.custom")
    propagates, loaders.propagate = loaders.propagate, False
    loaders.addHandler(collector)
    try:
        yield found
    finally:
        loaders.removeHandler(collector)
        loaders.propagate = propagates


def _chosen(split: str | None, sets: Sequence[str] | None) -> list[tuple[str, str]]:
    splits = [split] if split else list(SETS)
    known = {name for one in splits for name in SETS[one]}
    unknown = [name for name in sets or [] if name not in known]
    if unknown:
        raise ValueError(f"Sets must be among {', '.join(sorted(known))}; got {', '.join(unknown)}.")
    chosen = [(one, [name for name in SETS[one] if sets is None or name in sets]) for one in splits]
    return [(one, name) for one, names in chosen for name in names]


def _examine(dataset: Any, reports: dict[str, SetReport], split: str, threads: int) -> None:
    """Read every row and note it in the report of its set; a set without one gets it."""
    from tqdm import tqdm

    def examine(i: int) -> tuple[str, tuple[int, int] | None, list[str], list[str]]:
        """Of a row: set, size, and sentences about its empty masks and about what else is wrong."""
        row = dataset[i]
        try:
            sample = read_sample(row)
        except ValueError as error:
            return row["set"], None, [], [str(error)]
        item, number = f"{sample.set}/{sample.name}", len(sample.masks)
        names = ["the mask"] if number == 1 else [f"mask {k}" for k in range(number)]
        empty = [f"{item}: {name} is empty." for name, mask in zip(names, sample.masks) if not mask.any()]
        height, width = sample.image.shape[:2]
        return row["set"], (height, width), empty, [] if number else [f"{item}: there is no mask."]

    pool = ThreadPoolExecutor(threads)
    try:
        examined = pool.map(examine, range(len(dataset)))
        title = f"{', '.join(reports) or 'rows'} ({split})"
        for name, size, empty, problems in tqdm(examined, total=len(dataset), desc=title, disable=None):
            report = reports.setdefault(name, SetReport(name, split))
            report.problems += [*empty, *problems]
            report.empty += len(empty)
            if size is not None:
                report.read += 1
                report.smallest = min(report.smallest or size, size, key=_area)
                report.largest = max(report.largest or size, size, key=_area)
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
    source: str | os.PathLike | dict[str, Any],
    folder: str | os.PathLike,
    split: str | None = None,
    sets: Sequence[str] | None = None,
    shard_megabytes: int = 500,
) -> dict[tuple[str, str], int]:
    """Export to sharded Parquet; gives rows by (split, set).

    source: as of `check_data`. Own data become one split, "train" by default.
    """
    rows = {}
    if isinstance(source, dict):
        refuse_sets(sets)
        split = split or "train"
        dataset = load_source(source, split)
        if not hasattr(dataset, "features"):
            raise ValueError("Generated scenes are drawn anew whenever they are read, and are not exported.")
        counts = export_parquet(dataset, folder, split, shard_megabytes)
        return {(split, name): count for name, count in counts.items()}
    by_split: dict[str, list[str]] = {}
    for one_split, name in _chosen(split, sets):
        by_split.setdefault(one_split, []).append(name)
    # All must be there before hours of writing.
    for one_split, names in by_split.items():
        find_sets(source, one_split, names)
    for one_split, names in by_split.items():
        dataset = load_hqseg44k(source, one_split, names)
        counts = export_parquet(dataset, folder, one_split, shard_megabytes)
        rows.update({(one_split, name): count for name, count in counts.items()})
    return rows


__all__ = ["SetReport", "check_data", "download_data", "export_data", "format_reports"]
