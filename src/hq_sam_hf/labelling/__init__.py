"""Masks of many images: sources, prompts, runs over them and what they write (`hq-sam label`, `segment`, `generate`).

May import: model, masks, data, inference, utils.
"""

from typing import TYPE_CHECKING

from ..utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .detections import read_prompt_file
    from .engines import EngineOptions
    from .estimate import Estimate, dry_run
    from .examples import Example, ImagePlace, ImageRecord
    from .folder_run import FolderRun, ImagePrompting, RunSummary
    from .from_prompts import segment_many
    from .from_text import segment_by_text
    from .generate import generate_masks
    from .image_files import ImageFiles, find_images
    from .labeller import Labeller, LabellerSpec, label_batch
    from .opening import SourceOptions, open_source
    from .output_folder import ExtraOutputs, OutputFolder
    from .prompt_files import ObjectPrompt, read_prompts
    from .prompt_sources import AutomaticPrompts, ColumnPrompts, FilePrompts, TextPrompts
    from .run import LabelSummary, OutputOptions, label_images
    from .single import ImagePrompts, OutputFiles, segment_image
    from .sources import Source, SourceRow

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "detections": ["read_prompt_file"],
        "estimate": ["Estimate", "dry_run"],
        "engines": ["EngineOptions"],
        "examples": ["Example", "ImagePlace", "ImageRecord"],
        "folder_run": ["FolderRun", "ImagePrompting", "RunSummary"],
        "from_prompts": ["segment_many"],
        "from_text": ["segment_by_text"],
        "generate": ["generate_masks"],
        "image_files": ["ImageFiles", "find_images"],
        "labeller": ["Labeller", "LabellerSpec", "label_batch"],
        "opening": ["SourceOptions", "open_source"],
        "output_folder": ["ExtraOutputs", "OutputFolder"],
        "prompt_files": ["ObjectPrompt", "read_prompts"],
        "prompt_sources": ["AutomaticPrompts", "ColumnPrompts", "FilePrompts", "TextPrompts"],
        "run": ["LabelSummary", "OutputOptions", "label_images"],
        "single": ["ImagePrompts", "OutputFiles", "segment_image"],
        "sources": ["Source", "SourceRow"],
    },
)

__all__ = [
    "AutomaticPrompts",
    "ColumnPrompts",
    "EngineOptions",
    "Estimate",
    "Example",
    "ExtraOutputs",
    "FilePrompts",
    "FolderRun",
    "ImageFiles",
    "ImagePlace",
    "ImagePrompting",
    "ImagePrompts",
    "ImageRecord",
    "LabelSummary",
    "Labeller",
    "LabellerSpec",
    "ObjectPrompt",
    "OutputFiles",
    "OutputFolder",
    "OutputOptions",
    "RunSummary",
    "Source",
    "SourceOptions",
    "SourceRow",
    "TextPrompts",
    "dry_run",
    "find_images",
    "generate_masks",
    "label_batch",
    "label_images",
    "open_source",
    "read_prompt_file",
    "read_prompts",
    "segment_by_text",
    "segment_image",
    "segment_many",
]
