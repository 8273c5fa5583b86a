"""Read images of any kind as RGB uint8, and masks of any kind as bool.

How an image is read:
    alpha          dropped; the stored colours are kept
    orientation    an image file is rotated by its EXIF tag; a PIL image or array is used as it is
    16 bit         the full range 0..65535 is mapped to 0..255
    float          must lie in [0, 1]; mapped to 0..255
    array layout   NumPy (height, width, channels), torch (channels, height, width), unless `input_data_format` says
                   otherwise; 1 channel is grey, 2 are grey and alpha, 3 RGB, 4 RGBA; no channel axis is grey
    animations     the first frame
"""

import os
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from transformers.utils import logging

logger = logging.get_logger(__name__)

EXIF_ORIENTATION = 0x0112

# Modes that Pillow converts to RGB only through another mode.
_INTERMEDIATE_MODES = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}
_SUPPORTED_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}

ImageLike = Image.Image | np.ndarray | Tensor | str | os.PathLike


def load_image(path: str | os.PathLike) -> Image.Image:
    """Load an image file the way the processor does: first frame, rotated by its EXIF tag, RGB uint8.

    Raises ValueError if the path is a URL, is not a file, or cannot be read as an image.
    """
    if str(path).startswith(("http://", "https://")):
        raise ValueError(f"`images` must be local files, got the URL {str(path)!r}. Download the image first.")
    if not Path(path).is_file():
        raise ValueError(f"`images` contains {str(path)!r}, which is not a file.")
    try:
        return _pil_to_rgb(open_upright(path))
    except ValueError as error:
        raise ValueError(f"`images`: cannot read {str(path)!r} as an image ({error}).") from error


def open_upright(file: str | os.PathLike | BinaryIO) -> Image.Image:
    """Decode the first frame of an image file, rotated by its EXIF tag, in the file's own mode.

    Raises ValueError if the file is not an image or is incomplete.
    """
    try:
        with warnings.catch_warnings(), Image.open(file) as image:
            # Pillow warns from its size limit on and refuses from twice the limit on. Images in between are fine.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except UnidentifiedImageError as error:
        raise ValueError("not an image file, or a format that Pillow does not support") from error
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error


def read_image(image: ImageLike, input_data_format: str | None = None) -> np.ndarray:
    """Read one image of any accepted kind as RGB, uint8 (height, width, 3), by the rules of this module.

    input_data_format: "channels_first" or "channels_last", for arrays and tensors.

    Raises TypeError for an unsupported kind or dtype, and ValueError for an image that cannot be read.
    """
    return np.asarray(read_rgb(image, input_data_format))


def read_rgb(image: ImageLike, input_data_format: str | None = None) -> Image.Image | np.ndarray:
    """Like `read_image`, but files and PIL images stay PIL images: copying a photo takes as long as decoding it."""
    rgb: Image.Image | np.ndarray
    if isinstance(image, str | os.PathLike):
        rgb = load_image(image)
    elif isinstance(image, Image.Image):
        rgb = _read_pil(image)
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
        raise ValueError(f"`images` must not be empty, got an image of {width} x {height} pixels.")
    return rgb


def as_image_list(images: Any) -> list:
    """One image or several, as a list. An array or tensor with 4 dimensions is a batch."""
    if isinstance(images, np.ndarray | Tensor) and images.ndim == 4:
        images = list(images)
    elif not isinstance(images, list | tuple):
        images = [images]
    if len(images) == 0:
        raise ValueError("`images` must contain at least one image, got an empty list.")
    return list(images)


def read_binary_mask(mask: Any, name: str) -> np.ndarray:
    """Read a mask as bool (height, width); an array or tensor keeps its shape.

    mask: a bool array or tensor; one of numbers that are 0 or 1, or 0..255 with the object above 127; or a PIL image
        or path, which is read as grey.
    name: the argument that error messages name.

    Raises ValueError for other values, such as an instance map of 0..7.
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
            "split an instance map first."
        )
    return mask > (0.5 if high <= 1 else 127)


def _read_pil(image: Image.Image) -> Image.Image:
    try:
        is_rotated = image.getexif().get(EXIF_ORIENTATION, 1) != 1
        rgb = _pil_to_rgb(image)
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"`images`: cannot decode the PIL image ({error}).") from error
    if is_rotated:
        logger.warning(
            "A PIL image has an EXIF orientation, which is not applied: points, boxes and masks refer to the stored "
            "pixels. To apply it, use `load_image(path)` or `PIL.ImageOps.exif_transpose`."
        )
    return rgb


def _pil_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray(_array_to_rgb(np.asarray(image).astype(np.uint16), "channels_last"))
    if image.mode in _INTERMEDIATE_MODES:
        image = image.convert(_INTERMEDIATE_MODES[image.mode])
    if image.mode not in _SUPPORTED_MODES:
        raise ValueError(
            f"`images`: a PIL image of mode {image.mode!r} has no defined value range. Convert it to 'L', 'RGB' or "
            "'I;16'."
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


__all__ = [
    "ImageLike",
    "as_image_list",
    "load_image",
    "open_upright",
    "read_binary_mask",
    "read_image",
    "read_rgb",
]
