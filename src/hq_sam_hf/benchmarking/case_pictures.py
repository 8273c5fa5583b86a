"""Pictures of a run's most improved, most worsened and worst objects: ground truth and predictions side by side."""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.reading import read_sample
from ..evaluation.results import OUTPUT_TITLES
from ..evaluation.worst_cases import object_window
from ..masks.drawing import overlay, side_by_side
from ..masks.rle import rle_to_mask
from ..model.files import shortened_name, write_atomically
from .measurement import BenchmarkResult, ReadRows
from .object_iou import ObjectRecord
from .parts import BenchmarkPart, annotation_mask

HEIGHT = 240  # of a panel, in pixels
CASES = {"improved": "Most improved objects", "worsened": "Most worsened objects", "worst": "Worst objects"}
LONGEST_NAME = 100  # bytes of an image's name in a file name


@dataclass(frozen=True)
class Case:
    """An object to draw. kind: a key of `CASES`. rank: from 1. part: the name of its part."""

    kind: str
    rank: int
    part: str
    record: ObjectRecord


@dataclass(frozen=True)
class DrawnCase:
    """A picture of a case. title: what it shows. file_name: by which it is saved."""

    case: Case
    title: str
    file_name: str
    picture: Image.Image


def choose_cases(result: BenchmarkResult, count: int) -> list[Case]:
    """Up to `count` objects of each kind, by the boundary IoU of the output that is compared with plain SAM.

    Objects are improved or worsened if their boundary IoU is more or less than plain SAM's.
    """
    output = result.compared_output
    objects = [(part.name, record) for part in result.parts for record in part.records]
    by_value = sorted(objects, key=lambda one: one[1].boundary_iou[output])
    kinds = {"worst": by_value[:count]}
    if "sam" in result.outputs and output != "sam":
        gain = lambda one: one[1].boundary_iou[output] - one[1].boundary_iou["sam"]  # noqa: E731
        by_gain = sorted(objects, key=gain)
        improved = [one for one in by_gain[::-1][:count] if gain(one) > 0]
        worsened = [one for one in by_gain[:count] if gain(one) < 0]
        kinds = {"improved": improved, "worsened": worsened, **kinds}
    return [
        Case(kind, rank, part, record)
        for kind, chosen in kinds.items()
        for rank, (part, record) in enumerate(chosen, start=1)
    ]


def draw_cases(
    cases: Sequence[Case], parts: Sequence[BenchmarkPart], read_rows: ReadRows, outputs: Sequence[str]
) -> list[DrawnCase]:
    """Draw the objects, each from the image's file and the run's rows. Reads the rows once."""
    drawn: dict[tuple[str, int], DrawnCase] = {}
    for part in parts:
        wanted = [case for case in cases if case.part == part.name]
        rows = _rows_of({case.record.image_id for case in wanted}, read_rows(part.name, None)) if wanted else {}
        names = {image.id: image for image in part.images}
        for case in wanted:
            image = names[case.record.image_id]
            pixels = read_sample({"image": {"bytes": None, "path": image.file}, "masks": [], "name": image.name}).image
            picture = _draw(case.record, part, pixels, rows[case.record.image_id], outputs)
            of_part = f"{part.name}, " if len(parts) > 1 else ""
            title = f"{of_part}{image.name}: {part.category_names[case.record.category_id]}"
            name = shortened_name(re.sub(r"[^\w.-]+", "_", image.name), LONGEST_NAME)
            file_name = f"{case.kind}_{case.rank:02d}_{name}_{case.record.annotation_id}.png"
            drawn[case.kind, case.rank] = DrawnCase(case, title, file_name, picture)
    return [drawn[case.kind, case.rank] for case in cases]


def _rows_of(image_ids: set[int], rows: Iterable[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    return {
        image_id: list(own)
        for image_id, own in groupby(rows, key=lambda row: row["image_id"])
        if image_id in image_ids
    }


def _draw(
    record: ObjectRecord,
    part: BenchmarkPart,
    pixels: np.ndarray,
    rows: Sequence[Mapping[str, Any]],
    outputs: Sequence[str],
) -> Image.Image:
    """Ground truth and the outputs' masks, cropped to the object."""
    (annotation,) = [one for one in part.ground_truth["annotations"] if one["id"] == record.annotation_id]
    size = (pixels.shape[0], pixels.shape[1])
    ground_truth = annotation_mask(annotation, size, record.frame if part.is_video else None)
    assert ground_truth is not None, "a record is of an object that is visible"
    masks = [ground_truth]
    for output in outputs:
        row = [one for one in rows if one["output"] == output][record.place]
        masks.append(rle_to_mask({"size": row["size"], "counts": row["counts"]}, max_pixels=None))
    top, left, bottom, right = object_window(ground_truth)
    zoom = max(1, round(HEIGHT / (bottom - top)))  # first, or outlines would cover a small object
    crop = pixels[top:bottom, left:right].repeat(zoom, 0).repeat(zoom, 1)
    panels = [overlay(crop, ())]
    panels += [overlay(crop, [mask[top:bottom, left:right].repeat(zoom, 0).repeat(zoom, 1)]) for mask in masks]
    captions = [
        f"{OUTPUT_TITLES[output]} {100 * record.iou[output]:.1f} / {100 * record.boundary_iou[output]:.1f}"
        for output in outputs
    ]
    return side_by_side(panels, ["image", "ground truth", *captions], HEIGHT)


def save_case(drawn: DrawnCase, folder: Path) -> None:
    """Write the picture as PNG."""
    write_atomically(folder / drawn.file_name, functools.partial(drawn.picture.save, format="PNG"))


__all__ = ["CASES", "Case", "DrawnCase", "choose_cases", "draw_cases", "save_case"]
