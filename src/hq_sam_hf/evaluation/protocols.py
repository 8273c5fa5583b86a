"""Evaluation protocols: how images reach the model input size, and how predicted masks return to the image size.

    stretch   The paper's protocol, and that of the original's train.py. Images are stretched to a square, whatever
              their aspect ratio, by bilinear interpolation without antialiasing. Prompts are made from the stretched
              masks. Logits are resized directly to the image size.
    aspect    The protocol of `HQSamPredictor`. The longer side is resized to the model input size and the rest is
              padded. Prompts are made from the masks at the image size. Logits are resized to the padded square, the
              padding is cut off, and the rest is resized to the image size.

Results of the two protocols are not comparable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..masks.rle import foreground
from ..model.image_processing_hq_sam import HQSamImageProcessor


@dataclass
class PreparedImage:
    """An image at the model input size, and the masks that its prompts are made from.

    pixel_values: (3, S, S). prompt_masks: bool (N, h, w).
    prompt_scale: (x, y) factors from pixels of `prompt_masks` to model input coordinates.
    size: (height, width) of the image. reshaped_size: (height, width) of the image inside the model input.
    """

    pixel_values: Tensor
    prompt_masks: np.ndarray
    prompt_scale: np.ndarray
    size: tuple[int, int]
    reshaped_size: tuple[int, int]


class EvaluationProtocol(Protocol):
    """How images become model inputs, and logits become masks, in an evaluation."""

    def prepare(self, image: np.ndarray, masks: np.ndarray) -> PreparedImage:
        """Prepare an image, uint8 (H, W, 3), and its masks, float32 (N, H, W) in [0, 1], for the model."""

    def image_masks(self, logits: Tensor, image: PreparedImage) -> Tensor:
        """Masks at the image size, bool (M, H, W), from logits (M, m, m)."""

    def prompt_mask(self, logits: Tensor, image: PreparedImage) -> np.ndarray:
        """The mask at the size of `prompt_masks`, bool (h, w), from logits (m, m)."""


class Stretch:
    def __init__(self, image_processor: HQSamImageProcessor) -> None:
        self.side = image_processor.image_size
        self.mean = torch.tensor(image_processor.image_mean)[:, None, None] * 255
        self.std = torch.tensor(image_processor.image_std)[:, None, None] * 255

    def prepare(self, image: np.ndarray, masks: np.ndarray) -> PreparedImage:
        pixels = torch.from_numpy(image).permute(2, 0, 1).float()
        pixels = _resize(pixels[None], (self.side, self.side))[0].floor()  # the original truncates to uint8
        stretched = [_resize(torch.from_numpy(mask)[None, None], (self.side, self.side))[0, 0] for mask in masks]
        prompt_masks = [foreground(mask.numpy()) for mask in stretched]
        height, width = image.shape[:2]
        return PreparedImage(
            pixel_values=(pixels.contiguous() - self.mean) / self.std,
            prompt_masks=np.stack(prompt_masks) if prompt_masks else np.zeros((0, self.side, self.side), bool),
            prompt_scale=np.ones(2),
            size=(height, width),
            reshaped_size=(self.side, self.side),
        )

    def image_masks(self, logits: Tensor, image: PreparedImage) -> Tensor:
        return _resize_and_threshold(logits, image.size)

    def prompt_mask(self, logits: Tensor, image: PreparedImage) -> np.ndarray:
        return _resize_and_threshold(logits[None], image.reshaped_size)[0].cpu().numpy()


class Aspect:
    def __init__(self, image_processor: HQSamImageProcessor) -> None:
        self.image_processor = image_processor

    def prepare(self, image: np.ndarray, masks: np.ndarray) -> PreparedImage:
        features = self.image_processor.preprocess([image])
        (height, width), (reshaped_height, reshaped_width) = (
            features[name][0].tolist() for name in ("original_sizes", "reshaped_input_sizes")
        )
        return PreparedImage(
            pixel_values=features["pixel_values"][0],
            prompt_masks=foreground(masks),
            prompt_scale=np.array([reshaped_width / width, reshaped_height / height]),
            size=(height, width),
            reshaped_size=(reshaped_height, reshaped_width),
        )

    def image_masks(self, logits: Tensor, image: PreparedImage) -> Tensor:
        return self.image_processor.post_process_masks([logits], [image.size], [image.reshaped_size])[0]

    def prompt_mask(self, logits: Tensor, image: PreparedImage) -> np.ndarray:
        return self.image_masks(logits[None], image)[0].cpu().numpy()


PROTOCOLS: dict[str, type[Stretch] | type[Aspect]] = {"stretch": Stretch, "aspect": Aspect}


def _resize_and_threshold(logits: Tensor, size: Sequence[int]) -> Tensor:
    # One mask at a time: all at once would hold float logits of every mask at the full size.
    return torch.stack([_resize(one.float()[None, None], size)[0, 0] > 0 for one in logits])


def _resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


__all__ = ["PROTOCOLS", "Aspect", "EvaluationProtocol", "PreparedImage", "Stretch"]
