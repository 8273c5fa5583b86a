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

    prefix: the folder with a slash at its end. names: their sorted paths from there, which are the keys.
    left_out: the files there that are no images.
    suffix: the rest of a chained URL, such as ::s3://bucket/images.zip for members of an archive.
    """

    prefix: str
    names: Sequence[str]
    left_out: Sequence[str] = ()
    suffix: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def keys(self) -> Iterable[str]:
        return self.names

    def read(self, rows: range) -> list[SourceRow]:
        return [SourceRow(self.names[i], ImagePlace(f"{self.prefix}{self.names[i]}{self.suffix}")) for i in rows]

    @property
    def columns(self) -> Sequence[str]:
        return []

    def files(self) -> Iterable[Path]:
        return [] if is_url(self.prefix + self.suffix) else (Path(self.prefix) / name for name in self.names)


__all__ = ["FileSource"]
