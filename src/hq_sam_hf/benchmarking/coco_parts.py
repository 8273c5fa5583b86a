"""Benchmarks with COCO annotation files: COCO, LVIS, UVO, the sets of SGinW, and custom data."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.coco_files import (
    Findings,
    id_key,
    image_file,
    images_by_id,
    listed_names,
    listed_side,
    read_annotations,
)
from ..masks.rle import mask_to_bbox
from .parts import BenchmarkImage, BenchmarkPart, annotation_mask

LVIS_IMAGE_FIELDS = ("neg_category_ids", "not_exhaustive_category_ids")


def load_coco_part(name: str, annotations: Path, images: Path, is_lvis: bool = False) -> BenchmarkPart:
    """Read COCO annotations and find their images.

    images: the folder of the image files. Where an image has no `file_name`, its `coco_url` names the file in it or in
        a folder such as val2017 inside, as in LVIS.
    is_lvis: require what LVIS adds: a category's frequency, and which categories of an image were looked for.

    Annotations without a segmentation are left out, with a note. Raises ValueError, with the name of the file, for one
    that is not COCO, for ids that contradict each other, and for images that are missing.
    """
    path, findings = os.fspath(annotations), Findings()
    content = read_annotations(path)
    by_id = images_by_id(path, content["images"], findings)
    _check_ids(path, "image", by_id)
    categories = _categories(path, content.get("categories"), is_lvis)
    if is_lvis:
        _check_lvis_images(path, by_id)
    files = {key: image_file(image, key, images, path, findings) for key, image in by_id.items()}
    _check_files(path, images, files)
    found = [
        BenchmarkImage(key, str(files[key]), os.path.relpath(files[key], images), _size(path, key, image))
        for key, image in by_id.items()
    ]
    sizes = {image.id: image.size for image in found}
    kept = _annotations(path, content["annotations"], by_id, {one["id"] for one in categories}, sizes, findings)
    notes = [
        f"{sentence} ({len(names)}): {listed_names(names)}."
        for sentence, names in [*findings.problems.items(), *findings.notes.items()]
    ]
    entries = [{**image, "id": key} for key, image in by_id.items()]
    ground_truth = {"images": entries, "annotations": kept, "categories": categories}
    return BenchmarkPart(name, found, ground_truth, [Path(annotations)], notes)


def _check_ids(path: str, what: str, ids: Any) -> None:
    text = [one for one in ids if not isinstance(one, int)]
    if text:
        raise ValueError(f"{path!r}: the ids of {what}s must be whole numbers, got {text[0]!r}. Number them.")


def _categories(path: str, categories: Any, is_lvis: bool) -> list[dict[str, Any]]:
    if not isinstance(categories, list) or not all(isinstance(one, dict) for one in categories) or not categories:
        raise ValueError(f"{path!r} has no list of `categories`. Add one with the id and the name of each category.")
    fields = ("id", "name", "frequency") if is_lvis else ("id", "name")
    for one in categories:
        missing = [field for field in fields if one.get(field) is None]
        if missing:
            raise ValueError(
                f"{path!r}: the category {one.get('name', one.get('id'))!r} lacks {', '.join(missing)}."
                + (" Use LVIS v1's own file, lvis_v1_val.json." if "frequency" in missing else "")
            )
    numbered = [{**one, "id": id_key(one["id"])} for one in categories]
    ids = [one["id"] for one in numbered]
    _check_ids(path, "categorie", ids)
    if len(set(ids)) < len(ids):
        raise ValueError(f"{path!r} has two categories with one id. Give each category its own.")
    return numbered


def _check_lvis_images(path: str, by_id: Mapping[Any, Mapping[str, Any]]) -> None:
    for key, image in by_id.items():
        missing = [field for field in LVIS_IMAGE_FIELDS if not isinstance(image.get(field), list)]
        if missing:
            raise ValueError(
                f"{path!r}: the image {key} lacks {', '.join(missing)}. Use LVIS v1's own file, lvis_v1_val.json."
            )


def _check_files(path: str, folder: Path, files: Mapping[Any, Path]) -> None:
    missing = [file for file in files.values() if not file.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of the {len(files)} images that {path!r} lists are missing in {os.fspath(folder)!r}, "
            f"such as {os.path.relpath(missing[0], folder)!r}. Put the benchmark's images there."
        )


def _size(path: str, key: Any, image: Mapping[str, Any]) -> tuple[int, int]:
    height, width = listed_side(image["height"]), listed_side(image["width"])
    if height is None or width is None:
        raise ValueError(
            f"{path!r}: the image {key} has the height {image['height']!r} and the width {image['width']!r}. Give "
            "both in pixels."
        )
    return height, width


def _annotations(
    path: str,
    annotations: Sequence[dict[str, Any]],
    by_id: Mapping[Any, Any],
    category_ids: set[int],
    sizes: Mapping[Any, tuple[int, int] | None],
    findings: Findings,
) -> list[dict[str, Any]]:
    kept, known = [], set()
    for number, one in enumerate(annotations, start=1):
        name = one.get("id", f"number {number}")
        missing = [field for field in ("id", "image_id", "category_id") if one.get(field) is None]
        if missing:
            raise ValueError(f"{path!r}: the annotation {name} lacks {', '.join(missing)}.")
        key, image_id, category_id = id_key(one["id"]), id_key(one["image_id"]), id_key(one["category_id"])
        for what, value, among in (("image", image_id, by_id), ("category", category_id, category_ids)):
            if value not in among:
                raise ValueError(
                    f"{path!r}: the annotation {name} belongs to the {what} {value}, which the file does not list. "
                    f"Add the {what}, or leave the annotation out."
                )
        if key in known:
            raise ValueError(f"{path!r}: two annotations have the id {name}. Give each its own.")
        known.add(key)
        _check_ids(path, "annotation", [key])
        if not one.get("segmentation"):
            findings.problems.setdefault("Annotations without a segmentation are left out", []).append(name)
            continue
        entry = {**one, "id": key, "image_id": image_id, "category_id": category_id}
        if not _is_box(one.get("bbox")):
            entry["bbox"] = _box_of_mask(path, entry, sizes[image_id])
        kept.append(entry)
    return kept


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(isinstance(one, int | float) for one in value)


def _box_of_mask(path: str, annotation: Mapping[str, Any], size: tuple[int, int] | None) -> list[int]:
    try:
        mask = annotation_mask(annotation, size)
    except ValueError as error:
        raise ValueError(f"{path!r}: the annotation {annotation['id']} has no mask ({error}).") from error
    return [0, 0, 0, 0] if mask is None else mask_to_bbox(mask)


__all__ = ["load_coco_part"]
