"""Load your own images and masks: paired folders, and data sets with other column names; `coco` loads COCO files.

Every loader gives the columns of HQSeg-44K, which `reading.read_sample` reads: `image`, `set`, `name`, and `mask` if
each image has one mask or `masks` if it may have several. Loading opens no image, and COCO segmentations stay text
until a row is read. If images or masks are to be read in another way than the usual one, which is what the keyword
arguments `reading` of all loaders say, rows also have the column `reading_options`.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.files import readable_name
from ..model.image_files import describe_left_out, image_suffixes
from .image_bytes import image_value, is_list_of_images, is_list_of_strings, list_of, undecoded
from .reading_options import READING_COLUMN, ReadingOptions, reading_options, take_reading
from .row_files import refuse_files_outside, source_folders
from .saved_datasets import choose_split, load_stored

if TYPE_CHECKING:
    from .image_bytes import AnyDataset

logger = logging.getLogger(__name__)

STREAMING_SHARDS = 64  # the largest number of workers that can share a stream


def load_paired_folders(
    images: str | os.PathLike,
    masks: str | os.PathLike,
    set_name: str | None = None,
    streaming: bool = False,
    nested: bool = False,
    mask_suffix: str = "",
    **reading: Any,
) -> "AnyDataset":
    """Load images/NAME.jpg with masks/NAME.png, or with all images in the folder masks/NAME/ for several masks.

    If any image has a folder of masks, the column is `masks`, else `mask`. Files without a partner, and files that are
    no images, are logged as warnings.
    set_name: the value of the column `set`; by default the name of the parent of the image folder.
    nested: also read the folders inside both folders, images/DAY/NAME.jpg with masks/DAY/NAME.png. Names are then
        "DAY/NAME".
    mask_suffix: what the names of masks end with, such as "_mask" for NAME_mask.png. Images and masks may then be in
        one folder.
    reading: `ReadingOptions`, such as mask_type="instances".
    """
    options = reading_options(reading)
    mask_files = _files_by_name(masks, nested, mask_suffix)
    image_files = _files_by_name(images, nested)
    if mask_suffix:  # where both are in one folder, masks are among the images
        mask_paths = set(mask_files.values())
        image_files = {name: path for name, path in image_files.items() if path not in mask_paths}
    masks_of = _nested_masks(mask_files, image_files) if nested else _group_masks(masks, mask_files)
    names = sorted(image_files.keys() & masks_of.keys())
    if not names:
        raise ValueError(
            f"No pairs: expected {os.fspath(images)}/NAME.jpg with {os.fspath(masks)}/NAME{mask_suffix}.png or "
            f"{os.fspath(masks)}/NAME/*.png; found {len(image_files)} images and masks of {len(masks_of)}. If the "
            "names of masks end otherwise, pass `mask_suffix`; if files are in folders inside, pass `nested: true`."
        )
    for unpaired, kind in (
        (image_files.keys() - masks_of.keys(), "images without mask"),
        (masks_of.keys() - image_files.keys(), "masks without image"),
    ):
        if unpaired:
            logger.warning("%d %s, such as %r.", len(unpaired), kind, min(unpaired))
    columns: dict[str, list] = {"image": [image_files[name] for name in names]}
    if all(name in mask_files for name in names):
        columns["mask"] = [mask_files[name] for name in names]
    else:
        columns["masks"] = [masks_of[name] for name in names]
    _log_left_out([images, masks, *{Path(path).parent for paths in masks_of.values() for path in paths}])
    set_name = set_name or Path(images).absolute().parent.name or "own"
    return build_dataset(columns, set_name, names, streaming, options)


def _log_left_out(folders: Iterable[str | os.PathLike]) -> None:
    """Name the files of the folders that are no images, as a warning with the attribute `is_note`."""
    left_out = sorted(
        str(path)
        for folder in {Path(folder).absolute() for folder in folders}
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.suffix.lower() not in image_suffixes()
    )
    if left_out:
        logger.warning(describe_left_out(left_out), extra={"is_note": True})


def _group_masks(folder: str | os.PathLike, mask_files: dict[str, str]) -> dict[str, list[str]]:
    """The mask files of each name: the single file, or all images in the folder of that name."""
    masks_of = {name: [path] for name, path in mask_files.items()}
    for subfolder in sorted(Path(folder).iterdir()):
        files = _image_files(subfolder) if subfolder.is_dir() else []
        if files and subfolder.name in mask_files:
            raise ValueError(f"{subfolder.name!r} has both a mask file and a folder of masks. Keep one of them.")
        if files:
            masks_of[subfolder.name] = files
    return masks_of


def _nested_masks(mask_files: dict[str, str], images: Collection[str]) -> dict[str, list[str]]:
    """The mask files of each name, "DAY/NAME": the file of that name, or all in a folder with the name of an image."""
    masks_of: dict[str, list[str]] = {}
    for name, path in mask_files.items():
        folder = name.rpartition("/")[0]
        owner = folder if folder in images and name not in images else name
        if owner in mask_files and owner != name:
            raise ValueError(f"{owner!r} has both a mask file and a folder of masks. Keep one of them.")
        masks_of.setdefault(owner, []).append(path)
    return masks_of


def load_named_columns(
    source: "str | os.PathLike | AnyDataset",
    image_column: str = "image",
    mask_column: str = "mask",
    split: str = "train",
    set_name: str | None = None,
    streaming: bool = False,
    image_folder: str | os.PathLike | None = None,
    **options: Any,
) -> "AnyDataset":
    """Load a data set of the library `datasets` whose columns have other names.

    source: a data set or its splits, a folder that `save_to_disk` wrote, or what `datasets.load_dataset` accepts: a
        Hub repository, a folder of images with metadata, a folder written by `export_parquet`. `options` are passed to
        `load_dataset`.
    mask_column: holds images, lists of images, or lists of COCO segmentations as text. A list becomes `masks`.
        `options` may also hold `ReadingOptions`, such as mask_type="instances".
    set_name: the value of the column `set`; by default the name of the source.
    image_folder: a folder that images may lie in whose bytes are not in their rows, besides the source.

    The columns `set` and `name` of the source are kept, all others are dropped. Rows without `name` are numbered.
    The images of a stream stay undecoded, {"bytes", "path"}, which `read_sample` reads. Raises ValueError if a row
    of a folder or repository names a file outside of it.
    """
    import datasets

    reading, folders = take_reading(options), None
    if isinstance(source, str | os.PathLike):
        folders = source_folders(os.fspath(source), options)
        folders += [] if image_folder is None else [Path(os.path.abspath(image_folder))]
        set_name = set_name or Path(source).name
        dataset = load_stored(os.fspath(source), split, streaming, options)
    else:
        dataset = choose_split(source, split)
    dataset = undecoded(dataset)
    columns = dataset.features
    _check_columns(columns, image_column, mask_column)
    is_text = is_list_of_strings(columns[mask_column])
    is_list = is_text or is_list_of_images(columns[mask_column])
    if is_text:
        reading.refuse_mask_type()
    kept = [name for name in ("set", "name", READING_COLUMN) if name in columns]
    if reading.as_text() is not None and READING_COLUMN in kept:
        kept.remove(READING_COLUMN)
    dataset = dataset.select_columns([image_column, mask_column, *kept])
    if folders is not None:
        dataset = refuse_files_outside(dataset, folders)
    mask_name = "masks" if is_list else "mask"
    renamed = {image_column: "image", mask_column: mask_name}
    dataset = dataset.rename_columns({old: new for old, new in renamed.items() if old != new})
    dataset = _add_missing(dataset, set_name or "own", reading.as_text())
    if isinstance(dataset, datasets.IterableDataset):
        return dataset
    image = datasets.Image()
    dataset = dataset.cast_column("image", image)
    return dataset if is_text else dataset.cast_column(mask_name, list_of(image) if is_list else image)


def _check_columns(columns: Any, image_column: str, mask_column: str) -> None:
    """Raise ValueError if a column is missing or does not hold images, or masks of a known form."""
    import datasets

    for argument, column in (("image_column", image_column), ("mask_column", mask_column)):
        if column not in columns:
            raise ValueError(f"`{argument}` is {column!r}, but the data set has the columns {', '.join(columns)}.")
    if not isinstance(columns[image_column], datasets.Image):
        raise ValueError(f"The column {image_column!r} must hold images, got {columns[image_column]}.")
    mask = columns[mask_column]
    if not isinstance(mask, datasets.Image) and not is_list_of_images(mask) and not is_list_of_strings(mask):
        raise ValueError(
            f"The column {mask_column!r} must hold images or lists of images, got {mask}. If it holds paths, "
            f"`cast_column({mask_column!r}, datasets.Image())` turns them into images."
        )


def _add_missing(dataset: "AnyDataset", set_name: str, reading: str | None) -> "AnyDataset":
    """Add `set` and `name` if they are missing, and reading options if there are any, without decoding images."""
    import datasets

    values: dict[str, Callable[[int], str | None]] = {"set": lambda i: set_name, "name": lambda i: f"{i:06d}"}
    if reading is not None:
        values[READING_COLUMN] = lambda i: reading
    missing = [column for column in values if column not in dataset.features]
    if not missing:
        return dataset
    if isinstance(dataset, datasets.Dataset):
        for column in missing:
            dataset = dataset.add_column(column, [values[column](i) for i in range(len(dataset))])
        return dataset

    def add(row: dict, i: int) -> dict:
        return {column: values[column](i) for column in missing}

    features = datasets.Features({**dataset.features, **{column: datasets.Value("string") for column in missing}})
    return dataset.map(add, with_indices=True, features=features)


def build_dataset(
    columns: dict[str, list],
    set_name: str,
    names: list[str],
    streaming: bool,
    options: ReadingOptions,
    masks_are_text: bool = False,
) -> "AnyDataset":
    """A data set of rows with `set`, `name` and the reading options, if there are any.

    columns: `image`, and `mask` or `masks`, and possibly `category` with a name per mask. names: of the rows.
    """
    import datasets

    image, text = datasets.Image(), datasets.Value("string")
    types = {"image": image, "mask": image, "masks": [text if masks_are_text else image], "category": [text]}
    features = datasets.Features({**{name: types[name] for name in columns}, "set": text, "name": text})
    is_text = {"masks": masks_are_text, "category": True}
    columns = {name: values if is_text.get(name) else _image_values(values) for name, values in columns.items()}
    rows = {**columns, "set": [readable_name(set_name)] * len(names), "name": list(map(readable_name, names))}
    if options.as_text() is not None:
        features[READING_COLUMN] = text
        rows[READING_COLUMN] = [options.as_text()] * len(names)
    dataset = datasets.Dataset.from_dict(rows, features=features)
    return dataset.to_iterable_dataset(num_shards=min(STREAMING_SHARDS, len(dataset))) if streaming else dataset


def _image_values(values: list) -> list:
    return [_image_values(value) if isinstance(value, list) else image_value(value) for value in values]


def _files_by_name(folder: str | os.PathLike, nested: bool, suffix: str = "") -> dict[str, str]:
    """The image files of a folder whose names end with `suffix`, by their path in the folder without that ending."""
    files: dict[str, str] = {}
    for path in _image_files(folder, nested):
        stem = Path(path).relative_to(Path(folder).absolute()).with_suffix("").as_posix()
        if not stem.endswith(suffix):
            continue
        name = stem.removesuffix(suffix)
        if files.setdefault(name, path) != path:
            raise ValueError(f"{os.fspath(folder)!r} has several files named {name!r}. Keep one of them.")
    return files


def _image_files(folder: str | os.PathLike, nested: bool = False) -> list[str]:
    """Paths of the image files directly in a folder, or also in folders inside, sorted; hidden ones are skipped."""
    top = Path(folder).absolute()
    if not top.is_dir():
        raise ValueError(f"{os.fspath(folder)!r} is not a folder.")
    paths = sorted(top.rglob("*") if nested else top.iterdir())
    visible = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(top).parts)]
    return [str(path) for path in visible if path.suffix.lower() in image_suffixes() and path.is_file()]


__all__ = ["build_dataset", "load_named_columns", "load_paired_folders"]
