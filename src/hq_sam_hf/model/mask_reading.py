"""Read masks, from files and arrays alike: the one place that says which pixels are the object.

How the values of a mask are read:
    bool; 0 and 1; floats in [0, 1]         unchanged
    0 and one value above 127               that value is the object
    0..255, and 16 bit 0..65535             scaled to [0, 1]; values in between stay soft, as edges are
    black and one other colour              the other colour is the object
    nearly grey colours                     the red channel, read as above
    alpha                                   dropped where it says nothing or the same; read as the mask where the
                                            colours are constant; an error where it says something else
    anything else                           an error: label maps (instances, classes, ids of 16 bit), a value to ignore
                                            beside the object, an image without any value above half of its range

A soft mask is an object where it exceeds `FOREGROUND`. Whether values in between are edges or labels shows in areas:
labels fill areas of one value, and edges do not.
"""

import os
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .image_files import open_upright
from .image_reading import shortened

# The original compares `> 128` on masks of 0..255, in training and in evaluation.
FOREGROUND = np.float32(128 / 255)

# Colours whose channels differ by no more than this are taken as grey, because lossy compression leaves such
# differences. The red channel is used then, which the original uses always.
NEARLY_GREY = 32

# Of 0..255: values up to here are background with the noise of lossy compression, and those from there on the object.
_NEARLY_NOTHING, _NEARLY_FULL = 15, 240

_GREY_MODES = {"1", "L", "I", "F"}
_PLAIN_ADVICE = (
    "Give one mask per object: of an instance map or a class map choose the object, such as `mask == 7`, and of a "
    "soft mask take `mask > 127`."
)


def read_binary_mask(mask: Any, name: str, max_pixels: int | None = None) -> np.ndarray:
    """Read a mask as bool (height, width), by the rules of this module; an array or tensor keeps its shape.

    mask: an array or tensor, a PIL image or a path.
    name: the argument that error messages name. max_pixels: of a file, as for `load_image`.

    Raises ValueError for anything that is not one mask, such as an instance map of 0..7.
    """
    if isinstance(mask, str | os.PathLike):
        return _read_file(mask, name, max_pixels)
    if isinstance(mask, Image.Image):
        return mask_values(mask, f"`{name}`") > FOREGROUND
    if isinstance(mask, Tensor):
        mask = mask.detach().cpu()
        mask = (mask.float() if mask.dtype == torch.bfloat16 else mask).numpy()
    mask = np.asarray(mask)
    if mask.dtype == np.bool_:
        return mask
    if mask.dtype.kind not in "uif" or mask.size == 0:
        raise ValueError(f"`{name}` must be arrays of bool or numbers, got {mask.dtype} of shape {mask.shape}.")
    return _scaled(mask, f"`{name}`", _PLAIN_ADVICE, is_soft=False) > FOREGROUND


def _read_file(path: str | os.PathLike, name: str, max_pixels: int | None) -> np.ndarray:
    shown = shortened(os.fspath(path))
    if not os.path.isfile(path):
        raise ValueError(f"`{name}` contains {shown}, which is not a file. Correct the path.")
    try:
        return mask_values(open_upright(path, max_pixels), f"`{name}`") > FOREGROUND
    except ValueError as error:
        raise ValueError(f"`{name}`: cannot read {shown} as a mask ({error}).") from error


def mask_values(
    image: Image.Image,
    what: str = "a mask",
    advice: str = _PLAIN_ADVICE,
    mask_type: str = "binary",
    ignore_index: int | None = None,
) -> np.ndarray:
    """Read a mask image as float32 (height, width) in [0, 1], by the rules of this module.

    what, advice: how errors name the mask, and what they say to do.
    mask_type: "binary"; "soft" takes all values in between as soft; "alpha" reads the alpha channel.
    ignore_index: a value, or an index of the palette, that counts as background.
    """
    colours, alpha = _channels(image)
    if mask_type == "alpha":
        if alpha is None:
            raise ValueError(
                f"{what} was described by `mask_type: alpha`, but an image of mode {image.mode!r} has no alpha. "
                "Remove `mask_type`."
            )
        return _scaled(alpha, what, advice, is_soft=True)
    if ignore_index is not None:
        colours = np.where(_spread(label_values(image) == ignore_index, colours), 0, colours)
    alpha_decides = alpha is not None and _is_constant(colours) and not _is_constant(alpha)
    grey = alpha if alpha is not None and alpha_decides else _colours_to_grey(colours, what, advice)
    values = _scaled(grey, what, advice, is_soft=mask_type == "soft")
    if alpha is not None and not alpha_decides and not _is_constant(alpha):
        _check_alpha(values, alpha, what)
    return values


def label_values(image: Image.Image) -> np.ndarray:
    """The number of each pixel of a label map, int64 (height, width).

    Of a palette it is the index, of colours R + 256 G + 65536 B as in COCO's panoptic maps, or R where they are grey.
    """
    if image.mode in ("P", "PA"):
        return np.asarray(image.getchannel(0) if image.mode == "PA" else image).astype(np.int64)
    colours, _ = _channels(image)
    if colours.dtype.kind == "f" and not np.array_equal(colours, np.rint(colours)):
        raise ValueError("a label map must hold whole numbers, got floats with fractions. Remove `mask_type`.")
    if colours.ndim == 2:
        return colours.astype(np.int64)
    red, green, blue = np.moveaxis(colours.astype(np.int64), -1, 0)
    return red if np.array_equal(red, green) and np.array_equal(red, blue) else red + 256 * green + 65536 * blue


def _channels(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """The grey values (height, width) or colours (height, width, 3) of an image, and its alpha if it has one."""
    if image.mode in ("P", "PA") or (image.mode in ("1", "L", "RGB") and "transparency" in image.info):
        has_alpha = image.mode == "PA" or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")
    elif image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    elif image.mode not in {*_GREY_MODES, "LA", "RGB", "RGBA"} and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    values = np.asarray(image)
    if image.mode in ("LA", "RGBA"):
        return (values[..., 0] if image.mode == "LA" else values[..., :3]), values[..., -1]
    return values, None


def _spread(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    return pixels[..., None] if colours.ndim > pixels.ndim else pixels


def _is_constant(values: np.ndarray) -> bool:
    """Whether all pixels are the same."""
    return values.size == 0 or bool((values == values[0, 0]).all())


def _check_alpha(values: np.ndarray, alpha: np.ndarray, what: str) -> None:
    """Raise ValueError if colours and alpha say different masks."""
    if not np.array_equal(values > FOREGROUND, alpha > 127):
        raise ValueError(
            f"{what} is one thing by its colours and another by its alpha. Save the mask without alpha or, if the "
            "alpha is the mask, save `image.getchannel('A')`; in a description of data, `mask_type: alpha` takes it."
        )


def _colours_to_grey(colours: np.ndarray, what: str, advice: str) -> np.ndarray:
    """Convert colours (H, W, 3) to grey values, or to bool if they are black and one other colour."""
    if colours.ndim == 2:
        return colours
    first = colours[..., 0]
    if np.array_equal(first, colours[..., 1]) and np.array_equal(first, colours[..., 2]):
        return first
    foreground = np.any(colours, axis=-1)
    objects = colours[foreground]
    if (objects == objects[0]).all():
        return foreground
    if np.ptp(colours, axis=-1).max() <= NEARLY_GREY:
        return first
    verb = "a coloured mask must" if what == "a mask" else f"{what} must, if it is coloured,"
    raise ValueError(f"{verb} be black and one other colour, got several. {advice}")


def _scaled(values: np.ndarray, what: str, advice: str, is_soft: bool) -> np.ndarray:
    """Grey values (..., height, width) as float32 in [0, 1]."""
    if values.dtype == np.bool_:
        return values.astype(np.float32)
    low, high = values.min(), values.max()
    if low == high == 0:
        return np.zeros(values.shape, dtype=np.float32)
    wrong = f"{what} must hold 0/1 or 0..255, got values from {low} to {high}"
    # Only low values usually mean an instance map, so the brightest pixel must exceed half of the range.
    maximum = next((one for one in (1, 255, 65535) if low >= 0 and one / 2 < high <= one), None)
    if maximum is None:
        raise ValueError(f"{wrong}. {advice}")
    if maximum > 1 and not is_soft and (values.dtype.kind != "f" or (values == np.rint(values)).all()):
        numbers = values if values.dtype in (np.uint8, np.uint16) else values.astype(np.int64)
        counts = _histogram(numbers)
        if np.count_nonzero(counts[1:]) == 1 and (maximum == 255 or high >= 255 * 256):
            return (numbers != 0).astype(np.float32)
        if _are_labels(numbers, counts, maximum):
            raise ValueError(
                f"{wrong}, of which {np.count_nonzero(counts)} occur and fill areas, as labels do and edges do not. "
                f"{advice}"
            )
    return values.astype(np.float32) / np.float32(maximum)


def _histogram(values: np.ndarray) -> np.ndarray:
    """How often each value occurs."""
    if values.dtype == np.uint8 and values.size:  # six times as fast as np.bincount
        return np.array(Image.fromarray(values.reshape(-1, values.shape[-1])).histogram())
    return np.bincount(values.ravel())


def _areas(values: np.ndarray, side: int) -> np.ndarray:
    """The values of the squares of 2 x 2 or 3 x 3 pixels that have one value."""
    if min(values.shape[-2:], default=0) < side or values.ndim < 2:
        return values[:0]
    same = values[..., 1:] == values[..., :-1]
    same = same if side == 2 else same[..., 1:] & same[..., :-1]
    down = (values[..., 1:, :] == values[..., :-1, :])[..., : 1 - side]
    if side == 2:
        return values[..., :-1, :-1][same[..., 1:, :] & same[..., :-1, :] & down]
    rows = same[..., 2:, :] & same[..., 1:-1, :] & same[..., :-2, :]
    return values[..., :-2, :-2][rows & down[..., 1:, :] & down[..., :-1, :]]


def _are_labels(values: np.ndarray, counts: np.ndarray, maximum: int) -> bool:
    """Whether values that are not binary are labels rather than the soft edges of an object.

    counts: number of pixels of each value.
    """
    unit = maximum // 255
    nothing, full = _NEARLY_NOTHING * unit, _NEARLY_FULL * unit
    highest = int(np.flatnonzero(counts)[-1])
    if highest < 250 * unit:  # soft masks nearly always reach the full value, so only the highest can be the object
        full = highest
        if unit > 1 or counts[full] < counts[1:].sum() / 2:
            return True
    if np.flatnonzero(counts[1:]).tolist() == [0, 254]:
        return True  # 1 is the object and 255 is to be ignored, or the other way round
    # Thin objects have edges that fill 2 x 2 pixels with one value, but not 3 x 3. Few values are labels even then.
    side = 3 if np.count_nonzero(counts[1:]) > 3 else 2
    in_areas = np.zeros(len(counts), dtype=np.int64)
    found = _histogram(_areas(values, side).ravel())
    in_areas[: len(found)] = found
    total, between = in_areas[1:].sum(), in_areas[nothing + 1 : full]
    if between.sum() > total / 4 or between.max(initial=0) > total / 20:
        return True
    has_edges = counts[nothing + 1 : full].any()
    return not has_edges and bool(in_areas[1 : nothing + 1].sum() > total / 20)


__all__ = ["FOREGROUND", "NEARLY_GREY", "label_values", "mask_values", "read_binary_mask"]
