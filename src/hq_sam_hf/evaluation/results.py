"""Results of an evaluation: records of single masks, their means, tables and report files."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ..masks.json_values import json_value
from ..model.files import readable_name, write_atomically
from .paper_results import AVERAGE, FOUR_SETS, is_whole_set, paper_result

# Published results are only shown beside results that were measured with these settings.
PAPER_SETTINGS = {
    "protocol": "stretch",
    "multimask_output": False,
    "image_size": 1024,
}
OUTPUT_TITLES = {"sam": "SAM", "hq": "HQ", "sum": "SAM + HQ"}

REPORT_LINE = "mIoU / mBIoU in per cent. "  # tells a report from another Markdown file
LISTED = 20  # images or masks that a report names one by one


@dataclass
class Evaluation:
    """The results of `evaluate`.

    records: one per mask, prompt, trial and output, with the fields
        dataset, set, name, index, mask     origin of the mask: data set, its set, name and index of the row, and
                                            position of the mask in the row
        height, width, area                 of the image and the ground-truth mask, in pixels
        prompt, trial, output               trial counts the draws of random prompts; output is sam, hq or sum
        iou, boundary_iou, score            in [0, 1]; score is the IoU that the model predicts
        and any other columns of the data set
    failures: images that could not be read. skipped: masks that were left out. Each entry has dataset, index, name and
        reason.
    settings: the arguments of the evaluation, the backbone and the number of images.
    """

    settings: dict[str, Any]
    records: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)

    def means(self, by: Sequence[str] | Callable[[dict[str, Any]], tuple]) -> dict[tuple, dict[str, float]]:
        """Means of groups of records: {key: {"images", "masks", "miou", "mbiou"}}.

        by: names of record fields, or a function that returns the key of a record.
        images, masks: how many different ones the group has. miou, mbiou: in per cent.
        """
        key_of = by if callable(by) else lambda record: tuple(record[name] for name in by)
        groups: dict[tuple, list[dict[str, Any]]] = {}
        for record in self.records:
            groups.setdefault(key_of(record), []).append(record)
        return {
            key: {
                "images": len({(one["dataset"], one["index"]) for one in group}),
                "masks": len({(one["dataset"], one["index"], one["mask"]) for one in group}),
                "miou": 100 * sum(one["iou"] for one in group) / len(group),
                "mbiou": 100 * sum(one["boundary_iou"] for one in group) / len(group),
            }
            for key, group in groups.items()
        }

    def summary(self) -> list[dict[str, Any]]:
        """Means per prompt, set and output. If there are several sets, "average" is the plain mean of their means.

        Each row has set, prompt, output, masks, miou and mbiou. A whole published set that was measured with
        `PAPER_SETTINGS` also has "published": the published result of the same backbone, if there is one.
        """
        means = self.means(lambda record: (record["prompt"], set_label(record), record["output"]))
        labels = list(dict.fromkeys(label for _, label, _ in means))
        rows = []
        for prompt in dict.fromkeys(prompt for prompt, _, _ in means):
            for label in [*labels, AVERAGE] if len(labels) > 1 else labels:
                sets = labels if label == AVERAGE else [label]
                for output in self.settings["outputs"]:
                    of_sets = [means.get((prompt, one, output)) for one in sets]
                    if any(one is None for one in of_sets):  # the caller may have removed records
                        continue
                    rows.append(self._summary_row(label, prompt, output, dict(zip(sets, of_sets))))
        return rows

    def _summary_row(
        self, label: str, prompt: str, output: str, by_set: dict[str, dict[str, float] | None]
    ) -> dict[str, Any]:
        """by_set: the means of the set, or of all sets for the average."""
        means = [one for one in by_set.values() if one is not None]
        row: dict[str, Any] = {"set": label, "prompt": prompt, "output": output}
        row["masks"] = sum(one["masks"] for one in means)
        for name in ("miou", "mbiou"):
            row[name] = sum(one[name] for one in means) / len(means)
        as_paper = all(self.settings.get(name, value) == value for name, value in PAPER_SETTINGS.items())
        whole = all(is_whole_set(name, one["images"], one["masks"]) for name, one in zip(by_set, means))
        if as_paper and whole and (label != AVERAGE or set(by_set) == set(FOUR_SETS)):
            published = paper_result(self.settings.get("backbone"), label, prompt, output)
            row |= {} if published is None else {"published": asdict(published)}
        return row

    def by_category(self) -> list[dict[str, Any]]:
        """Means per prompt, category and output, if the data set names the categories of its masks, as COCO does.

        Each row has category, prompt, output, masks, miou and mbiou.
        """
        means = self.means(lambda record: (record["prompt"], str(record.get("category", "")), record["output"]))
        rows = [
            {"category": category, "prompt": prompt, "output": output}
            | {name: metrics[name] for name in ("masks", "miou", "mbiou")}
            for (prompt, category, output), metrics in sorted(means.items(), key=lambda one: one[0][1])
        ]
        return rows if any(row["category"] for row in rows) else []

    def markdown(self) -> str:
        """The summary as Markdown tables of mIoU / mBIoU in per cent, one table per prompt, then by category."""
        lines = []
        by_category = [{**row, "set": row["category"]} for row in self.by_category()]
        for title, heading, rows in (("", "set", self.summary()), (", by category", "category", by_category)):
            for prompt in dict.fromkeys(row["prompt"] for row in rows):
                table = _markdown_table([row for row in rows if row["prompt"] == prompt], heading)
                lines += [f"### {prompt}{title}", "", *table, ""]
        for title, entries in (("Could not be read", self.failures), ("Left out", self.skipped)):
            if entries:
                lines += [f"{title}: {len(entries)}", ""]
                named = (f"* {one['dataset']} {one['name']}: {one['reason']}" for one in entries[:LISTED])
                lines += map(readable_name, named)
                lines += ["* ..."] if len(entries) > LISTED else []
                lines += [""]
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike, title: str = "Evaluation") -> list[Path]:
        """Write evaluation.md, evaluation.json (settings, summary, by_category, failures, skipped), records.parquet.

        Raises ValueError, before a file is written, for settings that JSON cannot hold.
        """
        import pyarrow.parquet

        target = Path(folder)
        report = {
            "settings": self.settings,
            "summary": self.summary(),
            "by_category": self.by_category(),
            "failures": self.failures,
            "skipped": self.skipped,
        }
        report = json_value(report, "report")
        settings = ", ".join(f"{name} {value}" for name, value in report["settings"].items())
        table = self._table()
        target.mkdir(parents=True, exist_ok=True)
        text = f"# {title}\n\n{REPORT_LINE}{settings}.\n\n{self.markdown()}"
        contents: dict[str, Callable[[BinaryIO], object]] = {
            "evaluation.md": lambda file: file.write(readable_name(text).encode()),
            "evaluation.json": lambda file: file.write(json.dumps(report, indent=1).encode()),
            "records.parquet": lambda file: pyarrow.parquet.write_table(table, file),
        }
        for name, write in contents.items():
            write_atomically(target / name, write)
        return [target / name for name in contents]

    def _table(self) -> Any:
        """The records as a table of pyarrow."""
        import pyarrow

        names = dict.fromkeys(name for record in self.records for name in record)
        return pyarrow.table({name: _column([record.get(name) for record in self.records]) for name in names})


def _column(values: list[Any]) -> Any:
    """A column of pyarrow. Values that have no common type become text, such as names and numbers of two data sets."""
    import pyarrow

    values = [readable_name(value) if isinstance(value, str) else value for value in values]
    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowException, TypeError, OverflowError):
        return pyarrow.array([None if value is None else str(value) for value in values])


def set_label(record: dict[str, Any]) -> str:
    """The name of a record's set in tables: "dataset/set", or one of the two if the other is empty or equal."""
    return "/".join(dict.fromkeys(name for name in (record["dataset"], record["set"]) if name))


def _markdown_table(rows: Sequence[dict[str, Any]], heading: str) -> list[str]:
    outputs = list(dict.fromkeys(row["output"] for row in rows))
    cells = {(row["set"], row["output"]): row for row in rows}
    sets = list(dict.fromkeys(row["set"] for row in rows))
    # "hq" and "sum" have the same published result, so it is shown once.
    compared = {"published SAM": ["sam"], "published HQ-SAM": [output for output in outputs if output != "sam"][:1]}
    comparisons = {
        title: output[0]
        for title, output in compared.items()
        if output and any("published" in cells[name, output[0]] for name in sets if (name, output[0]) in cells)
    }
    lines = [_line([heading, "masks", *(OUTPUT_TITLES[output] for output in outputs), *comparisons])]
    lines.append(_line(["---"] + ["---:"] * (1 + len(outputs) + len(comparisons))))
    for name in sets:
        of_set = {output: cells.get((name, output), {}) for output in outputs}
        metrics = [_pair(of_set[output]) for output in outputs]
        metrics += [_pair(of_set[output].get("published", {})) for output in comparisons.values()]
        masks = max(one.get("masks", 0) for one in of_set.values())
        lines.append(_line([name, str(masks), *metrics]))
    return lines


def _pair(metrics: dict[str, Any]) -> str:
    values = [metrics.get(name) for name in ("miou", "mbiou")]
    if values == [None, None]:
        return ""
    return " / ".join("-" if value is None else f"{value:.1f}" for value in values)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


__all__ = ["OUTPUT_TITLES", "REPORT_LINE", "Evaluation", "set_label"]
