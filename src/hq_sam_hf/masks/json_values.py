"""Values of NumPy, torch and paths as JSON can hold them."""

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np


def json_value(value: Any, name: str) -> Any:
    """The value as JSON holds it: scalars and arrays of NumPy and torch as numbers and lists, paths as text.

    NaN and infinite numbers become null, because JSON has no such numbers. name: of the value, for errors.

    Raises ValueError with the name for anything else, such as an object of some class.
    """
    if value is None or isinstance(value, bool | int | str) and not isinstance(value, np.generic):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {
            str(json_value(key, f"{name} (key)")): json_value(item, f"{name}[{key!r}]") for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [json_value(item, f"{name}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, PurePath):
        return value.as_posix()
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu()
    if isinstance(value, np.generic) or hasattr(value, "tolist"):
        plain = value.tolist()
        if isinstance(plain, bool | int | float | str | list):
            return json_value(plain, name)
    raise ValueError(
        f"{name} must be a number, text, a path, an array, or a list or dict of them, got a {type(value).__name__}. "
        "Convert it, for example by `str(value)`, or leave it out."
    )


__all__ = ["json_value"]
