"""Read images of any kind as RGB uint8.

How an image is read:
    alpha          dropped; the stored colours are kept
    orientation    an image file is rotated by its EXIF tag; a PIL image or array is used as it is
    16 bit         the full range 0..65535 is mapped to 0..255
    float          must lie in [0, 1]; mapped to 0..255
    value range    if one is given, numbers of any type are mapped from it to 0..255
    array layout   NumPy (height, width, channels), torch (channels, height, width), unless `input_data_format` says
                   otherwise; 1 channel is grey, 2 are grey and alpha, 3 RGB, 4 RGBA; no channel axis is grey
    animations     the first frame
"""

import os
import re
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.utils import logging

from .image_files import image_orientation, open_upright
from .value_ranges import ValueRange, check_value_range, scale_to_uint8

logger = logging.get_logger(__name__)

# Modes that Pillow converts to RGB only through another mode.
_INTERMEDIATE_MODES = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}
_SUPPORTED_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}

ImageLike = Image.Image | np.ndarray | Tensor | str | os.PathLike


@dataclass(frozen=True)
class ImageOptions:
    """How image files are read; the fields are those of `load_image`."""

    max_pixels: int | None = None
    value_range: ValueRange | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "value_range", check_value_range(self.value_range))
        if self.max_pixels is not None and not (type(self.max_pixels) is int and self.max_pixels > 0):
            raise ValueError(f"`max_pixels` must be a whole number from 1 on, got {self.max_pixels!r}. Omit it.")

    def load(self, path: str | os.PathLike) -> Image.Image:
        return load_image(path, self.max_pixels, self.value_range)

    def as_options(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as JSON values."""
        given = {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


DEFAULT_OPTIONS = ImageOptions()


def load_image(image: ImageLike, max_pixels: int | None = None, value_range: ValueRange | None = None) -> Image.Image:
    """Load an image file the way the processor does: first frame, rotated by its EXIF tag, RGB uint8.

    image: the path of a file; also an image or array of any kind that the processor takes, to apply a `value_range`.
        `transformers.image_utils.load_image` reads URLs, data URIs and base64 text.
    max_pixels: the most pixels of a file to read; by default Pillow's limit, 178,956,970. Raise it for files that you
        trust.
    value_range: (low, high), the values that become 0 and 255, such as (0, 4095) for data of 12 bits in a file of 16;
        or "percentile", the 1st and 99th percentile of the image's own values. With it, images of int32 and of any
        floats are read too.

    Raises ValueError if the path is a URL, is not a file, or cannot be read as an image.
    """
    if not isinstance(image, str | os.PathLike):
        rgb = read_rgb(image, value_range=value_range)
        return rgb if isinstance(rgb, Image.Image) else Image.fromarray(rgb)
    text, path = str(image), image
    if text.startswith(("http://", "https://")):
        raise ValueError(
            f"`images` must be local files, got the URL {shortened(text)}. Download the image first, or read it with "
            "`transformers.image_utils.load_image`."
        )
    if not os.path.isfile(path):  # False too for a text that is no possible path, such as a long one
        if text.startswith("data:") or re.fullmatch(r"[A-Za-z0-9+/\s]{100,}=*\s*", text):
            kind = "a data URI" if text.startswith("data:") else "what seems to be base64"
            raise ValueError(
                f"`images` must be local files, got {kind}, {shortened(text)}. Read it with "
                "`transformers.image_utils.load_image` and pass the image."
            )
        raise ValueError(f"`images` contains {shortened(text)}, which is not a file. Correct the path.")
    try:
        return _pil_to_rgb(open_upright(path, max_pixels, all_bits=value_range is not None), value_range)
    except ValueError as error:
        raise ValueError(f"`images`: cannot read {shortened(text)} as an image ({error}).") from error


def shortened(text: str, most: int = 200) -> str:
    """A text in quotes for an error message, without the middle of a long one."""
    return repr(text) if len(text) <= most else f"{text[: most // 2]!r}...{text[-20:]!r} ({len(text)} characters)"


def read_image(image: ImageLike, input_data_format: str | None = None) -> np.ndarray:
    """Read one image of any accepted kind as RGB, uint8 (height, width, 3), by the rules of this module.

    input_data_format: "channels_first" or "channels_last", for arrays and tensors.

    Raises TypeError for an unsupported kind or dtype, and ValueError for an image that cannot be read.
    """
    return np.asarray(read_rgb(image, input_data_format))


def read_rgb(
    image: ImageLike, input_data_format: str | None = None, value_range: ValueRange | None = None
) -> Image.Image | np.ndarray:
    """Like `read_image`, but files and PIL images stay PIL images: copying a photo takes as long as decoding it.

    value_range: as in `load_image`.
    """
    rgb: Image.Image | np.ndarray
    if isinstance(image, str | os.PathLike):
        rgb = load_image(image, value_range=value_range)
    elif isinstance(image, Image.Image):
        rgb = _read_pil(image, value_range)
    elif isinstance(image, Tensor):
        rgb = _array_to_rgb(_tensor_to_array(image), input_data_format or "channels_first", value_range)
    elif isinstance(image, np.ndarray):
        rgb = _array_to_rgb(image, input_data_format or "channels_last", value_range)
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


def _read_pil(image: Image.Image, value_range: ValueRange | None) -> Image.Image:
    try:
        is_rotated = image_orientation(image) != 1
        rgb = _pil_to_rgb(image, value_range)
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"`images`: cannot decode the PIL image ({error}).") from error
    if is_rotated:
        logger.warning(
            "A PIL image has an EXIF orientation, which is not applied: points, boxes and masks refer to the stored "
            "pixels. To apply it, use `load_image(path)` or `PIL.ImageOps.exif_transpose`."
        )
    return rgb


def _pil_to_rgb(image: Image.Image, value_range: ValueRange | None = None) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray(_array_to_rgb(np.asarray(image).astype(np.uint16), "channels_last", value_range))
    if value_range is not None and image.mode in ("I", "F"):
        return Image.fromarray(_array_to_rgb(np.asarray(image), "channels_last", value_range))
    if image.mode in _INTERMEDIATE_MODES:
        image = image.convert(_INTERMEDIATE_MODES[image.mode])
    if image.mode not in _SUPPORTED_MODES:
        raise ValueError(
            f"`images`: a PIL image of mode {image.mode!r} has no defined value range. "
            + (_RANGE_ADVICE if image.mode in ("I", "F") else "Convert it to 'L', 'RGB' or 'I;16'.")
        )
    image.load()
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if value_range is None:
        return rgb
    return Image.fromarray(_array_to_rgb(np.asarray(rgb), "channels_last", value_range))


def _tensor_to_array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _array_to_rgb(array: np.ndarray, layout: str, value_range: ValueRange | None = None) -> np.ndarray:
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
    colours = array[:, :, :1] if array.shape[2] < 3 else array[:, :, :3]
    colours = _array_to_uint8(colours) if value_range is None else scale_to_uint8(colours, value_range)
    return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3)))


def _array_to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        _warn_if_dark(array)
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind == "f":
        if array.size and not (array.min() >= 0 and array.max() <= 1):  # also catches NaN
            raise ValueError(
                f"`images` of floats must lie in [0, 1], got values from {array.min()} to {array.max()}. "
                f"Cast 0..255 values to uint8. {_RANGE_ADVICE}"
            )
        return np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    raise TypeError(
        f"`images` must be bool, uint8, uint16 or float in [0, 1], got {array.dtype}. Cast it first. {_RANGE_ADVICE}"
    )


def _warn_if_dark(array: np.ndarray) -> None:
    """Say once that an image of 16 bits is nearly black, as one that holds data of 12 bits is."""
    if array.size and 0 < array.max() < 2**12:
        logger.warning_once(
            "A 16-bit image has no value above 4095 of 65535, so it is nearly black; further ones are not reported. "
            f"If its data have fewer bits: {_RANGE_ADVICE}"
        )


_RANGE_ADVICE = (
    "To say which values are black and white, use `load_image(image, value_range=(low, high))`, `--value-range "
    "LOW,HIGH` on the command line, or `value_range: [low, high]` in a description of data."
)


__all__ = [
    "DEFAULT_OPTIONS",
    "ImageLike",
    "ImageOptions",
    "as_image_list",
    "load_image",
    "open_upright",
    "read_image",
    "read_rgb",
    "shortened",
]
