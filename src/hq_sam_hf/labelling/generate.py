"""Automatic masks of many images, for `hq-sam generate`."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from ..inference.loading import EMBEDDED_MODEL, ModelSpec
from ..inference.mask_generator import HQSamMaskGenerator
from ..model.image_reading import DEFAULT_OPTIONS, ImageOptions
from .image_files import find_images
from .output_folder import COCO_ONLY, ExtraOutputs
from .runner import BatchRunner, ImageTask, RunSummary


def generate_masks(
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    model: ModelSpec = EMBEDDED_MODEL,
    extra_outputs: ExtraOutputs = COCO_ONLY,
    multimask_output: bool = True,
    image_options: ImageOptions = DEFAULT_OPTIONS,
    **options: Any,
) -> RunSummary | None:
    """Write the automatic masks of many images into a folder, which `output_folder` describes.

    sources: files, folders and glob patterns.
    image_options: how image files are read, as in `load_image`.
    options: those of `HQSamMaskGenerator`.

    A run continues an earlier run with the same options. Returns a summary in the main process, None in others.
    """
    task = _AutomaticMasks(model, multimask_output, options)
    return BatchRunner(task, find_images(sources, output, image_options), output, extra_outputs).run()


class _AutomaticMasks(ImageTask):
    def __init__(self, model: ModelSpec, multimask_output: bool, generator_options: Mapping[str, Any]) -> None:
        self.model = model
        self.multimask_output = multimask_output
        self.generator_options = dict(generator_options)

    def options(self) -> dict[str, Any]:
        return {**self.model.as_options(), "multimask_output": self.multimask_output, **self.generator_options}

    def load(self, device: str | None) -> None:
        self.generator = HQSamMaskGenerator(*self.model.load(device), output_mode="coco_rle", **self.generator_options)

    def predict(self, image: Image.Image, name: str) -> Sequence[Mapping[str, Any]]:
        return self.generator.generate(image, multimask_output=self.multimask_output)


__all__ = ["generate_masks"]
