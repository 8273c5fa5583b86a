"""Tables of a run: measured values, what HQ-SAM gains over plain SAM, and published values beside them."""

from collections.abc import Mapping, Sequence

from ..evaluation.results import OUTPUT_TITLES
from .benchmarks import BENCHMARKS
from .measurement import BenchmarkResult, PartResult
from .published import Published, is_whole, published_results
from .tables import Table, difference, number

MOST_CATEGORIES = 100  # that a table lists; of more, those with the largest gains and losses
LISTED_CHANGES = 20
PUBLISHED_SIZE = 1024  # model input size of the published results
HEADLINES = (("AP", "AP_B"), ("J", "F"), ("mIoU", "mBIoU"))  # the first pair that a benchmark has


def result_tables(result: BenchmarkResult) -> list[Table]:
    """All tables of a run, the main one first."""
    tables = [main_table(result)]
    if len(result.parts) > 1:
        tables += [part_table(result, name) for name in headline_metrics(result)]
    for part in result.parts:
        tables += category_tables(result, part)
    published = published_table(result)
    return [*tables, published] if published is not None else tables


def headline_metrics(result: BenchmarkResult) -> list[str]:
    """The two metrics that say most."""
    names = next(iter(result.metrics.values()))
    return list(next((pair for pair in HEADLINES if set(pair) <= names.keys()), ()))


def metric_title(name: str) -> str:
    """A metric's name for readers: AP75_B_strict becomes "AP75 boundary, strict"."""
    if name.endswith("_strict"):
        return f"{name.removesuffix('_B_strict')} boundary, strict"
    return f"{name.removesuffix('_B')} boundary" if name.endswith("_B") else name.replace("_", " ")


def main_table(result: BenchmarkResult) -> Table:
    """The metrics of all outputs, of several parts the means."""
    metrics, outputs = result.metrics, result.outputs
    compared = result.compared_output
    has_gain = "sam" in outputs and compared != "sam"
    beside = compared_results(result)
    header = ["metric", *(OUTPUT_TITLES[output] for output in outputs)]
    header += ["gain"] if has_gain else []
    header += [f"published {one.method}" for one in beside]
    rows = []
    for name in next(iter(metrics.values())):
        values = {output: metrics[output][name] for output in outputs}
        row = [metric_title(name), *(number(values[output]) for output in outputs)]
        row += [difference(values[compared], values["sam"])] if has_gain else []
        row += [_beside(one, name, values, compared) for one in beside]
        if any(value is not None for value in values.values()):
            rows.append(row)
    notes = [_about(result)]
    notes += [f"Gain: {OUTPUT_TITLES[compared]} less SAM."] if has_gain else []
    notes += ["In brackets: measured less published."] if beside else []
    return Table("Results in per cent", header, rows, " ".join(notes))


def _about(result: BenchmarkResult) -> str:
    images, objects = (sum(getattr(part, name) for part in result.parts) for name in ("images", "objects"))
    text = f"{images} frames with {objects} tracks" if result.is_video else f"{images} images with {objects} objects"
    parts = f" in {len(result.parts)} data sets, whose plain means these are" if len(result.parts) > 1 else ""
    compared = sum(len(part.records) for part in result.parts)
    every = ", counted in every frame" if result.is_video else ""
    return f"{text}{parts}. mIoU and mBIoU are those of the {compared} objects that a prompt was for{every}."


def _beside(one: Published, name: str, values: Mapping[str, float | None], compared: str) -> str:
    published = one.values.get(name)
    if published is None:
        return "-"
    measured = values.get("sam" if one.output == "sam" else compared)
    return f"{published:.1f} ({difference(measured, published)})" if measured is not None else f"{published:.1f}"


def compared_results(result: BenchmarkResult, part: str | None = None) -> list[Published]:
    """The published rows that the measured ones may be compared with: same backbone, prompts and settings, all images.

    part: for one of several; None for the mean.
    """
    settings, benchmark = result.settings, BENCHMARKS.get(result.benchmark)
    is_same = (
        benchmark is not None
        and settings.get("limit") is None
        and is_whole(result.benchmark, {one.name: one.images for one in result.parts}, part)
        and not settings.get("multimask_output")
        and settings.get("protocol", benchmark.protocol) == benchmark.protocol
        and settings.get("image_size", PUBLISHED_SIZE) == PUBLISHED_SIZE
        and settings.get("max_dets", benchmark.max_dets) == benchmark.max_dets
    )
    return [
        one
        for one in (published_results(result.benchmark, part) if is_same else [])
        if one.backbone == settings.get("backbone") and one.output is not None and one.prompts == settings["prompts"]
        if one.output in result.outputs or (one.output == "hq" and result.compared_output != "sam")
    ]


def part_table(result: BenchmarkResult, name: str) -> Table:
    """One metric of every part."""
    outputs, compared = result.outputs, result.compared_output
    published = {part.name: compared_results(result, part.name) for part in result.parts}
    methods = list(dict.fromkeys(one.method for rows in published.values() for one in rows))
    has_gain = "sam" in outputs and compared != "sam"
    header = ["data set", "images", *(OUTPUT_TITLES[output] for output in outputs), *(["gain"] if has_gain else [])]
    rows = []
    for part in result.parts:
        values = {output: part.metrics.get(output, {}).get(name) for output in outputs}
        row = [part.name, str(part.images), *(number(values[output]) for output in outputs)]
        row += [difference(values[compared], values["sam"])] if has_gain else []
        by_method = {one.method: one for one in published[part.name]}
        row += [_beside(by_method[one], name, values, compared) if one in by_method else "-" for one in methods]
        rows.append(row)
    return Table(f"{metric_title(name)} by data set", [*header, *(f"published {method}" for method in methods)], rows)


def category_tables(result: BenchmarkResult, part: PartResult) -> list[Table]:
    """AP and boundary AP of the categories that have objects. Empty for data of a single category."""
    rows = category_changes(result, part)
    if not rows or max(map(len, part.by_category.values())) < 2:
        return []
    title = "Categories" if len(result.parts) == 1 else f"Categories of {part.name}"
    note = ""
    if len(rows) > MOST_CATEGORIES:
        ranked = sorted(rows, key=lambda row: -(row[-1] or 0.0))
        rows = ranked[:LISTED_CHANGES] + ranked[-LISTED_CHANGES:]
        title, note = f"{title}: largest gains and losses", "The JSON file has all of them."
    outputs = result.outputs
    header = ["category", "objects", *(f"AP {OUTPUT_TITLES[output]}" for output in outputs)]
    header += [*(f"AP boundary {OUTPUT_TITLES[output]}" for output in outputs), "gain in AP boundary"]
    cells = [[str(row[0]), str(row[1]), *map(number, row[2:-1]), difference(row[-1], 0.0)] for row in rows]
    return [Table(title, header, cells, note)]


def category_changes(result: BenchmarkResult, part: PartResult) -> list[Sequence]:
    """Per category with objects: name, objects, AP of the outputs, boundary AP of the outputs, gain in boundary AP."""
    outputs, compared = result.outputs, result.compared_output
    if any(output not in part.by_category for output in outputs):
        return []
    rows: list[Sequence] = []
    for own in zip(*(part.by_category[output] for output in outputs)):
        if own[0]["annotations"]:
            values = [[one[name] for one in own] for name in ("AP", "AP_B")]
            edges = dict(zip(outputs, values[1]))
            before, after = edges.get("sam"), edges[compared]
            gain = after - before if before is not None and after is not None else None
            rows.append([own[0]["name"], own[0]["annotations"], *values[0], *values[1], gain])
    return rows


def published_table(result: BenchmarkResult) -> Table | None:
    """All published rows of the benchmark, whatever the run's model and prompts are."""
    rows = published_results(result.benchmark)
    if not rows:
        return None
    names = list(dict.fromkeys(name for one in rows for name in one.values))
    cells = [
        [one.method, *(number(one.values.get(name)) for name in names), _prompts(one), one.source] for one in rows
    ]
    header = ["method", *map(metric_title, names), "prompts", "source"]
    return Table("Published results", header, cells, is_text=True)


def _prompts(one: Published) -> str:
    noise = one.prompts.removeprefix("box-noise-")
    return f"{one.boxes}, noise {noise}" if noise != one.prompts else one.boxes


__all__ = [
    "category_changes",
    "compared_results",
    "headline_metrics",
    "main_table",
    "metric_title",
    "result_tables",
]
