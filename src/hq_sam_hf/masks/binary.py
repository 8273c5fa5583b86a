"""What counts as a mask. Everything that takes a mask reads it by this one rule:

    bool                      True is the object
    integers 0 and 1          1 is the object
    integers 0 and 255        255 is the object
    floats from 0 to 1        above 0.5 is the object
    anything else             an error: logits, label maps, soft masks of 0..255, images with channels

A mask is a NumPy array, a torch tensor on any device, a list of rows or a PIL image. PIL images are read as mask files
are, see `model.mask_reading`: with soft edges, and with colours or alpha that can mean only one thing.
"""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..model.mask_reading import read_binary_mask

# What Pillow reads at most. A mask belongs to an image, and a file may claim any size.
MAX_PIXELS = 178_956_970


def as_binary_mask(mask: Any, name: str = "mask", size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a mask by the rule of this module: bool (height, width). A bool array is returned as it is.

    name: the argument that error messages name.
    size: (height, width) that the mask must have.

    Raises ValueError for anything that is not one mask.
    """
    binary = as_binary_array(mask, name)
    if binary.ndim != 2:
        raise ValueError(
            f"`{name}` must be one mask of shape (height, width), got shape {binary.shape}. Of several masks pass one "
            f"at a time, such as `{name}[0]`; of an image with channels pass one channel, such as `{name}[..., 0]`."
        )
    if size is not None and binary.shape != tuple(size):
        raise ValueError(
            f"`{name}` must have the (height, width) of its image, {tuple(size)}, got {binary.shape}. Pass the image "
            "that the mask was made for, or resize the mask without interpolation."
        )
    return binary


def as_binary_array(values: Any, name: str = "mask") -> np.ndarray:
    """Like `as_binary_mask`, for an array of any shape, such as (masks, height, width)."""
    if isinstance(values, Image.Image):
        return read_binary_mask(values, name)
    array = as_array(values, name)
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind not in "uif":
        raise ValueError(
            f"`{name}` must hold bool, integers or floats, got {array.dtype}. Convert it first, for example by "
            f"`{name}.astype(bool)`."
        )
    if array.size == 0:
        return np.zeros(array.shape, dtype=bool)
    low, high = array.min(), array.max()
    if array.dtype.kind == "f":
        if not (low >= 0 and high <= 1):  # also if NaN is among them
            raise ValueError(_float_error(name, low, high))
        return array > 0.5
    if low < 0 or not ((array == 0) | (array == high)).all() or high not in (0, 1, 255):
        raise ValueError(_integer_error(name, array))
    return array != 0


def _integer_error(name: str, array: np.ndarray) -> str:
    low, high = array.min(), array.max()
    got = f"`{name}` of integers must hold only 0 and 1 or only 0 and 255, got values from {low} to {high}."
    if low < 0:
        return f"{got} If all that is not 0 is the object, pass `{name} != 0`; of logits pass `{name} > 0`."
    return (
        f"{got} Of a label map choose one object, such as `{name} == {array[array > 0].min()}`; of a soft mask of "
        f"0..255 pass `{name} > 127`."
    )


def _float_error(name: str, low: Any, high: Any) -> str:
    if np.isnan(low):
        return f"`{name}` must hold floats from 0 to 1, got NaN. Set it to 0 first: `{name}[{name} != {name}] = 0`."
    return (
        f"`{name}` must hold floats from 0 to 1, got values from {low} to {high}. Logits become a mask by "
        f"`{name} > 0`, values of 0..255 by `{name} > 127`."
    )


def as_array(values: Any, name: str) -> np.ndarray:
    """A NumPy array of an array, a tensor, a PIL image or a list. Raises ValueError for anything else."""
    if isinstance(values, np.ndarray):
        return values.filled(0) if isinstance(values, np.ma.MaskedArray) else values
    if values is None or isinstance(values, str | bytes | dict) or hasattr(values, "__fspath__"):
        raise ValueError(
            f"`{name}` must be an array, a tensor, a PIL image or a list of rows, got a {type(values).__name__}. "
            "Read a mask file first, for example with `PIL.Image.open`."
        )
    try:
        if hasattr(values, "detach"):  # a tensor; torch need not be imported for it
            values = values.detach().to_dense() if str(values.layout) != "torch.strided" else values.detach()
            values = (values.float() if str(values.dtype) == "torch.bfloat16" else values).cpu().numpy()
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"`{name}` must be an array, a tensor or a list of rows of one length, got a {type(values).__name__} that "
            f"cannot become an array ({error}). Convert it to a NumPy array first."
        ) from error


def check_size(size: Any, name: str = "size", max_pixels: int | None = None) -> tuple[int, int]:
    """The (height, width) of a mask as plain integers.

    max_pixels: of height x width. A size that a file claims must be checked before memory is taken for it.

    Raises ValueError for anything that is not two whole numbers from 0 on, and for more pixels.
    """
    try:
        height, width = (operator.index(int(one) if _is_whole(one) else one) for one in size)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` must be (height, width) in pixels, got {_short(size)}. {_SIZE_ADVICE}") from error
    if height < 0 or width < 0:
        raise ValueError(f"`{name}` must be (height, width) in pixels, got {_short(size)}. {_SIZE_ADVICE}")
    if max_pixels is not None and height * width > max_pixels:
        raise ValueError(
            f"`{name}` of {height} x {width} is {height * width:,} pixels, and masks may have {max_pixels:,}. If the "
            "size is right, pass a larger `max_pixels`, or None for any size."
        )
    return height, width


_SIZE_ADVICE = "Pass the size of the image, such as `array.shape[:2]`."


def _is_whole(value: Any) -> bool:
    """Whether a value is a float without fraction, as some programs write sizes."""
    return isinstance(value, float | np.floating) and bool(np.isfinite(value)) and int(value) == value


def _short(value: Any) -> str:
    return f"{value!r:.80}" if not isinstance(value, Sequence) or len(value) < 20 else f"{len(value)} values"


__all__ = ["MAX_PIXELS", "as_array", "as_binary_array", "as_binary_mask", "check_size"]
