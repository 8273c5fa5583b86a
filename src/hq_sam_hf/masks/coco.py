"""Save masks as COCO JSON and as label maps.

The masks come as records, one dict per mask. A record's `segmentation` is a mask by the rule of `binary`, a COCO RLE
(with counts as text, as bytes or as a list) or COCO polygons. Its other values, such as predicted_iou or label, are
saved in the COCO JSON too. They may be scalars and arrays of NumPy and torch, and paths.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ..model.files import write_atomically
from .binary import as_binary_mask, check_size
from .json_values import json_value
from .polygon_filling import as_polygons, polygons_to_mask
from .rle import compress_counts, counts_to_list, mask_to_bbox, mask_to_rle, rle_to_mask

DEFAULT_CATEGORY = "object"
MOST_LABELS = 65_535


def record_mask(record: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """The mask of a record, whatever the form of its segmentation: bool (height, width).

    size: (height, width) of the image. Raises ValueError if the mask has another size.
    """
    size = check_size(size)
    segmentation = _segmentation(record, size)
    if isinstance(segmentation, np.ndarray):
        mask_size = segmentation.shape
    elif isinstance(segmentation, Mapping):
        mask_size = check_size(segmentation.get("size"), "size")
    else:
        return polygons_to_mask(segmentation, size, max_pixels=None)
    if mask_size != size:
        raise ValueError(
            f"A mask must have the (height, width) of its image, {size}, got {mask_size}. Pass the size of "
            "the image that the mask was made for."
        )
    return segmentation if isinstance(segmentation, np.ndarray) else rle_to_mask(segmentation, max_pixels=None)


def _segmentation(record: Mapping[str, Any], size: tuple[int, int]) -> Any:
    """A record's segmentation: a bool array, an RLE (a dict) or polygons (a list)."""
    segmentation = record.get("segmentation") if isinstance(record, Mapping) else None
    if segmentation is None:
        got = (
            f"a dict of {', '.join(map(str, record))}" if isinstance(record, Mapping) else f"a {type(record).__name__}"
        )
        raise ValueError(
            f"A record must be a dict with a mask as `segmentation`, got {got}. Pass {{'segmentation': mask}}."
        )
    if isinstance(segmentation, Mapping):
        return segmentation
    if isinstance(segmentation, list | tuple) and not _are_rows(segmentation, size):
        return segmentation  # polygons
    return as_binary_mask(segmentation, "segmentation")


def _are_rows(segmentation: Sequence[Any], size: tuple[int, int]) -> bool:
    """Whether a list holds the rows of a mask and not polygons.

    Polygons whose numbers all lie from 0 to 1 are not more than one, because they lie in the first pixel.
    """
    if len(segmentation) < 2 or not isinstance(segmentation[0], list | tuple):
        return False
    try:
        values = np.asarray(segmentation)
    except ValueError:  # rows of several lengths
        return False
    if values.ndim != 2 or values.dtype.kind not in "buif" or not values.size:
        return False
    in_size = values.shape == size and np.isin(values, (0, 255)).all()
    return bool(in_size or (values.min() >= 0 and values.max() <= 1))


def coco_annotation(record: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Turn a record into a COCO annotation without ids. Arrays and RLEs become RLEs with counts as text.

    size: (height, width) of the image. COCO's bbox [x, y, width, height] encloses the pixels; it is one pixel wider
    and higher than the bbox of SAM's automatic masks.
    """
    mask = record_mask(record, size)
    segmentation = _segmentation(record, mask.shape)
    if isinstance(segmentation, np.ndarray):
        segmentation = mask_to_rle(mask)
    elif isinstance(segmentation, Mapping):
        segmentation = {"size": list(mask.shape), "counts": _counts_as_text(segmentation["counts"])}
    else:
        segmentation = [polygon.tolist() for polygon in as_polygons(segmentation)]
    size_of_it = {"bbox": mask_to_bbox(mask), "area": int(mask.sum())}
    own = {"segmentation": segmentation, **size_of_it, "iscrowd": _crowd(record)}
    return {**json_value({key: value for key, value in record.items() if key not in own}, "record"), **own}


def _crowd(record: Mapping[str, Any]) -> int:
    value = record.get("iscrowd", 0)
    if str(value) not in ("0", "1", "False", "True"):
        raise ValueError(f"A record's `iscrowd` must be 0 or 1, got {value!r:.60}. Leave it out for a single object.")
    return int(str(value) in ("1", "True"))


def _counts_as_text(counts: Any) -> str:
    return counts if isinstance(counts, str) else compress_counts(counts_to_list(counts))


def save_coco(
    path: str | os.PathLike,
    images: Iterable[tuple[str | os.PathLike, tuple[int, int], Iterable[Mapping[str, Any]]]],
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write a COCO JSON file, one image at a time.

    images: per image the file name, (height, width), and its records or their `coco_annotation`s. The categories are
        the values of `label`, or "object" for records without it. Ids count from 1.
    info: the file's `info` entry.

    Raises ValueError for a record that is wrong. Then an earlier file stays as it was.
    """
    image_entries: list[dict] = []
    category_ids: dict[str | int, int] = {}
    annotation_id = 0

    def write(file: BinaryIO) -> None:
        nonlocal annotation_id
        file.write(b'{"annotations": [')
        for file_name, (height, width), records in map(_checked_image, images):
            image_entries.append(
                {"id": len(image_entries) + 1, "file_name": file_name, "height": height, "width": width}
            )
            for record in records:
                is_ready = _is_annotation(record, (height, width))
                annotation = json_value(record, "record") if is_ready else coco_annotation(record, (height, width))
                category_id = category_ids.setdefault(_category(annotation), len(category_ids) + 1)
                annotation_id += 1
                ids = {"id": annotation_id, "image_id": len(image_entries), "category_id": category_id}
                file.write(b",\n" if annotation_id > 1 else b"\n")
                file.write(json.dumps({**annotation, **ids}).encode())
        names = category_ids or {DEFAULT_CATEGORY: 1}
        categories = [{"id": category_id, "name": name} for name, category_id in names.items()]
        rest = {"images": image_entries, "categories": categories}
        if info is not None:
            rest["info"] = json_value(info, "`info`")
        file.write(b"\n], " + json.dumps(rest).encode()[1:] + b"\n")

    write_atomically(path, write)


def _checked_image(image: Any) -> tuple[str, tuple[int, int], Iterable[Mapping[str, Any]]]:
    try:
        file_name, size, records = image
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`images` must hold (file name, (height, width), records) for each image, got "
            f"{image!r:.80}. For one image pass `[(file_name, size, records)]`."
        ) from error
    name = file_name.as_posix() if isinstance(file_name, PurePath) else file_name
    if not isinstance(name, str):
        raise ValueError(f"A file name must be text or a path, got {name!r:.60}. Pass the name of the image's file.")
    return name, check_size(size), records


def _is_annotation(record: Any, size: tuple[int, int]) -> bool:
    """Whether a record is an annotation by `coco_annotation` with an RLE, so that it need not be decoded again."""
    if not isinstance(record, Mapping) or not {"segmentation", "bbox", "area", "iscrowd"} <= record.keys():
        return False
    segmentation = record["segmentation"]
    is_text = isinstance(segmentation, Mapping) and isinstance(segmentation.get("counts"), str)
    return is_text and segmentation.get("size") == list(size) and record["iscrowd"] in (0, 1)


def _category(annotation: Mapping[str, Any]) -> str | int:
    label = annotation.get("label")
    if label is None:
        return DEFAULT_CATEGORY
    if not isinstance(label, str | int):
        raise ValueError(f"A record's `label` must be text or a whole number, got {label!r:.60}. Pass one name.")
    return label


def label_map(records: Iterable[Mapping[str, Any]], size: tuple[int, int]) -> np.ndarray:
    """Draw all masks of an image into one array: 0 for no mask, i for the i-th record, small masks over large ones.

    size: (height, width) of the image. Returns (height, width), uint8 for up to 255 records, uint16 for more.
    Raises ValueError for more than 65,535 records.
    """
    size, records = check_size(size), list(records)
    if len(records) > MOST_LABELS:
        raise ValueError(
            f"A label map holds up to {MOST_LABELS:,} masks, got {len(records):,}. Save them with `save_coco`, or the "
            "largest ones only."
        )
    labels = np.zeros(size, dtype=np.uint8 if len(records) < 256 else np.uint16)
    areas = [int(record_mask(record, size).sum()) for record in records]
    for i in sorted(range(len(records)), key=lambda i: -areas[i]):
        labels[record_mask(records[i], size)] = i + 1
    return labels


def save_label_map(path: str | os.PathLike, records: Iterable[Mapping[str, Any]], size: tuple[int, int]) -> None:
    """Write `label_map` as a grey PNG of 8 or 16 bits."""
    image = Image.fromarray(label_map(records, size))
    write_atomically(path, lambda file: image.save(file, format="PNG"))


__all__ = ["coco_annotation", "label_map", "record_mask", "save_coco", "save_label_map"]
