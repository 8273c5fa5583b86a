"""Find the image files that paths, folders and glob patterns name."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.custom import IMAGE_SUFFIXES


@dataclass(frozen=True)
class ImageFiles:
    """Image files below the folder root. names: their sorted paths from there."""

    root: Path
    names: list[str]


def find_images(sources: Sequence[str | os.PathLike], exclude: str | os.PathLike | None = None) -> ImageFiles:
    """Find the images that files, folders (with their subfolders) and glob patterns name.

    exclude: a folder whose images are not wanted, such as the output folder.

    Raises ValueError for a source without images.
    """
    files: set[Path] = set()
    for path in map(Path, sources):
        if path.is_dir():
            found = _images_below(path)
        elif path.is_file():
            found = [path]
        else:
            found = [Path(name) for name in glob.glob(str(path), recursive=True) if os.path.isfile(name)]
        if not found:
            raise ValueError(
                f"{str(path)!r} names no image: it is neither an existing file nor a folder with images, and no file "
                "matches it as a pattern."
            )
        files.update(map(_absolute, found))
    if exclude is not None:
        files = {file for file in files if not file.is_relative_to(_absolute(exclude))}
    if not files:
        raise ValueError(
            f"All images lie in the output folder {os.fspath(exclude or '')!r}. Name another output folder."
        )
    is_folder = len(sources) == 1 and Path(sources[0]).is_dir()
    root = _absolute(sources[0]) if is_folder else Path(os.path.commonpath([file.parent for file in files]))
    return ImageFiles(root, sorted(file.relative_to(root).as_posix() for file in files))


def _images_below(folder: Path) -> list[Path]:
    """The images in a folder and its subfolders, without hidden files and folders."""
    found = [file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
    return [file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def _absolute(path: str | os.PathLike) -> Path:
    return Path(os.path.abspath(path))  # unlike Path.absolute without "..", so that all names stay below the root


__all__ = ["ImageFiles", "find_images"]
