"""Checks of options with numbers."""

import math
from numbers import Real
from typing import Any

import numpy as np


def check_at_least(name: str, value: Any, least: int) -> None:
    """Raise ValueError unless an option is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"`{name}` must be an integer of at least {least}, got {value!r}.")


def check_number(name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> None:
    """Raise ValueError unless an option is a finite number from `least` to `most`."""
    if not isinstance(value, Real) or not math.isfinite(value) or not least <= float(value) <= most:
        bounds = ""
        if least > -math.inf:
            bounds = f" of at least {least}" if most == math.inf else f" from {least} to {most}"
        raise ValueError(f"`{name}` must be a finite number{bounds}, got {value!r}.")


__all__ = ["check_at_least", "check_number"]
