"""The results of a run as one HTML file that holds its plots and pictures."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

from ..evaluation.results import OUTPUT_TITLES
from .case_pictures import CASES, DrawnCase
from .comparison import category_changes, metric_title
from .counting import THRESHOLDS
from .measurement import BenchmarkResult, PartResult
from .plots import MOST_BARS, bar_plot, line_plot
from .tables import Table

STYLE = """\
body { font-family: sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child, table.text th, table.text td { text-align: left; }
td { white-space: nowrap; } table.text td { white-space: normal; }
.gain { color: #00714f; } .loss { color: #b00020; }
img { max-width: 100%; } figure { margin: 1rem 0; } figcaption { color: #555; font-size: 0.85rem; }
"""
MOST_CURVES = 6  # parts that have a plot of recall of their own
SIZES = ("APs", "APm", "APl", "APs_B", "APm_B", "APl_B")


def html_page(result: BenchmarkResult, title: str, tables: Sequence[Table], cases: Sequence[DrawnCase]) -> str:
    """The page. It refers to no other file."""
    parts = [f"<h1>{html.escape(title)}</h1>", tables[0].html() if tables else "", *map(_figure, plots(result))]
    parts += [table.html() for table in tables[1:]]
    for kind, heading in CASES.items():
        own = [case for case in cases if case.case.kind == kind]
        if own:
            parts += [f"<h2>{heading}</h2>", "<p>IoU / boundary IoU in per cent.</p>", *map(_picture, own)]
    parts += ["<h2>Settings</h2>", _settings(result.settings)]
    head = f'<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n<style>\n{STYLE}</style>'
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def plots(result: BenchmarkResult) -> list[tuple[str, str]]:
    """The plots as (title, SVG): recall, sizes, data sets and categories, as far as they were measured."""
    found = [*_recall(result), *_sizes(result), *_parts(result)]
    for part in result.parts:
        rows = [row for row in category_changes(result, part) if row[-1] is not None]
        if len(rows) > 1:
            rows = sorted(rows, key=lambda row: -row[-1])
            if len(rows) > MOST_BARS:
                rows = rows[: MOST_BARS // 2] + rows[-MOST_BARS // 2 :]
            title = f"AP boundary by category{f' of {part.name}' if len(result.parts) > 1 else ''}, by gain"
            names = [str(row[0]) for row in rows]
            first = 2 + len(result.outputs)
            series = {_title(output): [row[first + i] for row in rows] for i, output in enumerate(result.outputs)}
            found.append((title, bar_plot(title, names, series)))
    return found


def _title(output: str) -> str:
    return OUTPUT_TITLES[output]


def _recall(result: BenchmarkResult) -> list[tuple[str, str]]:
    """Of all parts, and by boundary IoU of each of a few parts, as the paper plots them."""
    parts = result.parts
    wanted = [("Recall by boundary IoU", "_B", parts), ("Recall by IoU", "", parts)]
    if 1 < len(parts) <= MOST_CURVES:
        wanted += [(f"Recall by boundary IoU, {part.name}", "_B", [part]) for part in parts]
    found = []
    for title, suffix, chosen in wanted:
        series = {_title(output): _mean_recall(chosen, output, suffix) for output in result.outputs}
        if any(value is not None for values in series.values() for value in values):
            labels = ("least boundary IoU" if suffix else "least IoU", "recall in per cent")
            found.append((title, line_plot(title, THRESHOLDS.round(2).tolist(), series, *labels)))
    return found


def _mean_recall(parts: Sequence[PartResult], output: str, suffix: str) -> list[float | None]:
    curves = [part.recall[output][suffix] for part in parts if output in part.recall]
    columns = [[value for value in values if value is not None] for values in zip(*curves)]
    return [sum(column) / len(column) if column else None for column in columns]


def _sizes(result: BenchmarkResult) -> list[tuple[str, str]]:
    metrics = result.metrics
    names = [name for name in SIZES if any(own.get(name) is not None for own in metrics.values())]
    series = {_title(output): [metrics[output][name] for name in names] for output in result.outputs}
    title = "AP by size of the object"
    return [(title, bar_plot(title, list(map(metric_title, names)), series))] if names else []


def _parts(result: BenchmarkResult) -> list[tuple[str, str]]:
    if len(result.parts) < 2:
        return []
    names = next(iter(result.metrics.values()))
    metric = next((name for name in ("AP_B", "mBIoU") if name in names), None)
    if metric is None:
        return []
    series = {
        _title(output): [part.metrics.get(output, {}).get(metric) for part in result.parts]
        for output in result.outputs
    }
    title = f"{metric_title(metric)} by data set"
    return [(title, bar_plot(title, [part.name for part in result.parts], series))]


def _figure(plot: tuple[str, str]) -> str:
    # As an image, because the names inside several SVGs of one page would clash.
    title, svg = plot
    return f"<figure>{_image(svg.encode(), 'image/svg+xml', title)}</figure>"


def _picture(case: DrawnCase) -> str:
    file = io.BytesIO()
    case.picture.save(file, format="JPEG", quality=85)
    image = _image(file.getvalue(), "image/jpeg", case.title)
    return f"<figure>{image}<figcaption>{html.escape(case.title)}</figcaption></figure>"


def _image(content: bytes, kind: str, text: str) -> str:
    data = base64.b64encode(content).decode()
    return f'<img src="data:{kind};base64,{data}" alt="{html.escape(text)}">'


def _settings(settings: dict[str, Any]) -> str:
    rows = "\n".join(
        f"<tr><td>{html.escape(str(name))}</td><td>{html.escape(_value(value))}</td></tr>"
        for name, value in settings.items()
    )
    return f'<table class="text">\n{rows}\n</table>'


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_value(item)}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


__all__ = ["html_page", "plots"]
