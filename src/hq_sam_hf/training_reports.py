"""What a training run tells people: a log of numbers and their curves."""

import io
import json
import logging
from pathlib import Path
from typing import Any

from .files import write_atomically

logger = logging.getLogger(__name__)

LOSSES = ("loss", "bce", "dice", "score")


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
        panels = {
            "training": [name for name in LOSSES if any(name in line for line in lines)],
            "validation": sorted({name for line in lines for name in line if name.startswith("val_")}),
        }
        panels = {title: names for title, names in panels.items() if names}
        if not panels:
            return
        figure = Figure(figsize=(6.5 * len(panels), 4.2), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (title, names) in zip(axes, panels.items()):
            for name in names:
                points = [(line["step"], line[name]) for line in lines if name in line]
                axis.plot(*zip(*points), label=name.removeprefix("val_"), marker="." if len(points) < 30 else "")
            axis.set(title=title, xlabel="step")
            axis.grid(alpha=0.3)
            axis.legend()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        write_atomically(self.curves, lambda file: file.write(buffer.getvalue()))


__all__ = ["RunLog"]
