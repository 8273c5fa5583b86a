"""Check that weights fit a model: no key missing, none unexpected, every shape and dtype right."""

from collections.abc import Iterable

from torch import nn

from .checkpoint_format import ModelWeights, is_hq_key
from .key_mapping_sam2 import is_video_key


def check_weights(checkpoint: ModelWeights, model: nn.Module) -> None:
    """Raise ValueError unless keys, shapes and dtypes fit the model.

    A plain SAM may lack the HQ head, and a SAM 2 may have weights that only video uses.
    """
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if not checkpoint.has_hq:
        expected = {name: shape for name, shape in expected.items() if not is_hq_key(name)}
    weights = checkpoint.weights
    unexpected = weights.keys() - expected.keys()
    if checkpoint.family == "sam2":
        unexpected = {name for name in unexpected if not is_video_key(name)}
    check_keys(checkpoint.source, expected.keys() - weights.keys(), unexpected, checkpoint.model_class)
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise ValueError(
                f"The weights of {checkpoint.source!r} do not fit together: {name} is {tuple(weights[name].shape)}, "
                f"expected {tuple(shape)} from the shapes of the other weights."
            )
        if not weights[name].is_floating_point() and not name.endswith("num_batches_tracked"):
            raise ValueError(
                f"The weight {name} of {checkpoint.source!r} is {str(weights[name].dtype).removeprefix('torch.')}, "
                "expected a floating-point dtype. Quantized weights cannot be loaded."
            )


def check_keys(
    source: object, missing: Iterable[str], unexpected: Iterable[str], model_class: str = "HQSamModel"
) -> None:
    """Raise ValueError, naming up to three keys of each kind, unless both are empty."""
    keys_by_kind = {"missing": sorted(missing), "unexpected": sorted(unexpected)}
    if not any(keys_by_kind.values()):
        return

    def first_three(keys: list[str]) -> str:
        return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")

    parts = [f"{len(keys)} {kind} ({first_three(keys)})" for kind, keys in keys_by_kind.items() if keys]
    remedy = "Check that the weights and config.json belong together."
    if keys_by_kind["missing"] and all(map(is_hq_key, keys_by_kind["missing"])):
        remedy = (
            "These are the weights of a plain SAM, without the HQ head. Load an HQ-SAM checkpoint, or start a fresh "
            f"head with {model_class}.from_sam_pretrained."
        )
    raise ValueError(f"The weights of {str(source)!r} do not fit an {model_class}: {'; '.join(parts)}. {remedy}")


__all__ = ["check_keys", "check_weights"]
