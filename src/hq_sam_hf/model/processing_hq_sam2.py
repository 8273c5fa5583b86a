"""Processor of HQ-SAM 2: images and prompts to model inputs, and model outputs to masks of the images."""

from typing import Any

from torch import Tensor

from .configuration_hq_sam2 import HQSam2Config
from .image_processing_hq_sam2 import HQSam2ImageProcessor
from .processing_hq_sam import HQSamProcessor


class HQSam2Processor(HQSamProcessor):
    """`HQSam2ImageProcessor` plus points, boxes, mask prompts and ground-truth masks, any number per image.

    Prompts are given as to `HQSamProcessor`. x and y are scaled to the model input each by its own factor, because the
    image is stretched.
    """

    image_processor_type = HQSam2ImageProcessor
    model_type = HQSam2Config.model_type

    def __init__(self, image_processor: HQSam2ImageProcessor | None = None) -> None:
        super().__init__(image_processor)

    def post_process_masks(
        self,
        masks: Any,
        original_sizes: Any,
        reshaped_input_sizes: Any = None,
        mask_threshold: float = 0.0,
        binarize: bool = True,
    ) -> list[Tensor]:
        """Resize the model's low-resolution masks to the original sizes.

        `post_process_masks(outputs, inputs)` takes the output of the model and the inputs that this processor made;
        padded prompts are removed. `post_process_masks(pred_masks, original_sizes)`, as in transformers, takes only
        tensors and keeps all prompts. reshaped_input_sizes are not needed.

        Returns one bool tensor (P, M, height, width) per image, or float32 logits with binarize=False.
        """
        if not hasattr(masks, "pred_masks") and reshaped_input_sizes is None:
            reshaped_input_sizes = [[self.image_processor.image_size] * 2] * len(original_sizes)
        return super().post_process_masks(masks, original_sizes, reshaped_input_sizes, mask_threshold, binarize)


__all__ = ["HQSam2Processor"]
