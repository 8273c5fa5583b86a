"""Public name of `hq_sam_hf.model.losses`."""

from .model.losses import mask_loss

__all__ = ["mask_loss"]
