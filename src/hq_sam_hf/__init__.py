"""HQ-SAM ("Segment Anything in High Quality") for the Hugging Face ecosystem.

Names are imported when they are first used, so that `import hq_sam_hf` and `hq-sam --help` are quick.
"""

import importlib
from typing import TYPE_CHECKING

from . import auto_registration

if TYPE_CHECKING:
    from .configuration_hq_sam import (
        HQSamConfig,
        HQSamMaskDecoderConfig,
        HQSamPromptEncoderConfig,
        HQSamTinyViTConfig,
        HQSamVisionConfig,
    )
    from .hqseg44k import load_hqseg44k
    from .image_processing_hq_sam import HQSamImageProcessor, load_image
    from .mask_generation import HQSamMaskGenerator
    from .modeling_hq_sam import HQSamImageFeatures, HQSamModel, HQSamOutput
    from .predictor import HQSamPredictor
    from .processing_hq_sam import HQSamProcessor
    from .text_prompts import HQSamTextPredictor, ZeroShotDetector

__version__ = "0.1.0"

_HOME = {
    "HQSamConfig": "configuration_hq_sam",
    "HQSamImageFeatures": "modeling_hq_sam",
    "HQSamImageProcessor": "image_processing_hq_sam",
    "HQSamMaskDecoderConfig": "configuration_hq_sam",
    "HQSamMaskGenerator": "mask_generation",
    "HQSamModel": "modeling_hq_sam",
    "HQSamOutput": "modeling_hq_sam",
    "HQSamPredictor": "predictor",
    "HQSamProcessor": "processing_hq_sam",
    "HQSamPromptEncoderConfig": "configuration_hq_sam",
    "HQSamTextPredictor": "text_prompts",
    "HQSamTinyViTConfig": "configuration_hq_sam",
    "HQSamVisionConfig": "configuration_hq_sam",
    "ZeroShotDetector": "text_prompts",
    "load_hqseg44k": "hqseg44k",
    "load_image": "image_processing_hq_sam",
}

__all__ = [
    "HQSamConfig",
    "HQSamImageFeatures",
    "HQSamImageProcessor",
    "HQSamMaskDecoderConfig",
    "HQSamMaskGenerator",
    "HQSamModel",
    "HQSamOutput",
    "HQSamPredictor",
    "HQSamProcessor",
    "HQSamPromptEncoderConfig",
    "HQSamTextPredictor",
    "HQSamTinyViTConfig",
    "HQSamVisionConfig",
    "ZeroShotDetector",
    "load_hqseg44k",
    "load_image",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    auto_registration.register_classes()
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


auto_registration.register_with_transformers()
