"""The classes of HQ-SAM ("sam") and HQ-SAM 2 ("sam2"), each imported when its family is used."""

from typing import Any

# What config.json calls the models of the family "sam2": this package's and transformers'.
SAM2_MODEL_TYPES = ("hq_sam2", "sam2", "sam2_video")


def family_of_model_type(model_type: object) -> str:
    """The family of a model by the `model_type` in its config.json."""
    return "sam2" if model_type in SAM2_MODEL_TYPES else "sam"


def config_class_of(family: str) -> Any:
    """`HQSamConfig` or `HQSam2Config`."""
    if family == "sam2":
        from .configuration_hq_sam2 import HQSam2Config

        return HQSam2Config
    from .configuration_hq_sam import HQSamConfig

    return HQSamConfig


def model_class_of(family: str) -> Any:
    """`HQSamModel` or `HQSam2Model`."""
    if family == "sam2":
        from .modeling_hq_sam2 import HQSam2Model

        return HQSam2Model
    from .modeling_hq_sam import HQSamModel

    return HQSamModel


def processor_class_of(family: str) -> Any:
    """`HQSamProcessor` or `HQSam2Processor`."""
    if family == "sam2":
        from .processing_hq_sam2 import HQSam2Processor

        return HQSam2Processor
    from .processing_hq_sam import HQSamProcessor

    return HQSamProcessor


__all__ = ["SAM2_MODEL_TYPES", "config_class_of", "family_of_model_type", "model_class_of", "processor_class_of"]
