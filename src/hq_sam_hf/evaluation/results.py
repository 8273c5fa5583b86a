"""The figures of an evaluation: records of single masks, their means, and the files they are written to."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ..masks.metrics import DILATION_RATIO
from ..model.files import write_atomically
from .paper_results import AVERAGE, FOUR_SETS, is_whole_set, published

# Published figures are shown beside those of an evaluation of this kind alone.
PAPER_SETTINGS = {
    "protocol": "stretch",
    "multimask_output": False,
    "dilation_ratio": DILATION_RATIO,
    "image_size": 1024,
}
OUTPUT_TITLES = {"sam": "SAM", "hq": "HQ", "sum": "SAM + HQ"}


@dataclass
class Evaluation:
    """What `evaluate` found.

    records: one per mask, prompt, trial and output:
        dataset, set, name, index, mask     where the mask comes from: name of the data set, row, mask of the row
        height, width, area                 of the picture and the true mask, in pixels
        prompt, trial, output               what was asked: trial counts random prompts, output is sam, hq or sum
        iou, boundary_iou, score            in [0, 1]; score is the model's own estimate of its IoU
        any other columns of the data set
    failures: pictures that could not be read; skipped: masks left out, each with dataset, index, name and reason.
    settings: how it was made.
    """

    settings: dict[str, Any]
    records: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)

    def means(self, by: Sequence[str] | Callable[[dict[str, Any]], tuple]) -> dict[tuple, dict[str, float]]:
        """Means of groups of records: {key: {"pictures", "masks", "miou", "mbiou"}}, in per cent.

        by: names of fields, or a function that gives a record's key. pictures, masks: different ones in the group.
        """
        key_of = by if callable(by) else lambda record: tuple(record[name] for name in by)
        groups: dict[tuple, list[dict[str, Any]]] = {}
        for record in self.records:
            groups.setdefault(key_of(record), []).append(record)
        return {
            key: {
                "pictures": len({(one["dataset"], one["index"]) for one in group}),
                "masks": len({(one["dataset"], one["index"], one["mask"]) for one in group}),
                "miou": 100 * sum(one["iou"] for one in group) / len(group),
                "mbiou": 100 * sum(one["boundary_iou"] for one in group) / len(group),
            }
            for key, group in groups.items()
        }

    def summary(self) -> list[dict[str, Any]]:
        """Means per set, prompt and output, and of several sets also "average", the plain mean of the sets' means.

        Each row has set, prompt, output, masks, miou and mbiou; and, for a whole published set asked for by
        `PAPER_SETTINGS`, published: the figure that is known for this backbone.
        """
        means = self.means(lambda record: (record["prompt"], set_label(record), record["output"]))
        labels = list(dict.fromkeys(label for _, label, _ in means))
        as_paper = all(self.settings.get(name, value) == value for name, value in PAPER_SETTINGS.items())
        rows = []
        for prompt in dict.fromkeys(prompt for prompt, _, _ in means):
            for label in [*labels, AVERAGE] if len(labels) > 1 else labels:
                for output in self.settings["outputs"]:
                    keys = [(prompt, one, output) for one in ([label] if label != AVERAGE else labels)]
                    if any(key not in means for key in keys):  # records may have been taken out
                        continue
                    of_sets = [means[key] for key in keys]
                    row = {"set": label, "prompt": prompt, "output": output}
                    row["masks"] = sum(one["masks"] for one in of_sets)
                    for name in ("miou", "mbiou"):
                        row[name] = sum(one[name] for one in of_sets) / len(of_sets)
                    whole = [is_whole_set(key[1], means[key]["pictures"], means[key]["masks"]) for key in keys]
                    if as_paper and all(whole) and (label != AVERAGE or set(labels) == set(FOUR_SETS)):
                        figure = published(self.settings.get("backbone"), label, prompt, output)
                        row |= {} if figure is None else {"published": asdict(figure)}
                    rows.append(row)
        return rows

    def markdown(self) -> str:
        """The summary as tables of mIoU / mBIoU in per cent, one per prompt."""
        lines = []
        rows = self.summary()
        for prompt in dict.fromkeys(row["prompt"] for row in rows):
            lines += [f"### {prompt}", "", *_table([row for row in rows if row["prompt"] == prompt]), ""]
        for title, entries in (("Could not be read", self.failures), ("Left out", self.skipped)):
            if entries:
                lines += [f"{title}: {len(entries)}", ""]
                lines += [f"* {one['dataset']} {one['name']}: {one['reason']}" for one in entries[:20]]
                lines += ["* ..."] if len(entries) > 20 else []
                lines += [""]
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike, title: str = "Evaluation") -> list[Path]:
        """Write evaluation.md, evaluation.json (settings, summary, what was left out) and records.parquet."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        report = {
            "settings": self.settings,
            "summary": self.summary(),
            "failures": self.failures,
            "skipped": self.skipped,
        }
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        text = f"# {title}\n\nmIoU / mBIoU in per cent. {settings}.\n\n{self.markdown()}"
        contents: dict[str, Callable[[BinaryIO], object]] = {
            "evaluation.md": lambda file: file.write(text.encode()),
            "evaluation.json": lambda file: file.write(json.dumps(report, indent=1).encode()),
            "records.parquet": self._write_parquet,
        }
        for name, write in contents.items():
            write_atomically(target / name, write)
        return [target / name for name in contents]

    def _write_parquet(self, file: BinaryIO) -> None:
        import pyarrow
        import pyarrow.parquet

        names = dict.fromkeys(name for record in self.records for name in record)
        columns = {name: _column([record.get(name) for record in self.records]) for name in names}
        pyarrow.parquet.write_table(pyarrow.table(columns), file)


def _column(values: list[Any]) -> list[Any]:
    """Values of one kind: as text where data sets have words and numbers under the same name."""
    kinds = {isinstance(value, str) for value in values if value is not None}
    return [None if value is None else str(value) for value in values] if len(kinds) > 1 else values


def set_label(record: dict[str, Any]) -> str:
    """The set a record counts for: its own, after the name of its data set where that says something else."""
    return "/".join(dict.fromkeys(name for name in (record["dataset"], record["set"]) if name))


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    outputs = list(dict.fromkeys(row["output"] for row in rows))
    cells = {(row["set"], row["output"]): row for row in rows}
    sets = list(dict.fromkeys(row["set"] for row in rows))
    # The published HQ-SAM is the same for the HQ mask and the sum, and so stands there once.
    known = {"published SAM": ["sam"], "published HQ-SAM": [output for output in outputs if output != "sam"][:1]}
    comparisons = {
        title: output[0]
        for title, output in known.items()
        if output and any("published" in cells[name, output[0]] for name in sets if (name, output[0]) in cells)
    }
    lines = [_line(["set", "masks", *(OUTPUT_TITLES[output] for output in outputs), *comparisons])]
    lines.append(_line(["---"] + ["---:"] * (1 + len(outputs) + len(comparisons))))
    for name in sets:
        of_set = {output: cells.get((name, output), {}) for output in outputs}
        figures = [_pair(of_set[output]) for output in outputs]
        figures += [_pair(of_set[output].get("published", {})) for output in comparisons.values()]
        masks = max(one.get("masks", 0) for one in of_set.values())
        lines.append(_line([name, str(masks), *figures]))
    return lines


def _pair(figures: dict[str, Any]) -> str:
    values = [figures.get(name) for name in ("miou", "mbiou")]
    if values == [None, None]:
        return ""
    return " / ".join("-" if value is None else f"{value:.1f}" for value in values)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


__all__ = ["OUTPUT_TITLES", "Evaluation", "set_label"]
