"""Low-rank adapters (LoRA, arXiv 2106.09685) on the frozen SAM, through peft."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..model.modeling_hq_sam import HQSamModel

DEFAULT_RANK = 8
# Linear layers that get an adapter: of the encoder's attention, and of the decoder's.
ENCODER_LAYERS = r".*\.attn\.(qkv|proj)"
DECODER_LAYERS = r"transformer\..*attn.*\.(q_proj|k_proj|v_proj|out_proj)"


def add_adapters(model: HQSamModel, options: dict[str, Any]) -> None:
    """Put adapters on a model, in place; only they require gradients there. They start without effect.

    options: rank (8), alpha (the rank), encoder (true), decoder (false).
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError('`lora` needs peft: pip install "hq-sam-hf[lora]".') from error
    rank = int(options.get("rank", DEFAULT_RANK))
    parts = [
        (options.get("encoder", True), model.vision_encoder, ENCODER_LAYERS),
        (options.get("decoder", False), model.mask_decoder, DECODER_LAYERS),
    ]
    if rank < 1 or not any(wanted for wanted, _, _ in parts):
        raise ValueError(f"`lora` must have a rank of at least 1 and adapt the encoder or the decoder, got {options}.")
    for wanted, part, layers in parts:
        if not wanted:
            continue
        before = {name for name, weight in part.named_parameters() if weight.requires_grad}
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=options.get("alpha", rank), target_modules=layers), part)
        for name, weight in part.named_parameters():  # peft freezes all but its own
            weight.requires_grad_("lora_" in name or name in before)


@contextmanager
def merged_adapters(model: nn.Module) -> Iterator[None]:
    """Within the block, the adapters are part of the weights that they adapt, and the names are those of a SAM."""
    adapted: list[tuple[nn.Module, str, Any]] = [
        (parent, name, layer)
        for parent in list(model.modules())
        for name, layer in list(parent.named_children())
        if hasattr(layer, "get_base_layer")  # peft's, without importing it where it is not used
    ]
    for parent, name, layer in adapted:
        layer.merge()
        setattr(parent, name, layer.get_base_layer())
    try:
        yield
    finally:
        for parent, name, layer in adapted:
            setattr(parent, name, layer)
            layer.unmerge()


__all__ = ["add_adapters", "merged_adapters"]
