"""Files that the rows of a data set name. A table from somebody else must not have any file of this machine read."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.named_files import path_inside
from .image_bytes import is_list_of_images, undecoded

if TYPE_CHECKING:
    from .image_bytes import AnyDataset

_ADVICE = (
    "If you trust it, name the folder of its images as `image_folder`, load the data set in Python and pass it as "
    "`source`, or write it with `save_to_disk`, which stores the images themselves."
)


def refuse_files_outside(dataset: "AnyDataset", folders: Iterable[Any]) -> "AnyDataset":
    """The data set itself, if the files that its images name lie in these folders or in the caches of the Hub.

    Images whose bytes are in the row name no file.

    Raises ValueError for others; a stream raises when such a row is read.
    """
    import datasets

    roots = [*folders, *_caches()]
    features = dataset.features
    columns = [name for name, one in features.items() if isinstance(one, datasets.Image) or is_list_of_images(one)]
    if isinstance(dataset, datasets.Dataset):
        for column in columns:
            for path in _stored_paths(dataset.data.column(column)):
                _check(path, column, roots)
        return dataset

    def check(row: Mapping[str, Any]) -> dict[str, Any]:
        for column in columns:
            values = row[column] if isinstance(row[column], list) else [row[column]]
            for value in values:
                if isinstance(value, Mapping) and value["bytes"] is None and value["path"]:
                    _check(value["path"], column, roots)
        return {}

    dataset = undecoded(dataset)
    dataset = dataset.map(check, features=dataset.features)
    for column in columns:
        dataset = dataset.cast_column(column, features[column])
    return dataset


def source_folders(source: str, options: Mapping[str, Any]) -> list[Path]:
    """The folders that the arguments of `load_dataset` name."""
    named = [source, options.get("data_dir"), options.get("cache_dir"), *_flat(options.get("data_files"))]
    local = [Path(one) for one in named if isinstance(one, str | os.PathLike) and os.path.exists(one)]
    return [path if path.is_dir() else path.absolute().parent for path in local]


def _flat(files: Any) -> Iterator[Any]:
    if isinstance(files, Mapping):
        files = list(files.values())
    if isinstance(files, list | tuple):
        for one in files:
            yield from _flat(one)
    else:
        yield files


def _caches() -> list[str]:
    import datasets
    from huggingface_hub import constants

    caches = [datasets.config.HF_DATASETS_CACHE, datasets.config.DOWNLOADED_DATASETS_PATH, constants.HF_HUB_CACHE]
    return [str(path) for path in caches]


def _stored_paths(column: Any) -> Iterator[str]:
    """The paths in a column of pyarrow where it has no bytes."""
    import pyarrow

    for chunk in column.chunks:
        while pyarrow.types.is_list(chunk.type) or pyarrow.types.is_large_list(chunk.type):
            chunk = chunk.flatten()
        if pyarrow.types.is_struct(chunk.type):
            parts = dict(zip((field.name for field in chunk.type), chunk.flatten()))
            paths = parts["path"].filter(parts["bytes"].is_null())
            yield from (path for path in paths.unique().to_pylist() if path)


def _check(path: str, column: str, roots: Sequence[Any]) -> None:
    file = path.rpartition("::")[2] if path.startswith("zip://") else path
    if "://" not in file:  # else an address, which is not read as a file
        # A relative path is read from the current folder.
        path_inside(roots[0], os.path.abspath(file), f"A file in the column {column!r}", _ADVICE, roots[1:])


__all__ = ["refuse_files_outside", "source_folders"]
