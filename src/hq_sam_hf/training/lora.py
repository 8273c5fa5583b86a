"""Low-rank adapters (LoRA, arXiv 2106.09685) on frozen layers, through peft."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..model.modeling_hq_sam import HQSamModel
from ..model.modeling_hq_sam2 import HQSam2Model

DEFAULT_RANK = 8
# Names of the linear layers that get an adapter: those of the encoder's and of the decoder's attention.
ENCODER_LAYERS = r".*\.attn\.(qkv|proj)"
DECODER_LAYERS = r"transformer\..*attn.*\.(q_proj|k_proj|v_proj|out_proj|o_proj)"


def add_adapters(model: HQSamModel | HQSam2Model, options: dict[str, Any]) -> None:
    """Add adapters to a model, in place. They require gradients and do not change its output at first.

    options: rank (8), alpha (the rank), encoder (true), decoder (false). Raises ValueError without peft, or if
    neither the encoder nor the decoder is adapted.
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
        trained = {name for name, weight in part.named_parameters() if weight.requires_grad}
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=options.get("alpha", rank), target_modules=layers), part)
        for name, weight in part.named_parameters():  # peft freezes all weights but its own
            weight.requires_grad_("lora_" in name or name in trained)


@contextmanager
def merged_adapters(model: nn.Module) -> Iterator[None]:
    """Within the block, the adapters are merged into the weights, and the weights have the names of a plain SAM."""
    adapted: list[tuple[nn.Module, str, Any]] = [
        (parent, name, layer)
        for parent in list(model.modules())
        for name, layer in list(parent.named_children())
        if hasattr(layer, "get_base_layer")  # a layer of peft, recognized without importing peft
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
