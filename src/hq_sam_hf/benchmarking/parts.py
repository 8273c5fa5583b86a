"""A benchmark as it is read from the disk: its images, and the ground truth as COCO dictionaries.

The ground truth of images is a COCO dictionary:
    images        id, file_name, and height and width where the annotation file gives them
    annotations   id, image_id, category_id, iscrowd, bbox, area and segmentation; or mask_file in place of these
                  three where a mask image is the ground truth
    categories    id, name, and frequency ("r", "c" or "f") for LVIS
The ground truth of videos is that of YouTube-VIS:
    videos        id, name, file_names (of the frames, in order), height, width
    annotations   id, video_id, category_id, iscrowd and segmentations (one per frame, None where the object is not
                  visible); or, for DAVIS, mask_files (one label map per frame) with `label`, the object's number in
                  them
    categories    id, name
"""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data.image_bytes import read_bytes
from ..masks.coco import record_mask
from ..model.image_files import open_upright
from ..model.mask_reading import FOREGROUND, label_values, mask_values
from .predictions import NONE


@dataclass(frozen=True)
class BenchmarkImage:
    """An image of a benchmark, or a frame of a video.

    id: of the image in the ground truth; a frame has its number in the benchmark.
    file: path of the image, or its address in a zip archive.
    name: for messages, relative to the benchmark's folder.
    size: (height, width) that the annotations were made for; None if they do not say.
    video_id, frame: the video and the position of the frame in it, -1 for a single image.
    """

    id: int
    file: str
    name: str
    size: tuple[int, int] | None = None
    video_id: int = NONE
    frame: int = NONE


@dataclass
class BenchmarkPart:
    """A set of images that a benchmark reports on its own, such as a data set of SGinW. Most benchmarks have one.

    ground_truth: as the module says. inputs: the files that it was read from, besides the images.
    notes: sentences about what is not wrong, such as images without annotations.
    """

    name: str
    images: list[BenchmarkImage]
    ground_truth: dict[str, Any]
    inputs: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_video(self) -> bool:
        return "videos" in self.ground_truth

    @property
    def has_annotations(self) -> bool:
        """Whether there is ground truth to compare with. Validation sets of some benchmarks are published without."""
        return bool(self.ground_truth.get("annotations"))

    @property
    def category_names(self) -> dict[int, str]:
        return {category["id"]: category["name"] for category in self.ground_truth["categories"]}


def annotation_mask(
    annotation: Mapping[str, Any], size: tuple[int, int] | None = None, frame: int | None = None
) -> np.ndarray | None:
    """The ground-truth mask of an annotation: bool (height, width).

    size: (height, width) of the image, which polygons need. A mask of another size raises ValueError.
    frame: the position of the frame, for an annotation of a video.

    Returns None where the object is not visible in the frame.
    """
    if frame is not None and "mask_files" in annotation:
        mask = read_label_map(annotation["mask_files"][frame]) == annotation["label"]
        return _of_size(mask, size, annotation["mask_files"][frame]) if mask.any() else None
    if "mask_file" in annotation:
        return _of_size(read_mask_file(annotation["mask_file"]), size, annotation["mask_file"])
    segmentation = annotation["segmentation"] if frame is None else annotation["segmentations"][frame]
    if not segmentation:
        return None
    if size is None:
        size = tuple(segmentation["size"])
    return record_mask({"segmentation": segmentation}, size)


def read_mask_file(file: str | os.PathLike) -> np.ndarray:
    """Read a mask image as bool (height, width). Raises ValueError, with the file's name, if it is no mask."""
    try:
        return mask_values(open_upright(_content(file))) > FOREGROUND
    except (ValueError, OSError) as error:
        raise ValueError(f"{os.fspath(file)!r} cannot be read as a mask ({error}). Get the file again.") from error


def read_label_map(file: str | os.PathLike) -> np.ndarray:
    """Read a label map, such as a PNG with a palette, as int64 (height, width).

    Raises ValueError, with the file's name, if it is none.
    """
    try:
        return label_values(open_upright(_content(file)))
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{os.fspath(file)!r} cannot be read as a label map ({error}). Get the file again."
        ) from error


def _content(file: str | os.PathLike) -> io.BytesIO:
    return io.BytesIO(read_bytes(os.fspath(file)))


def _of_size(mask: np.ndarray, size: tuple[int, int] | None, file: str | os.PathLike) -> np.ndarray:
    if size is not None and mask.shape != tuple(size):
        raise ValueError(
            f"{os.fspath(file)!r} has the (height, width) {mask.shape}, and its image has {tuple(size)}. Get both "
            "from the same release of the benchmark."
        )
    return mask


__all__ = ["BenchmarkImage", "BenchmarkPart", "annotation_mask", "read_label_map", "read_mask_file"]
