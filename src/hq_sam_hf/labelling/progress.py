"""How far a labelling run is: images per second, what the time goes to, and when it will end."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

logger = logging.getLogger(__name__)

# Without a terminal, there is a line at most so often, in seconds.
LINE_EVERY = 30.0
PARTS = ("decode", "detector", "encoder", "decoder", "write")


class Progress:
    """Counts images. total: of this run."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.seconds: dict[str, float] = {}
        self.started = self._reported = time.perf_counter()
        self._first: tuple[int, float] | None = None  # the images of the first report, and when it came
        self._bar = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show a bar on a terminal, and lines in the log elsewhere, while the block runs."""
        from tqdm.auto import tqdm

        self.started = self._reported = time.perf_counter()
        with tqdm(total=self.total, unit="image", disable=None) as bar:
            self._bar = bar
            yield
        self._bar = None

    def add(self, images: int) -> None:
        """Count images that are done."""
        self.done += images
        if self._first is None:
            self._first = (self.done, time.perf_counter())
        if self._bar is not None:
            self._bar.update(images)
        now = time.perf_counter()
        if (self._bar is None or self._bar.disable) and now - self._reported >= LINE_EVERY:
            self._reported = now
            logger.info("%s", self.describe())

    def spend(self, seconds: Mapping[str, float]) -> None:
        """Add the seconds that each part took."""
        add_seconds(self.seconds, seconds)
        if self._bar is not None:
            self._bar.set_postfix_str(self.shares())

    @property
    def rate(self) -> float:
        """Images per second so far.

        The time until the first report is left out, in which models are loaded, if ten times as many images are done
        since. An engine that reports whole shards has no early report.
        """
        count, since = self._first or (0, self.started)
        if self.done < 11 * count:
            count, since = 0, self.started
        return (self.done - count) / max(time.perf_counter() - since, 1e-9)

    def shares(self) -> str:
        """The share of each part in the time of the workers, such as "decode 5 %, encoder 60 %"."""
        total = sum(self.seconds.values())
        named = [*PARTS, *sorted(self.seconds.keys() - PARTS)]
        return ", ".join(
            f"{part} {self.seconds[part] / total:.0%}" for part in named if total and self.seconds.get(part)
        )

    def describe(self) -> str:
        """One line: "120 of 500 images, 3.1 images/s, 2 min left; decode 5 %, encoder 60 %"."""
        left = (self.total - self.done) / self.rate if self.done else float("inf")
        remaining = f", {format_duration(left)} left" if 0 < left < float("inf") else ""
        shares = f"; {self.shares()}" if self.seconds else ""
        return f"{self.done:,} of {self.total:,} images, {self.rate:.3g} images/s{remaining}{shares}"


def add_seconds(total: dict[str, float], more: Mapping[str, float]) -> None:
    """Add the seconds of some work to those of all, part by part."""
    for part, seconds in more.items():
        total[part] = total.get(part, 0.0) + seconds


def format_duration(seconds: float) -> str:
    """A duration for people: "40 s", "12 min", "3.4 h" or "5.2 days"."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


__all__ = ["Progress", "add_seconds", "format_duration"]
