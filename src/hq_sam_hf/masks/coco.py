"""Records of masks as files: COCO JSON and label maps.

A record is a dict with `segmentation`, a bool array (H, W), COCO run lengths as text or as a list, or polygons; what
else it holds, such as predicted_iou or label, is kept where it fits into JSON.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ..model.files import write_atomically
from .rle import RLE, compress_counts, mask_to_bbox, mask_to_rle, polygons_to_mask, rle_to_mask

OBJECT = "object"


def record_mask(record: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """The bool mask (H, W) of a record of a picture of (height, width) size, whatever its form."""
    segmentation = record["segmentation"]
    if isinstance(segmentation, np.ndarray):
        mask = segmentation
    elif isinstance(segmentation, Mapping):
        mask = rle_to_mask(RLE(size=segmentation["size"], counts=segmentation["counts"]))
    else:
        mask = polygons_to_mask(segmentation, size)
    if mask.shape != tuple(size):
        raise ValueError(f"A mask has (height, width) {mask.shape}, but its picture {tuple(size)}.")
    return mask


def coco_annotation(record: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """A record as an annotation of COCO, still without ids: run lengths as text, the box of the pixels, the rest.

    COCO's box [x, y, width, height] goes round the pixels; that of automatic masks is one less wide and high.
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
    pictures: Iterable[tuple[str, tuple[int, int], Iterable[Mapping[str, Any]]]],
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write a COCO file for (file name, (height, width), records) of each picture, one picture at a time.

    Records may be annotations that `coco_annotation` made before. The categories are the values of `label`, or
    "object" where there is none. Ids count from 1.
    """
    images: list[dict] = []
    categories: dict[str, int] = {}
    number = 0

    def write(file: BinaryIO) -> None:
        nonlocal number
        file.write(b'{"annotations": [')
        for file_name, size, records in pictures:
            images.append({"id": len(images) + 1, "file_name": file_name, "height": size[0], "width": size[1]})
            for record in records:
                annotation = record if "iscrowd" in record else coco_annotation(record, size)
                category = categories.setdefault(record.get("label", OBJECT), len(categories) + 1)
                number += 1
                ids = {"id": number, "image_id": len(images), "category_id": category}
                file.write(b",\n" if number > 1 else b"\n")
                file.write(json.dumps({**annotation, **ids}).encode())
        names = [{"id": number, "name": name} for name, number in (categories or {OBJECT: 1}).items()]
        rest = {"images": images, "categories": names, **({} if info is None else {"info": dict(info)})}
        file.write(b"\n], " + json.dumps(rest).encode()[1:] + b"\n")

    write_atomically(path, write)


def label_map(records: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> np.ndarray:
    """Where each mask lies, (H, W): 0 for none, i for the i-th record, small masks over large ones.

    uint8 for up to 255 records, else uint16.
    """
    labels = np.zeros(size, dtype=np.uint8 if len(records) < 256 else np.uint16)
    areas = [int(record_mask(record, size).sum()) for record in records]
    for i in sorted(range(len(records)), key=lambda i: -areas[i]):
        labels[record_mask(records[i], size)] = i + 1
    return labels


def save_label_map(path: str | os.PathLike, records: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> None:
    """Write `label_map` as a grey PNG of 8 or 16 bits."""
    picture = Image.fromarray(label_map(records, size))
    write_atomically(path, lambda file: picture.save(file, format="PNG"))


__all__ = ["coco_annotation", "label_map", "record_mask", "save_coco", "save_label_map"]
