"""Masks of the objects of many images from a file of prompts, for `hq-sam segment --prompts`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..inference.loading import EMBEDDED_MODEL, ModelSpec
from ..model.image_reading import DEFAULT_OPTIONS, ImageOptions
from .folder_run import FolderRun, ImagePrompting, RunSummary
from .image_files import ImageFiles
from .labeller import LabellerSpec
from .output_folder import COCO_ONLY, ExtraOutputs
from .prompt_files import read_prompts


def segment_many(
    prompts: str | os.PathLike,
    output: str | os.PathLike,
    model: ModelSpec = EMBEDDED_MODEL,
    extra_outputs: ExtraOutputs = COCO_ONLY,
    multimask_output: bool = False,
    hq_token_only: bool = False,
    image_options: ImageOptions = DEFAULT_OPTIONS,
    image_folder: str | os.PathLike | None = None,
) -> RunSummary | None:
    """Write the masks of the objects of a prompt file into a folder, which `output_folder` describes.

    prompts: a CSV or JSON file, which `prompt_files` describes.
    multimask_output, hq_token_only: as in `HQSamPredictor.predict`.
    image_options: how image files are read, as in `load_image`.
    image_folder: a folder that paths of the prompt file may lead to, besides that of the file.

    A run continues an earlier run with the same options, and predicts an image again if its prompts have changed.
    Returns a summary in the main process, None in others.
    """
    by_path = read_prompts(prompts, image_folder)
    root = Path(os.path.commonpath([path.parent for path in by_path]))
    by_name = {path.relative_to(root).as_posix(): objects for path, objects in by_path.items()}
    masks = [Path(one.mask) for objects in by_path.values() for one in objects if isinstance(one.mask, str)]
    spec = LabellerSpec(
        model, multimask_output=multimask_output, hq_token_only=hq_token_only, image_options=image_options
    )
    prompting = ImagePrompting(by_name, files=[Path(prompts), *masks], as_written=_with_score)
    images = ImageFiles(root, sorted(by_name), image_options)
    return FolderRun(images, output, spec, prompting, extra_outputs).run()


def _with_score(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of an object with SAM's score as `score`. No detector has found the object."""
    others = {name: value for name, value in record.items() if name != "predicted_iou"}
    return {**others, "score": record["predicted_iou"]}


__all__ = ["segment_many"]
