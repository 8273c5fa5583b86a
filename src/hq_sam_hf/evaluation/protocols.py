"""How a picture comes into the model's square frame and a mask back, in an evaluation.

    stretch   the paper's, and that of the original's train.py: the picture is stretched to the square, whatever its
              aspect, bilinearly without antialiasing; prompts are made in the square; logits are resized from the
              model's grid to the picture at once.
    aspect    what a user of the predictor gets: the longer side is fitted and the rest padded; prompts are made in the
              picture; logits go to the picture by way of the square.

Figures of the two must not be compared with each other.
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
class Framed:
    """A picture in the model's frame, and its masks in the frame of the prompts.

    pixel_values (3, S, S). prompt_masks: bool (N, h, w). scale: (x, y) of a prompt times this is in the model's frame.
    size, reshaped_size: (height, width) of the picture, and of its copy in the model's frame.
    """

    pixel_values: Tensor
    prompt_masks: np.ndarray
    scale: np.ndarray
    size: tuple[int, int]
    reshaped_size: tuple[int, int]


class EvaluationProtocol(Protocol):
    def frame(self, image: np.ndarray, masks: np.ndarray) -> Framed:
        """Bring an image, uint8 (H, W, 3), and its masks, float32 (N, H, W) in [0, 1], into the frames."""

    def picture_masks(self, logits: Tensor, framed: Framed) -> Tensor:
        """Masks of the picture, bool (M, H, W), from logits (M, m, m)."""

    def prompt_mask(self, logits: Tensor, framed: Framed) -> np.ndarray:
        """The mask, bool (h, w), in the frame of the prompts, from logits (m, m)."""


class Stretch:
    def __init__(self, image_processor: HQSamImageProcessor) -> None:
        self.side = image_processor.image_size
        self.mean = torch.tensor(image_processor.image_mean)[:, None, None] * 255
        self.std = torch.tensor(image_processor.image_std)[:, None, None] * 255

    def frame(self, image: np.ndarray, masks: np.ndarray) -> Framed:
        pixels = torch.from_numpy(image).permute(2, 0, 1).float()
        pixels = _resize(pixels[None], (self.side, self.side))[0].floor()  # the original cuts off, as uint8
        stretched = [_resize(torch.from_numpy(mask)[None, None], (self.side, self.side))[0, 0] for mask in masks]
        prompt_masks = [foreground(mask.numpy()) for mask in stretched]
        height, width = image.shape[:2]
        return Framed(
            pixel_values=(pixels.contiguous() - self.mean) / self.std,
            prompt_masks=np.stack(prompt_masks) if prompt_masks else np.zeros((0, self.side, self.side), bool),
            scale=np.ones(2),
            size=(height, width),
            reshaped_size=(self.side, self.side),
        )

    def picture_masks(self, logits: Tensor, framed: Framed) -> Tensor:
        return _threshold(logits, framed.size)

    def prompt_mask(self, logits: Tensor, framed: Framed) -> np.ndarray:
        return _threshold(logits[None], framed.reshaped_size)[0].cpu().numpy()


class Aspect:
    def __init__(self, image_processor: HQSamImageProcessor) -> None:
        self.image_processor = image_processor

    def frame(self, image: np.ndarray, masks: np.ndarray) -> Framed:
        features = self.image_processor.preprocess([image])
        (height, width), (reshaped_height, reshaped_width) = (
            features[name][0].tolist() for name in ("original_sizes", "reshaped_input_sizes")
        )
        return Framed(
            pixel_values=features["pixel_values"][0],
            prompt_masks=foreground(masks),
            scale=np.array([reshaped_width / width, reshaped_height / height]),
            size=(height, width),
            reshaped_size=(reshaped_height, reshaped_width),
        )

    def picture_masks(self, logits: Tensor, framed: Framed) -> Tensor:
        return self.image_processor.post_process_masks([logits], [framed.size], [framed.reshaped_size])[0]

    def prompt_mask(self, logits: Tensor, framed: Framed) -> np.ndarray:
        return self.picture_masks(logits[None], framed)[0].cpu().numpy()


PROTOCOLS: dict[str, type[Stretch] | type[Aspect]] = {"stretch": Stretch, "aspect": Aspect}


def _threshold(logits: Tensor, size: Sequence[int]) -> Tensor:
    return torch.stack([_resize(one.float()[None, None], size)[0, 0] > 0 for one in logits])


def _resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


__all__ = ["PROTOCOLS", "Aspect", "EvaluationProtocol", "Framed", "Stretch"]
