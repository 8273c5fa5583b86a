"""Masks of the objects that text names in many images, for `hq-sam segment FOLDER --text`."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from ..inference.loading import EMBEDDED_MODEL, ModelSpec
from ..inference.text import DetectorSpec, HQSamTextPredictor, split_labels
from ..model.image_reading import DEFAULT_OPTIONS, ImageOptions
from .image_files import find_images
from .output_folder import COCO_ONLY, ExtraOutputs
from .runner import BatchRunner, ImageTask, RunSummary


def segment_by_text(
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    text: str | Sequence[str],
    detector: DetectorSpec,
    model: ModelSpec = EMBEDDED_MODEL,
    extra_outputs: ExtraOutputs = COCO_ONLY,
    multimask_output: bool = False,
    hq_token_only: bool = False,
    image_options: ImageOptions = DEFAULT_OPTIONS,
) -> RunSummary | None:
    """Write the masks of the objects that a detector finds into a folder, which `output_folder` describes.

    sources: files, folders and glob patterns.
    text: labels as a list or as "dog. leash."
    multimask_output, hq_token_only: as in `HQSamPredictor.predict`.
    image_options: how image files are read, as in `load_image`.

    An image in which the detector finds nothing is done, without masks. A run continues an earlier run with the same
    options. Returns a summary in the main process, None in others.
    """
    task = _MasksByText(split_labels(text), detector, model, multimask_output, hq_token_only)
    return BatchRunner(task, find_images(sources, output, image_options), output, extra_outputs).run()


class _MasksByText(ImageTask):
    def __init__(
        self,
        labels: list[str],
        detector: DetectorSpec,
        model: ModelSpec,
        multimask_output: bool,
        hq_token_only: bool,
    ) -> None:
        self.labels = labels
        self.detector = detector
        self.model = model
        self.mask_options: dict[str, Any] = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}

    def options(self) -> dict[str, Any]:
        specs = {**self.model.as_options(), **self.detector.as_options()}
        return {**specs, "text": self.labels, **self.mask_options}

    def load(self, device: str | None) -> None:
        model, processor = self.model.load(device)
        self.predictor = HQSamTextPredictor(model, processor, self.detector.load(model.device))

    def predict(self, image: Image.Image, name: str) -> Sequence[Mapping[str, Any]]:
        return self.predictor.predict(image, self.labels, **self.mask_options)


__all__ = ["segment_by_text"]
