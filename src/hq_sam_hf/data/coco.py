"""Load COCO instances, as other programs write them: what can be read is read, the rest is named by annotation id."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..masks.polygon_filling import as_polygons
from ..model.files import readable_name
from ..model.image_files import image_orientation
from .coco_files import (
    Findings,
    category_names,
    id_key,
    image_file,
    images_by_id,
    listed_names,
    listed_side,
    read_annotations,
)
from .custom import build_dataset
from .reading_options import reading_options

if TYPE_CHECKING:
    from .image_bytes import AnyDataset

_NO_SEGMENTATION = "without a segmentation"


class _UnusableError(ValueError):
    """An annotation that gives no mask; the message goes on after "Annotations"."""


def load_coco(
    annotations: str | os.PathLike,
    images: str | os.PathLike,
    set_name: str | None = None,
    streaming: bool = False,
    **reading: Any,
) -> "AnyDataset":
    """Load COCO instances: one row per image, with the instances as JSON text in the column `masks`.

    Where the file names categories, the column `category` has the name of each instance's category.

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
    path, findings = os.fspath(annotations), Findings()
    content = read_annotations(path)
    by_id, categories = images_by_id(path, content["images"], findings), category_names(content)
    files = {key: image_file(image, key, images, path, findings) for key, image in by_id.items()}
    sizes: dict[Any, tuple[int, int]] = {}
    masks: dict[Any, list[tuple[str, str]]] = {}  # each with the name of its category
    for name, instance in _in_order(content["annotations"], findings):
        if "image_id" not in instance:
            raise ValueError(f"{path!r}: the annotation {name} lacks image_id.")
        key = id_key(instance["image_id"])
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
            masks.setdefault(key, []).append((text, _category(instance, categories)))
        except _UnusableError as error:
            findings.problems.setdefault(f"Annotations {error} are left out", []).append(name)
    if not masks:
        found = (findings.problems | findings.notes).items()
        reasons = "".join(f" {what} ({len(names)}): {listed_names(names)}." for what, names in found)
        raise ValueError(f"{path!r} has no instance with a segmentation.{reasons}")
    without = [files[key].name for key in by_id if key not in masks]
    if without:
        findings.notes["Images without instances are left out"] = without
    findings.log()
    rows = sorted((str(files[key]), of_image) for key, of_image in masks.items())
    missing = [file for file, _ in rows if not os.path.isfile(file)]
    if missing:
        raise ValueError(f"{len(missing)} of {len(rows)} images are missing, such as {missing[0]!r}.")
    columns: dict[str, list] = {"image": [file for file, _ in rows]}
    columns["masks"] = [[text for text, _ in of_image] for _, of_image in rows]
    if categories:
        columns["category"] = [[readable_name(name) for _, name in of_image] for _, of_image in rows]
    root = os.path.abspath(images)
    names = [str(Path(os.path.relpath(file, root)).with_suffix("")) for file, _ in rows]
    return build_dataset(columns, set_name or Path(annotations).stem, names, streaming, options, masks_are_text=True)


def _category(instance: Mapping[str, Any], names: Mapping[int | str, str]) -> str:
    """The name of an instance's category; its id if no name is known, and nothing if it has none."""
    value = instance.get("category_id")
    is_id = isinstance(value, int | str) or (isinstance(value, float) and value.is_integer())
    return names.get(id_key(value), str(value)) if is_id and not isinstance(value, bool) else ""


def _size_of(image: dict, key: Any, file: Path, is_stored: bool, findings: Findings) -> tuple[int, int]:
    """The (height, width) of an image: the listed one, or that of the file."""
    listed = (listed_side(image["height"]), listed_side(image["width"]))
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


def _in_order(annotations: Sequence[dict], findings: Findings) -> list[tuple[Any, dict]]:
    """The annotations with their ids or, where they have none, their numbers, sorted by id."""
    known: dict[Any, list[dict]] = {}
    named: list[tuple[tuple[int, Any, int], Any, dict]] = []
    for number, annotation in enumerate(annotations, start=1):
        if annotation.get("id") is None:
            named.append(((2, "", number), f"number {number}", annotation))
            continue
        key = id_key(annotation["id"])
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


def _segmentation_text(segmentation: Any, size: tuple[int, int], name: Any, findings: Findings) -> str:
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
    sides = [listed_side(side) for side in own] if isinstance(own, list) and len(own) == 2 else []
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


__all__ = ["load_coco"]
