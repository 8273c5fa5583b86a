"""Measure the predictions of a benchmark's run: the metrics of each output and part, and their means."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .average_precision import AveragePrecision, image_ap
from .benchmarks import Benchmark
from .object_iou import ObjectRecord, mean_iou, object_records, recall_of_objects
from .parts import BenchmarkPart
from .region_contour import j_and_f
from .tube_ap import video_ap

# Gives the rows of a part, by its name, and of one output; of all outputs for None.
ReadRows = Callable[[str, str | None], Iterable[Mapping[str, Any]]]


@dataclass
class PartResult:
    """The results of a part. Values are in per cent, None where there is nothing to measure.

    images, objects: how many the ground truth has; crowds are no objects. In videos these are frames and tracks.
    metrics: {output: {metric: value}}. by_category: {output: rows with id, name, annotations and AP}.
    recall: {output: {"" for IoU or "_B" for boundary IoU: recall at the thresholds 0.5, 0.55, ... 0.95}}.
    records: the objects with what was predicted for them.
    """

    name: str
    images: int
    objects: int
    is_video: bool = False
    metrics: dict[str, dict[str, float | None]] = field(default_factory=dict)
    by_category: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    recall: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    records: list[ObjectRecord] = field(default_factory=list)


@dataclass
class BenchmarkResult:
    """The results of a run.

    title: of the benchmark. settings: the options of the run. metrics: the plain means of the parts' metrics.
    """

    benchmark: str
    title: str
    settings: dict[str, Any]
    parts: list[PartResult]

    @property
    def outputs(self) -> list[str]:
        return list(self.settings["outputs"])

    @property
    def is_video(self) -> bool:
        return any(part.is_video for part in self.parts)

    @property
    def metrics(self) -> dict[str, dict[str, float | None]]:
        names = list(dict.fromkeys(name for part in self.parts for own in part.metrics.values() for name in own))
        return {
            output: {name: _mean([part.metrics.get(output, {}).get(name) for part in self.parts]) for name in names}
            for output in self.outputs
        }

    @property
    def compared_output(self) -> str:
        """The output whose gain over plain SAM is reported: the last that is not plain SAM, if there is one."""
        return next((output for output in reversed(self.outputs) if output != "sam"), self.outputs[-1])


def measure_benchmark(
    benchmark: Benchmark, parts: Sequence[BenchmarkPart], read_rows: ReadRows, settings: Mapping[str, Any]
) -> BenchmarkResult:
    """Measure the predictions of all outputs.

    settings: the options of the run, with `outputs` and `max_dets`.

    A part without annotations has no metrics.
    """
    results = []
    for part in parts:
        objects = sum(not one.get("iscrowd") for one in part.ground_truth["annotations"])
        result = PartResult(part.name, len(part.images), objects, part.is_video)
        if part.has_annotations:
            _measure_part(benchmark, part, read_rows, settings, result)
        results.append(result)
    return BenchmarkResult(benchmark.name, benchmark.title, dict(settings), results)


def _measure_part(
    benchmark: Benchmark,
    part: BenchmarkPart,
    read_rows: ReadRows,
    settings: Mapping[str, Any],
    result: PartResult,
) -> None:
    result.records = list(object_records(part, read_rows(part.name, None), benchmark.use_categories))
    for output in settings["outputs"]:
        result.metrics[output] = {}
        of_objects = mean_iou(result.records, output)
        result.recall[output] = recall_of_objects(result.records, output)
        if benchmark.measure == "j-and-f":
            result.metrics[output] |= j_and_f(part.ground_truth, read_rows(part.name, output)).metrics
        elif benchmark.measure != "iou":
            found = _average_precision(benchmark, part, read_rows(part.name, output), settings["max_dets"])
            result.metrics[output] |= found.metrics
            result.by_category[output] = found.by_category
            result.recall[output] = {suffix: curve for suffix, curve in found.recall.items() if suffix in ("", "_B")}
        result.metrics[output] |= of_objects


def _average_precision(
    benchmark: Benchmark, part: BenchmarkPart, rows: Iterable[Mapping[str, Any]], max_dets: int
) -> AveragePrecision:
    if benchmark.measure == "video-ap":
        return video_ap(part.ground_truth, rows, max_dets)
    federated = benchmark.measure == "lvis-ap"
    return image_ap(part.ground_truth, rows, max_dets, benchmark.use_categories, federated)


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


__all__ = ["BenchmarkResult", "PartResult", "ReadRows", "measure_benchmark"]
