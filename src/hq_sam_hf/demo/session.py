"""A user's session in the demo: one image, the prompts for one object, and the masks. It needs no web page.

The image stays on disk as it was uploaded, so that masks and cut-outs can be saved at its full size. In memory are a
view of at most `VIEW_SIDE` pixels, the masks at the size of the view, and the low-resolution logits that the full-size
mask is made from on request.
"""

import math
import os
import shutil
import tempfile
import threading
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

SAMPLE_IMAGE = Path(__file__).parent.parent / "assets" / "samples" / "coffee.jpg"

MAX_PIXELS = 100_000_000
MAX_POINTS = 100
VIEW_SIDE = 1280

# The formats that browsers and cameras write. Pillow opens more, some of them by starting other programs.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP")

# A quarter of the generator's default points, since a user waits for the result; and lower thresholds, since small
# models give lower scores.
AUTOMATIC_OPTIONS: Mapping[str, Any] = {
    "points_per_side": 16,
    "pred_iou_thresh": 0.4,
    "stability_score_thresh": 0.7,
}


@dataclass(frozen=True)
class DemoPrompts:
    """Prompts for one object: points (x, y, label 1 or 0) and a box (x1, y1, x2, y2), in pixels of the image."""

    points: tuple[tuple[float, float, int], ...] = ()
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class DemoResult:
    """Masks of one object from one model.

    model: name of the model.
    sam, hq: masks of the SAM inside and of HQ-SAM, bool (height, width) of the view.
    logits: HQ-SAM's low-resolution logits (m, m). score: its predicted IoU.
    """

    model: str
    sam: np.ndarray
    hq: np.ndarray
    logits: np.ndarray
    score: float


@dataclass(frozen=True)
class DemoState:
    """What a session holds at one moment. Each change makes a new state.

    history: the prompts after each change, the present ones last.
    result: the masks for the present prompts. records: the automatic masks, which are shown instead.
    version: number of the state in its session, so that an older state can be told from a newer one.
    """

    history: tuple[DemoPrompts, ...] = (DemoPrompts(),)
    result: DemoResult | None = None
    records: list[dict[str, Any]] | None = None
    version: int = 0

    @property
    def prompts(self) -> DemoPrompts:
        return self.history[-1]


class DemoSession:
    """One image, and the prompts and masks for one object in it.

    path: file of the image. It is copied, and the copy is deleted with the session.
    predictors: models to choose from, by name. Sessions may share a predictor; an image that it no longer holds is
        encoded again.
    model: name of the first model to use; by default the first of `predictors`.
    automatic_options: options of `HQSamMaskGenerator` for `generate_masks`.
    folder: existing folder for the copy and the saved files; by default the system's temporary folder.

    `state` is replaced as a whole, so another thread may read it at any time.

    Raises ValueError, with a message for the user, if the file is no image or has more than `MAX_PIXELS`.
    A method that changes the prompts leaves them as they were if it raises.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        predictors: Mapping[str, HQSamPredictor],
        model: str | None = None,
        automatic_options: Mapping[str, Any] = AUTOMATIC_OPTIONS,
        folder: str | os.PathLike | None = None,
    ) -> None:
        self.name = Path(path).name
        self.id = uuid.uuid4().hex
        self.predictors = predictors
        self.model = next(iter(predictors)) if model is None else model
        self.automatic_options = automatic_options
        image = read_upload(path)
        self.size: tuple[int, int] = (image.shape[0], image.shape[1])
        self.view = _view(image)
        self.state = DemoState()
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="hq-sam-demo-", dir=folder, ignore_cleanup_errors=True)
        self._file = Path(self._folder.name) / "image"
        shutil.copyfile(path, self._file)
        self._predictor.set_image(image, name=self.id)

    @property
    def prompts(self) -> DemoPrompts:
        return self.state.prompts

    @property
    def result(self) -> DemoResult | None:
        return self.state.result

    @property
    def records(self) -> list[dict[str, Any]] | None:
        return self.state.records

    @property
    def view_size(self) -> tuple[int, int]:
        """(height, width) of the view."""
        return self.view.height, self.view.width

    @property
    def _predictor(self) -> HQSamPredictor:
        if self.model not in self.predictors:
            raise ValueError(f"The model must be one of {', '.join(self.predictors)}, got {self.model!r}.")
        return self.predictors[self.model]

    def add_point(self, x: float, y: float, label: int) -> None:
        """Add a point on the object (label 1) or on the background (label 0), in pixels of the image."""
        if label not in (0, 1):
            raise ValueError(f"The label of a point must be 1 (object) or 0 (background), got {label!r}.")
        if len(self.prompts.points) >= MAX_POINTS:
            raise ValueError(f"There are {MAX_POINTS} points, which is the limit. Undo or clear some.")
        points = (*self.prompts.points, (*self._inside(x, y), int(label)))
        self._use((*self.state.history, replace(self.prompts, points=points)))

    def set_box(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """Set the box around the object, by two opposite corners in pixels of the image. It replaces the last box."""
        (left, top), (right, bottom) = self._inside(min(x1, x2), min(y1, y2)), self._inside(max(x1, x2), max(y1, y2))
        self._use((*self.state.history, replace(self.prompts, box=(left, top, right, bottom))))

    def undo(self) -> None:
        """Remove the automatic masks if there are some; else return to the prompts before the last change."""
        history = self.state.history
        can_go_back = len(history) > 1 and self.records is None
        self._use(history[:-1] if can_go_back else history)

    def clear(self) -> None:
        """Remove all prompts. `undo` brings them back."""
        self._use(self.state.history if self.prompts == DemoPrompts() else (*self.state.history, DemoPrompts()))

    def choose_model(self, name: str) -> None:
        """Use another model, first with the present prompts."""
        previous, self.model = self.model, name
        try:
            self._use(self.state.history)
        except BaseException:
            self.model = previous
            raise

    def generate_masks(self) -> bool:
        """Find masks of everything in the view. They replace the result until the next change; the prompts stay.

        Returns False if the session was changed during the search. The change is newer, so the masks are dropped.
        """
        before = self.state
        predictor = self._predictor
        generator = HQSamMaskGenerator(predictor.model, predictor.processor, **self.automatic_options)
        records = generator.generate(self.view)
        with self._lock:
            if self.state is not before:
                return False
            self.state = replace(before, records=records, version=before.version + 1)
        return True

    def mask(self) -> np.ndarray:
        """HQ-SAM's mask at the size of the image, bool (height, width).

        If there are automatic masks, their label map instead: the mask's number at each pixel, 0 for none.
        """
        return self._mask(self.state)

    def _mask(self, state: DemoState) -> np.ndarray:
        if state.records is not None:
            labels = Image.fromarray(label_map(state.records, self.view_size))
            return np.asarray(labels.resize(self.size[::-1], Image.Resampling.NEAREST))
        result = state.result
        if result is None:
            raise ValueError("There is no mask yet. Click on an object first.")
        image_processor = self.predictors[result.model].processor.image_processor
        sizes = [self.size], [image_processor.reshaped_size(self.size)]
        return image_processor.post_process_masks([torch.from_numpy(result.logits)], *sizes)[0].numpy()

    def cutout(self) -> Image.Image:
        """The object at the size of the image, RGBA, transparent outside HQ-SAM's mask."""
        state = self.state
        if state.records is not None:
            raise ValueError("A cut-out shows one object. Click on it first.")
        return cutout(read_upload(self._file), self._mask(state))

    def save(self, kind: str) -> Path:
        """Write the "mask" or the "cutout" as PNG. Returns the path; the file is deleted with the session."""
        image = Image.fromarray(self.mask()) if kind == "mask" else self.cutout()
        path = Path(self._folder.name) / f"{shorten_name(Path(self.name).stem, 80)}_{kind}.png"
        write_atomically(path, lambda file: image.save(file, format="PNG", compress_level=1))
        return path

    def _inside(self, x: float, y: float) -> tuple[float, float]:
        """Clip a point to the image. (0, 0) is the centre of the first pixel, so the edges are half a pixel out."""
        height, width = self.size
        if not (math.isfinite(x) and math.isfinite(y)):
            raise ValueError(f"A point must be two finite numbers in pixels of the image, got {x!r}, {y!r}.")
        return min(max(float(x), -0.5), width - 0.5), min(max(float(y), -0.5), height - 0.5)

    def _use(self, history: tuple[DemoPrompts, ...]) -> None:
        """Predict the masks for the last prompts of a history, then keep both."""
        result = self._predict(history[-1])
        with self._lock:
            self.state = DemoState(history, result, version=self.state.version + 1)

    def _predict(self, prompts: DemoPrompts) -> DemoResult | None:
        predictor = self._predictor
        if self.id not in predictor.images:
            predictor.set_image(read_upload(self._file), name=self.id)
        if prompts == DemoPrompts():
            return None
        options: dict[str, Any] = {
            "points": [point[:2] for point in prompts.points] or None,
            "labels": [point[2] for point in prompts.points] or None,
            "boxes": None if prompts.box is None else list(prompts.box),
            # A single click may mean an object or a part of it. The best of SAM's candidates is then a better guess.
            "multimask_output": len(prompts.points) == 1 and prompts.box is None,
            "image": self.id,
            "output_size": self.view_size,
        }
        sam = predictor.predict(**options, sam_only=True)[0][0]
        hq, scores, logits = predictor.predict(**options)
        return DemoResult(self.model, np.asarray(sam), np.asarray(hq[0]), np.asarray(logits[0]), float(scores[0]))


def shorten_name(name: str, most: int) -> str:
    """The start of a file name, of at most `most` bytes, without characters that UTF-8 does not have."""
    return name.encode(errors="ignore")[:most].decode(errors="ignore")


def read_upload(path: str | os.PathLike) -> np.ndarray:
    """Read an uploaded image, upright, as RGB uint8 (height, width, 3).

    Raises ValueError if the file is no image in one of the `FORMATS`, or has more than `MAX_PIXELS`; the latter before
    it is decoded.
    """
    name = Path(path).name
    formats = f"Open a file in one of these formats: {', '.join(FORMATS)}."
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
        raise ValueError(f"{name!r} is not an image. {formats}") from None
    if file_format not in FORMATS:
        raise ValueError(f"{name!r} is in the format {file_format}. {formats}")
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{name!r} has {width} x {height} pixels, {_megapixels(width * height)}; the limit is "
            f"{_megapixels(MAX_PIXELS)}. {_REDUCE}"
        )
    try:
        return read_image(open_upright(path))
    except ValueError as error:
        raise ValueError(f"{name!r} cannot be read as an image ({error}).") from error


_REDUCE = "Reduce it first."


def _megapixels(pixels: int) -> str:
    return f"{math.ceil(pixels / 1e6)} megapixels"


def _view(image: np.ndarray) -> Image.Image:
    """A copy of at most VIEW_SIDE pixels on the longest side."""
    height, width = image.shape[:2]
    scale = min(1.0, VIEW_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


__all__ = [
    "AUTOMATIC_OPTIONS",
    "MAX_PIXELS",
    "MAX_POINTS",
    "SAMPLE_IMAGE",
    "VIEW_SIDE",
    "DemoPrompts",
    "DemoResult",
    "DemoSession",
    "DemoState",
    "read_upload",
    "shorten_name",
]
