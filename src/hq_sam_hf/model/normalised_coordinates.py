"""Recognise coordinates that were normalised to [0, 1], where pixels of the image are expected.

Coordinates with fractions that all lie in [0, 1] would all be inside the first pixel. On an image of more than a few
pixels they are almost surely shares of its width and height.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import numpy as np

# In an image with no longer side than this, such coordinates may well be pixels.
FEW_PIXELS = 4
# So many prompts are written out in a message.
EXAMPLES = 3


def look_normalised(coordinates: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether coordinates (..., 2) or (..., 4) look normalised, for an image of (height, width) size."""
    if coordinates.size == 0 or max(size) <= FEW_PIXELS:
        return False
    in_unit_square = (coordinates >= 0) & (coordinates <= 1)  # False for NaN
    return bool(in_unit_square.all() and (coordinates != np.floor(coordinates)).any())


def describe_normalised(
    kind: str,
    coordinates: np.ndarray,
    size: tuple[int, int] | None,
    show: Callable[[list[list[float]]], str] = str,
) -> str | None:
    """Say that coordinates look normalised, and what they are in pixels; None if they do not look so.

    kind: what to call them, such as "points". coordinates: (N, 2) or (N, 4).
    size: (height, width) of the image; None if it is not known and more than a few pixels.
    show: how rows of coordinates are written in a call or on a command line.
    """
    if not look_normalised(coordinates, size or (FEW_PIXELS + 1,) * 2):
        return None
    shown = coordinates[:EXAMPLES]
    more = " and so on" if len(coordinates) > EXAMPLES else ""
    start = f"The {kind} {show(_numbers(shown))}{more} look normalised: all lie in [0, 1], but they must be in pixels"
    advice = "x times the width and y times the height"
    if size is None:
        return f"{start} of the image. Pass {advice}."
    height, width = size
    pixels = np.round(shown * np.tile([width, height], coordinates.shape[-1] // 2), 2)
    return (
        f"{start} of the image, which is {width} wide and {height} high. In pixels they are "
        f"{show(_numbers(pixels))}{more}; pass these, that is {advice}."
    )


def warn_of_normalised(points: Sequence[Any], boxes: Sequence[Any], sizes: Sequence[tuple[int, int]]) -> None:
    """Warn once if the points or boxes of an image look normalised, for the first such image.

    points: per image a list of arrays (N, 2), or None. boxes: per image an array (P, 4), or None.
    """
    for image_points, image_boxes, size in zip(points, boxes, sizes):
        messages = [
            describe_normalised(kind, coordinates, size)
            for kind, coordinates in (
                ("points", np.concatenate(image_points) if image_points else np.zeros((0, 2))),
                ("boxes", np.zeros((0, 4)) if image_boxes is None else image_boxes),
            )
        ]
        found = [message for message in messages if message is not None]
        if found:
            warnings.warn(" ".join(found), UserWarning, stacklevel=_levels_of_this_package() + 1)
            return


def _levels_of_this_package() -> int:
    """How many of the innermost calls are in this package, so that a warning names the caller's line."""
    package, levels = __name__.split(".")[0], 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in (package, "torch"):
        frame, levels = frame.f_back, levels + 1
    return levels


def _numbers(rows: np.ndarray) -> list[list[float]]:
    """Rows as plain numbers, whole ones without a point."""
    return [[int(value) if value == int(value) else value for value in row] for row in rows.tolist()]


__all__ = ["describe_normalised", "look_normalised", "warn_of_normalised"]
