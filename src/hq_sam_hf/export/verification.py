"""Verify a converted checkpoint: compare its masks with those of the original implementation."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..model.checkpoint_format import ModelWeights
from ..model.key_mapping import keys_to_original
from ..model.modeling_hq_sam import HQSamModel
from ..model.weights import read_weights
from .reference import build_original, import_original, run_original
from .sources import Source

# Largest difference of mask logits that float32 rounding explains, relative to the largest logit (or to 1, if larger).
TOLERANCE = 1e-4


def check_can_verify(layout: str) -> None:
    """Raise ValueError if masks of the layout cannot be compared, or if the original implementation is missing."""
    if layout == "sam":
        raise ValueError(
            "Verifying compares HQ masks, which the layout sam does not have. Choose another layout, or do not verify."
        )
    try:
        import_original()
    except ImportError as error:
        raise ValueError(
            "Verifying needs the original implementation. Install it with "
            "`pip install --no-deps segment-anything-hq==0.3`."
        ) from error


def check_can_verify_family(checkpoint: ModelWeights) -> None:
    """Raise ValueError for an HQ-SAM 2, of which there is no original implementation to install."""
    if checkpoint.family == "sam2":
        raise ValueError(
            f"{checkpoint.source!r} is a {checkpoint.describe()}. Only HQ-SAM can be verified: no package has "
            "the original implementation of HQ-SAM 2. Convert it without verifying."
        )


def verify_masks(source: Source, checkpoint: ModelWeights, converted: Path) -> str:
    """Predict masks of random pixels with the source in the original implementation, and with the result in ours.

    checkpoint: the source completed by its base. converted: the written file or folder.

    Returns a sentence with the largest difference. Raises ValueError if float32 masks differ by more than rounding.
    """
    model = HQSamModel.from_pretrained(converted)
    is_float32 = model.dtype == torch.float32
    original = _load_original(source, checkpoint, model)
    vision = model.config.vision_config
    size, generator = vision.image_size, torch.Generator().manual_seed(0)
    pixel_values = torch.randn(1, vision.num_channels, size, size, generator=generator)
    box = torch.tensor([[0.2, 0.3, 0.7, 0.8]]) * size
    with torch.inference_mode():
        logits = model.float()(pixel_values, input_boxes=box[None], multimask_output=False).pred_masks[0]
    expected, _ = run_original(original, pixel_values, boxes=box)
    difference, largest = (logits - expected).abs().max().item(), expected.abs().max().item()
    if is_float32 and not difference <= TOLERANCE * max(1.0, largest):
        raise ValueError(
            f"The masks of {str(converted)!r} differ from the original's by {difference:.1e}, more than rounding. "
            "Do not use it, and please report what the source was."
        )
    return f"mask logits up to {largest:.1f} differ by at most {difference:.1e}"


def _load_original(source: Source, checkpoint: ModelWeights, model: HQSamModel) -> Any:
    """The original's `Sam` with the weights of the source, which pass through our key table only if they have to."""
    original = build_original(model.config)
    weights: dict[str, Tensor]
    if source.checkpoint.part == "model" and source.checkpoint.layout == "original":
        weights = read_weights(source.path)
    else:
        names = keys_to_original(checkpoint.weights)
        weights = {names[name]: tensor for name, tensor in checkpoint.weights.items()}
    original.load_state_dict({key: tensor.float() for key, tensor in weights.items()}, strict=True)
    return original.eval()  # again: TinyViT caches its attention biases when it enters evaluation mode


__all__ = ["check_can_verify", "check_can_verify_family", "verify_masks"]
