"""HQ-SAM ("Segment Anything in High Quality") for the Hugging Face ecosystem.

Names are imported when they are first used, so that `import hq_sam_hf` and `hq-sam --help` are quick.
"""

from typing import TYPE_CHECKING

from .registration import register_with_transformers
from .utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .data.hqseg44k import load_hqseg44k
    from .inference.mask_generator import HQSamMaskGenerator
    from .inference.predictor import HQSamPredictor
    from .inference.text import HQSamTextPredictor, ZeroShotDetector
    from .model.configuration_hq_sam import HQSamConfig, HQSamMaskDecoderConfig, HQSamPromptEncoderConfig
    from .model.configuration_hq_sam2 import (
        HQSam2BackboneConfig,
        HQSam2Config,
        HQSam2MaskDecoderConfig,
        HQSam2VisionConfig,
    )
    from .model.configuration_vision import HQSamTinyViTConfig, HQSamVisionConfig
    from .model.image_processing_hq_sam import HQSamImageProcessor
    from .model.image_processing_hq_sam2 import HQSam2ImageProcessor
    from .model.image_reading import load_image
    from .model.modeling_hq_sam import HQSamImageFeatures, HQSamModel, HQSamOutput
    from .model.modeling_hq_sam2 import HQSam2ImageFeatures, HQSam2Model, HQSam2Output
    from .model.processing_hq_sam import HQSamProcessor
    from .model.processing_hq_sam2 import HQSam2Processor

__version__ = "0.1.0"

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "data.hqseg44k": ["load_hqseg44k"],
        "inference.mask_generator": ["HQSamMaskGenerator"],
        "inference.predictor": ["HQSamPredictor"],
        "inference.text": ["HQSamTextPredictor", "ZeroShotDetector"],
        "model.configuration_hq_sam": ["HQSamConfig", "HQSamMaskDecoderConfig", "HQSamPromptEncoderConfig"],
        "model.configuration_hq_sam2": [
            "HQSam2BackboneConfig",
            "HQSam2Config",
            "HQSam2MaskDecoderConfig",
            "HQSam2VisionConfig",
        ],
        "model.configuration_vision": ["HQSamTinyViTConfig", "HQSamVisionConfig"],
        "model.image_processing_hq_sam": ["HQSamImageProcessor"],
        "model.image_processing_hq_sam2": ["HQSam2ImageProcessor"],
        "model.image_reading": ["load_image"],
        "model.modeling_hq_sam": ["HQSamImageFeatures", "HQSamModel", "HQSamOutput"],
        "model.modeling_hq_sam2": ["HQSam2ImageFeatures", "HQSam2Model", "HQSam2Output"],
        "model.processing_hq_sam": ["HQSamProcessor"],
        "model.processing_hq_sam2": ["HQSam2Processor"],
    },
)

__all__ = [
    "HQSam2BackboneConfig",
    "HQSam2Config",
    "HQSam2ImageFeatures",
    "HQSam2ImageProcessor",
    "HQSam2MaskDecoderConfig",
    "HQSam2Model",
    "HQSam2Output",
    "HQSam2Processor",
    "HQSam2VisionConfig",
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

register_with_transformers()
