"""Image files as a source: files, folders and patterns, on this machine or by fsspec URL."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .addresses import is_url
from .examples import ImagePlace
from .sources import Source, SourceRow


@dataclass(frozen=True)
class FileSource(Source):
    """Image files below a folder or URL.

    root: the folder, without a slash at its end. names: their sorted paths from there, which are the keys.
    """

    root: str
    names: Sequence[str]
    left_out: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.names)

    def keys(self) -> Iterable[str]:
        return self.names

    def read(self, rows: range) -> list[SourceRow]:
        return [SourceRow(self.names[i], ImagePlace(f"{self.root}/{self.names[i]}")) for i in rows]

    @property
    def columns(self) -> Sequence[str]:
        return []

    def files(self) -> Iterable[Path]:
        return [] if is_url(self.root) else (Path(self.root) / name for name in self.names)


__all__ = ["FileSource"]
