"""Check the files of a benchmark: every image and every mask of its ground truth is read."""

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..data.prepare import SetReport
from ..data.reading import read_sample
from .benchmarks import BENCHMARKS, load_benchmark
from .parts import BenchmarkImage, BenchmarkPart, annotation_mask


def check_benchmark(name: str, root: Path, threads: int | None = None) -> list[SetReport]:
    """Read all files of a benchmark. Returns a report of each of its parts.

    name: one of `BENCHMARKS`. threads: by default one per core, at most 8.

    Raises ValueError, with the name of the file and what belongs there, for annotation files or images that are
    missing, since the rest cannot be checked then.
    """
    from tqdm.auto import tqdm

    parts = load_benchmark(BENCHMARKS[name], root)
    reports = []
    pool = ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1))
    try:
        for part in parts:
            report = SetReport(part.name, "-", notes=list(part.notes))
            by_owner: dict[int, list[Mapping[str, Any]]] = {}
            for one in part.ground_truth["annotations"]:
                by_owner.setdefault(one["video_id" if part.is_video else "image_id"], []).append(one)
            found = pool.map(lambda image, part=part, own=by_owner: _check(part, image, own), part.images)
            for size, empty, problems in tqdm(found, total=len(part.images), desc=part.name, disable=None):
                report.problems += [*empty, *problems]
                report.empty += len(empty)
                if size is not None:
                    report.read += 1
                    report.smallest = min(report.smallest or size, size, key=math.prod)
                    report.largest = max(report.largest or size, size, key=math.prod)
            reports.append(report)
    finally:
        pool.shutdown(cancel_futures=True)
    return reports


def _check(
    part: BenchmarkPart, image: BenchmarkImage, by_owner: Mapping[int, Sequence[Mapping[str, Any]]]
) -> tuple[tuple[int, int] | None, list[str], list[str]]:
    """The size of an image, or None if it cannot be read, and sentences about empty masks and about all else."""
    try:
        sample = read_sample(
            {"image": {"bytes": None, "path": image.file}, "masks": [], "set": part.name, "name": image.name}
        )
    except ValueError as error:
        return None, [], [str(error)]
    size = (sample.image.shape[0], sample.image.shape[1])
    empty: list[str] = []
    problems: list[str] = []
    if image.size is not None and size != tuple(image.size):
        problems.append(f"{image.name}: the file has {size}, and the annotations were made for {tuple(image.size)}.")
        return size, empty, problems
    frame = image.frame if part.is_video else None
    for one in by_owner.get(image.video_id if part.is_video else image.id, ()):
        try:
            mask = annotation_mask(one, size, frame)
        except ValueError as error:
            problems.append(f"{image.name}: the mask of annotation {one['id']} cannot be read ({error}).")
            continue
        if frame is None and (mask is None or not mask.any()):
            empty.append(f"{image.name}: the mask of annotation {one['id']} is empty.")
    return size, empty, problems


__all__ = ["check_benchmark"]
