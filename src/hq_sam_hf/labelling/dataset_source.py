"""Data sets of the library `datasets` as a source: Hub repositories, and folders with metadata or of save_to_disk."""

import functools
import json
import os
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
    options: JSON text with arguments of `load_dataset`. image_folder: where images may be, besides the data set.
    """

    name: str
    split: str
    image_column: str
    key_column: str | None
    options: str = "{}"
    image_folder: str | None = None

    @property
    def dataset(self) -> Any:
        return _load(self.name, self.split, self.options, self.image_folder)

    def __len__(self) -> int:
        return len(self.dataset)

    def keys(self) -> Iterable[str]:
        wanted = self.key_column or self.image_column
        for index, row in enumerate(self.dataset.select_columns([wanted])):
            image = row.get(self.image_column)
            yield row_key(
                row.get(self.key_column or ""), image.get("path") if isinstance(image, dict) else None, index
            )

    def read(self, rows: range) -> list[SourceRow]:
        import datasets

        dataset = self.dataset
        # The paths in columns of images have been checked when the data set was loaded.
        is_checked = isinstance(dataset.features[self.image_column], datasets.Image)
        folders = None if is_checked else ()
        return [source_row(dataset[i], self.image_column, self.key_column, i, folders) for i in rows]

    @property
    def columns(self) -> Sequence[str]:
        return [name for name in self.dataset.column_names if name != self.image_column]

    @property
    def has_addresses(self) -> bool:
        first = next(iter(self.read(range(min(1, len(self))))), None)
        return first is None or (first.place.content is None and first.place.address is not None)

    def files(self) -> Iterable[Path]:
        return []


def open_dataset(
    name: str,
    split: str,
    image_column: str | None = None,
    key_column: str | None = None,
    image_folder: str | os.PathLike | None = None,
    **options: Any,
) -> DatasetSource:
    """Open a data set. options: JSON values, for `datasets.load_dataset`.

    Raises ValueError if it cannot be loaded or has no images, and if a row names a file outside of it and of the
    `image_folder`.
    """
    text = json.dumps(options, sort_keys=True)
    folder = None if image_folder is None else os.path.abspath(image_folder)
    names = _load(name, split, text, folder).column_names
    image = choose_image_column(names, image_column, repr(name))
    return DatasetSource(name, split, image, choose_key_column(names, key_column, repr(name)), text, folder)


@functools.lru_cache(maxsize=4)
def _load(name: str, split: str, options: str, image_folder: str | None) -> Any:
    import datasets

    arguments = json.loads(options)
    try:
        dataset = load_stored(name, split, streaming=False, options=arguments)
    except (datasets.exceptions.DatasetsError, FileNotFoundError, ConnectionError) as error:
        raise ValueError(
            f"The data set {name!r} cannot be loaded ({error}). Correct the name or the split, or check the "
            "connection to the Hub."
        ) from error
    folders = source_folders(name, arguments) + ([] if image_folder is None else [Path(image_folder)])
    return refuse_files_outside(undecoded(dataset), folders)


__all__ = ["DatasetSource", "open_dataset"]
