"""The report of a benchmark's run: Markdown, JSON, one HTML file, the objects as Parquet, and pictures of cases."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ..masks.json_values import json_value
from ..model.files import readable_name, whole_folder, write_atomically
from .benchmarks import Benchmark
from .case_pictures import CASES, DrawnCase, choose_cases, draw_cases, save_case
from .comparison import result_tables
from .counting import coco_masks
from .html_page import html_page
from .measurement import BenchmarkResult, measure_benchmark
from .parts import BenchmarkPart
from .plots import check_matplotlib
from .predictions import PredictionRow, read_predictions
from .published import published_results
from .tables import Table

PICTURES = "cases"
REPORT_FILES = ("benchmark.md", "benchmark.json", "benchmark.html", "objects.parquet", PICTURES)


def check_packages() -> None:
    """Raise ValueError if a package is missing that a report needs. Called before hours of work, and not after."""
    coco_masks()
    check_matplotlib()


def write_report(
    folder: str | os.PathLike,
    benchmark: Benchmark,
    parts: Sequence[BenchmarkPart],
    settings: Mapping[str, Any],
    cases: int = 6,
) -> str:
    """Measure the predictions of a run and write its report into the run's folder. Returns the tables as Markdown.

    folder: with the predictions of all parts. settings: the options of the run, with model, backbone, outputs, prompts
        and max_dets.
    cases: number of objects of each kind to draw.
    """
    target = Path(folder)

    def read_rows(part: str, output: str | None) -> Iterator[PredictionRow]:
        return read_predictions(target / "predictions" / part, output)

    result = measure_benchmark(benchmark, parts, read_rows, settings)
    drawn = draw_cases(choose_cases(result, cases), parts, read_rows, result.outputs)
    heading = f"T{benchmark.title[1:]}" if benchmark.title.startswith("the ") else benchmark.title
    title = readable_name(f"{heading}: {settings.get('model', 'results')}")
    tables = result_tables(result)
    text = readable_name(_markdown(result, title, tables, drawn))
    content = json.dumps(json_value(_content(result, drawn), "report"), indent=1)
    page = readable_name(html_page(result, title, tables, drawn))
    with whole_folder(target / PICTURES) as temporary:
        for case in drawn:
            save_case(case, temporary)
    table = _objects_table(result)
    files: dict[str, Callable[[BinaryIO], object]] = {
        "objects.parquet": lambda file: _write_table(table, file),
        "benchmark.json": lambda file: file.write(content.encode()),
        "benchmark.html": lambda file: file.write(page.encode()),
        "benchmark.md": lambda file: file.write(text.encode()),
    }
    for name, write in files.items():
        write_atomically(target / name, write)
    return text


def _markdown(result: BenchmarkResult, title: str, tables: Sequence[Table], drawn: Sequence[DrawnCase]) -> str:
    unmeasured = [part.name for part in result.parts if not part.metrics]
    blocks = [f"# {title}\n"]
    if unmeasured:
        blocks.append(
            f"Without annotations, and so not measured: {', '.join(unmeasured)}. The files in `results` are what the "
            "benchmark's server takes.\n"
        )
    blocks += [table.markdown() for table in tables]
    for kind, heading in CASES.items():
        own = [case for case in drawn if case.case.kind == kind]
        if own:
            blocks.append(f"### {heading}\n")
            blocks.append("\n".join(f"* [{case.title}]({PICTURES}/{case.file_name})" for case in own) + "\n")
    return "\n".join(blocks)


def _content(result: BenchmarkResult, drawn: Sequence[DrawnCase]) -> dict[str, Any]:
    return {
        "benchmark": result.benchmark,
        "title": result.title,
        "settings": result.settings,
        "metrics": result.metrics,
        "parts": [
            {
                "name": part.name,
                "images": part.images,
                "objects": part.objects,
                "compared_objects": len(part.records),
                "metrics": part.metrics,
                "by_category": part.by_category,
                "recall": part.recall,
            }
            for part in result.parts
        ],
        "published": [vars(one) for one in published_results(result.benchmark)],
        "cases": [
            {
                "kind": one.case.kind,
                "part": one.case.part,
                "image_id": one.case.record.image_id,
                "annotation_id": one.case.record.annotation_id,
                "iou": one.case.record.iou,
                "boundary_iou": one.case.record.boundary_iou,
                "picture": f"{PICTURES}/{one.file_name}",
            }
            for one in drawn
        ],
    }


def _objects_table(result: BenchmarkResult) -> Any:
    """The objects as a table of pyarrow, with a row per object and output."""
    import pyarrow

    integer, number, text = pyarrow.int64(), pyarrow.float64(), pyarrow.string()
    ids = ("image_id", "frame", "annotation_id", "category_id")
    types = {"part": text, **dict.fromkeys(ids, integer), "output": text, "iou": number, "boundary_iou": number}
    columns: dict[str, list[Any]] = {name: [] for name in types}
    for part in result.parts:
        for record in part.records:
            for output in result.outputs:
                values = (record.iou[output], record.boundary_iou[output])
                row = (part.name, *(getattr(record, name) for name in ids), output, *values)
                for column, value in zip(columns.values(), row):
                    column.append(value)
    return pyarrow.table({name: pyarrow.array(columns[name], types[name]) for name in types})


def _write_table(table: Any, file: BinaryIO) -> None:
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, file)


__all__ = ["REPORT_FILES", "check_packages", "write_report"]
