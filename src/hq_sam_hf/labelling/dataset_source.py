"""Data sets of the library `datasets` as a source: Hub repositories, and folders with metadata or of save_to_disk."""

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.image_bytes import undecoded
from ..data.row_files import refuse_files_outside, source_folders
from ..data.saved_datasets import load_stored
from .sources import Source, SourceRow
from .table_rows import choose_image_column, choose_key_column, row_key, source_row


@dataclass(frozen=True)
class DatasetSource(Source):
    """A split of a data set. Other processes load it again, by its name.

    name: a Hub repository, or a folder that `datasets.load_dataset` or `load_from_disk` reads.
    options: JSON text with arguments of `load_dataset`.
    """

    name: str
    split: str
    image_column: str
    key_column: str | None
    options: str = "{}"

    def __len__(self) -> int:
        return len(_load(self.name, self.split, self.options))

    def keys(self) -> Iterable[str]:
        dataset = _load(self.name, self.split, self.options)
        wanted = self.key_column or self.image_column
        for index, row in enumerate(dataset.select_columns([wanted])):
            image = row.get(self.image_column)
            yield row_key(
                row.get(self.key_column or ""), image.get("path") if isinstance(image, dict) else None, index
            )

    def read(self, rows: range) -> list[SourceRow]:
        import datasets

        dataset = _load(self.name, self.split, self.options)
        # The paths in columns of images have been checked when the data set was loaded.
        is_checked = isinstance(dataset.features[self.image_column], datasets.Image)
        folders = None if is_checked else ()
        return [source_row(dataset[i], self.image_column, self.key_column, i, folders) for i in rows]

    @property
    def columns(self) -> Sequence[str]:
        names = _load(self.name, self.split, self.options).column_names
        return [name for name in names if name != self.image_column]

    @property
    def has_addresses(self) -> bool:
        first = next(iter(self.read(range(min(1, len(self))))), None)
        return first is None or (first.place.content is None and first.place.address is not None)

    def files(self) -> Iterable[Path]:
        return []


def open_dataset(
    name: str, split: str, image_column: str | None, key_column: str | None, **options: Any
) -> DatasetSource:
    """Open a data set. options: JSON values, for `datasets.load_dataset`.

    Raises ValueError if it cannot be loaded or has no images, and if a row names a file outside of it.
    """
    text = json.dumps(options, sort_keys=True)
    names = _load(name, split, text).column_names
    image = choose_image_column(names, image_column, repr(name))
    return DatasetSource(name, split, image, choose_key_column(names, key_column, repr(name)), text)


@functools.lru_cache(maxsize=4)
def _load(name: str, split: str, options: str) -> Any:
    import datasets

    arguments = json.loads(options)
    try:
        dataset = load_stored(name, split, streaming=False, options=arguments)
    except (datasets.exceptions.DatasetsError, FileNotFoundError) as error:
        raise ValueError(
            f"The data set {name!r} cannot be loaded ({error}). Correct the name or the split."
        ) from error
    return refuse_files_outside(undecoded(dataset), source_folders(name, arguments))


__all__ = ["DatasetSource", "open_dataset"]
