"""Record which functions of the package are called, by their first call."""

import sys
from collections.abc import Callable
from types import FrameType

PREFIX = "hq_sam_hf."


def calls_of(action: Callable[[], object]) -> list[str]:
    """The functions that `action` calls in this thread, as "model/losses.py: mask_loss", by their first call."""
    seen: dict[str, None] = {}

    def record(frame: FrameType, event: str, _: object) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith(PREFIX):
            path = module.removeprefix(PREFIX).replace(".", "/")
            seen[f"{path}.py: {frame.f_code.co_qualname}"] = None

    sys.setprofile(record)
    try:
        action()
    finally:
        sys.setprofile(None)
    return list(seen)
