"""Public name of `hq_sam_hf.utils.embedded`."""

from .utils.embedded import EMBEDDED

__all__ = ["EMBEDDED"]
