"""Image processor of HQ-SAM 2: images stretched to the model input, and mask logits to masks of the images."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .image_processing_hq_sam import HQSamImageProcessor
from .mask_resizing import Size


class HQSam2ImageProcessor(HQSamImageProcessor):
    """Stretch images to the model input size and normalise them; resize mask logits to masks of the images.

    The model input has S x S pixels whatever the aspect ratio of the image, without padding. As in the image predictor
    of SAM 2, values in [0, 1] are interpolated bilinearly with antialiasing, and mask logits are resized to the size
    of the image in one step.

    size: {"height": S, "width": S}, the model input size in pixels.
    mask_size: {"height": m, "width": m}, the side of the model's low-resolution masks.
    image_mean, image_std: per RGB channel, for values in [0, 1].
    """

    size_keys = ("height", "width")

    def reshaped_size(self, original_size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) to which an image is resized: (S, S) for every original_size."""
        return self.image_size, self.image_size

    def _write_pixels(self, image: Image.Image, pixels: Tensor) -> None:
        values = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float() / 255
        if values.shape != pixels.shape:
            side = self.image_size
            values = F.interpolate(values[None], (side, side), mode="bilinear", align_corners=False, antialias=True)[0]
        mean, std = torch.tensor(self.image_mean)[:, None, None], torch.tensor(self.image_std)[:, None, None]
        torch.div(values - mean, std, out=pixels)

    def _resizing(self, mask_side: int, reshaped_size: Size) -> tuple[int, Size]:
        # Enlarging to the same size changes nothing, so there is one interpolation.
        return mask_side, (mask_side, mask_side)


__all__ = ["HQSam2ImageProcessor"]
