"""Inference in Python: predictor, automatic masks, text prompts and transformers' pipeline.

May import: model, masks, utils.
"""

from typing import TYPE_CHECKING

from ..utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .embeddings import load_embedding, save_embedding
    from .loading import ModelSpec, load_model
    from .mask_generator import HQSamMaskGenerator
    from .pipeline import HQSamMaskGenerationPipeline
    from .predictor import EncodedImage, HQSamPredictor
    from .text import Detection, DetectorSpec, HQSamTextPredictor, ZeroShotDetector

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "embeddings": ["load_embedding", "save_embedding"],
        "loading": ["ModelSpec", "load_model"],
        "mask_generator": ["HQSamMaskGenerator"],
        "pipeline": ["HQSamMaskGenerationPipeline"],
        "predictor": ["EncodedImage", "HQSamPredictor"],
        "text": ["Detection", "DetectorSpec", "HQSamTextPredictor", "ZeroShotDetector"],
    },
)

__all__ = [
    "Detection",
    "DetectorSpec",
    "EncodedImage",
    "HQSamMaskGenerationPipeline",
    "HQSamMaskGenerator",
    "HQSamPredictor",
    "HQSamTextPredictor",
    "ModelSpec",
    "ZeroShotDetector",
    "load_embedding",
    "load_model",
    "save_embedding",
]
