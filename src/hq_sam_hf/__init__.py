"""HQ-SAM ("Segment Anything in High Quality") for the Hugging Face ecosystem.

Names are imported when they are first used, so that `import hq_sam_hf` and `hq-sam --help` are quick.
"""

import importlib
from typing import TYPE_CHECKING

from . import registration

if TYPE_CHECKING:
    from .data.hqseg44k import load_hqseg44k
    from .inference.mask_generator import HQSamMaskGenerator
    from .inference.predictor import HQSamPredictor
    from .inference.text import HQSamTextPredictor, ZeroShotDetector
    from .model.configuration_hq_sam import (
        HQSamConfig,
        HQSamMaskDecoderConfig,
        HQSamPromptEncoderConfig,
        HQSamTinyViTConfig,
        HQSamVisionConfig,
    )
    from .model.image_processing_hq_sam import HQSamImageProcessor
    from .model.image_reading import load_image
    from .model.modeling_hq_sam import HQSamImageFeatures, HQSamModel, HQSamOutput
    from .model.processing_hq_sam import HQSamProcessor

__version__ = "0.1.0"

_HOME = {
    "HQSamConfig": "model.configuration_hq_sam",
    "HQSamImageFeatures": "model.modeling_hq_sam",
    "HQSamImageProcessor": "model.image_processing_hq_sam",
    "HQSamMaskDecoderConfig": "model.configuration_hq_sam",
    "HQSamMaskGenerator": "inference.mask_generator",
    "HQSamModel": "model.modeling_hq_sam",
    "HQSamOutput": "model.modeling_hq_sam",
    "HQSamPredictor": "inference.predictor",
    "HQSamProcessor": "model.processing_hq_sam",
    "HQSamPromptEncoderConfig": "model.configuration_hq_sam",
    "HQSamTextPredictor": "inference.text",
    "HQSamTinyViTConfig": "model.configuration_hq_sam",
    "HQSamVisionConfig": "model.configuration_hq_sam",
    "ZeroShotDetector": "inference.text",
    "load_hqseg44k": "data.hqseg44k",
    "load_image": "model.image_reading",
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
    registration.register_classes()
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


registration.register_with_transformers()
