"""Save masks as COCO JSON and as label maps.

The masks come as records, one dict per mask. A record's `segmentation` is a bool array (height, width), a COCO RLE
(with counts as text or as a list) or COCO polygons. Its other values, such as predicted_iou or label, are saved in the
COCO JSON too.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ..model.files import write_atomically
from .rle import RLE, compress_counts, mask_to_bbox, mask_to_rle, polygons_to_mask, rle_to_mask

DEFAULT_CATEGORY = "object"


def record_mask(record: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """The mask of a record, whatever the form of its segmentation: bool (height, width).

    size: (height, width) of the image. Raises ValueError if the mask has another size.
    """
    segmentation = record["segmentation"]
    if isinstance(segmentation, np.ndarray):
        mask = segmentation
    elif isinstance(segmentation, Mapping):
        mask = rle_to_mask(RLE(size=segmentation["size"], counts=segmentation["counts"]))
    else:
        mask = polygons_to_mask(segmentation, size)
    if mask.shape != tuple(size):
        raise ValueError(
            f"A mask must have the (height, width) of its image, {tuple(size)}, got {mask.shape}. Pass the size of "
            "the image that the mask was made for."
        )
    return mask


def coco_annotation(record: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Turn a record into a COCO annotation without ids. Arrays and RLEs become RLEs with counts as text.

    size: (height, width) of the image. COCO's bbox [x, y, width, height] encloses the pixels; it is one pixel wider
    and higher than the bbox of SAM's automatic masks.
    """
    segmentation = record["segmentation"]
    mask = record_mask(record, size)
    if isinstance(segmentation, np.ndarray):
        segmentation = mask_to_rle(mask)
    elif isinstance(segmentation, Mapping) and not isinstance(segmentation["counts"], str):
        segmentation = {"size": list(size), "counts": compress_counts(segmentation["counts"])}
    own = {"segmentation": segmentation, "bbox": mask_to_bbox(mask), "area": int(mask.sum()), "iscrowd": 0}
    return {**{key: value for key, value in record.items() if key not in own}, **own}


def save_coco(
    path: str | os.PathLike,
    images: Iterable[tuple[str, tuple[int, int], Iterable[Mapping[str, Any]]]],
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write a COCO JSON file, one image at a time.

    images: per image the file name, (height, width), and its records or their `coco_annotation`s. The categories are
        the values of `label`, or "object" for records without it. Ids count from 1.
    info: the file's `info` entry.
    """
    image_entries: list[dict] = []
    category_ids: dict[str, int] = {}
    annotation_id = 0

    def write(file: BinaryIO) -> None:
        nonlocal annotation_id
        file.write(b'{"annotations": [')
        for file_name, size, records in images:
            entry = {"id": len(image_entries) + 1, "file_name": file_name, "height": size[0], "width": size[1]}
            image_entries.append(entry)
            for record in records:
                annotation = record if "iscrowd" in record else coco_annotation(record, size)
                category_id = category_ids.setdefault(record.get("label", DEFAULT_CATEGORY), len(category_ids) + 1)
                annotation_id += 1
                ids = {"id": annotation_id, "image_id": len(image_entries), "category_id": category_id}
                file.write(b",\n" if annotation_id > 1 else b"\n")
                file.write(json.dumps({**annotation, **ids}).encode())
        names = category_ids or {DEFAULT_CATEGORY: 1}
        categories = [{"id": category_id, "name": name} for name, category_id in names.items()]
        rest = {"images": image_entries, "categories": categories, **({} if info is None else {"info": dict(info)})}
        file.write(b"\n], " + json.dumps(rest).encode()[1:] + b"\n")

    write_atomically(path, write)


def label_map(records: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> np.ndarray:
    """Draw all masks of an image into one array: 0 for no mask, i for the i-th record, small masks over large ones.

    size: (height, width) of the image. Returns (height, width), uint8 for up to 255 records, uint16 for more.
    """
    labels = np.zeros(size, dtype=np.uint8 if len(records) < 256 else np.uint16)
    areas = [int(record_mask(record, size).sum()) for record in records]
    for i in sorted(range(len(records)), key=lambda i: -areas[i]):
        labels[record_mask(records[i], size)] = i + 1
    return labels


def save_label_map(path: str | os.PathLike, records: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> None:
    """Write `label_map` as a grey PNG of 8 or 16 bits."""
    image = Image.fromarray(label_map(records, size))
    write_atomically(path, lambda file: image.save(file, format="PNG"))


__all__ = ["coco_annotation", "label_map", "record_mask", "save_coco", "save_label_map"]
