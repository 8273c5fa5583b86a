"""Read a row of a data set as arrays, for training and evaluation.

A row has `image`, `set` and `name`, and its masks in one of two columns:
    mask    one mask, an image
    masks   any number of masks: images, or JSON text with the COCO segmentation of an instance,
            {"size": [height, width], "polygons": [[x, y, ...], ...]} or {"size": ..., "counts": ...}

How the values of a mask image are read, after resolving the palette and dropping alpha:
    0 and 1, bool, float in [0, 1]      unchanged
    0..255, and 16 bit 0..65535         scaled to [0, 1]; values in between stay soft
    black and one other colour          the other colour is the object
    nearly grey colours                 the red channel, read as above
    anything else                       an error, such as an instance map of 0..7 or an image without any value above
                                        half of its range, unless all values are 0
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..masks.rle import polygons_to_mask, rle_to_mask
from ..model.image_reading import open_upright, read_image
from .image_bytes import read_bytes

MASK_COLUMNS = ("mask", "masks")
_GREY_MODES = {"1", "L", "I", "F"}

# Colours whose channels differ by no more than this are taken as grey, because lossy compression leaves such
# differences. The red channel is used then, which the original uses always.
NEARLY_GREY = 32


@dataclass
class Sample:
    """A row as arrays.

    image: RGB, uint8 (H, W, 3). masks: float32 (N, H, W) in [0, 1]; a mask may be empty, and N may be 0.
    set, name: as in the row.
    """

    image: np.ndarray
    masks: np.ndarray
    set: str
    name: str


def read_sample(row: Mapping[str, Any]) -> Sample:
    """Read one row of a data set.

    To read many rows, take them from `image_bytes.undecoded(dataset)`, which is faster.
    Raises ValueError with the name of the item if an image is corrupt or a mask fits none of the rules above.
    """
    item = f"{row.get('set', '?')}/{row.get('name', '?')}"
    columns = [column for column in MASK_COLUMNS if row.get(column) is not None]
    if "image" not in row or len(columns) != 1:
        raise ValueError(f"{item}: a row must have `image` and one of `mask`, `masks`, got {', '.join(row)}.")
    values = [row["mask"]] if columns == ["mask"] else row["masks"]
    image = _read_with_name(item, "image", row["image"], lambda value: read_image(_open_image(value)))
    masks = np.zeros((len(values), *image.shape[:2]), dtype=np.float32)
    for out, value in zip(masks, values):
        mask = _read_with_name(item, "mask", value, _read_mask)
        if mask.shape != out.shape:
            raise ValueError(
                f"{item}: image and mask must have the same size, got (height, width) {out.shape} and {mask.shape} "
                "after applying the EXIF orientation. Export the mask at the size of the image, or leave the item out."
            )
        out[:] = mask
    # PIL returns read-only memory, which torch.from_numpy warns about.
    image = np.require(image, requirements=["C", "W"])
    return Sample(image, masks, str(row.get("set", "")), str(row.get("name", "")))


def _read_with_name(item: str, what: str, value: Any, read: Callable[[Any], np.ndarray]) -> np.ndarray:
    """Read a value, and put the name of its item into errors."""
    try:
        return read(value)
    except (ValueError, TypeError, OSError) as error:
        path = value.get("path") if isinstance(value, Mapping) else None
        raise ValueError(f"{item}: cannot read the {what}{f' {path!r}' if path else ''}: {error}") from error


def _open_image(value: Any) -> Image.Image:
    if isinstance(value, Image.Image):
        return value
    if not isinstance(value, Mapping) or (value.get("bytes") is None and not value.get("path")):
        raise TypeError(f"an image must be a PIL image or have bytes or a path, got {value!r:.80}.")
    content = value.get("bytes")
    return open_upright(io.BytesIO(read_bytes(value["path"]) if content is None else content))


def _read_mask(value: Any) -> np.ndarray:
    return _segmentation_mask(value) if isinstance(value, str) else mask_values(_open_image(value))


def _segmentation_mask(text: str) -> np.ndarray:
    try:
        segmentation = json.loads(text)
        if "counts" in segmentation:
            return rle_to_mask(segmentation)
        return polygons_to_mask(segmentation["polygons"], segmentation["size"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected a COCO segmentation with its size as JSON, got {text:.80}.") from error


def mask_values(image: Image.Image) -> np.ndarray:
    """Read a mask image as float32 (H, W) in [0, 1], by the rules of this module."""
    if image.mode not in {*_GREY_MODES, "LA", "RGB", "RGBA"} and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    values = np.asarray(image)
    if image.mode == "LA":
        values = values[..., 0]
    elif values.ndim == 3:
        values = _colours_to_grey(values[..., :3])
    if values.dtype == np.bool_:
        return values.astype(np.float32)
    low, high = values.min(), values.max()
    for maximum in (1, 255, 65535):
        # Only low values usually mean an instance map, so the brightest pixel must exceed half of the range.
        if low >= 0 and maximum / 2 < high <= maximum:
            return values.astype(np.float32) / np.float32(maximum)
    if low == high == 0:
        return np.zeros(values.shape, dtype=np.float32)
    raise ValueError(
        f"a mask must hold 0/1 or 0..255, got values from {low} to {high}. Give one mask per object; split an "
        "instance map into its objects first."
    )


def _colours_to_grey(colours: np.ndarray) -> np.ndarray:
    """Convert an RGB mask (H, W, 3) to grey values, or to bool if it is black and one other colour."""
    first = colours[..., 0]
    if np.array_equal(first, colours[..., 1]) and np.array_equal(first, colours[..., 2]):
        return first
    foreground = np.any(colours, axis=-1)
    objects = colours[foreground]
    if (objects == objects[0]).all():
        return foreground
    if np.ptp(colours, axis=-1).max() <= NEARLY_GREY:
        return first
    raise ValueError("a coloured mask must be black and one other colour, got several. Give one grey mask per object.")


__all__ = ["MASK_COLUMNS", "Sample", "mask_values", "read_sample"]
