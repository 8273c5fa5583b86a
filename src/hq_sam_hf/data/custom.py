"""Your own images and masks with the same columns as HQSeg-44K, for `samples.read_sample`.

Every loader gives `image`, `set` and `name`, and `mask` where each image has one mask or `masks` where it may have
several. No picture is opened while loading, and COCO instances stay polygons or run lengths until a row is read.
"""

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .image_bytes import is_list_of_pictures, is_list_of_text, list_of, undecoded

if TYPE_CHECKING:
    from .image_bytes import AnyDataset

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
STREAMING_SHARDS = 64


def load_paired_folders(
    images: str | os.PathLike, masks: str | os.PathLike, set_name: str | None = None, streaming: bool = False
) -> "AnyDataset":
    """Load images/NAME.jpg with masks/NAME.png, or with all pictures of the folder masks/NAME/ for several masks.

    With a folder for any image the column is `masks`, else `mask`. Files without partner are warned about.
    set_name: the value of the column `set`; by default the name of the image folder's parent.
    """
    image_files, mask_files = _by_stem(images), _by_stem(masks)
    masks_of = {name: [path] for name, path in mask_files.items()}
    for folder in sorted(Path(masks).iterdir()):
        several = _pictures(folder) if folder.is_dir() else []
        if several and folder.name in mask_files:
            raise ValueError(f"{folder.name!r} has both a mask file and a folder of masks. Keep one of them.")
        if several:
            masks_of[folder.name] = several
    names = sorted(image_files.keys() & masks_of.keys())
    if not names:
        raise ValueError(
            f"No pairs: expected {os.fspath(images)}/NAME.jpg with {os.fspath(masks)}/NAME.png or "
            f"{os.fspath(masks)}/NAME/*.png; found {len(image_files)} images and masks of {len(masks_of)}."
        )
    for alone, kind in (
        (image_files.keys() - masks_of.keys(), "images without mask"),
        (masks_of.keys() - image_files.keys(), "masks without image"),
    ):
        if alone:
            logger.warning("%d %s, such as %r.", len(alone), kind, min(alone))
    columns: dict[str, list] = {"image": [image_files[name] for name in names]}
    if all(name in mask_files for name in names):
        columns["mask"] = [mask_files[name] for name in names]
    else:
        columns["masks"] = [masks_of[name] for name in names]
    return _dataset(columns, set_name or Path(images).absolute().parent.name or "own", names, streaming)


def load_named_columns(
    source: "str | os.PathLike | AnyDataset",
    image_column: str = "image",
    mask_column: str = "mask",
    split: str = "train",
    set_name: str | None = None,
    streaming: bool = False,
    **options: Any,
) -> "AnyDataset":
    """Take a data set of `datasets` whose columns have other names.

    source: a data set, or what `datasets.load_dataset` takes: a Hub repository, a folder of pictures with
        metadata, a folder written by `export_parquet`. `options` go to `load_dataset`.
    mask_column: a picture, or a list of pictures or of COCO segmentations as text, which becomes the column `masks`.
    set_name: the value of the column `set`; by default the name of the source.

    Columns `set` and `name` of the source are kept; without `name` rows are numbered. Other columns are dropped.
    The pictures of a stream stay {"bytes", "path"}, which `read_sample` takes: decoding would come before naming.
    """
    import datasets

    if isinstance(source, str | os.PathLike):
        set_name = set_name or Path(source).name
        dataset = datasets.load_dataset(os.fspath(source), split=split, streaming=streaming, **options)
    else:
        dataset = source
    dataset = undecoded(dataset)
    columns = dataset.features
    for argument, column in (("image_column", image_column), ("mask_column", mask_column)):
        if column not in columns:
            raise ValueError(f"`{argument}` is {column!r}, but the data set has {', '.join(columns)}.")
    are_text = is_list_of_text(columns[mask_column])
    several = are_text or is_list_of_pictures(columns[mask_column])
    if not isinstance(columns[image_column], datasets.Image):
        raise ValueError(f"The column {image_column!r} must hold pictures, got {columns[image_column]}.")
    if not several and not isinstance(columns[mask_column], datasets.Image):
        raise ValueError(
            f"The column {mask_column!r} must hold pictures or lists of pictures, got {columns[mask_column]}. "
            f"`cast_column({mask_column!r}, datasets.Image())` reads paths as pictures."
        )
    dataset = dataset.select_columns(
        [image_column, mask_column] + [name for name in ("set", "name") if name in columns]
    )
    mask_name = "masks" if several else "mask"
    renamed = {image_column: "image", mask_column: mask_name}
    dataset = dataset.rename_columns({old: new for old, new in renamed.items() if old != new})
    dataset = _with_names(dataset, set_name or "own")
    if isinstance(dataset, datasets.IterableDataset):
        return dataset
    picture = datasets.Image()
    dataset = dataset.cast_column("image", picture)
    return dataset if are_text else dataset.cast_column(mask_name, list_of(picture) if several else picture)


def _with_names(dataset: "AnyDataset", set_name: str) -> "AnyDataset":
    """Add the columns `set` and `name` where they are absent, without touching the pictures."""
    import datasets

    absent = [column for column in ("set", "name") if column not in dataset.features]
    if not absent:
        return dataset
    if isinstance(dataset, datasets.Dataset):
        values = {"set": [set_name] * len(dataset), "name": [f"{i:06d}" for i in range(len(dataset))]}
        for column in absent:
            dataset = dataset.add_column(column, values[column])
        return dataset

    def add(row: dict, i: int) -> dict:
        values = {"set": set_name, "name": f"{i:06d}"}
        return {column: values[column] for column in absent}

    features = datasets.Features({**dataset.features, **{column: datasets.Value("string") for column in absent}})
    return dataset.map(add, with_indices=True, features=features)


def load_coco(
    annotations: str | os.PathLike, images: str | os.PathLike, set_name: str | None = None, streaming: bool = False
) -> "AnyDataset":
    """Load COCO instances: one row per image, `masks` with its instances as strings of JSON.

    annotations: instances_*.json. images: the folder its file names are relative to.
    Crowd regions (`iscrowd`) and images without instances are left out; instances without a whole polygon are too, and
    are warned about. Polygons and run lengths become masks when a row is read, as pycocotools would make them.
    """
    pictures, instances = _read_coco(annotations)
    masks: dict[Any, list[str]] = {}
    unusable = []
    for instance in instances:
        if instance.get("iscrowd"):
            continue
        picture = pictures.get(instance["image_id"])
        if picture is None:
            raise ValueError(f"Annotation {instance['id']} is of image {instance['image_id']}, which is not listed.")
        text = _segmentation_text(instance.get("segmentation"), picture)
        if text is None:
            unusable.append(instance["id"])
        else:
            masks.setdefault(picture["id"], []).append(text)
    if unusable:
        logger.warning("%d instances without a usable segmentation, such as %s.", len(unusable), unusable[0])
    if not masks:
        raise ValueError(f"{os.fspath(annotations)!r} has no instance with a segmentation.")
    rows = sorted((pictures[key]["file_name"], texts) for key, texts in masks.items())
    files = [str(Path(images).absolute() / name) for name, _ in rows]
    absent = [file for file in files if not os.path.isfile(file)]
    if absent:
        raise ValueError(f"{len(absent)} of {len(files)} images are missing, such as {absent[0]!r}.")
    columns: dict[str, list] = {"image": files, "masks": [texts for _, texts in rows]}
    names = [str(Path(name).with_suffix("")) for name, _ in rows]
    return _dataset(columns, set_name or Path(annotations).stem, names, streaming, masks_are_text=True)


def _read_coco(annotations: str | os.PathLike) -> tuple[dict[Any, dict], list[dict]]:
    """The images by id, and the annotations in the order of their ids."""
    path = os.fspath(annotations)
    try:
        content = json.loads(Path(annotations).read_bytes())
        pictures = {picture["id"]: picture for picture in content["images"]}
        instances = sorted(content["annotations"], key=lambda instance: instance["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path!r} is not a JSON of COCO with `images` and `annotations` ({error!r}).") from error
    for kind, entries, keys in (
        ("image", pictures.values(), {"file_name", "height", "width"}),
        ("annotation", instances, {"image_id"}),
    ):
        for entry in entries:
            if not keys <= entry.keys():
                raise ValueError(f"{path!r}: the {kind} {entry['id']} lacks {', '.join(sorted(keys - entry.keys()))}.")
    return pictures, instances


def _segmentation_text(segmentation: Any, picture: dict) -> str | None:
    """The segmentation with its size, as JSON; None where it outlines nothing."""
    if isinstance(segmentation, dict) and {"counts", "size"} <= segmentation.keys():
        return json.dumps({"size": segmentation["size"], "counts": segmentation["counts"]})
    parts = segmentation if isinstance(segmentation, list) else []
    polygons = [part for part in parts if isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0]
    return json.dumps({"size": [picture["height"], picture["width"]], "polygons": polygons}) if polygons else None


def _dataset(
    columns: dict[str, list], set_name: str, names: list[str], streaming: bool, masks_are_text: bool = False
) -> "AnyDataset":
    import datasets

    picture, text = datasets.Image(), datasets.Value("string")
    kinds = {"image": picture, "mask": picture, "masks": [text if masks_are_text else picture]}
    features = datasets.Features({**{name: kinds[name] for name in columns}, "set": text, "name": text})
    rows = {**columns, "set": [set_name] * len(names), "name": names}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    return dataset.to_iterable_dataset(num_shards=min(STREAMING_SHARDS, len(dataset))) if streaming else dataset


def _by_stem(folder: str | os.PathLike) -> dict[str, str]:
    files: dict[str, str] = {}
    for path in _pictures(folder):
        if files.setdefault(Path(path).stem, path) != path:
            raise ValueError(f"{os.fspath(folder)!r} has several files of the name {Path(path).stem!r}. Keep one.")
    return files


def _pictures(folder: str | os.PathLike) -> list[str]:
    """Paths of the pictures directly in a folder, sorted."""
    if not Path(folder).is_dir():
        raise ValueError(f"{os.fspath(folder)!r} is not a folder.")
    paths = sorted(Path(folder).absolute().iterdir())
    return [str(path) for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]


__all__ = ["load_coco", "load_named_columns", "load_paired_folders"]
