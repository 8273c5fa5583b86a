"""Find out what a source is, and open it: files, folders, patterns, URLs, tables, archives, COCO JSON, data sets."""

import glob
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..model.image_files import describe_left_out, image_suffixes
from .addresses import is_url
from .coco_source import open_coco
from .dataset_source import open_dataset
from .file_source import FileSource
from .image_files import find_images
from .parquet_source import open_parquet
from .sources import Source
from .tar_source import open_tars

_SAVED = ("dataset_dict.json", "state.json")  # of `save_to_disk`
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # of folders of images
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True)
class SourceOptions:
    """How a source is opened.

    split: of a data set. image_column, key_column: of a table, by default the usual names.
    image_folder: the folder of the images that a COCO file or a table names, by default that of the file.
    """

    split: str = "train"
    image_column: str | None = None
    key_column: str | None = None
    image_folder: str | os.PathLike | None = None


USUAL_COLUMNS = SourceOptions()


def open_source(
    sources: Sequence[str | os.PathLike],
    options: SourceOptions = USUAL_COLUMNS,
    output: str | os.PathLike | None = None,
) -> Source:
    """Open the images that are named in one of these ways.

        image files, folders and patterns, also several
        an fsspec URL of a folder, or a pattern: s3://bucket/images, hf://datasets/ORGANISATION/NAME/*.parquet
        .parquet files, a folder of them or a pattern
        .tar files of WebDataset, a folder of them or a pattern
        a .json file with COCO's `images` and `annotations`, also by URL
        a folder of `save_to_disk`, or of images with metadata.csv or metadata.jsonl
        the name of a data set on the Hub

    output: a folder whose images are not wanted.

    Raises ValueError for anything else, and for a source without images.
    """
    names = [os.fspath(source) for source in sources]
    source = _open_one(names[0], options, output) if len(names) == 1 else _open_several(names, options, output)
    if len(source) == 0:
        raise ValueError(f"{', '.join(map(repr, names))} has no images. Name another source.")
    return source


def _open_one(name: str, options: SourceOptions, output: str | os.PathLike | None) -> Source:
    path = Path(name)
    if is_url(name):
        return _open_url(name, options)
    if path.is_file() and path.suffix.lower() == ".json":
        return open_coco(path, options.image_folder)
    if path.is_dir():
        return _open_folder(path, options, output)
    if not path.exists() and not glob.has_magic(name) and _HUB_NAME.fullmatch(name) and not path.suffix:
        return _open_dataset(name, options)
    return _open_several([name], options, output)


def _open_folder(folder: Path, options: SourceOptions, output: str | os.PathLike | None) -> Source:
    names = {file.name for file in folder.iterdir()}
    if names & {*_SAVED, *_METADATA}:
        return _open_dataset(str(folder), options)
    own = None if output is None else Path(os.path.abspath(output))
    found = (file for file in folder.rglob("*") if not _is_hidden(file, folder))
    files = sorted(str(file) for file in found if own is None or own not in file.absolute().parents)
    opened = _open_by_suffix(files, options)
    return _open_images([str(folder)], output) if opened is None else opened


def _open_dataset(name: str, options: SourceOptions) -> Source:
    return open_dataset(name, options.split, options.image_column, options.key_column, options.image_folder)


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _open_several(names: Sequence[str], options: SourceOptions, output: str | os.PathLike | None) -> Source:
    found = [[name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True)) for name in names]
    files = [file for group in found for file in group]
    is_table = bool(files) and all(file.endswith((".parquet", ".tar")) for file in files)
    opened = _open_by_suffix(files, options) if is_table else None
    return _open_images(names, output) if opened is None else opened


def _open_images(names: Sequence[str], output: str | os.PathLike | None) -> Source:
    images = find_images(names, output)
    return FileSource(os.path.join(images.root, ""), images.names, images.left_out)


def _open_by_suffix(files: Sequence[str], options: SourceOptions) -> Source | None:
    """Tables or archives, if these are what most of the files are and there are no images; None otherwise."""
    if any(Path(file.partition("::")[0]).suffix.lower() in image_suffixes() for file in files):
        return None
    openers: dict[str, Callable[[list[str]], Source]] = {
        ".parquet": lambda paths: open_parquet(paths, options.image_column, options.key_column, options.image_folder),
        ".tar": open_tars,
    }
    for suffix, opener in openers.items():
        chosen = [file for file in files if file.partition("::")[0].lower().endswith(suffix)]
        if chosen:
            return opener(chosen)
    return None


def _open_url(url: str, options: SourceOptions) -> Source:
    """The files that a URL names: a file, a folder with its subfolders, or a pattern."""
    import fsspec

    if url.partition("::")[0].lower().endswith(".json"):
        return open_coco(url, options.image_folder)
    try:
        system, path = fsspec.core.url_to_fs(url)
        if glob.has_magic(path):
            names, root = sorted(system.glob(path)), path[: re.search(r"[*?\[]", path).start()].rpartition("/")[0]  # type: ignore[union-attr]
        elif system.isdir(path):
            names, root = sorted(system.find(path)), path.rstrip("/")
        else:
            names, root = [path], path.rpartition("/")[0]
    except (ImportError, ValueError, OSError) as error:
        raise ValueError(
            f"{url!r} cannot be listed ({error}). Correct the URL, or install its file system, such as s3fs for s3://."
        ) from error
    # Of a chained URL such as zip://*.png::s3://bucket/images.zip, the first part is listed.
    suffix = "".join(url.partition("::")[1:])
    opened = _open_by_suffix([f"{system.unstrip_protocol(name)}{suffix}" for name in names], options)
    if opened is not None:
        return opened
    folder = root.strip("/") + "/" if root.strip("/") else ""
    relative = [name.lstrip("/").removeprefix(folder) for name in names]
    images = [name for name in relative if Path(name).suffix.lower() in image_suffixes()]
    others = [name for name in relative if name not in set(images)]
    if not images:
        left_out = f" {describe_left_out(others)}" if others else ""
        raise ValueError(f"{url!r} names no image, no .parquet and no .tar file. Correct the URL.{left_out}")
    prefix = system.unstrip_protocol(root)
    return FileSource(prefix if prefix.endswith("/") else f"{prefix}/", images, others, suffix)


__all__ = ["SourceOptions", "open_source"]
