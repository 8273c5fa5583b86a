"""Load COCO instances, as other programs write them: what can be read is read, the rest is named by annotation id."""

import json
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

from ..masks.polygon_filling import as_polygons
from ..model.image_files import image_orientation
from ..model.named_files import path_inside
from .custom import build_dataset
from .reading_options import reading_options

if TYPE_CHECKING:
    from .image_bytes import AnyDataset

logger = logging.getLogger(__name__)

NAMED = 10  # annotations that a sentence names
_NO_SEGMENTATION = "without a segmentation"
_NAME_ADVICE = "Put the images into one folder, and name them relative to it."


class _UnusableError(ValueError):
    """An annotation that gives no mask; the message goes on after "Annotations"."""


class _Findings:
    """Annotations and images by what was found about them, to be logged in one sentence each."""

    def __init__(self) -> None:
        self.problems: dict[str, list[Any]] = {}
        self.notes: dict[str, list[Any]] = {}

    def log(self) -> None:
        """Log a warning for each kind. Those about what is not wrong have the attribute `is_note`."""
        for found, is_note in ((self.problems, False), (self.notes, True)):
            for sentence, names in found.items():
                extra = {"is_note": True} if is_note else None
                logger.warning("%s (%d): %s.", sentence, len(names), _listed(names), extra=extra)


def load_coco(
    annotations: str | os.PathLike,
    images: str | os.PathLike,
    set_name: str | None = None,
    streaming: bool = False,
    **reading: Any,
) -> "AnyDataset":
    """Load COCO instances: one row per image, with the instances as JSON text in the column `masks`.

    annotations: instances_*.json. images: the folder that its file names are relative to, and which they must not
        leave. Where an image has no `file_name`, its `coco_url` names the file, as in LVIS.
    reading: `ReadingOptions`, such as mask_pixels="stored".
    Crowd regions (`iscrowd`) and images without instances are left out, and instances that give no mask. A warning
    counts each kind and names the annotations. Reading a row turns polygons and run lengths into the masks that
    pycocotools gives. Ids may be numbers or text. An image with a size of 0 or less has the size of its file.

    Raises ValueError for a file that is not COCO, for contradictory ids, and for names that leave the folder.
    """
    options = reading_options(reading)
    options.refuse_mask_type()
    path, findings = os.fspath(annotations), _Findings()
    entries, instances = _read_file(path)
    by_id = _images_by_id(path, entries, findings)
    files = {key: _file_of(image, key, images, path, findings) for key, image in by_id.items()}
    sizes: dict[Any, tuple[int, int]] = {}
    masks: dict[Any, list[str]] = {}
    for name, instance in _in_order(instances, findings):
        if "image_id" not in instance:
            raise ValueError(f"{path!r}: the annotation {name} lacks image_id.")
        key = _key(instance["image_id"])
        if key not in by_id:
            raise ValueError(
                f"Annotation {name} belongs to image {instance['image_id']}, which `images` does not list. Add the "
                "image, or leave the annotation out."
            )
        try:
            if _is_crowd(instance.get("iscrowd")):
                findings.notes.setdefault("Crowd regions are left out, annotations", []).append(name)
                continue
            if key not in sizes:
                sizes[key] = _size_of(by_id[key], key, files[key], options.mask_pixels == "stored", findings)
            text = _segmentation_text(instance.get("segmentation"), sizes[key], name, findings)
            masks.setdefault(key, []).append(text)
        except _UnusableError as error:
            findings.problems.setdefault(f"Annotations {error} are left out", []).append(name)
    if not masks:
        found = (findings.problems | findings.notes).items()
        reasons = "".join(f" {what} ({len(names)}): {_listed(names)}." for what, names in found)
        raise ValueError(f"{path!r} has no instance with a segmentation.{reasons}")
    without = [files[key].name for key in by_id if key not in masks]
    if without:
        findings.notes["Images without instances are left out"] = without
    findings.log()
    rows = sorted((str(files[key]), texts) for key, texts in masks.items())
    missing = [file for file, _ in rows if not os.path.isfile(file)]
    if missing:
        raise ValueError(f"{len(missing)} of {len(rows)} images are missing, such as {missing[0]!r}.")
    columns: dict[str, list] = {"image": [file for file, _ in rows], "masks": [texts for _, texts in rows]}
    root = os.path.abspath(images)
    names = [str(Path(os.path.relpath(file, root)).with_suffix("")) for file, _ in rows]
    return build_dataset(columns, set_name or Path(annotations).stem, names, streaming, options, masks_are_text=True)


def _read_file(path: str) -> tuple[list[dict], list[dict]]:
    """The entries `images` and `annotations`."""
    try:
        content = json.loads(Path(path).read_bytes())
        images, annotations = content["images"], content["annotations"]
        if not all(isinstance(one, list) for one in (images, annotations)):
            raise TypeError("`images` and `annotations` must be lists")
        if not all(isinstance(one, dict) for one in (*images, *annotations)):
            raise TypeError("`images` and `annotations` must hold objects")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path!r} is not a COCO file with `images` and `annotations` ({error!r}).") from error
    return images, annotations


def _key(value: Any) -> int | str:
    """An id in one form, so that 7, 7.0 and "7" are the same."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.isascii() and text.isdigit() and str(int(text)) == text else text
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"An id must be a number or text, got {value!r:.60}. Give each image its own.")
    return value


def _images_by_id(path: str, images: Iterable[dict], findings: _Findings) -> dict[Any, dict]:
    by_id: dict[Any, dict] = {}
    for number, image in enumerate(images, start=1):
        name = image.get("id", f"number {number}")
        missing = [field for field in ("height", "id", "width") if field not in image]
        if not image.get("file_name") and not image.get("coco_url"):
            missing.append("file_name")
        if missing:
            raise ValueError(f"{path!r}: the image {name} lacks {', '.join(sorted(missing))}.")
        key = _key(image["id"])
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


def _file_of(image: dict, key: Any, folder: str | os.PathLike, path: str, findings: _Findings) -> Path:
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


def _size_of(image: dict, key: Any, file: Path, is_stored: bool, findings: _Findings) -> tuple[int, int]:
    """The (height, width) of an image: the listed one, or that of the file."""
    listed = (_side(image["height"]), _side(image["width"]))
    if listed[0] and listed[1]:
        return listed[0], listed[1]
    try:
        with Image.open(file) as opened:
            width, height = opened.size
            is_turned = image_orientation(opened) > 4 and not is_stored
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"The image {key} has the size {image['height']} x {image['width']}, and its file cannot be read "
            f"({error}). Give its height and width in pixels."
        ) from error
    findings.notes.setdefault("Images without a size have that of their file, images", []).append(key)
    return (width, height) if is_turned else (height, width)


def _side(value: Any) -> int | None:
    """A height or width in pixels; None if it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if math.isfinite(number) and number >= 1 and number.is_integer() else None


def _in_order(annotations: Sequence[dict], findings: _Findings) -> list[tuple[Any, dict]]:
    """The annotations with their ids or, where they have none, their numbers, sorted by id."""
    known: dict[Any, list[dict]] = {}
    named: list[tuple[tuple[int, Any, int], Any, dict]] = []
    for number, annotation in enumerate(annotations, start=1):
        if annotation.get("id") is None:
            named.append(((2, "", number), f"number {number}", annotation))
            continue
        key = _key(annotation["id"])
        others = known.setdefault(key, [])
        if annotation in others:
            findings.problems.setdefault("Annotations that are listed twice are kept once", []).append(key)
            continue
        if others:
            findings.notes.setdefault("Annotations with the id of another one are kept too", []).append(key)
        others.append(annotation)
        named.append(((1, key, number) if isinstance(key, str) else (0, key, number), key, annotation))
    return [(name, annotation) for _, name, annotation in sorted(named, key=lambda one: one[0])]


def _is_crowd(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in ("0", "0.0", "false", "none", ""):
        return False
    if text in ("1", "1.0", "true"):
        return True
    raise _UnusableError(f"with an `iscrowd` of {value!r:.20} instead of 0 or 1")


def _segmentation_text(segmentation: Any, size: tuple[int, int], name: Any, findings: _Findings) -> str:
    """The segmentation and its size as JSON text. Raises `_UnusableError` if it gives no mask."""
    if isinstance(segmentation, Mapping):
        return _run_lengths_text(segmentation, size)
    if not isinstance(segmentation, list) or not segmentation:
        raise _UnusableError(_NO_SEGMENTATION)
    parts = _as_parts(segmentation)
    complete = [part for part in parts if isinstance(part, list) and (len(part) >= 6 or any(map(_is_list, part)))]
    if not complete:
        raise _UnusableError("with polygons of fewer than 3 points")
    try:
        polygons = [polygon for part in complete for polygon in as_polygons([part])]
    except ValueError:
        raise _UnusableError("with polygons whose coordinates are no pairs of pixels, such as NaN,") from None
    if all(map(_is_flat, polygons)):
        findings.problems.setdefault("Annotations whose polygons have no area give empty masks", []).append(name)
    if len(complete) < len(parts):
        what = "Parts of fewer than 3 points are left out of annotations with others"
        findings.notes.setdefault(what, []).append(name)
    return json.dumps({"size": list(size), "polygons": [polygon.tolist() for polygon in polygons]})


def _run_lengths_text(segmentation: Mapping[str, Any], size: tuple[int, int]) -> str:
    counts, own = segmentation.get("counts"), segmentation.get("size")
    if not isinstance(counts, str | list) or not counts:
        raise _UnusableError(_NO_SEGMENTATION)
    sides = [_side(side) for side in own] if isinstance(own, list) and len(own) == 2 else []
    if len(sides) != 2 or None in sides:
        sides = list(size)
    if isinstance(counts, list):
        numbers = [count if _is_number(count) else math.nan for count in counts]
        if not (min(numbers) >= 0 and sum(numbers) == math.prod(side or 0 for side in sides)):
            raise _UnusableError("with run lengths that do not cover their size")
    return json.dumps({"size": sides, "counts": counts})


def _as_parts(segmentation: list) -> list:
    """The polygons of a segmentation. Some programs write the only one without the outer list, or as points."""
    if not any(map(_is_list, segmentation)):
        return [segmentation]
    is_points = all(_is_list(part) and len(part) == 2 and not any(map(_is_list, part)) for part in segmentation)
    return [[number for point in segmentation for number in point]] if is_points else segmentation


def _is_flat(polygon: np.ndarray) -> bool:
    """Whether all points lie on a line."""
    x0, y0, x1, y1, x2, y2 = polygon[:6].tolist()
    if abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)) > 1e-9:
        return False  # as of almost all polygons, of which there are many
    x, y = polygon.reshape(-1, 2).T.astype(np.float64)
    x, y = x - x[0], y - y[0]
    far = int(np.argmax(x * x + y * y))
    return bool((np.abs(x * y[far] - y * x[far]) <= 1e-9 * max(x[far] ** 2 + y[far] ** 2, 1)).all())


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names[:NAMED])) + (", ..." if len(names) > NAMED else "")


__all__ = ["load_coco"]
