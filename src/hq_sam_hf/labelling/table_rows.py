"""Rows of tables as rows of a source: which column holds the image, and which one names it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..model.named_files import path_inside
from .examples import ImagePlace
from .sources import SourceRow

# The columns that name an image, if the user names none. The first one that a table has is taken.
KEY_COLUMNS = ("key", "__key__", "name", "file_name", "image_id", "id")
IMAGE_COLUMNS = ("image", "img", "jpg", "png")
_ADVICE = "If you trust the table, name the folder of its images with `--image-folder FOLDER`."


def choose_image_column(columns: Sequence[str], wanted: str | None, what: str) -> str:
    """The column that holds the images. Raises ValueError if there is none."""
    if wanted is not None and wanted not in columns:
        raise ValueError(f"{what} has no column {wanted!r}. Its columns are {', '.join(columns)}.")
    found = wanted or next((name for name in IMAGE_COLUMNS if name in columns), None)
    if found is None:
        raise ValueError(
            f"{what} has none of the columns {', '.join(IMAGE_COLUMNS)} that usually hold images. Its columns are "
            f"{', '.join(columns)}. Name the one with the images with `--image-column`."
        )
    return found


def choose_key_column(columns: Sequence[str], wanted: str | None, what: str) -> str | None:
    """The column whose values name the images; None if the rows are numbered, or named by the paths of images."""
    if wanted is not None and wanted not in columns:
        raise ValueError(f"{what} has no column {wanted!r}. Its columns are {', '.join(columns)}.")
    return wanted or next((name for name in KEY_COLUMNS if name in columns), None)


def row_key(value: Any, path: str | None, index: int) -> str:
    """The key of row number `index`: the value of its key column, else the path of its image, else its number."""
    if value is not None and str(value):
        return str(value)
    return path or f"row-{index:09d}"


def source_row(
    row: Mapping[str, Any],
    image_column: str,
    key_column: str | None,
    index: int,
    folders: Sequence[str | os.PathLike] | None = (),
) -> SourceRow:
    """A row of a table. Its image is {"bytes", "path"}, bytes, or a path.

    folders: where paths may lead, relative to the first one. None if somebody has checked them already.
    """
    image = row[image_column]
    others = {name: value for name, value in row.items() if name != image_column}
    if isinstance(image, str | bytes):
        image = {"path": image, "bytes": None} if isinstance(image, str) else {"path": None, "bytes": image}
    if not isinstance(image, Mapping) or (image.get("bytes") is None and not image.get("path")):
        key = row_key(row.get(key_column or ""), None, index)
        problem = f"its column {image_column!r} holds no image, got {type(image).__name__}. Leave the row out."
        return SourceRow(key, ImagePlace(), others, problem)
    path, content = image.get("path"), image.get("bytes")
    key = row_key(row.get(key_column or ""), path, index)
    if content is None and folders is not None:
        # A table from somebody else must not have any file of this machine read.
        try:
            path = str(path_inside(folders[0] if folders else os.devnull, path, "the image", _ADVICE, folders[1:]))
        except ValueError as error:
            return SourceRow(key, ImagePlace(), others, str(error))
    return SourceRow(key, ImagePlace(path, content), others)


__all__ = ["choose_image_column", "choose_key_column", "row_key", "source_row"]
