"""Where the images to label come from: the interface of a source, and rows as all sources give them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .examples import ImagePlace


@dataclass(frozen=True)
class SourceRow:
    """An image of a source.

    key: names the image. columns: further values, such as boxes, by the name of their column.
    problem: why there is no image, if the row is damaged.
    """

    key: str
    place: ImagePlace
    columns: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


class Source(ABC):
    """Images in a fixed order. A source can be pickled, and gives the same rows in every process."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of images."""

    @abstractmethod
    def keys(self) -> Iterable[str]:
        """The keys of all images, in order, without reading the images."""

    @abstractmethod
    def read(self, rows: range) -> Sequence[SourceRow]:
        """The images of these rows."""

    @property
    @abstractmethod
    def columns(self) -> Sequence[str]:
        """The names of the columns that may hold prompts."""

    @property
    def has_addresses(self) -> bool:
        """Whether every image has an address of its own, so that the output can refer to it."""
        return True

    def files(self) -> Iterable[Path]:
        """The files on this machine that are read, which no output may replace."""
        return []


__all__ = ["Source", "SourceRow"]
