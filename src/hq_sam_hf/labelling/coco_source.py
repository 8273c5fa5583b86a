"""COCO JSON as a source: its images, and the boxes of its annotations as columns."""

import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.coco_files import (
    Findings,
    category_names,
    id_key,
    image_file,
    images_by_id,
    read_annotations,
)
from .addresses import is_url, read_address
from .examples import ImagePlace
from .sources import Source, SourceRow

COLUMNS = ("boxes", "labels", "image_id")


@dataclass(frozen=True)
class CocoSource(Source):
    """The images of a COCO file, by their `file_name`, which is the key.

    rows: of each image. Columns: boxes [[x1, y1, x2, y2], ...] and labels of its annotations, and image_id.
    file: the COCO file. categories: its names of categories by id.
    """

    rows: Sequence[SourceRow]
    file: str
    categories: Mapping[int | str, str]

    def __len__(self) -> int:
        return len(self.rows)

    def keys(self) -> Iterable[str]:
        return (row.key for row in self.rows)

    def read(self, rows: range) -> Sequence[SourceRow]:
        return self.rows[rows.start : rows.stop]

    @property
    def columns(self) -> Sequence[str]:
        return COLUMNS

    def files(self) -> Iterable[Path]:
        addresses = [self.file, *(row.place.address or "" for row in self.rows)]
        return (Path(address) for address in addresses if not is_url(address))


def open_coco(file: str | os.PathLike, images: str | os.PathLike | None = None) -> CocoSource:
    """Open a COCO file, by path or URL.

    images: the folder or URL that its file names are relative to, and which they must not leave; by default that of
        the file.

    Annotations without a bbox and crowd regions are left out. Raises ValueError for a file that is not COCO.
    """
    path, findings = os.fspath(file), Findings()
    content = read_annotations(path, read_address(path) if is_url(path) else None)
    by_id, categories = images_by_id(path, content["images"], findings), category_names(content)
    boxes, labels = _boxes_and_labels(path, content["annotations"], by_id, categories, findings)
    folder = os.path.dirname(path if is_url(path) else os.path.abspath(path)) if images is None else os.fspath(images)
    rows = []
    for key, image in by_id.items():
        name, address = _name_and_address(image, key, folder, path, findings)
        columns = {"boxes": boxes[key], "labels": labels[key], "image_id": key}
        rows.append(SourceRow(name, ImagePlace(address), columns))
    findings.log()
    return CocoSource(rows, path, categories)


def _boxes_and_labels(
    path: str,
    annotations: Sequence[dict[str, Any]],
    by_id: Mapping[Any, dict],
    categories: Mapping[int | str, str],
    findings: Findings,
) -> tuple[dict[Any, list[list[float]]], dict[Any, list[str | None]]]:
    """The boxes and the labels of the annotations of each image, by its id."""
    boxes: dict[Any, list[list[float]]] = {key: [] for key in by_id}
    labels: dict[Any, list[str | None]] = {key: [] for key in by_id}
    for annotation in annotations:
        key = id_key(annotation.get("image_id"))
        if key not in by_id:
            raise ValueError(f"{path!r}: an annotation belongs to image {key}, which `images` does not list. Add it.")
        if not annotation.get("bbox") or str(annotation.get("iscrowd", 0)) in ("1", "True"):
            sentence = "Annotations without a bbox, and crowd regions, are left out"
            findings.notes.setdefault(sentence, []).append(annotation.get("id"))
            continue
        x, y, width, height = annotation["bbox"]
        boxes[key].append([x, y, x + width, y + height])
        category = annotation.get("category_id")
        labels[key].append(None if category is None else categories.get(id_key(category)))
    return boxes, labels


def _name_and_address(image: dict[str, Any], key: Any, folder: str, path: str, findings: Findings) -> tuple[str, str]:
    """The name of an image in the file, and where it is."""
    if not is_url(folder):
        found = image_file(image, key, folder, path, findings)
        return image.get("file_name") or Path(os.path.relpath(found, os.path.abspath(folder))).as_posix(), str(found)
    name = str(image.get("file_name") or posixpath.basename(str(image["coco_url"])))
    if is_url(name) or name.startswith("/") or ".." in name.split("/"):
        raise ValueError(
            f"{path!r}: the file_name of image {key}, {name!r:.200}, leads out of {folder!r}, so it is not read. Name "
            "the images relative to it."
        )
    return name, f"{folder.rstrip('/')}/{name}"


__all__ = ["CocoSource", "open_coco"]
