"""Plots as SVG: recall over thresholds, and bars of groups."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ..masks.drawing import COLOURS

WIDTH = 7.5  # inches
STYLES = ("-", "--", ":")  # so that equal lines are seen
MOST_BARS = 40  # groups of a plot; more would not be readable


def line_plot(
    title: str, x_values: Sequence[float], series: Mapping[str, Sequence[float | None]], x_label: str, y_label: str
) -> str:
    """A line for each series over x_values, on an axis from 0 to 100. Values that are None are left out."""
    figure, axes = _figure(title, 3.6)
    for i, (name, values) in enumerate(series.items()):
        shown = [(x, value) for x, value in zip(x_values, values) if value is not None]
        style = {"color": _colours()[i], "linestyle": STYLES[i % len(STYLES)], "marker": "o", "ms": 3}
        axes.plot([x for x, _ in shown], [value for _, value in shown], label=name, **style)
    axes.set(xlabel=x_label, ylabel=y_label, ylim=(0, 102), xticks=list(x_values))
    axes.grid(color="#dddddd")
    axes.legend(frameon=False)
    return _svg(figure)


def bar_plot(title: str, groups: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> str:
    """Horizontal bars with their values: a group for each name, and in it a bar for each series.

    Raises ValueError for more than 40 groups.
    """
    if len(groups) > MOST_BARS:
        raise ValueError(f"A bar plot has at most {MOST_BARS} groups, got {len(groups)}. Choose some of them.")
    figure, axes = _figure(title, 1.1 + len(groups) * (0.17 * len(series) + 0.1))
    thickness = 0.8 / max(1, len(series))
    for i, (colour, (name, values)) in enumerate(zip(_colours(), series.items())):
        places = [place + (i - (len(series) - 1) / 2) * thickness for place in range(len(groups))]
        bars = axes.barh(places, [value or 0.0 for value in values], thickness, color=colour, label=name)
        labels = ["" if value is None else f"{value:.1f}" for value in values]
        axes.bar_label(bars, labels, padding=3, fontsize=7)
    axes.set_yticks(range(len(groups)), [name.replace("$", r"\$") for name in groups])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return _svg(figure)


def check_matplotlib() -> None:
    """Raise ValueError if matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ValueError('Plots need matplotlib: pip install "hq-sam-hf[benchmarks]".') from error


def _figure(title: str, height: float) -> tuple[Any, Any]:
    check_matplotlib()
    from matplotlib.figure import Figure  # pyplot would need a window system and keep global state

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    import matplotlib

    file = io.StringIO()
    # Text as text, and equal files for equal results.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hq-sam"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _colours() -> list[tuple[float, ...]]:
    return [tuple(value / 255 for value in colour) for colour in COLOURS]


__all__ = ["MOST_BARS", "bar_plot", "check_matplotlib", "line_plot"]
