"""Tables of results, as Markdown and as HTML."""

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of text. The first column is left-aligned, the others are right-aligned unless `is_text`.

    title: its heading. note: a sentence below it.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    is_text: bool = False

    def markdown(self) -> str:
        align = "---" if self.is_text else "---:"
        lines = [_line(self.header), _line(["---"] + [align] * (len(self.header) - 1)), *map(_line, self.rows)]
        parts = [f"### {self.title}", "\n".join(lines)] + ([self.note] if self.note else [])
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        kind = ' class="text"' if self.is_text else ""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.header)
        rows = "\n".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in self.rows)
        note = f"<p>{html.escape(self.note)}</p>\n" if self.note else ""
        return f"<h2>{html.escape(self.title)}</h2>\n<table{kind}>\n<tr>{head}</tr>\n{rows}\n</table>\n{note}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |"


def _cell(text: str) -> str:
    kind = {"+": ' class="gain"', "−": ' class="loss"'}.get(text[:1], "")
    return f"<td{kind}>{html.escape(text)}</td>"


def number(value: float | None) -> str:
    """A value in per cent with one decimal; "-" for None."""
    return "-" if value is None else f"{value:.1f}"


def difference(value: float | None, base: float | None) -> str:
    """How much more a value is than another, with its sign; "-" if one is missing."""
    if value is None or base is None:
        return "-"
    change = round(value - base, 1)
    return "0.0" if change == 0 else f"{'+' if change > 0 else '−'}{abs(change):.1f}"


__all__ = ["Table", "difference", "number"]
