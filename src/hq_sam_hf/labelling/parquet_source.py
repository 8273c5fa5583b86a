"""Parquet files as a source, on this machine or by fsspec URL. They are read where they are, without a copy."""

import bisect
import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from .addresses import is_url, open_address
from .sources import Source, SourceRow
from .table_rows import choose_image_column, choose_key_column, row_key, source_row


@dataclass(frozen=True)
class RowGroup:
    """Row group number `index` of a file, whose first row is number `start` of the source."""

    file: str
    index: int
    start: int


@dataclass(frozen=True)
class ParquetSource(Source):
    """Rows of Parquet files with the same columns.

    image_column: holds encoded images, {"bytes", "path"} or bytes; or paths. key_column: names them, if there is one.
    image_folder: where paths may lead, besides the folder of the file.
    """

    paths: Sequence[str]
    groups: Sequence[RowGroup]
    count: int
    all_columns: Sequence[str]
    image_column: str
    key_column: str | None
    image_folder: str | None = None

    def __len__(self) -> int:
        return self.count

    def keys(self) -> Iterator[str]:
        index = 0
        for path in self.paths:
            file = _open(path, os.getpid())
            for batch in file.iter_batches(columns=[self.key_column or self._path_column(file)]):
                for row in batch.to_pylist():
                    image = row.get(self.image_column)
                    image_path = image.get("path") if isinstance(image, dict) else image
                    image_path = image_path if isinstance(image_path, str) else None
                    yield row_key(row.get(self.key_column or ""), image_path, index)
                    index += 1

    def _path_column(self, file: Any) -> str:
        """What has to be read to know the paths of the images: not their bytes."""
        import pyarrow

        kind = file.schema_arrow.field(self.image_column).type
        return f"{self.image_column}.path" if pyarrow.types.is_struct(kind) else self.image_column

    def read(self, rows: range) -> list[SourceRow]:
        starts = [group.start for group in self.groups]
        found: list[SourceRow] = []
        index = rows.start
        while index < rows.stop:
            number = bisect.bisect_right(starts, index) - 1
            group = self.groups[number]
            end = starts[number + 1] if number + 1 < len(starts) else self.count
            stop = min(rows.stop, end)
            table = _read_group(group.file, group.index, os.getpid())
            part = table.slice(index - group.start, stop - index).to_pylist()
            folders = self._folders(group.file)
            found += [
                source_row(row, self.image_column, self.key_column, i, folders)
                for i, row in enumerate(part, start=index)
            ]
            index = stop
        return found

    def _folders(self, path: str) -> list[str]:
        """The folders of images that have no bytes in their rows."""
        own = [] if is_url(path) else [os.path.dirname(os.path.abspath(path))]
        return own if self.image_folder is None else [self.image_folder, *own]

    @property
    def columns(self) -> Sequence[str]:
        return [name for name in self.all_columns if name != self.image_column]

    @property
    def has_addresses(self) -> bool:
        return False

    def files(self) -> Iterable[Path]:
        return (Path(path) for path in self.paths if not is_url(path))


def open_parquet(
    paths: Sequence[str],
    image_column: str | None,
    key_column: str | None,
    image_folder: str | os.PathLike | None = None,
) -> ParquetSource:
    """Open Parquet files, which are read in this order.

    Raises ValueError for a file that is not complete, and for files with different columns.
    """
    groups, counts = [], []
    names: list[str] = []
    for path in paths:
        file = _open(path, os.getpid())
        own = file.schema_arrow.names
        names = names or own
        if own != names:
            raise ValueError(
                f"{path!r} has the columns {', '.join(own)}, and {paths[0]!r} has {', '.join(names)}. Label them in "
                "separate runs."
            )
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        groups += [(path, i) for i, size in enumerate(sizes) if size]
        counts += [size for size in sizes if size]
    starts = [0, *accumulate(counts)]
    what = repr(paths[0])
    return ParquetSource(
        list(paths),
        [RowGroup(path, i, start) for (path, i), start in zip(groups, starts)],
        starts[-1],
        names,
        choose_image_column(names, image_column, what),
        choose_key_column(names, key_column, what),
        None if image_folder is None else os.fspath(image_folder),
    )


# Files stay open, one handle per process, because forked processes would share its position.
@functools.lru_cache(maxsize=16)
def _open(path: str, process_id: int) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(open_address(path))
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path!r} is not a complete Parquet file ({error}). Write or download it again.") from error


# Batches take the rows of a group one after the other.
@functools.lru_cache(maxsize=1)
def _read_group(path: str, index: int, process_id: int) -> Any:
    return _open(path, process_id).read_row_group(index)


__all__ = ["ParquetSource", "open_parquet"]
