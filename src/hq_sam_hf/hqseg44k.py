"""Public name of `hq_sam_hf.data.hqseg44k`."""

from .data.hqseg44k import load_hqseg44k

__all__ = ["load_hqseg44k"]
