"""Image processor: images to pixel values as in the original predictor, and mask logits to masks of the images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from .image_reading import ImageLike, as_image_list, read_rgb
from .mask_resizing import MaskResizer, Size, resize_logits

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)

# SAM 2 passes a binary mask as the logits -10 and 10 (sam2_base.py, `_use_mask_as_output`).
BINARY_MASK_LOGIT = 10.0


class HQSamImageProcessor(BaseImageProcessor):
    """Resize images to the model input size, normalise and pad them; resize mask logits to masks of the images.

    An image is resized so that its longest side has S pixels, normalised, and padded with zeros on the right and at
    the bottom to the model input of S x S pixels.

    size: {"longest_edge": S}, the model input size in pixels.
    mask_size: {"longest_edge": m}, the side of the model's low-resolution masks.
    image_mean, image_std: per RGB channel, for values in [0, 1].
    """

    model_input_names = ["pixel_values", "original_sizes", "reshaped_input_sizes"]

    # The keys of `size` and `mask_size`, as in transformers' image processor of the same model.
    size_keys: tuple[str, ...] = ("longest_edge",)

    def __init__(
        self,
        size: dict[str, int] | None = None,
        mask_size: dict[str, int] | None = None,
        image_mean: Sequence[float] = IMAGE_MEAN,
        image_std: Sequence[float] = IMAGE_STD,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = self._check_size("size", size, 1024)
        self.mask_size = self._check_size("mask_size", mask_size, 256)
        self.image_mean = _check_channels("image_mean", image_mean)
        self.image_std = _check_channels("image_std", image_std)
        if min(self.image_std) <= 0:
            raise ValueError(f"`image_std` must be positive, got {self.image_std}.")

    @property
    def image_size(self) -> int:
        """The model input size S in pixels."""
        return self.size[self.size_keys[0]]

    @property
    def mask_side(self) -> int:
        """The side m of the model's low-resolution masks."""
        return self.mask_size[self.size_keys[0]]

    @classmethod
    def from_sizes(cls, image_size: int, mask_side: int) -> Any:
        """Make the image processor for a model input size and a side of low-resolution masks."""
        return cls(size=dict.fromkeys(cls.size_keys, image_size), mask_size=dict.fromkeys(cls.size_keys, mask_side))

    def _check_size(self, name: str, size: dict[str, int] | None, default: int) -> dict[str, int]:
        size = dict.fromkeys(self.size_keys, default) if size is None else dict(size)
        sides = set(size.values())
        side = next(iter(sides), None)
        if {*size} != {*self.size_keys} or len(sides) != 1 or type(side) is not int or side <= 0:
            form = ", ".join(f'"{key}": pixels' for key in self.size_keys)
            of = "a positive integer" if len(self.size_keys) == 1 else "equal positive integers"
            raise ValueError(f"`{name}` must be {{{form}}} with {of}, got {size!r}.")
        return dict.fromkeys(self.size_keys, side)

    def set_image_size(self, image_size: int) -> None:
        """Change the model input size in place. The mask size changes by the same factor."""
        size, mask_size = self.image_size, self.mask_side
        if type(image_size) is not int or image_size <= 0 or image_size * mask_size % (4 * size):
            patch = 4 * size // mask_size
            raise ValueError(f"`image_size` must be a positive multiple of {patch}, got {image_size!r}.")
        self.size = dict.fromkeys(self.size_keys, image_size)
        self.mask_size = dict.fromkeys(self.size_keys, image_size * mask_size // size)

    def reshaped_size(self, original_size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) to which an image of (height, width) original_size is resized, before padding.

        The longest side becomes S. The other is rounded half up and has at least one pixel.
        """
        height, width = original_size
        scale = self.image_size / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def preprocess(
        self,
        images: ImageLike | Sequence[ImageLike],
        input_data_format: str | None = None,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare B images; `image_reading` states how they are read.

        Returns pixel_values (B, 3, S, S) float32, and original_sizes (B, 2) and reshaped_input_sizes (B, 2) int64, as
        (height, width): of the image, and of its resized copy in the upper left corner of the model input.
        """
        if kwargs:
            raise TypeError(f"{type(self).__name__} does not accept {', '.join(f'`{name}`' for name in kwargs)}.")
        images = as_image_list(images)
        pixel_values = torch.zeros(len(images), 3, self.image_size, self.image_size)
        original_sizes, reshaped_sizes = [], []
        for model_input, image in zip(pixel_values, images):
            rgb = read_rgb(image, input_data_format)
            pil_image = rgb if isinstance(rgb, Image.Image) else Image.fromarray(rgb)
            original_size = (pil_image.height, pil_image.width)
            height, width = self.reshaped_size(original_size)
            self._write_pixels(pil_image, model_input[:, :height, :width])
            original_sizes.append(original_size)
            reshaped_sizes.append((height, width))
        data = {
            "pixel_values": pixel_values,
            "original_sizes": torch.tensor(original_sizes),
            "reshaped_input_sizes": torch.tensor(reshaped_sizes),
        }
        return BatchFeature(data, tensor_type=None if return_tensors == "pt" else return_tensors)

    def _write_pixels(self, image: Image.Image, pixels: Tensor) -> None:
        """Write the resized and normalised image into pixels (3, height, width)."""
        mean = torch.tensor([255 * value for value in self.image_mean])[:, None, None]
        std = torch.tensor([255 * value for value in self.image_std])[:, None, None]
        resized = np.array(image.resize((pixels.shape[2], pixels.shape[1]), Image.Resampling.BILINEAR))
        torch.sub(torch.from_numpy(resized).permute(2, 0, 1), mean, out=pixels)
        pixels /= std

    def mask_to_model_input(self, mask: np.ndarray) -> Tensor:
        """Resize and pad a bool mask (height, width) of an image like the image: int64 (S, S) of 0 and 1."""
        height, width = self.reshaped_size(mask.shape)
        resized = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
        model_input = torch.zeros(self.image_size, self.image_size, dtype=torch.int64)
        model_input[:height, :width] = torch.from_numpy(np.array(resized))
        return model_input

    def mask_to_logits(self, mask: np.ndarray) -> Tensor:
        """Turn a bool mask (height, width) of an image into a mask prompt: float32 logits (m, m) from -10 to 10.

        Each cell is averaged over its area, so cells on the outline lie in between. The padding is background.
        """
        height, width = self.reshaped_size(mask.shape)
        coverage = Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
        model_input = torch.zeros(1, 1, self.image_size, self.image_size)
        model_input[..., :height, :width] = torch.from_numpy(np.array(coverage))
        side = self.mask_side
        return (2 * F.interpolate(model_input, (side, side), mode="area")[0, 0] - 1) * BINARY_MASK_LOGIT

    def mask_resizer(self, mask_side: int, reshaped_size: Size, original_size: Size) -> MaskResizer:
        """Makes masks of an image of (height, width) original_size from logits (mask_side, mask_side), on a CPU."""
        return MaskResizer(mask_side, *self._resizing(mask_side, reshaped_size), original_size)

    def _resizing(self, mask_side: int, reshaped_size: Size) -> tuple[int, Size]:
        """The size to which logits are enlarged first, and the (height, width) of the part that shows the image."""
        return self.image_size, reshaped_size

    def post_process_masks(
        self,
        masks: Tensor | Sequence[Tensor],
        original_sizes: Tensor | Sequence[Sequence[int]],
        reshaped_input_sizes: Tensor | Sequence[Sequence[int]],
        mask_threshold: float = 0.0,
        binarize: bool = True,
    ) -> list[Tensor]:
        """Resize low-resolution logits to masks of the images, as the original's `Sam.postprocess_masks` does.

        masks: per image (..., m, m), such as `pred_masks` (B, P, M, m, m).
        original_sizes, reshaped_input_sizes: (height, width) per image, as returned by `preprocess`.

        Returns one tensor (..., height, width) per image: bool, or float32 logits with binarize=False. For bool masks
        on a CPU no full-size float tensor is made; on other devices there is one at a time.
        """
        sizes = list(
            zip(_size_list("original_sizes", original_sizes), _size_list("reshaped_input_sizes", reshaped_input_sizes))
        )
        if not len(masks) == len(original_sizes) == len(reshaped_input_sizes):
            raise ValueError(
                f"`masks`, `original_sizes` and `reshaped_input_sizes` must have one entry per image, got "
                f"{len(masks)}, {len(original_sizes)} and {len(reshaped_input_sizes)} entries."
            )
        results = []
        for logits, (original_size, reshaped_size) in zip(masks, sizes):
            if not isinstance(logits, Tensor) or logits.ndim < 2 or not logits.is_floating_point():
                raise ValueError("`masks` must be float tensors of logits (..., height, width), one per image.")
            flat = logits.detach().reshape(-1, *logits.shape[-2:]).float()
            if binarize and flat.device.type == "cpu" and flat.shape[-1] == flat.shape[-2]:
                resizer = self.mask_resizer(flat.shape[-1], reshaped_size, original_size)
                result = torch.from_numpy(resizer.masks(flat.numpy(), mask_threshold))
            else:
                dtype = torch.bool if binarize else torch.float32
                result = torch.empty(len(flat), *original_size, dtype=dtype, device=logits.device)
                resizing = self._resizing(flat.shape[-1], reshaped_size)
                for low_resolution, out in zip(flat, result):
                    full = resize_logits(low_resolution, *resizing, original_size)
                    # Resize the logits, then threshold: binarising first would put stair-steps on the boundaries.
                    out.copy_(full > mask_threshold if binarize else full)
            results.append(result.reshape(*logits.shape[:-2], *original_size))
        return results


def _check_channels(name: str, values: Sequence[float]) -> list[float]:
    if isinstance(values, str) or len(values) != 3 or not all(isinstance(value, int | float) for value in values):
        raise ValueError(f"`{name}` must be three numbers, one per RGB channel, got {values!r}.")
    return list(values)


def _size_list(name: str, sizes: Any) -> list[tuple[int, int]]:
    sizes = sizes.tolist() if isinstance(sizes, Tensor | np.ndarray) else sizes
    pairs = []
    for size in sizes:
        size = tuple(int(side) for side in size)
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"`{name}` must be pairs (height, width) of positive integers, got {size}.")
        pairs.append(size)
    return pairs


__all__ = ["HQSamImageProcessor"]
