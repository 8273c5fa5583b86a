"""Several data sets as one, each with a weight."""

from collections.abc import Mapping, Sequence
from typing import Any

WEIGHT = "weight"


class SeveralDataSets:
    """The rows of several data sets, one after the other.

    parts: the data sets. weights: one for each; training sees the images of a data set `weight` times an epoch.
    """

    def __init__(self, parts: Sequence[Any], weights: Sequence[float] | None = None) -> None:
        self.parts, self.weights = list(parts), list(weights or [1.0] * len(parts))

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int) -> Any:
        if index < 0:
            raise IndexError(f"A row must have a number of at least 0, got {index}.")
        rest = index
        for part in self.parts:
            if rest < len(part):
                return part[rest]
            rest -= len(part)
        raise IndexError(f"There is no row {index} of {len(self)}.")


def take_weight(data: Any) -> tuple[Any, float]:
    """A description without its weight, and its weight, by default 1. Raises ValueError for a weight that is none."""
    if not isinstance(data, Mapping) or WEIGHT not in data:
        return data, 1.0
    weight = data[WEIGHT]
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
        raise ValueError(f"`{WEIGHT}` of data must be a positive number, got {weight!r}.")
    return {key: value for key, value in data.items() if key != WEIGHT}, float(weight)


__all__ = ["WEIGHT", "SeveralDataSets", "take_weight"]
