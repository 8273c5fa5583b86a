"""Masks of the objects that text names in many images, for `hq-sam segment FOLDER --text`."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..inference.loading import EMBEDDED_MODEL, ModelSpec
from ..inference.text import DetectorSpec, split_labels
from ..model.image_reading import DEFAULT_OPTIONS, ImageOptions
from .folder_run import FolderRun, ImagePrompting, RunSummary
from .image_files import find_images
from .labeller import LabellerSpec
from .output_folder import COCO_ONLY, ExtraOutputs


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
    spec = LabellerSpec(
        model,
        detector,
        multimask_output=multimask_output,
        hq_token_only=hq_token_only,
        image_options=image_options,
    )
    prompting = ImagePrompting(text=split_labels(text), as_written=_with_box)
    return FolderRun(find_images(sources, output, image_options), output, spec, prompting, extra_outputs).run()


def _with_box(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of an object with the box of the detector, as `HQSamTextPredictor` has it."""
    return {**{name: value for name, value in record.items() if name != "prompt"}, "box": record["prompt"]["box"]}


__all__ = ["segment_by_text"]
