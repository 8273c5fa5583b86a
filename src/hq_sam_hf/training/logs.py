"""The log of a training run: losses and metrics by step in log.jsonl, drawn in curves.png."""

import io
import json
import logging
import math
import re
from pathlib import Path
from typing import Any

from ..evaluation.results import OUTPUT_TITLES
from ..model.files import write_atomically

logger = logging.getLogger(__name__)

LOSSES = ("loss", "bce", "dice", "score")

# Such as val_hq_miou, val_clicks-3_hq_miou and val_hq_mbiou_dis.
METRIC_NAME = re.compile(r"val_(?:(?P<prompt>.+)_)?(?P<output>sam|hq|sum)_(?P<metric>miou|mbiou)(?:_(?P<set>.+))?")
METRIC_TITLES = {"miou": "mIoU", "mbiou": "mBIoU"}
MAX_COLUMNS = 3
FEW_POINTS = 30  # curves of fewer points get markers


class LossMeans:
    """Means over masks of the losses between two lines of the log.

    masks, sums: of the steps since the last line, where a run is resumed between two.
    """

    def __init__(self, masks: int = 0, sums: dict[str, float] | None = None) -> None:
        self.masks, self.sums = masks, dict(sums or {})

    def add(self, sums: dict[str, float], masks: int) -> None:
        """Add the sums of a step over its masks."""
        self.masks += masks
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def values(self) -> dict[str, float]:
        """The means by name."""
        return {name: value / max(self.masks, 1) for name, value in self.sums.items()}

    def reset(self) -> None:
        """Begin anew, for the next line."""
        self.masks, self.sums = 0, {}


class RunLog:
    """`log.jsonl`, one JSON object with its `step` per line, and `curves.png`, drawn from it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.curves = folder / "log.jsonl", folder / "curves.png"

    def drop_after(self, step: int, unlogged: bool = False) -> None:
        """Drop lines after a step, which a resumed run repeats, and an incomplete line of a killed run.

        unlogged: whether the losses of that step are to be part of a later line. Then a line of losses for the step
            itself is dropped too: the last line of a run that is now continued.
        """
        if not self.path.is_file():
            return
        last = step - 1 if unlogged else step
        kept = [line for line in self._lines() if line["step"] <= (last if "loss" in line else step)]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(self.path, lambda file: file.write(text.encode()))

    def append(self, line: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _lines(self) -> list[dict[str, Any]]:
        """The complete lines."""
        lines = []
        for text in self.path.read_bytes().splitlines():
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
        return lines

    def draw_curves(self) -> None:
        """Draw losses and validation metrics over steps. Without matplotlib (extra `train`), log a warning instead."""
        try:
            from matplotlib.figure import Figure  # pyplot would need a window system and keep global state
        except ImportError:
            logger.warning('curves.png needs matplotlib: pip install "hq-sam-hf[train]". log.jsonl has the numbers.')
            return
        lines = self._lines() if self.path.is_file() else []
        panels = _panels(lines)
        if not panels:
            return
        columns = min(len(panels), MAX_COLUMNS)
        rows = math.ceil(len(panels) / columns)
        figure = Figure(figsize=(6.0 * columns, 4.2 * rows), layout="constrained")
        for number, (title, curves) in enumerate(panels.items(), start=1):
            axis = figure.add_subplot(rows, columns, number)
            for label, name in curves.items():
                points = [(line["step"], line[name]) for line in lines if name in line]
                style = "--" if label.endswith("mIoU") else "-"
                axis.plot(*zip(*points), style, label=label, marker="." if len(points) < FEW_POINTS else "")
            axis.set(title=title, xlabel="step")
            axis.grid(alpha=0.3)
            # A long legend in the layout would leave no room for the curves.
            axis.legend(fontsize="small").set_in_layout(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        write_atomically(self.curves, lambda file: file.write(buffer.getvalue()))


def _panels(lines: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Names in the log by panel title and label: the losses, the metrics of each prompt, and those of each set."""
    names = dict.fromkeys(name for line in lines for name in line)
    panels: dict[str, dict[str, str]] = {"training": {name: name for name in LOSSES if name in names}}
    metrics = {name: match.groupdict() for name in names if (match := METRIC_NAME.fullmatch(name))}
    output_by_set = "hq" if any(parts["output"] == "hq" for parts in metrics.values()) else "sam"
    for name, parts in metrics.items():
        output, metric = OUTPUT_TITLES[parts["output"]], METRIC_TITLES[parts["metric"]]
        if parts["set"] is None:
            title = f"validation, {parts['prompt']}" if parts["prompt"] else "validation"
            panels.setdefault(title, {})[f"{output} {metric}"] = name
        elif parts["output"] == output_by_set:
            panels.setdefault(f"validation by set, {output} {metric}", {})[parts["set"]] = name
    return {title: curves for title, curves in panels.items() if curves}


__all__ = ["LossMeans", "RunLog"]
