"""Public name of `hq_sam_hf.masks.metrics`."""

from .masks.metrics import boundary_iou, mask_iou

__all__ = ["boundary_iou", "mask_iou"]
