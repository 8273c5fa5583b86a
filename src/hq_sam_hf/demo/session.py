"""What one visitor of the demo has: a picture, the prompts so far, and the masks. Nothing here knows of the web page.

The picture stays on disk as it was uploaded, for masks and cut-outs of its full size. In memory are a view of at most
`VIEW_SIDE` pixels, the masks of that view, and the low-resolution logits from which the full mask is made when asked.
"""

import math
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..inference.mask_generator import HQSamMaskGenerator
from ..inference.predictor import HQSamPredictor
from ..masks.coco import label_map
from ..masks.drawing import cutout
from ..model.files import write_atomically
from ..model.image_reading import open_upright, read_image

MAX_PIXELS = 100_000_000
MAX_POINTS = 100
VIEW_SIDE = 1280

# What browsers and cameras write. Pillow opens more, some of it through other programs.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP")

# A quarter of the generator's usual points, for a visitor who waits; and less strict, as small models are less sure.
AUTOMATIC_OPTIONS: Mapping[str, Any] = {
    "points_per_side": 16,
    "pred_iou_thresh": 0.4,
    "stability_score_thresh": 0.7,
}


@dataclass(frozen=True)
class Prompts:
    """One object, told by points (x, y, label 1 or 0) and a box (x1, y1, x2, y2), in pixels of the picture."""

    points: tuple[tuple[float, float, int], ...] = ()
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Answer:
    """The masks of the SAM inside and of HQ-SAM, bool of the view's size; HQ-SAM's logits (m, m) and score."""

    model: str
    sam: np.ndarray
    hq: np.ndarray
    logits: np.ndarray
    score: float


class DemoSession:
    """One picture and a conversation about one object in it.

    path: the picture's file, which is copied, and the copy deleted with the session.
    predictors: the models to choose from, by name; the first one is asked until `choose_model`. A predictor may be
        shared by any number of sessions: where it has dropped a picture, it is encoded again.
    automatic_options: of `HQSamMaskGenerator`, for `find_everything`.

    Raises ValueError, with a sentence for the visitor, for a file that is no picture or one of more than `MAX_PIXELS`.
    Every method that changes prompts leaves them as they were if it raises.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        predictors: Mapping[str, HQSamPredictor],
        model: str | None = None,
        automatic_options: Mapping[str, Any] = AUTOMATIC_OPTIONS,
    ) -> None:
        self.name = Path(path).name
        self.id = uuid.uuid4().hex
        self.predictors = predictors
        self.model = next(iter(predictors)) if model is None else model
        self.automatic_options = automatic_options
        picture = read_photo(path)
        self.size: tuple[int, int] = (picture.shape[0], picture.shape[1])
        self.view = _view(picture)
        self.answer: Answer | None = None
        self.records: list[dict[str, Any]] | None = None
        self._steps: tuple[Prompts, ...] = (Prompts(),)
        self._folder = tempfile.TemporaryDirectory(prefix="hq-sam-demo-")
        self._file = Path(self._folder.name) / "picture"
        shutil.copyfile(path, self._file)
        self._predictor.set_image(picture, name=self.id)

    @property
    def prompts(self) -> Prompts:
        return self._steps[-1]

    @property
    def view_size(self) -> tuple[int, int]:
        """(height, width)"""
        return self.view.height, self.view.width

    @property
    def _predictor(self) -> HQSamPredictor:
        if self.model not in self.predictors:
            raise ValueError(f"The model must be one of {', '.join(self.predictors)}, got {self.model!r}.")
        return self.predictors[self.model]

    def add_point(self, x: float, y: float, label: int) -> None:
        """A click on the object (label 1) or on the background (0), in pixels of the picture."""
        if label not in (0, 1):
            raise ValueError(f"A point's label must be 1 (object) or 0 (background), got {label!r}.")
        if len(self.prompts.points) >= MAX_POINTS:
            raise ValueError(f"There are {MAX_POINTS} points, which is the limit. Undo or clear some.")
        points = (*self.prompts.points, (*self._inside(x, y), int(label)))
        self._take((*self._steps, replace(self.prompts, points=points)))

    def set_box(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """A box round the object, by any two opposite corners; it replaces the box before."""
        (left, top), (right, bottom) = self._inside(min(x1, x2), min(y1, y2)), self._inside(max(x1, x2), max(y1, y2))
        self._take((*self._steps, replace(self.prompts, box=(left, top, right, bottom))))

    def undo(self) -> None:
        """Put automatic masks away; where there are none, go back to the prompts before the last step or `clear`."""
        back = len(self._steps) > 1 and self.records is None
        self._take(self._steps[:-1] if back else self._steps)

    def clear(self) -> None:
        self._take(self._steps if self.prompts == Prompts() else (*self._steps, Prompts()))

    def choose_model(self, name: str) -> None:
        """Ask this model from now on, first about the prompts that are there."""
        before, self.model = self.model, name
        try:
            self._take(self._steps)
        except BaseException:
            self.model = before
            raise

    def find_everything(self) -> None:
        """Look for masks all over the view; they are shown until the next step. Prompts stay."""
        predictor = self._predictor
        generator = HQSamMaskGenerator(predictor.model, predictor.processor, **self.automatic_options)
        self.records = generator.generate(self.view)

    def mask(self) -> np.ndarray:
        """HQ-SAM's mask at the size of the picture, bool (H, W); of automatic masks their numbers, 0 for none."""
        if self.records is not None:
            labels = Image.fromarray(label_map(self.records, self.view_size))
            return np.asarray(labels.resize(self.size[::-1], Image.Resampling.NEAREST))
        answer = self.answer
        if answer is None:
            raise ValueError("There is no mask yet. Click on an object first.")
        image_processor = self.predictors[answer.model].processor.image_processor
        sizes = [self.size], [image_processor.reshaped_size(self.size)]
        return image_processor.post_process_masks([torch.from_numpy(answer.logits)], *sizes)[0].numpy()

    def cutout(self) -> Image.Image:
        """The object at the size of the picture, RGBA, transparent outside HQ-SAM's mask."""
        if self.records is not None:
            raise ValueError("A cut-out is of one object. Click on it first.")
        return cutout(read_photo(self._file), self.mask())

    def save(self, kind: str) -> Path:
        """Write the "mask" or the "cutout" as PNG; the file goes with the session. Gives its path."""
        picture = Image.fromarray(self.mask()) if kind == "mask" else self.cutout()
        path = Path(self._folder.name) / f"{Path(self.name).stem[:80]}_{kind}.png"
        write_atomically(path, lambda file: picture.save(file, format="PNG", compress_level=1))
        return path

    def _inside(self, x: float, y: float) -> tuple[float, float]:
        """A point of the picture, brought inside where it lies beside it. (0, 0) is the middle of the first pixel."""
        height, width = self.size
        if not (math.isfinite(x) and math.isfinite(y)):
            raise ValueError(f"A point must be two numbers in pixels of the picture, got {x!r}, {y!r}.")
        return min(max(float(x), -0.5), width - 0.5), min(max(float(y), -0.5), height - 0.5)

    def _take(self, steps: tuple[Prompts, ...]) -> None:
        answer = self._ask(steps[-1])
        self._steps, self.answer, self.records = steps, answer, None

    def _ask(self, prompts: Prompts) -> Answer | None:
        predictor = self._predictor
        if self.id not in predictor.images:
            predictor.set_image(read_photo(self._file), name=self.id)
        if prompts == Prompts():
            return None
        asked: dict[str, Any] = {
            "points": [point[:2] for point in prompts.points] or None,
            "labels": [point[2] for point in prompts.points] or None,
            "boxes": None if prompts.box is None else list(prompts.box),
            # A single click may mean a thing or a part of it; the best of SAM's candidates is then a better guess.
            "multimask_output": len(prompts.points) == 1 and prompts.box is None,
            "image": self.id,
            "output_size": self.view_size,
        }
        sam = predictor.predict(**asked, sam_only=True)[0][0]
        hq, scores, logits = predictor.predict(**asked)
        return Answer(self.model, np.asarray(sam), np.asarray(hq[0]), np.asarray(logits[0]), float(scores[0]))


def read_photo(path: str | os.PathLike) -> np.ndarray:
    """An uploaded picture, upright, RGB uint8 (H, W, 3).

    Raises ValueError for a file that is no picture of a kind in `FORMATS`, and, before it is decoded, for one of more
    than `MAX_PIXELS`.
    """
    name = Path(path).name
    kinds = ", ".join(FORMATS)
    try:
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(path) as image,
        ):
            file_format, (width, height) = image.format, image.size
    except Image.DecompressionBombError:
        raise ValueError(
            f"{name!r} has far more than {_megapixels(MAX_PIXELS)}, which is the limit. {_REDUCE}"
        ) from None
    except (OSError, SyntaxError, ValueError):
        raise ValueError(f"{name!r} is not a picture. Open a file of one of these kinds: {kinds}.") from None
    if file_format not in FORMATS:
        raise ValueError(f"{name!r} is a {file_format} file. Open a picture of one of these kinds: {kinds}.")
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{name!r} has {width} x {height} pixels, {_megapixels(width * height)}; the limit is "
            f"{_megapixels(MAX_PIXELS)}. {_REDUCE}"
        )
    try:
        return read_image(open_upright(path))
    except ValueError as error:
        raise ValueError(f"{name!r} cannot be read as a picture ({error}).") from error


_REDUCE = "Reduce it first."


def _megapixels(pixels: int) -> str:
    return f"{math.ceil(pixels / 1e6)} megapixels"


def _view(picture: np.ndarray) -> Image.Image:
    """A copy of at most VIEW_SIDE pixels on the longest side."""
    height, width = picture.shape[:2]
    scale = min(1.0, VIEW_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


__all__ = [
    "AUTOMATIC_OPTIONS",
    "MAX_PIXELS",
    "MAX_POINTS",
    "VIEW_SIDE",
    "Answer",
    "DemoSession",
    "Prompts",
    "read_photo",
]
