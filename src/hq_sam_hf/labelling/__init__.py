"""Masks of many images: sources, prompts, runs over them and what they write (`hq-sam label`, `segment`, `generate`).

May import: model, masks, data, inference, utils.
"""

from typing import TYPE_CHECKING

from ..utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .from_prompts import segment_many
    from .from_text import segment_by_text
    from .generate import generate_masks
    from .image_files import ImageFiles, find_images
    from .output_folder import ExtraOutputs, OutputFolder
    from .prompt_files import ObjectPrompt, read_prompts
    from .runner import BatchRunner, ImageTask, RunSummary
    from .single import ImagePrompts, OutputFiles, segment_image

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "from_prompts": ["segment_many"],
        "from_text": ["segment_by_text"],
        "generate": ["generate_masks"],
        "image_files": ["ImageFiles", "find_images"],
        "output_folder": ["ExtraOutputs", "OutputFolder"],
        "prompt_files": ["ObjectPrompt", "read_prompts"],
        "runner": ["BatchRunner", "ImageTask", "RunSummary"],
        "single": ["ImagePrompts", "OutputFiles", "segment_image"],
    },
)

__all__ = [
    "BatchRunner",
    "ExtraOutputs",
    "ImageFiles",
    "ImagePrompts",
    "ImageTask",
    "ObjectPrompt",
    "OutputFiles",
    "OutputFolder",
    "RunSummary",
    "find_images",
    "generate_masks",
    "read_prompts",
    "segment_by_text",
    "segment_image",
    "segment_many",
]
