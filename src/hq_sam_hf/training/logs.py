"""What a training run tells people: a log of numbers and their curves."""

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


# val_hq_miou, val_clicks-3_hq_miou, val_hq_mbiou_dis
VALIDATION_NAME = re.compile(r"val_(?:(?P<prompt>.+)_)?(?P<output>sam|hq|sum)_(?P<metric>miou|mbiou)(?:_(?P<set>.+))?")
METRICS = {"miou": "mIoU", "mbiou": "mBIoU"}
MOST_COLUMNS = 3


class RunLog:
    """`log.jsonl`: one JSON object per line, each with its `step`. `curves.png` is drawn from it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.curves = folder / "log.jsonl", folder / "curves.png"

    def forget_after(self, step: int) -> None:
        """Drop the lines of steps that a resumed run takes again, and a line that a kill cut short."""
        if not self.path.is_file():
            return
        kept = [line for line in self._lines() if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(self.path, lambda file: file.write(text.encode()))

    def append(self, line: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _lines(self) -> list[dict[str, Any]]:
        lines = []
        for text in self.path.read_text().splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                continue
        return lines

    def draw_curves(self) -> None:
        """Losses and validation figures over steps. Needs matplotlib, from the extra `train`."""
        try:
            from matplotlib.figure import Figure  # without pyplot: no window system, no global state
        except ImportError:
            logger.warning('curves.png needs matplotlib: pip install "hq-sam-hf[train]". log.jsonl has the numbers.')
            return
        lines = self._lines() if self.path.is_file() else []
        panels = _panels(lines)
        if not panels:
            return
        columns = min(len(panels), MOST_COLUMNS)
        rows = math.ceil(len(panels) / columns)
        figure = Figure(figsize=(6.0 * columns, 4.2 * rows), layout="constrained")
        for place, (title, curves) in enumerate(panels.items(), start=1):
            axis = figure.add_subplot(rows, columns, place)
            for label, name in curves.items():
                points = [(line["step"], line[name]) for line in lines if name in line]
                dashes = "--" if label.endswith("mIoU") else "-"
                axis.plot(*zip(*points), dashes, label=label, marker="." if len(points) < 30 else "")
            axis.set(title=title, xlabel="step")
            axis.grid(alpha=0.3)
            axis.legend(fontsize="small").set_in_layout(False)  # or a long one would leave no room for the curves
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        write_atomically(self.curves, lambda file: file.write(buffer.getvalue()))


def _panels(lines: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Names in the log by panel and label: losses, figures of each prompt, and those of each set."""
    names = dict.fromkeys(name for line in lines for name in line)
    panels: dict[str, dict[str, str]] = {"training": {name: name for name in LOSSES if name in names}}
    found = {name: match.groupdict() for name in names if (match := VALIDATION_NAME.fullmatch(name))}
    chosen = "hq" if any(one["output"] == "hq" for one in found.values()) else "sam"
    for name, one in found.items():
        output, metric = OUTPUT_TITLES[one["output"]], METRICS[one["metric"]]
        if one["set"] is None:
            title = f"validation, {one['prompt']}" if one["prompt"] else "validation"
            panels.setdefault(title, {})[f"{output} {metric}"] = name
        elif one["output"] == chosen:
            panels.setdefault(f"validation by set, {output} {metric}", {})[one["set"]] = name
    return {title: curves for title, curves in panels.items() if curves}


__all__ = ["RunLog"]
