"""Rows of benchmark results and their Markdown table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .measuring import DISTURBED, Timing

NAMES = ("ours", "original", "transformers")
HEADER = (
    "| work | ours | original | transformers | original / ours | transformers / ours | peak MiB: ours | original | "
    "transformers | agreement with the original |"
)


@dataclass
class Row:
    """The timings and peak bytes of one kind of work by contender, and how well ours agrees with the original."""

    work: str
    times: Mapping[str, Timing] = field(default_factory=dict)
    memory: Mapping[str, int | None] = field(default_factory=dict)
    agreement: str = ""

    def markdown(self) -> str:
        cells = [self.work]
        cells += [_seconds(self.times.get(name)) for name in NAMES]
        cells += [self._ratio(name) for name in NAMES[1:]]
        cells += [_mebibytes(self.memory.get(name)) for name in NAMES]
        return f"| {' | '.join([*cells, self.agreement])} |"

    def _ratio(self, name: str) -> str:
        if name not in self.times or "ours" not in self.times:
            return ""
        return f"{self.times[name].median / self.times['ours'].median:.2f}"


def table(rows: Iterable[Row]) -> str:
    rule = "|" + "---|" * (HEADER.count("|") - 1)
    return "\n".join([HEADER, rule, *(row.markdown() for row in rows)])


def _seconds(timing: Timing | None) -> str:
    if timing is None:
        return ""
    unit, scale = ("s", 1) if timing.median >= 1 else ("ms", 1000)
    digits = 3 if timing.median * scale < 10 else 4
    low, median, high = (f"{scale * value:.{digits}g}" for value in (timing.low, timing.median, timing.high))
    disturbed = f", {timing.others:.0%} of the CPU for others" if timing.others > DISTURBED else ""
    return f"{median} {unit} ({low}-{high}{disturbed})"


def _mebibytes(value: int | None) -> str:
    return "" if value is None else f"{value / 2**20:.0f}" if value >= 2**24 else f"{value / 2**20:.1f}"
