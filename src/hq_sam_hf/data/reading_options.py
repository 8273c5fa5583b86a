"""How the images and masks of a data set are read, where somebody chose another way than the usual one."""

import functools
import json
from dataclasses import dataclass, fields
from typing import Any

from ..model.image_reading import ImageOptions

# The column of rows that holds the options as JSON text, if there are any.
READING_COLUMN = "reading_options"

MASK_TYPES = ("binary", "soft", "alpha", "instances", "classes")
MASK_PIXELS = ("upright", "stored")
MAX_LABELS = 5_000


@dataclass(frozen=True)
class ReadingOptions(ImageOptions):
    """How the images and masks of a data set are read.

    max_pixels, value_range: of images, as in `load_image`.
    mask_type: what mask images are. "binary": one object each. "soft": one object each, with values in between that
        are not edges. "alpha": the alpha channel is the mask. "instances", "classes": a map of numbers, of which each
        is a mask, except 0.
    ignore_index: a value of mask images that counts as background, such as 255.
    mask_pixels: which pixels of an image that is rotated by its EXIF tag the masks were made for: "upright", as it is
        shown, or "stored", as it lies in the file. By default "upright", and `check_data` reports rotated images.
    """

    mask_type: str = "binary"
    ignore_index: int | None = None
    mask_pixels: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, allowed in (
            ("mask_type", self.mask_type, MASK_TYPES),
            ("mask_pixels", self.mask_pixels, (*MASK_PIXELS, None)),
        ):
            if value not in allowed:
                choices = ", ".join(str(one) for one in allowed if one is not None)
                raise ValueError(f"`{name}` must be one of {choices}, got {value!r}.")
        if self.ignore_index is not None and type(self.ignore_index) is not int:
            raise ValueError(f"`ignore_index` must be a whole number, such as 255, got {self.ignore_index!r}.")

    def as_text(self) -> str | None:
        """The options as JSON text, or None if all are the usual ones."""
        given = self.as_options()
        return json.dumps(given) if given else None

    def refuse_mask_type(self) -> None:
        """Raise ValueError if options of mask images are given for masks that are polygons or run lengths."""
        for name in ("mask_type", "ignore_index"):
            if getattr(self, name) != getattr(DEFAULT_READING, name):
                raise ValueError(
                    f"`{name}` is for mask images, and these masks are polygons and run lengths. Remove `{name}`."
                )

    @staticmethod
    def from_text(text: str | None) -> "ReadingOptions":
        """The options of a row. Raises ValueError for a text that `as_text` did not write."""
        return DEFAULT_READING if text is None else _parse(text)


DEFAULT_READING = ReadingOptions()
_NAMES = tuple(field.name for field in fields(ReadingOptions))


def reading_options(given: dict[str, Any]) -> ReadingOptions:
    """Options from keyword arguments. Raises TypeError for a keyword that is no option."""
    unknown = sorted(given.keys() - _NAMES)
    if unknown:
        wrong = ", ".join(map(repr, unknown))
        raise TypeError(f"there is no option {wrong}; how files are read is said by {', '.join(_NAMES)}")
    return ReadingOptions(**given)


def take_reading(options: dict[str, Any]) -> ReadingOptions:
    """Take the options of reading out of keyword arguments that hold others too."""
    return ReadingOptions(**{name: options.pop(name) for name in _NAMES if name in options})


@functools.lru_cache(maxsize=64)
def _parse(text: str) -> ReadingOptions:
    try:
        return reading_options(json.loads(text))
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected options as JSON text, got {text!r:.80} ({error}).") from error


__all__ = ["DEFAULT_READING", "READING_COLUMN", "ReadingOptions", "reading_options", "take_reading"]
