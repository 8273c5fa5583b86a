"""Read a row of a data set as arrays, for training and evaluation.

A row has `image`, `set` and `name`, and its masks in one of two columns:
    mask    a mask image
    masks   any number of masks: images, or JSON text with the COCO segmentation of an instance,
            {"size": [height, width], "polygons": [[x, y, ...], ...]} or {"size": ..., "counts": ...}

`model.image_reading` and `model.mask_reading` say how the values of images and masks are read. Where somebody chose
another way, the row has the column `reading_options`, `ReadingOptions` as JSON text.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..masks.rle import polygons_to_mask, rle_to_mask
from ..model.image_files import image_orientation, open_with_orientation
from ..model.image_reading import read_rgb
from ..model.mask_reading import label_values, mask_values
from .image_bytes import read_bytes
from .reading_options import MAX_LABELS, READING_COLUMN, ReadingOptions

MASK_COLUMNS = ("mask", "masks")

# How an image that was annotated in its stored pixels becomes upright, by its EXIF orientation.
_TRANSPOSED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda mask: mask[:, ::-1],
    3: lambda mask: mask[::-1, ::-1],
    4: lambda mask: mask[::-1],
    5: lambda mask: mask.T,
    6: lambda mask: mask.T[:, ::-1],
    7: lambda mask: mask.T[::-1, ::-1],
    8: lambda mask: mask.T[::-1],
}
_MASK_ADVICE = (
    "Give one mask per object, or say in the description of the data what the values are: `mask_type: instances` or "
    "`mask_type: classes` splits an instance map or a class map into masks, `ignore_index: 255` counts a value as "
    "background, and `mask_type: soft` takes values in between as soft."
)


@dataclass
class Sample:
    """A row as arrays.

    image: RGB, uint8 (H, W, 3). masks: float32 (N, H, W) in [0, 1]; a mask may be empty, and N may be 0.
    set, name: as in the row. orientation: the EXIF orientation of the image file, 1 to 8; the image is upright.
    """

    image: np.ndarray
    masks: np.ndarray
    set: str
    name: str
    orientation: int = 1


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
    options = _read_with_name(item, "column `reading_options`", row.get(READING_COLUMN), ReadingOptions.from_text)
    image, orientation = _read_with_name(item, "image", row["image"], lambda value: _read_image(value, options))
    found: list[np.ndarray] = []
    for value in values:
        for mask in _read_with_name(item, "mask", value, lambda value: _read_masks(value, options, orientation)):
            _check_size(item, image.shape[:2], mask.shape, orientation)
            found.append(mask)
    masks = np.stack(found).astype(np.float32, copy=False) if found else np.zeros((0, *image.shape[:2]), np.float32)
    # PIL returns read-only memory, which torch.from_numpy warns about.
    image, masks = (np.require(array, requirements=["C", "W"]) for array in (image, masks))
    return Sample(image, masks, str(row.get("set", "")), str(row.get("name", "")), orientation)


def transpose_mask(mask: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a mask (height, width) of the stored pixels of an image upright, by the image's EXIF orientation."""
    return _TRANSPOSED[orientation](mask) if orientation in _TRANSPOSED else mask


def _check_size(item: str, expected: tuple[int, ...], size: tuple[int, ...], orientation: int) -> None:
    if size == expected:
        return
    advice = "Export the mask at the size of the image, or leave the item out."
    if size == expected[::-1] and orientation > 4:
        advice = (
            "The file is rotated by its EXIF tag; if the mask was made for the pixels as they are stored, add "
            "`mask_pixels: stored` to the description of the data."
        )
    raise ValueError(
        f"{item}: image and mask must have the same size, got (height, width) {expected} and {size} "
        f"after applying the EXIF orientation. {advice}"
    )


def _read_with_name(item: str, what: str, value: Any, read: Callable[[Any], Any]) -> Any:
    """Read a value, and put the name of its item into errors."""
    try:
        return read(value)
    except (ValueError, TypeError, OSError) as error:
        path = value.get("path") if isinstance(value, Mapping) else None
        raise ValueError(f"{item}: cannot read the {what}{f' {path!r}' if path else ''}: {error}") from error


def _open_image(value: Any, max_pixels: int | None, all_bits: bool = False) -> tuple[Image.Image, int]:
    """A decoded image, upright if it comes from a file, and its EXIF orientation."""
    if isinstance(value, Image.Image):
        return value, image_orientation(value)
    if not isinstance(value, Mapping) or (value.get("bytes") is None and not value.get("path")):
        raise TypeError(f"an image must be a PIL image or have bytes or a path, got {value!r:.80}.")
    content = value.get("bytes")
    file = io.BytesIO(read_bytes(value["path"]) if content is None else content)
    return open_with_orientation(file, max_pixels, all_bits)


def _read_image(value: Any, options: ReadingOptions) -> tuple[np.ndarray, int]:
    if options.mask_pixels == "stored" and isinstance(value, Image.Image):
        raise ValueError(
            "masks of stored pixels need the EXIF tag of the image, which a decoded image has lost. Read the rows of "
            "`undecoded(dataset)`"
        )
    image, orientation = _open_image(value, options.max_pixels, all_bits=options.value_range is not None)
    return np.asarray(read_rgb(image, value_range=options.value_range)), orientation


def _read_masks(value: Any, options: ReadingOptions, orientation: int) -> Sequence[np.ndarray]:
    """The masks of a segmentation as text, of a mask image or of a label map, upright.

    orientation: the EXIF orientation of the image.
    """
    own_orientation = 1
    if isinstance(value, str):
        masks = [_segmentation_mask(value)]
    else:
        image, own_orientation = _open_image(value, options.max_pixels)
        if options.mask_type in ("instances", "classes"):
            masks = _split_labels(label_values(image), options.ignore_index)
        else:
            masks = [mask_values(image, "a mask", _MASK_ADVICE, options.mask_type, options.ignore_index)]
    is_turned = options.mask_pixels == "stored" and own_orientation == 1
    return [transpose_mask(mask, orientation) for mask in masks] if is_turned else masks


def _split_labels(labels: np.ndarray, ignore_index: int | None) -> list[np.ndarray]:
    """A mask of each number of a label map; 0 is background."""
    numbers = [number for number in np.unique(labels).tolist() if number not in (0, ignore_index)]
    if len(numbers) > MAX_LABELS:
        raise ValueError(
            f"a map of instances or classes has at most {MAX_LABELS:,} numbers, got {len(numbers):,}. Remove "
            "`mask_type` if the image is something else, such as a soft mask."
        )
    return [labels == number for number in numbers]


def _segmentation_mask(text: str) -> np.ndarray:
    try:
        segmentation = json.loads(text)
        if "counts" in segmentation:
            return rle_to_mask(segmentation)
        return polygons_to_mask(segmentation["polygons"], segmentation["size"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected a COCO segmentation with its size as JSON, got {text:.80}.") from error


__all__ = ["MASK_COLUMNS", "Sample", "read_sample", "transpose_mask"]
