"""Pictures to pixel values as the original predictor makes them, and mask logits back to masks of the pictures.

How a picture is read, never by guessing:
    alpha          dropped, colours kept as stored
    orientation    a file given by path is turned upright by its EXIF tag; a PIL image or array is taken as it lies
    16 bit         full range 0..65535 mapped to 0..255
    float          must lie in [0, 1], mapped to 0..255
    array layout   NumPy (height, width, channels), torch (channels, height, width), unless `input_data_format` says
                   otherwise; 1 channel is grey, 2 grey and alpha, 3 RGB, 4 RGBA; no channel axis is grey
    several frames the first one
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import logging

from .mask_resizing import MaskResizer, resize_logits

logger = logging.get_logger(__name__)

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
EXIF_ORIENTATION = 0x0112

# SAM 2 feeds a binary mask as the logits -10 and 10 (sam2_base.py, `_use_mask_as_output`).
BINARY_MASK_LOGIT = 10.0

# Modes that Pillow cannot bring to RGB in one step, with a mode in between.
_VIA_MODE = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}
_DIRECT_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}

ImageLike = Image.Image | np.ndarray | Tensor | str | os.PathLike


def load_image(path: str | os.PathLike) -> Image.Image:
    """Open an image file as the processor sees it: first frame, upright by its EXIF tag, RGB uint8."""
    if str(path).startswith(("http://", "https://")):
        raise ValueError(f"`images` must be local files, got the address {str(path)!r}. Download the picture first.")
    if not Path(path).is_file():
        raise ValueError(f"`images` names {str(path)!r}, which is not a file.")
    try:
        return _pil_to_rgb(open_upright(path))
    except ValueError as error:
        raise ValueError(f"`images`: cannot read {str(path)!r} as a picture ({error}).") from error


def open_upright(file: str | os.PathLike | BinaryIO) -> Image.Image:
    """Decode the first frame of an image file, upright by its EXIF tag and in its own mode.

    Raises ValueError for a file that is not a whole picture.
    """
    try:
        with warnings.catch_warnings(), Image.open(file) as image:
            # Pillow only warns between its limit and twice the limit; such pictures are large but honest.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except UnidentifiedImageError as error:
        raise ValueError("not an image file, or of a kind that Pillow does not know") from error
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error


def read_image(image: ImageLike, input_data_format: str | None = None) -> np.ndarray:
    """Read one picture of any accepted kind to RGB, uint8 (height, width, 3), by the rules of this module.

    Raises TypeError for an unknown kind or dtype and ValueError for a picture that cannot be read.
    """
    return np.asarray(_read(image, input_data_format))


def _read(image: ImageLike, input_data_format: str | None) -> Image.Image | np.ndarray:
    """As `read_image`, but what is a PIL image stays one: a copy of a photo takes as long as its decoding."""
    rgb: Image.Image | np.ndarray
    if isinstance(image, str | os.PathLike):
        rgb = load_image(image)
    elif isinstance(image, Image.Image):
        try:
            turned = image.getexif().get(EXIF_ORIENTATION, 1) != 1
            rgb = _pil_to_rgb(image)
        except (OSError, SyntaxError, EOFError) as error:
            raise ValueError(f"`images`: cannot decode the PIL image ({error}).") from error
        if turned:
            logger.warning(
                "A PIL image has an EXIF orientation that is not applied; points, boxes and masks are in its stored "
                "frame. Use `load_image(path)` or `PIL.ImageOps.exif_transpose` for the upright frame."
            )
    elif isinstance(image, Tensor):
        rgb = _array_to_rgb(_tensor_to_array(image), input_data_format or "channels_first")
    elif isinstance(image, np.ndarray):
        rgb = _array_to_rgb(image, input_data_format or "channels_last")
    else:
        raise TypeError(
            f"`images` must be PIL images, NumPy arrays, torch tensors or paths, got a {type(image).__name__}."
        )
    width, height = rgb.size if isinstance(rgb, Image.Image) else rgb.shape[1::-1]
    if width == 0 or height == 0:
        raise ValueError(f"`images` must not be empty, got a picture of {width} x {height} pixels.")
    return rgb


def _pil_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray(_array_to_rgb(np.asarray(image).astype(np.uint16), "channels_last"))
    if image.mode in _VIA_MODE:
        image = image.convert(_VIA_MODE[image.mode])
    if image.mode not in _DIRECT_MODES:
        raise ValueError(
            f"`images`: a PIL image of mode {image.mode!r} has no agreed range. Convert it to 'L', 'RGB' or 'I;16'."
        )
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _tensor_to_array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _array_to_rgb(array: np.ndarray, layout: str) -> np.ndarray:
    if layout not in ("channels_first", "channels_last"):
        raise ValueError(f"`input_data_format` must be 'channels_first' or 'channels_last', got {layout!r}.")
    if array.ndim == 2:
        array = array[:, :, None]
    elif array.ndim != 3:
        raise ValueError(f"`images` must have 2 or 3 dimensions each, got an array of shape {array.shape}.")
    elif layout == "channels_first":
        array = array.transpose(1, 2, 0)
    if array.shape[2] not in (1, 2, 3, 4):
        raise ValueError(
            f"`images` must have 1 to 4 channels, got {array.shape[2]} in an array read as {layout}. "
            "Set `input_data_format` to 'channels_first' or 'channels_last'."
        )
    array = _array_to_uint8(array)
    colours = array[:, :, :1] if array.shape[2] < 3 else array[:, :, :3]
    return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3)))


def _array_to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind == "f":
        if array.size and not (array.min() >= 0 and array.max() <= 1):  # also catches NaN
            raise ValueError(
                f"`images` of floats must lie in [0, 1], got values from {array.min()} to {array.max()}. "
                "Cast 0..255 values to uint8."
            )
        return np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    raise TypeError(f"`images` must be bool, uint8, uint16 or float in [0, 1], got {array.dtype}. Cast it first.")


def binary_mask(mask: Any, name: str) -> np.ndarray:
    """Read a mask as bool: bool as it is, numbers as 0/1, or as 0..255 with the object above 127.

    A PIL image or path is read as grey. Raises ValueError for any other values, such as an instance map of 0..7.
    """
    if isinstance(mask, str | os.PathLike):
        mask = load_image(mask)
    if isinstance(mask, Image.Image):
        mask = np.asarray(mask.convert("L"))
    elif isinstance(mask, Tensor):
        mask = _tensor_to_array(mask)
    mask = np.asarray(mask)
    if mask.dtype == np.bool_:
        return mask
    if mask.dtype.kind not in "uif" or mask.size == 0:
        raise ValueError(f"`{name}` must be arrays of bool or numbers, got {mask.dtype} of shape {mask.shape}.")
    low, high = mask.min(), mask.max()
    if not (low >= 0 and (high <= 1 or 127 < high <= 255)):
        raise ValueError(
            f"`{name}` must hold 0/1 or 0..255, got values from {low} to {high}. Give one mask per object; "
            "an instance map must be split first."
        )
    return mask > (0.5 if high <= 1 else 127)


class HQSamImageProcessor(BaseImageProcessor):
    """Resize the longest side to `size`, normalise, pad to a square; and the way back for masks.

    size: {"longest_edge": S}, the side of the model's square frame in pixels.
    mask_size: {"longest_edge": m}, the side of the model's low-resolution mask grid.
    image_mean, image_std: per RGB channel, for values in [0, 1].
    """

    model_input_names = ["pixel_values", "original_sizes", "reshaped_input_sizes"]

    def __init__(
        self,
        size: dict[str, int] | None = None,
        mask_size: dict[str, int] | None = None,
        image_mean: Sequence[float] = IMAGE_MEAN,
        image_std: Sequence[float] = IMAGE_STD,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = _check_size("size", size, 1024)
        self.mask_size = _check_size("mask_size", mask_size, 256)
        self.image_mean = _check_channels("image_mean", image_mean)
        self.image_std = _check_channels("image_std", image_std)
        if min(self.image_std) <= 0:
            raise ValueError(f"`image_std` must be positive, got {self.image_std}.")

    @property
    def image_size(self) -> int:
        return self.size["longest_edge"]

    def resize_frame(self, image_size: int) -> None:
        """Change the side of the model's square frame, in place; the mask grid keeps its pixels per cell."""
        size, mask_size = self.image_size, self.mask_size["longest_edge"]
        if type(image_size) is not int or image_size <= 0 or image_size * mask_size % (4 * size):
            patch = 4 * size // mask_size
            raise ValueError(f"`image_size` must be a positive multiple of {patch}, got {image_size!r}.")
        self.size = {"longest_edge": image_size}
        self.mask_size = {"longest_edge": image_size * mask_size // size}

    def reshaped_size(self, original_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of a picture inside the model's frame: longest side to S, the other rounded half up.

        A side that would round to nothing keeps one pixel.
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
        """Read B pictures.

        Returns pixel_values (B, 3, S, S) float32, original_sizes (B, 2) and reshaped_input_sizes (B, 2) int64, as
        (height, width): of the picture, and of its resized copy in the upper left of the frame.
        """
        if kwargs:
            raise TypeError(f"HQSamImageProcessor does not know {', '.join(f'`{name}`' for name in kwargs)}.")
        mean = torch.tensor([255 * value for value in self.image_mean])[:, None, None]
        std = torch.tensor([255 * value for value in self.image_std])[:, None, None]
        pictures = as_image_list(images)
        pixel_values = torch.zeros(len(pictures), 3, self.image_size, self.image_size)
        original_sizes, reshaped_sizes = [], []
        for frame, picture in zip(pixel_values, pictures):
            rgb = _read(picture, input_data_format)
            image = rgb if isinstance(rgb, Image.Image) else Image.fromarray(rgb)
            original_size = (image.height, image.width)
            height, width = self.reshaped_size(original_size)
            resized = np.array(image.resize((width, height), Image.Resampling.BILINEAR))
            values = torch.from_numpy(resized).permute(2, 0, 1)
            torch.sub(values, mean, out=frame[:, :height, :width])
            frame[:, :height, :width] /= std
            original_sizes.append(original_size)
            reshaped_sizes.append((height, width))
        data = {
            "pixel_values": pixel_values,
            "original_sizes": torch.tensor(original_sizes),
            "reshaped_input_sizes": torch.tensor(reshaped_sizes),
        }
        return BatchFeature(data, tensor_type=None if return_tensors == "pt" else return_tensors)

    def frame_mask(self, mask: np.ndarray) -> Tensor:
        """Put a bool mask (height, width) of a picture into the model's frame: (S, S) int64 of {0, 1}."""
        height, width = self.reshaped_size(mask.shape)
        resized = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
        frame = torch.zeros(self.image_size, self.image_size, dtype=torch.int64)
        frame[:height, :width] = torch.from_numpy(np.array(resized))
        return frame

    def mask_to_logits(self, mask: np.ndarray) -> Tensor:
        """Turn a bool mask (height, width) of a picture into a mask prompt: logits (m, m) from -10 to 10, float32.

        Cells on the outline get values in between, by area; the padding of the frame is background.
        """
        height, width = self.reshaped_size(mask.shape)
        coverage = Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
        frame = torch.zeros(1, 1, self.image_size, self.image_size)
        frame[..., :height, :width] = torch.from_numpy(np.array(coverage))
        side = self.mask_size["longest_edge"]
        return (2 * F.interpolate(frame, (side, side), mode="area")[0, 0] - 1) * BINARY_MASK_LOGIT

    def post_process_masks(
        self,
        masks: Tensor | Sequence[Tensor],
        original_sizes: Tensor | Sequence[Sequence[int]],
        reshaped_input_sizes: Tensor | Sequence[Sequence[int]],
        mask_threshold: float = 0.0,
        binarize: bool = True,
    ) -> list[Tensor]:
        """Bring low-resolution logits to the pictures' sizes, as the original's `Sam.postprocess_masks`.

        masks: per picture (..., m, m), such as `pred_masks` (B, P, M, m, m). Gives one tensor (..., height, width)
        per picture, bool, or float32 logits with binarize=False. No full-size floats are made for bools on a CPU, and
        elsewhere those of one mask at a time.
        """
        sizes = list(
            zip(_size_list("original_sizes", original_sizes), _size_list("reshaped_input_sizes", reshaped_input_sizes))
        )
        if not len(masks) == len(original_sizes) == len(reshaped_input_sizes):
            raise ValueError(
                f"`masks`, `original_sizes` and `reshaped_input_sizes` must be as long as there are pictures, got "
                f"{len(masks)}, {len(original_sizes)} and {len(reshaped_input_sizes)}."
            )
        results = []
        for logits, (original_size, reshaped_size) in zip(masks, sizes):
            if not isinstance(logits, Tensor) or logits.ndim < 2 or not logits.is_floating_point():
                raise ValueError("`masks` must be float tensors of logits (..., height, width), one per picture.")
            flat = logits.detach().reshape(-1, *logits.shape[-2:]).float()
            if binarize and flat.device.type == "cpu" and flat.shape[-1] == flat.shape[-2]:
                resizer = MaskResizer(flat.shape[-1], self.image_size, reshaped_size, original_size)
                result = torch.from_numpy(resizer.masks(flat.numpy(), mask_threshold))
            else:
                dtype = torch.bool if binarize else torch.float32
                result = torch.empty(len(flat), *original_size, dtype=dtype, device=logits.device)
                for low_resolution, out in zip(flat, result):
                    full = resize_logits(low_resolution, self.image_size, reshaped_size, original_size)
                    # Resize the logits, then threshold: binarising first would put stair-steps on the boundaries.
                    out.copy_(full > mask_threshold if binarize else full)
            results.append(result.reshape(*logits.shape[:-2], *original_size))
        return results


def as_image_list(images: Any) -> list:
    """One picture or several, as a list. An array or tensor with 4 dimensions is a batch."""
    if isinstance(images, np.ndarray | Tensor) and images.ndim == 4:
        images = list(images)
    elif not isinstance(images, list | tuple):
        images = [images]
    if len(images) == 0:
        raise ValueError("`images` must hold at least one picture, got an empty list.")
    return list(images)


def _check_size(name: str, size: dict[str, int] | None, default: int) -> dict[str, int]:
    size = {"longest_edge": default} if size is None else dict(size)
    edge = size.get("longest_edge")
    if list(size) != ["longest_edge"] or type(edge) is not int or edge <= 0:
        raise ValueError(f'`{name}` must be {{"longest_edge": pixels}}, got {size!r}.')
    return size


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


__all__ = ["HQSamImageProcessor", "load_image", "open_upright", "read_image"]
