"""Map pixel values of any number type to 0..255, by a range that somebody chose."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

ValueRange: TypeAlias = tuple[float, float] | str
PERCENTILE = "percentile"
PERCENTILES = (1, 99)


def check_value_range(value_range: Any) -> ValueRange | None:
    """A range as (low, high) floats, "percentile" or None. Raises ValueError for anything else."""
    if value_range is None or (isinstance(value_range, str) and value_range == PERCENTILE):
        return value_range
    low = high = np.nan
    if not isinstance(value_range, str):
        try:
            low, high = (float(value) for value in value_range)
        except (TypeError, ValueError):
            pass
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(
            f'`value_range` must be (low, high) with low < high, or "{PERCENTILE}", got {value_range!r}. Of data of '
            "12 bits it is (0, 4095)."
        )
    return low, high


def scale_to_uint8(array: np.ndarray, value_range: ValueRange | Sequence[float]) -> np.ndarray:
    """Map the values of a range linearly to 0..255, those below it to 0 and those above it to 255.

    value_range: (low, high), or "percentile": from the 1st to the 99th percentile of the array's own values.
    """
    if array.dtype.kind not in "buif":
        raise TypeError(f"`images` must hold numbers, got {array.dtype}. Cast it first, such as to float32.")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            "`images` of floats must be finite, got NaN or infinity. Replace them first, such as by "
            "`numpy.nan_to_num(array, nan=low, posinf=high, neginf=low)`."
        )
    if array.size == 0:
        return array.astype(np.uint8)
    checked = check_value_range(value_range)
    limits = np.percentile(array, PERCENTILES) if isinstance(checked, str) else checked or (0, 255)
    low, high = (float(limit) for limit in limits)
    if not high > low:  # percentiles of an image of one value
        return (array > low).astype(np.uint8) * 255
    # float32 holds every number of 16 bits, and takes half the memory.
    number = np.float32 if array.dtype.itemsize <= 2 or array.dtype == np.float32 else np.float64
    share: np.ndarray = (array.astype(number) - number(low)) / number(high - low)  # type: ignore[operator]
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


__all__ = ["PERCENTILE", "ValueRange", "check_value_range", "scale_to_uint8"]
