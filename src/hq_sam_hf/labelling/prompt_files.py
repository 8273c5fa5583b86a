"""Read prompts for the objects of many images from a CSV or JSON file, one object per row.

    image    path of the image, relative to the folder of the file
    box      x1, y1, x2, y2        CSV: "165 15 415 310", or columns x1, y1, x2, y2
    points   [[x, y], ...]         CSV: "290 150; 20 20"
    labels   1 on the object, 0 on the background; by default all 1     CSV: "1 0"
    mask     path of a rough mask of the size of the image, relative to the folder of the file
    label    name of the object's class

An object needs `image` and at least one of `box`, `points` and `mask`. Coordinates are pixels of the image. JSON is a
list of objects with these keys. A cell or value without content, such as "" or [], is the same as none. Paths must not
lead out of the folder of the file, or of another one that the caller names.
"""

import csv
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..model.named_files import path_inside
from ..model.normalised_coordinates import describe_normalised, look_normalised

EXIF_ORIENTATION = 0x0112
USUAL_SIZE = (1000, 1000)

_FOLDER_ADVICE = "If you trust it, name its folder with `--image-folder FOLDER`, or `image_folder` in Python."
FIELDS = ("image", "box", "points", "labels", "mask", "label")


@dataclass
class ObjectPrompt:
    """The prompts for one object, in pixels of its image.

    mask: what `prompt_masks.read_prompt_mask` reads. score: that of the detector that found the object.
    """

    box: list[float] | None = None
    points: list[list[float]] | None = None
    labels: list[int] | None = None
    mask: str | bytes | None = None
    label: str | None = None
    score: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields that are given, as JSON values."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def read_prompts(
    path: str | os.PathLike, image_folder: str | os.PathLike | None = None
) -> dict[Path, list[ObjectPrompt]]:
    """The prompts of each image, in the order of the file.

    image_folder: a folder that paths may lead to besides that of the file. They stay relative to that of the file.

    Raises ValueError for a file that cannot be read or holds a wrong prompt, with the number of the object.
    """
    file = Path(path)
    if not os.path.isfile(path):
        raise ValueError(f"{os.fspath(path)!r} is not a file. Correct the path.")
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".json"):
        raise ValueError(
            f"Prompts are read from .csv or .json files, got {os.fspath(path)!r}. Save it as one of them."
        )
    prompts: dict[Path, list[ObjectPrompt]] = {}
    for number, row in enumerate(_csv_rows(file) if suffix == ".csv" else _json_rows(file), start=1):
        try:
            image, prompt = _parse(row, file.absolute().parent, [] if image_folder is None else [image_folder])
            _check_pixels(image, prompt)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{os.fspath(path)!r}, object {number}: {error}") from error
        prompts.setdefault(image, []).append(prompt)
    if not prompts:
        raise ValueError(f"{os.fspath(path)!r} holds no prompts. Give one row per object.")
    return prompts


def _json_rows(file: Path) -> list[Any]:
    try:
        rows = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{str(file)!r} is not valid JSON ({error}). It must be one list of objects, not one object per line."
        ) from error
    if not isinstance(rows, list):
        raise ValueError(
            f"{str(file)!r} must be a list of objects with `image` and prompts, got {type(rows).__name__}. Put the "
            "objects into a list, [{...}, {...}]."
        )
    return rows


def _csv_rows(file: Path) -> list[dict[str, Any]]:
    """The rows in the form of JSON, without their empty cells."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines, restkey="more", strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{str(file)!r} is not a CSV file in UTF-8 ({error}). Save it again as such.") from error
    return [_csv_row({key: value for key, value in row.items() if not _has_no_content(value)}) for row in rows]


def _csv_row(row: dict[str, Any]) -> dict[str, Any]:
    corners = [row.pop(name) for name in ("x1", "y1", "x2", "y2") if name in row]
    if corners:
        row["box"] = " ".join([*corners, row.get("box", "")])
    readers = {
        "box": lambda text: text.replace(",", " ").split(),
        "points": lambda text: [point.replace(",", " ").split() for point in text.split(";") if point.strip()],
        "labels": lambda text: text.replace(",", " ").replace(";", " ").split(),
    }
    return {key: readers[key](value) if key in readers else value for key, value in row.items()}


def _parse(row: Any, folder: Path, others: Sequence[str | os.PathLike]) -> tuple[Path, ObjectPrompt]:
    if not isinstance(row, dict) or not isinstance(row.get("image"), str):
        raise ValueError(
            f"`image` must be the path of an image, got {row!r:.80}. In CSV the first line names the columns, such as "
            "image,box, with commas between them."
        )
    unknown = sorted(str(key) for key in row.keys() - set(FIELDS))
    if unknown == ["more"]:
        raise ValueError(
            "unknown keys 'more': the row has more cells than the header has names. Put spaces instead of commas "
            "between the numbers of a cell, or put the cell into quotes."
        )
    if unknown:
        raise ValueError(f"unknown keys {', '.join(map(repr, unknown))}; the keys are {', '.join(FIELDS)}.")
    values = (row.get(key) for key in FIELDS[1:])
    box, points, labels, mask, label = (None if _has_no_content(value) else value for value in values)
    if box is None and points is None and mask is None:
        raise ValueError(
            "it has no prompt; give a box, points or a mask. `box` must be x1, y1, x2, y2, `points` must be x, y "
            "pairs, `mask` the path of a file."
        )
    for name, value in (("mask", mask), ("label", label)):
        if value is not None and not isinstance(value, str):
            raise ValueError(f"`{name}` must be text, got {value!r}.")
    if box is not None:
        box = finite_numbers("box", box, 4, "x1, y1, x2, y2")
    if points is not None:
        if not isinstance(points, list) or not points:
            raise ValueError(f"`points` must be x, y pairs, got {points!r}. Write [[x, y], ...] in JSON.")
        points = [finite_numbers("points", point, 2, "x, y") for point in points]
    if labels is not None:
        if points is None or not isinstance(labels, list) or len(labels) != len(points):
            raise ValueError(f"`labels` must hold one label per point, got {labels!r} for {len(points or [])} points.")
        if any(label not in (0, 1, "0", "1") for label in labels):
            raise ValueError(f"`labels` must be 1 (on the object) or 0 (on the background), got {labels!r}.")
        labels = [int(label) for label in labels]
    image = path_inside(folder, row["image"], "`image`", _FOLDER_ADVICE, others)
    mask = None if mask is None else str(path_inside(folder, mask, "`mask`", _FOLDER_ADVICE, others))
    return image, ObjectPrompt(box, points, labels, mask, label)


def _has_no_content(value: Any) -> bool:
    """Whether a cell or value is None, blank text or a list without content, at any depth."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, list) and all(map(_has_no_content, value)))


def _check_pixels(image: Path, prompt: ObjectPrompt) -> None:
    """Raise ValueError for coordinates that look normalised, before any work is done."""
    for kind, rows in (("boxes", [] if prompt.box is None else [prompt.box]), ("points", prompt.points or [])):
        coordinates = np.array(rows, dtype=np.float64)
        # The file is opened only for coordinates that would be refused for an image of any usual size.
        if look_normalised(coordinates, USUAL_SIZE):
            message = describe_normalised(kind, coordinates, _image_size(image))
            if message is not None:
                raise ValueError(f"{message} For the first pixel itself, give whole numbers.")


def _image_size(path: Path) -> tuple[int, int] | None:
    """(height, width) of an image file, upright, from its head; None if the head cannot be read."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            is_turned = image.getexif().get(EXIF_ORIENTATION, 1) >= 5
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return (width, height) if is_turned else (height, width)


def finite_numbers(name: str, values: Any, count: int, form: str) -> list[float]:
    """So many finite numbers. Raises ValueError, with their form in words, for anything else."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"`{name}` must be {form} in pixels, got {values!r}.")
    return numbers


__all__ = ["ObjectPrompt", "finite_numbers", "read_prompts"]
