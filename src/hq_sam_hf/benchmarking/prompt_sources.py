"""Where the prompts of a benchmark come from: annotations, a detector's or a tracker's files, coarse masks."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .detections import Detections
from .mask_parts import COARSE_END, OBJECT, mask_beside
from .parts import BenchmarkImage, BenchmarkPart, annotation_mask, read_label_map, read_mask_file
from .predictions import NONE


@dataclass(frozen=True)
class ObjectPrompt:
    """The prompt for one object of an image. Exactly one of the first three is given.

    box: (x1, y1, x2, y2) in pixels of the image. region: bool (H, W), a mask whose bounding box is the prompt.
    coarse: bool (H, W), a mask that is the prompt itself.
    score: by which the prediction is ranked; None for the IoU that the model predicts.
    """

    category_id: int
    box: np.ndarray | None = None
    region: np.ndarray | None = None
    coarse: np.ndarray | None = None
    score: float | None = None
    annotation_id: int = NONE
    track_id: int = NONE


class PromptSource(ABC):
    """The prompts of a part of a benchmark. Threads may share it unless `uses_model`."""

    uses_model = False

    @abstractmethod
    def prompts(self, image: BenchmarkImage, pixels: np.ndarray) -> list[ObjectPrompt]:
        """The prompts of an image, uint8 (H, W, 3); an empty list if there are none."""


class AnnotationPrompts(PromptSource):
    """The boxes of the ground truth, except those of crowds. They have no scores."""

    def __init__(self, part: BenchmarkPart) -> None:
        self.by_owner: dict[int, list[Mapping[str, Any]]] = {}  # by video in videos, else by image
        self.owner = "video_id" if part.is_video else "image_id"
        for one in part.ground_truth["annotations"]:
            if not one.get("iscrowd"):
                self.by_owner.setdefault(one[self.owner], []).append(one)

    def prompts(self, image: BenchmarkImage, pixels: np.ndarray) -> list[ObjectPrompt]:
        frame = image.frame if self.owner == "video_id" else None
        annotations = self.by_owner.get(image.id if frame is None else image.video_id, [])
        found = (self._prompt(one, image, frame, (pixels.shape[0], pixels.shape[1])) for one in annotations)
        return [one for one in found if one is not None]

    def _prompt(
        self, annotation: Mapping[str, Any], image: BenchmarkImage, frame: int | None, size: tuple[int, int]
    ) -> ObjectPrompt | None:
        ids = {"category_id": annotation["category_id"], "annotation_id": annotation["id"]}
        if frame is not None:
            ids["track_id"] = annotation.get("label", annotation["id"])
        if annotation.get("bbox"):
            return ObjectPrompt(**ids, box=_corners(annotation["bbox"]))
        try:
            mask = annotation_mask(annotation, size, frame)
        except ValueError as error:
            raise ValueError(f"{image.name}: the annotation {annotation['id']} has no mask ({error}).") from error
        return None if mask is None or not mask.any() else ObjectPrompt(**ids, region=mask)


class DetectionPrompts(PromptSource):
    """The boxes of a detector with their scores."""

    def __init__(self, detections: Detections) -> None:
        self.detections = detections

    def prompts(self, image: BenchmarkImage, pixels: np.ndarray) -> list[ObjectPrompt]:
        rows = self.detections.of_image(image.id)
        found = zip(self.detections.boxes[rows], self.detections.scores[rows], self.detections.category_ids[rows])
        return [ObjectPrompt(int(category), box=box, score=float(score)) for box, score, category in found]


class TrackFolderPrompts(PromptSource):
    """The masks of a tracker for DAVIS, as label maps FOLDER/VIDEO/NNNNN.png with the objects' numbers.

    The prompts are the bounding boxes of the objects.
    """

    def __init__(self, part: BenchmarkPart, folder: Path) -> None:
        videos = {video["id"]: video for video in part.ground_truth["videos"]}
        self.files = {
            (number, frame): folder / Path(name).with_suffix(".png")
            for number, video in videos.items()
            for frame, name in enumerate(video["file_names"])
        }
        missing = [file for file in self.files.values() if not file.is_file()]
        if missing:
            raise ValueError(
                f"{len(missing)} of the {len(self.files)} label maps of the tracker are missing in "
                f"{os.fspath(folder)!r}, such as {os.path.relpath(missing[0], folder)!r}. It must hold "
                "VIDEO/NNNNN.png for every frame, with 0 for the background and the number of the object elsewhere."
            )

    def prompts(self, image: BenchmarkImage, pixels: np.ndarray) -> list[ObjectPrompt]:
        file = self.files[image.video_id, image.frame]
        labels = read_label_map(file)
        if labels.shape != pixels.shape[:2]:
            raise ValueError(
                f"{os.fspath(file)!r} has the (height, width) {labels.shape}, and its frame has {pixels.shape[:2]}. "
                "Export the tracker's masks at the size of the frames."
            )
        numbers = sorted(set(np.unique(labels).tolist()) - {0, 255})
        return [ObjectPrompt(OBJECT["id"], region=labels == number, track_id=number) for number in numbers]


class CoarseMaskPrompts(PromptSource):
    """Coarse masks of another model as prompts for BIG: NAME_seg.png beside the images or in a folder."""

    def __init__(self, part: BenchmarkPart, folder: Path | None = None) -> None:
        self.files = {image.id: mask_beside(Path(image.file), COARSE_END, folder) for image in part.images}
        missing = [file for file in self.files.values() if not file.is_file()]
        if missing:
            raise ValueError(
                f"{len(missing)} of the {len(self.files)} coarse masks are missing, such as "
                f"{os.fspath(missing[0])!r}. Put the NAME_seg.png of a segmentation model beside the images, or name "
                "their folder with --coarse-masks."
            )

    def prompts(self, image: BenchmarkImage, pixels: np.ndarray) -> list[ObjectPrompt]:
        mask = read_mask_file(self.files[image.id])
        if mask.shape != pixels.shape[:2]:
            raise ValueError(
                f"{os.fspath(self.files[image.id])!r} has the (height, width) {mask.shape}, and its image has "
                f"{pixels.shape[:2]}. Export the coarse masks at the size of the images."
            )
        return [ObjectPrompt(OBJECT["id"], coarse=mask, annotation_id=image.id)]


def _corners(bbox: list[float]) -> np.ndarray:
    x, y, width, height = (float(value) for value in bbox)
    return np.array([x, y, x + width, y + height])


__all__ = [
    "AnnotationPrompts",
    "CoarseMaskPrompts",
    "DetectionPrompts",
    "ObjectPrompt",
    "PromptSource",
    "TrackFolderPrompts",
]
