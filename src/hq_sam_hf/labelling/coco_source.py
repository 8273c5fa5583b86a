"""COCO JSON as a source: its images, and the boxes of its annotations as columns."""

import os
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
    file: Path
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
        yield self.file
        yield from (Path(row.place.address) for row in self.rows if row.place.address is not None)


def open_coco(file: str | os.PathLike, images: str | os.PathLike | None = None) -> CocoSource:
    """Open a COCO file.

    images: the folder that its file names are relative to, and which they must not leave; by default that of the file.

    Annotations without a bbox and crowd regions are left out. Raises ValueError for a file that is not COCO.
    """
    path, findings = os.fspath(file), Findings()
    content = read_annotations(path)
    by_id, categories = images_by_id(path, content["images"], findings), category_names(content)
    boxes: dict[Any, list[list[float]]] = {key: [] for key in by_id}
    labels: dict[Any, list[str | None]] = {key: [] for key in by_id}
    for annotation in content["annotations"]:
        key = id_key(annotation.get("image_id"))
        if key not in by_id:
            raise ValueError(f"{path!r}: an annotation belongs to image {key}, which `images` does not list. Add it.")
        if not annotation.get("bbox") or str(annotation.get("iscrowd", 0)) in ("1", "True"):
            findings.notes.setdefault("Annotations without a bbox, and crowd regions, are left out", []).append(
                annotation.get("id")
            )
            continue
        x, y, width, height = annotation["bbox"]
        boxes[key].append([x, y, x + width, y + height])
        category = annotation.get("category_id")
        labels[key].append(None if category is None else categories.get(id_key(category)))
    findings.log()
    folder = Path(file).absolute().parent if images is None else Path(images)
    rows = []
    for key, image in by_id.items():
        found = image_file(image, key, folder, path, findings)
        name = image.get("file_name") or Path(os.path.relpath(found, os.path.abspath(folder))).as_posix()
        columns = {"boxes": boxes[key], "labels": labels[key], "image_id": key}
        rows.append(SourceRow(name, ImagePlace(str(found)), columns))
    return CocoSource(rows, Path(path), categories)


__all__ = ["CocoSource", "open_coco"]
