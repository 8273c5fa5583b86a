"""The classes of HQ-SAM ("sam") and HQ-SAM 2 ("sam2"), each imported when its family is used."""

from typing import Any


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


__all__ = ["config_class_of", "model_class_of", "processor_class_of"]
