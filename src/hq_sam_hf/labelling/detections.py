"""Prompts from the file of a detector, or of this package: which objects to segment in which image.

A detector's file is JSON, a list with an object per detection:

    image_id, file_name, image or key     the image: its key in the source, its file name, or its id in the COCO file
    bbox                                  x, y, width, height, as COCO's results have it; or box: x1, y1, x2, y2
    score                                 optional
    label or category_id                  optional

Any other file is read as `prompt_files` describes.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.coco_files import id_key, listed_names
from .coco_source import CocoSource
from .examples import ImagePlace
from .prompt_files import ObjectPrompt, finite_numbers, read_prompts
from .prompt_sources import FilePrompts
from .sources import Source, SourceRow

logger = logging.getLogger(__name__)

_IMAGE_FIELDS = ("image_id", "file_name", "image", "key")


def read_prompt_file(
    path: str | os.PathLike,
    source: Source,
    min_score: float = 0.0,
    image_folder: str | os.PathLike | None = None,
    categories: Mapping[int | str, str] | None = None,
) -> FilePrompts:
    """Read the prompts for the images of a source.

    min_score: leave out detections with a lower score. image_folder: as in `read_prompts`.
    categories: the names of categories by id; by default those of the source, if it is a COCO file.

    A warning names images of the file that the source does not have. Raises ValueError for a file that cannot be read
    or holds a wrong prompt, and if it names no image of the source.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"{os.fspath(path)!r} is not a file. Correct the path.")
    if categories is None:
        categories = source.categories if isinstance(source, CocoSource) else {}
    content = file.read_bytes()
    detections = _detections(file, content)
    by_name: dict[str | int, list[ObjectPrompt]] = {}
    if detections is None:
        by_name.update({str(name): objects for name, objects in read_prompts(path, image_folder).items()})
    else:
        for number, row in enumerate(detections, start=1):
            try:
                name, prompt = _parse(row, categories)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{os.fspath(path)!r}, detection {number}: {error}") from error
            if prompt.score is None or prompt.score >= min_score:
                by_name.setdefault(name, []).append(prompt)
    prompts = FilePrompts(by_name, hashlib.sha256(content).hexdigest(), min_score)
    _check_names(prompts, source, os.fspath(path))
    return prompts


def _detections(file: Path, content: bytes) -> list[Any] | None:
    """The entries of a detector's file; None for a file of another kind."""
    if file.suffix.lower() != ".json":
        return None
    try:
        rows = json.loads(content)
    except ValueError:
        return None  # reported by `read_prompts`
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        return None
    return rows if any("bbox" in row or "image" not in row for row in rows) else None


def _parse(row: dict[str, Any], categories: Mapping[int | str, str]) -> tuple[str | int, ObjectPrompt]:
    field = next((field for field in _IMAGE_FIELDS if row.get(field) not in (None, "")), None)
    if field is None:
        raise ValueError(f"it names no image. Give one of {', '.join(_IMAGE_FIELDS)}.")
    if row.get("bbox") is not None:
        x, y, width, height = finite_numbers("bbox", row["bbox"], 4, "x, y, width, height")
        box = [x, y, x + width, y + height]
    else:
        box = finite_numbers("box", row.get("box"), 4, "x1, y1, x2, y2")
    category = row.get("category_id")
    label = row.get("label")
    if label is None and category is not None:
        label = categories.get(id_key(category), str(category))
    score = row.get("score")
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
        raise ValueError(f"`score` must be a number, got {score!r:.60}.")
    prompt = ObjectPrompt(box=box, label=None if label is None else str(label), score=score)
    return id_key(row[field]) if field == "image_id" else str(row[field]), prompt


def _check_names(prompts: FilePrompts, source: Source, path: str) -> None:
    """Warn of images in the file that the source does not have. Raises ValueError if it has none of them."""
    if source.has_addresses:  # reading a row reads no image
        rows = (row for i in range(len(source)) for row in source.read(range(i, i + 1)))
    else:
        rows = (SourceRow(key, ImagePlace()) for key in source.keys())
    known = {prompts.name_of(row) for row in rows}
    unknown = [name for name in prompts.by_name if name not in known]
    if prompts.by_name and len(unknown) == len(prompts.by_name):
        first = next(iter(source.keys()))
        raise ValueError(
            f"{path!r} names no image of the source: it names {unknown[0]!r:.200}, and the keys of the source are "
            f"such as {first!r:.200}. Write the keys into the file."
        )
    if unknown:
        logger.warning("%d images of %r are not in the source: %s.", len(unknown), path, listed_names(unknown))


__all__ = ["read_prompt_file"]
