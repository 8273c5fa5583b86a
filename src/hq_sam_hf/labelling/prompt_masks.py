"""Rough masks as prompts: files, encoded images, and COCO segmentations as text."""

import io
import json

import numpy as np

from ..masks.polygon_filling import polygons_to_mask
from ..masks.rle import rle_to_mask
from ..model.image_files import open_upright
from ..model.mask_reading import read_binary_mask


def read_prompt_mask(mask: str | bytes | None, max_pixels: int | None = None) -> np.ndarray:
    """A rough mask as bool (height, width).

    mask: the path of a file, the bytes of an encoded image, or JSON text with a COCO segmentation, as in the column
        `masks` of data sets. max_pixels: as for `load_image`.

    Raises ValueError for anything else.
    """
    if isinstance(mask, bytes):
        return read_binary_mask(open_upright(io.BytesIO(mask), max_pixels), "mask")
    if not isinstance(mask, str):
        raise ValueError(f"A mask prompt must be a path, bytes or text, got {mask!r:.60}. Leave it out.")
    if not mask.lstrip().startswith("{"):
        return read_binary_mask(mask, "mask", max_pixels)
    try:
        segmentation = json.loads(mask)
        if "counts" in segmentation:
            return rle_to_mask(segmentation)
        return polygons_to_mask(segmentation["polygons"], segmentation["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"A mask prompt must be a COCO segmentation with its size, got {mask:.80} ({error})."
        ) from error


__all__ = ["read_prompt_mask"]
