"""The files of COCO annotations: their entries, ids and image files."""

import json
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..model.named_files import path_inside

logger = logging.getLogger(__name__)

NAMED = 10  # annotations that a sentence names
_NAME_ADVICE = "Put the images into one folder, and name them relative to it."


class Findings:
    """Annotations and images by what was found about them, to be logged in one sentence each."""

    def __init__(self) -> None:
        self.problems: dict[str, list[Any]] = {}
        self.notes: dict[str, list[Any]] = {}

    def log(self) -> None:
        """Log a warning for each kind. Those about what is not wrong have the attribute `is_note`."""
        for found, is_note in ((self.problems, False), (self.notes, True)):
            for sentence, names in found.items():
                extra = {"is_note": True} if is_note else None
                logger.warning("%s (%d): %s.", sentence, len(names), listed_names(names), extra=extra)


def read_annotations(path: str, encoded: bytes | None = None) -> dict[str, Any]:
    """The content of a COCO file. Raises ValueError unless it has lists of `images` and `annotations`.

    encoded: the bytes of the file, where the path is none of this machine.
    """
    try:
        content = json.loads(Path(path).read_bytes() if encoded is None else encoded)
        if not all(isinstance(content[name], list) for name in ("images", "annotations")):
            raise TypeError("`images` and `annotations` must be lists")
        if not all(isinstance(one, dict) for one in (*content["images"], *content["annotations"])):
            raise TypeError("`images` and `annotations` must hold objects")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path!r} is not a COCO file with `images` and `annotations` ({error!r}).") from error
    return content


def category_names(content: Mapping[str, Any]) -> dict[int | str, str]:
    """The names of a COCO file's categories by id. Other files than those of detection may have none."""
    categories = content.get("categories")
    named = [one for one in categories if isinstance(one, dict)] if isinstance(categories, list) else []
    return {id_key(one["id"]): str(one["name"]) for one in named if "id" in one and "name" in one}


def id_key(value: Any) -> int | str:
    """An id in one form, so that 7, 7.0 and "7" are the same."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.isascii() and text.isdigit() and str(int(text)) == text else text
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"An id must be a number or text, got {value!r:.60}. Give each image its own.")
    return value


def images_by_id(path: str, images: Iterable[dict], findings: Findings) -> dict[Any, dict]:
    by_id: dict[Any, dict] = {}
    for number, image in enumerate(images, start=1):
        name = image.get("id", f"number {number}")
        missing = [field for field in ("height", "id", "width") if field not in image]
        if not image.get("file_name") and not image.get("coco_url"):
            missing.append("file_name")
        if missing:
            raise ValueError(f"{path!r}: the image {name} lacks {', '.join(sorted(missing))}.")
        key = id_key(image["id"])
        if key in by_id and by_id[key] != image:
            files = " and ".join(repr(one.get("file_name", one.get("coco_url"))) for one in (by_id[key], image))
            raise ValueError(
                f"{path!r}: two images have the id {name}, {files}, so it is not clear which of them its annotations "
                "belong to. Give each image its own id."
            )
        if key in by_id:
            findings.notes.setdefault("Images that are listed twice are kept once", []).append(name)
        by_id[key] = image
    return by_id


def image_file(image: dict, key: Any, folder: str | os.PathLike, path: str, findings: Findings) -> Path:
    """The file of an image, inside the folder."""
    what = f"{path!r}: the file_name of image {key}"
    name = image.get("file_name")
    if name:
        return path_inside(folder, name, what, _NAME_ADVICE)
    findings.notes.setdefault("Images without file_name are named by coco_url, images", []).append(key)
    parts = unquote(urlsplit(str(image["coco_url"])).path).split("/")
    # The files lie in the folder itself, or in folders such as train2017.
    candidates = [path_inside(folder, "/".join(parts[-n:]), what, _NAME_ADVICE) for n in (1, 2)]
    return next((file for file in candidates if file.is_file()), candidates[0])


def listed_side(value: Any) -> int | None:
    """A height or width in pixels; None if it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if math.isfinite(number) and number >= 1 and number.is_integer() else None


def listed_names(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names[:NAMED])) + (", ..." if len(names) > NAMED else "")


__all__ = [
    "Findings",
    "category_names",
    "id_key",
    "image_file",
    "images_by_id",
    "listed_names",
    "listed_side",
    "read_annotations",
]
