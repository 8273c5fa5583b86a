"""Automatic masks of many pictures: the work behind `hq-sam generate`."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from ..inference.loading import load_model
from ..inference.mask_generator import HQSamMaskGenerator
from .runner import COCO_ONLY, Answer, Report, Wanted, answer_pictures, find_pictures


def generate_masks(
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    model: str,
    device: str | None = None,
    dtype: str = "float32",
    image_size: int | None = None,
    wanted: Wanted = COCO_ONLY,
    multimask_output: bool = True,
    **options: Any,
) -> Report | None:
    """Write the automatic masks of pictures, as `many_pictures` lays them out.

    sources: files, folders and patterns. model: folder, Hub repository or file. options: of `HQSamMaskGenerator`.
    Run it again to go on where it stopped. Gives the report, in the main process.
    """
    made_with = {"model": str(model), "dtype": dtype, "image_size": image_size, "multimask_output": multimask_output}

    def prepare(own_device: str | None) -> Answer:
        generator = HQSamMaskGenerator(
            *load_model(model, device or own_device, dtype, image_size), output_mode="coco_rle", **options
        )

        def answer(image: Image.Image, _: str) -> Sequence[Mapping[str, Any]]:
            return generator.generate(image, multimask_output=multimask_output)

        return answer

    pictures = find_pictures(sources, leave_out=output)
    return answer_pictures(pictures, output, {**made_with, **options}, prepare, wanted)


__all__ = ["generate_masks"]
