"""Find the image files that paths, folders and glob patterns name."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from ..model.image_files import describe_left_out, image_suffixes
from ..model.image_reading import DEFAULT_OPTIONS, ImageOptions


@dataclass(frozen=True)
class ImageFiles:
    """Image files below the folder root.

    names: their sorted paths from there. options: how they are read.
    left_out: paths of the files in the folders that are no images, which a run names.
    """

    root: Path
    names: list[str]
    options: ImageOptions = DEFAULT_OPTIONS
    left_out: list[str] = field(default_factory=list)

    def load(self, name: str) -> Image.Image:
        return self.options.load(self.root / name)


def find_images(
    sources: Sequence[str | os.PathLike],
    exclude: str | os.PathLike | None = None,
    options: ImageOptions = DEFAULT_OPTIONS,
) -> ImageFiles:
    """Find the images that files, folders (with their subfolders) and glob patterns name.

    Of a folder, files in all formats that Pillow opens here are taken, and HEIC if pillow-heif is installed.
    exclude: a folder whose images are not wanted, such as the output folder. options: how the images are read.

    Raises ValueError for a source without images.
    """
    files: set[Path] = set()
    others: set[Path] = set()
    for path in map(Path, sources):
        left_out: list[Path] = []
        if path.is_dir():
            found, left_out = _files_below(path)
        elif path.is_file():
            found = [path]
        else:
            found = [Path(name) for name in glob.glob(str(path), recursive=True) if os.path.isfile(name)]
        if not found:
            raise ValueError(
                f"{str(path)!r} names no image: it is neither an existing file nor a folder with images, and no file "
                "matches it as a pattern." + (f" {describe_left_out(sorted(map(str, left_out)))}" if left_out else "")
            )
        files.update(map(_absolute, found))
        others.update(map(_absolute, left_out))
    if exclude is not None:
        files, others = (
            {file for file in group if not file.is_relative_to(_absolute(exclude))} for group in (files, others)
        )
    if not files:
        raise ValueError(
            f"All images lie in the output folder {os.fspath(exclude or '')!r}. Name another output folder."
        )
    is_folder = len(sources) == 1 and Path(sources[0]).is_dir()
    root = _absolute(sources[0]) if is_folder else Path(os.path.commonpath([file.parent for file in files]))
    names = sorted(file.relative_to(root).as_posix() for file in files)
    return ImageFiles(root, names, options, sorted(map(str, others - files)))


def _files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images in a folder and its subfolders, and the other files; both without hidden files and folders."""
    images: list[Path] = []
    others: list[Path] = []
    for file in folder.rglob("*"):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            (images if file.suffix.lower() in image_suffixes() else others).append(file)
    return images, others


def _absolute(path: str | os.PathLike) -> Path:
    return Path(os.path.abspath(path))  # unlike Path.absolute without "..", so that all names stay below the root


__all__ = ["ImageFiles", "find_images"]
