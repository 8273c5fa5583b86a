"""Download HQSeg-44K, check data sets and export them to Parquet: the functions behind `hq-sam data`."""

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..masks.rle import foreground
from ..utils.output_lock import output_lock
from .factory import load_rows, load_source, refuse_sets
from .hqseg44k import SETS, find_sets, load_found, load_hqseg44k
from .image_bytes import undecoded
from .parquet import export_parquet, find_shards, refuse_source_shards
from .reading import Sample, read_sample, transpose_mask

REPOSITORY = "sam-hq-team/sam-hq-training"
NAMED = 10  # images that a sentence names
SAME_PLACE = 0.9  # IoU of two masks from which they are in the same place
ARCHIVES = ("data/DIS5K.zip", "data/cascade_psp.zip", "data/thin_object_detection.zip")


@dataclass
class SetReport:
    """What `check_data` found in one set.

    read: images that were read. skipped: known broken items that were left out. empty: masks without foreground.
    smallest, largest: (height, width) of the images with the fewest and the most pixels.
    problems: sentences about what is wrong. notes: sentences about what is not wrong, such as files left out.
    """

    set: str
    split: str
    read: int = 0
    skipped: int = 0
    empty: int = 0
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def download_data(root: str | os.PathLike) -> list[Path]:
    """Download the three archives of HQSeg-44K (7.3 GB) from the Hub to root/data, resuming a partial download."""
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
    """Read every image and mask of a data set and report the problems of each set.

    source: the root of HQSeg-44K, or a description of your own data as for `factory.load_source`.
    split, sets: of HQSeg-44K, by default all; a missing set is a problem. Your own data have no sets to choose from.
    threads: by default one per core, at most 8.
    """
    threads = threads or min(8, os.cpu_count() or 1)
    if isinstance(source, dict):
        return _check_custom(source, split, sets, threads)
    reports = []
    for one_split, name in _chosen_sets(split, sets):
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
        rotated = _read_all(undecoded(load_found([found], found.split)), {name: report}, one_split, threads)
        if rotated.get(name):
            report.notes.append(_describe_rotated(rotated[name]))
    return reports


def _check_custom(
    source: dict[str, Any], split: str | None, sets: Sequence[str] | None, threads: int
) -> list[SetReport]:
    refuse_sets(sets)
    with _collected_warnings() as (warnings, notes):
        rows = load_rows(source, split or "train")
    reports: dict[str, SetReport] = {}
    rotated = _read_all(rows, reports, split or "-", threads)
    if not reports:
        raise ValueError(f"The data {source!r} have no rows.")
    # Such as files without a partner, which belong to no particular set.
    first = next(iter(reports.values()))
    first.problems[:0], first.notes[:0] = warnings, notes
    for name, images in rotated.items():
        _report_rotated(reports[name], images, source.get("mask_pixels"))
    return list(reports.values())


def _report_rotated(report: SetReport, images: Sequence["RotatedImage"], mask_pixels: str | None) -> None:
    text = _describe_rotated(images)
    if mask_pixels is not None:
        report.notes.append(f"{text} Masks are read as made for the {mask_pixels} pixels.")
    elif any(image.moved for image in images):
        report.problems.append(
            f"{text} Look which is right, and add `mask_pixels: upright` or `mask_pixels: stored` to the description."
        )
    else:
        report.notes.append(text)


def _describe_rotated(images: Sequence["RotatedImage"]) -> str:
    names = ", ".join(image.name for image in images[:NAMED]) + (", ..." if len(images) > NAMED else "")
    moved, masks = sum(image.moved for image in images), sum(image.masks for image in images)
    share = f"{100 * moved / masks:.0f} %" if masks else "0 %"
    verb = "image is" if len(images) == 1 else "images are"
    return (
        f"{len(images)} {verb} rotated by the EXIF tag: {names}. {moved} of {masks} masks ({share}) would lie "
        "elsewhere in the pixels as they are stored than in the upright image."
    )


@contextmanager
def _collected_warnings() -> Iterator[tuple[list[str], list[str]]]:
    """Collect the warnings and notes that the loaders log within the block, instead of printing them."""
    messages: tuple[list[str], list[str]] = ([], [])
    collector = logging.Handler()
    collector.emit = lambda record: messages[hasattr(record, "is_note")].append(record.getMessage())  # type: ignore[method-assign]
    loader_log = logging.getLogger("hq_sam_hf.data")
    propagate, loader_log.propagate = loader_log.propagate, False
    loader_log.addHandler(collector)
    try:
        yield messages
    finally:
        loader_log.removeHandler(collector)
        loader_log.propagate = propagate


def _chosen_sets(split: str | None, sets: Sequence[str] | None) -> list[tuple[str, str]]:
    splits = [split] if split else list(SETS)
    known = {name for one in splits for name in SETS[one]}
    unknown = [name for name in sets or [] if name not in known]
    if unknown:
        raise ValueError(f"Sets must be among {', '.join(sorted(known))}; got {', '.join(unknown)}.")
    chosen = [(one, [name for name in SETS[one] if sets is None or name in sets]) for one in splits]
    return [(one, name) for one, names in chosen for name in names]


def _read_all(
    dataset: Any, reports: dict[str, SetReport], split: str, threads: int
) -> "dict[str, list[RotatedImage]]":
    """Read every row and record it in the report of its set; a set without a report gets a new one.

    Returns the rotated images of each set.
    """
    from tqdm import tqdm

    rotated: dict[str, list[RotatedImage]] = {}
    pool = ThreadPoolExecutor(threads)
    try:
        results = pool.map(lambda i: _read_row(dataset[i]), range(len(dataset)))
        title = f"{', '.join(reports) or 'rows'} ({split})"
        for result in tqdm(results, total=len(dataset), desc=title, disable=None):
            report = reports.setdefault(result.set, SetReport(result.set, split))
            report.problems += [*result.empty, *result.problems]
            report.empty += len(result.empty)
            if result.rotated is not None:
                rotated.setdefault(result.set, []).append(result.rotated)
            if result.size is not None:
                report.read += 1
                report.smallest = min(report.smallest or result.size, result.size, key=math.prod)
                report.largest = max(report.largest or result.size, result.size, key=math.prod)
    finally:
        pool.shutdown(cancel_futures=True)
    return rotated


class RowResult(NamedTuple):
    """Result of reading a row.

    size: (height, width) of the image, or None if the row cannot be read. empty, problems: sentences about its empty
    masks and about everything else that is wrong. rotated: the image, if its EXIF tag rotates it.
    """

    set: str
    size: tuple[int, int] | None
    empty: list[str]
    problems: list[str]
    rotated: "RotatedImage | None" = None


class RotatedImage(NamedTuple):
    """An image that its EXIF tag rotates. moved: its masks that lie elsewhere in the stored pixels."""

    name: str
    masks: int
    moved: int


def _rotated(sample: Sample) -> RotatedImage | None:
    if sample.orientation == 1:
        return None
    masks = foreground(sample.masks)
    # A mask of another size than its image in the stored pixels can only be made for the upright image.
    others = [transpose_mask(mask, sample.orientation) for mask in masks]
    moved = sum(other.shape == mask.shape and _iou(mask, other) < SAME_PLACE for mask, other in zip(masks, others))
    return RotatedImage(sample.name, len(masks), moved)


def _iou(mask: np.ndarray, other: np.ndarray) -> float:
    union = np.count_nonzero(mask | other)
    return np.count_nonzero(mask & other) / union if union else 1.0


def _read_row(row: Mapping[str, Any]) -> RowResult:
    try:
        sample = read_sample(row)
    except ValueError as error:
        return RowResult(row["set"], None, [], [str(error)])
    item, count = f"{sample.set}/{sample.name}", len(sample.masks)
    names = ["the mask"] if count == 1 else [f"mask {k}" for k in range(count)]
    empty = [f"{item}: {name} is empty." for name, mask in zip(names, foreground(sample.masks)) if not mask.any()]
    height, width = sample.image.shape[:2]
    problems = [] if count else [f"{item}: there is no mask."]
    return RowResult(row["set"], (height, width), empty, problems, _rotated(sample))


def format_reports(reports: Sequence[SetReport]) -> str:
    """Format a table with a row per set, followed by a line per problem and per note."""
    header = ("split", "set", "read", "known broken", "empty masks", "smallest", "largest", "problems")
    rows: list[tuple[str, ...]] = [header]
    for report in reports:
        sizes = [f"{size[0]}x{size[1]}" if size else "-" for size in (report.smallest, report.largest)]
        counts = [str(number) for number in (report.read, report.skipped, report.empty)]
        rows.append((report.split, report.set, *counts, *sizes, str(len(report.problems))))
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    problems = [problem for report in reports for problem in report.problems]
    problems += [f"note: {note}" for report in reports for note in report.notes]
    return "\n".join([*lines, *([""] if problems else []), *problems])


def export_data(
    source: str | os.PathLike | dict[str, Any],
    folder: str | os.PathLike,
    split: str | None = None,
    sets: Sequence[str] | None = None,
    shard_megabytes: int = 500,
) -> dict[tuple[str, str], int]:
    """Export a data set to sharded Parquet. Returns the number of rows by (split, set).

    source, sets: as for `check_data`. split: of HQSeg-44K, by default both; for your own data the split to write, by
    default "train".

    Raises ValueError, before anything is read, if another process is exporting to the folder, or if an export would
    replace what it reads.
    """
    with output_lock(folder):
        if not isinstance(source, dict):
            return _export_hqseg44k(source, folder, split, sets, shard_megabytes)
        refuse_sets(sets)
        split = split or "train"
        refuse_source_shards(folder, split, _texts(source))
        dataset = load_source(source, split)
        if not hasattr(dataset, "features"):
            raise ValueError("Generated scenes are drawn whenever they are read, and are not exported.")
        counts = export_parquet(dataset, folder, split, shard_megabytes)
        return {(split, name): count for name, count in counts.items()}


def _texts(value: Any) -> Iterator[str]:
    """The texts in a description, which may be paths."""
    if isinstance(value, str | os.PathLike):
        yield os.fspath(value)
    elif isinstance(value, Mapping | list | tuple):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(entry)


def _export_hqseg44k(
    root: str | os.PathLike,
    folder: str | os.PathLike,
    split: str | None,
    sets: Sequence[str] | None,
    shard_megabytes: int,
) -> dict[tuple[str, str], int]:
    rows = {}
    by_split: dict[str, list[str]] = {}
    for one_split, name in _chosen_sets(split, sets):
        by_split.setdefault(one_split, []).append(name)
    # Writing takes hours, so check that every set is there before it starts.
    for one_split, names in by_split.items():
        find_sets(root, one_split, names)
        if find_shards(root, one_split):
            refuse_source_shards(folder, one_split, [root])
    for one_split, names in by_split.items():
        dataset = load_hqseg44k(root, one_split, names)
        counts = export_parquet(dataset, folder, one_split, shard_megabytes)
        rows.update({(one_split, name): count for name, count in counts.items()})
    return rows


__all__ = ["SetReport", "check_data", "download_data", "export_data", "format_reports"]
