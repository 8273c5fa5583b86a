"""A row of a data set as arrays: what training and evaluation read, whatever the data came from.

A row has `image`, `set` and `name`, and its masks in one of two columns:
    mask    one mask, a picture
    masks   any number of masks: pictures, or strings of JSON with the COCO segmentation of an instance,
            {"size": [height, width], "polygons": [[x, y, ...], ...]} or {"size": ..., "counts": ...}

What a mask picture means, by its values after the colours of a palette are looked up and alpha is dropped:
    0 and 1, bool, float in [0, 1]      as they are
    0..255, and 16 bit 0..65535         mapped to [0, 1]; values in between stay soft
    black and one other colour          the other colour is the object
    nearly grey colours                 the red channel, as above
    anything else                       refused, such as an instance map of 0..7 or a picture without a value above
                                        one half of the range, unless it is all 0
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

# Channels that differ by no more, as lossy compression leaves them, are taken as grey: the first of them, which is the
# one that the original always takes.
NEARLY_GREY = 32


@dataclass
class Sample:
    """image: RGB, uint8 (H, W, 3). masks: float32 (N, H, W) in [0, 1]; a mask may be empty, and N may be 0."""

    image: np.ndarray
    masks: np.ndarray
    set: str
    name: str


def read_sample(row: Mapping[str, Any]) -> Sample:
    """Read one row of a data set; of `raw_pictures.undecoded(dataset)` where many are read.

    Raises ValueError that names the item for a picture that is corrupt or fits no rule.
    """
    item = f"{row.get('set', '?')}/{row.get('name', '?')}"
    columns = [column for column in MASK_COLUMNS if row.get(column) is not None]
    if "image" not in row or len(columns) != 1:
        raise ValueError(f"{item}: a row must have `image` and one of `mask`, `masks`, got {', '.join(row)}.")
    values = [row["mask"]] if columns == ["mask"] else row["masks"]
    image = _named(item, "image", row["image"], lambda value: read_image(_picture(value)))
    masks = np.zeros((len(values), *image.shape[:2]), dtype=np.float32)
    for out, value in zip(masks, values):
        mask = _named(item, "mask", value, _read_mask)
        if mask.shape != out.shape:
            raise ValueError(
                f"{item}: image and mask must have the same size, got (height, width) {out.shape} and {mask.shape}; "
                "files are turned upright by their EXIF tag. Export the mask at the size of the image, or leave the "
                "item out."
            )
        out[:] = mask
    # PIL hands out read-only memory, which torch.from_numpy warns about.
    image = np.require(image, requirements=["C", "W"])
    return Sample(image, masks, str(row.get("set", "")), str(row.get("name", "")))


def _named(item: str, what: str, value: Any, read: Callable[[Any], np.ndarray]) -> np.ndarray:
    try:
        return read(value)
    except (ValueError, TypeError, OSError) as error:
        path = value.get("path") if isinstance(value, Mapping) else None
        raise ValueError(f"{item}: cannot read the {what}{f' {path!r}' if path else ''}: {error}") from error


def _picture(value: Any) -> Image.Image:
    if isinstance(value, Image.Image):
        return value
    if not isinstance(value, Mapping) or (value.get("bytes") is None and not value.get("path")):
        raise TypeError(f"a picture must be a PIL image or have bytes or a path, got {value!r:.80}.")
    content = value.get("bytes")
    return open_upright(io.BytesIO(read_bytes(value["path"]) if content is None else content))


def _read_mask(value: Any) -> np.ndarray:
    return _segmentation_mask(value) if isinstance(value, str) else mask_values(_picture(value))


def _segmentation_mask(text: str) -> np.ndarray:
    try:
        segmentation = json.loads(text)
        if "counts" in segmentation:
            return rle_to_mask(segmentation)
        return polygons_to_mask(segmentation["polygons"], segmentation["size"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected a COCO segmentation with its size, got {text:.80}.") from error


def mask_values(picture: Image.Image) -> np.ndarray:
    """Read a mask picture as float32 (H, W) in [0, 1], by the rules of this module."""
    if picture.mode not in {*_GREY_MODES, "LA", "RGB", "RGBA"} and not picture.mode.startswith("I;16"):
        picture = picture.convert("RGB")
    values = np.asarray(picture)
    if picture.mode == "LA":
        values = values[..., 0]
    elif values.ndim == 3:
        values = _colours_to_grey(values[..., :3])
    if values.dtype == np.bool_:
        return values.astype(np.float32)
    low, high = values.min(), values.max()
    for full in (1, 255, 65535):
        # A faint picture is an instance map more often than a mask, so the brightest pixel must pass one half.
        if low >= 0 and full / 2 < high <= full:
            return values.astype(np.float32) / np.float32(full)
    if low == high == 0:
        return np.zeros(values.shape, dtype=np.float32)
    raise ValueError(
        f"a mask must hold 0/1 or 0..255, got values from {low} to {high}. Give one mask per object; an instance map "
        "must be split first."
    )


def _colours_to_grey(colours: np.ndarray) -> np.ndarray:
    """Grey values of an RGB array (H, W, 3) that is grey, or bool where it is black and one other colour."""
    first = colours[..., 0]
    if np.array_equal(first, colours[..., 1]) and np.array_equal(first, colours[..., 2]):
        return first
    foreground = np.any(colours, axis=-1)
    objects = colours[foreground]
    if (objects == objects[0]).all():
        return foreground
    if np.ptp(colours, axis=-1).max() <= NEARLY_GREY:
        return first
    raise ValueError(
        "a coloured mask must be black with one other colour, got several. Give one mask per object, in grey."
    )


__all__ = ["MASK_COLUMNS", "Sample", "mask_values", "read_sample"]
