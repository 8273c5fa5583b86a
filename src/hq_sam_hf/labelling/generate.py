"""Automatic masks of many images, for `hq-sam generate`."""

import os
from collections.abc import Sequence
from typing import Any

from ..inference.loading import EMBEDDED_MODEL, ModelSpec
from ..model.image_reading import DEFAULT_OPTIONS, ImageOptions
from .folder_run import EVERYTHING, FolderRun, RunSummary
from .image_files import find_images
from .labeller import LabellerSpec
from .output_folder import COCO_ONLY, ExtraOutputs


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
    spec = LabellerSpec(
        model, generator_options=options, multimask_output=multimask_output, image_options=image_options
    )
    return FolderRun(find_images(sources, output, image_options), output, spec, EVERYTHING, extra_outputs).run()


__all__ = ["generate_masks"]
