"""Fast path for loading a local folder with one safetensors file, several times as fast as transformers' general path.

No weight is initialised or copied: the parameters are the memory-mapped file. For anything unusual in the folder or
the arguments the function returns None, and the caller takes the general path with its error messages.
"""

import copy
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers.configuration_utils import PreTrainedConfig
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from .compatibility import no_init_weights, set_attention
from .key_mapping import POSITIONAL_MATRIX

if TYPE_CHECKING:
    from .modeling_hq_sam import HQSamModel

# Arguments of `PreTrainedModel.from_pretrained` that do not change what is loaded from a local folder.
_WITHOUT_EFFECT = {
    "revision",
    "token",
    "cache_dir",
    "local_files_only",
    "force_download",
    "proxies",
    "weights_only",
    "trust_remote_code",
    "low_cpu_mem_usage",
}


def load_safetensors_folder(
    model_class: "type[HQSamModel]",
    folder: str | os.PathLike,
    config: PreTrainedConfig | None = None,
    dtype: str | torch.dtype | None = None,
    attn_implementation: str | None = None,
    device_map: Any = None,
    use_safetensors: bool | None = None,
    adapter_kwargs: dict[str, Any] | None = None,
    **others: Any,
) -> "HQSamModel | None":
    """Load a model in evaluation mode, equal to what `PreTrainedModel.from_pretrained` gives for the same arguments.

    Returns None if the fast path does not apply.
    """
    path = Path(folder)
    file = path / "model.safetensors"
    if not file.is_file() or (path / "adapter_config.json").is_file() or use_safetensors is False:
        return None
    unusual = {name for name in others if others[name] is not None} - _WITHOUT_EFFECT
    # AutoModel always passes `adapter_kwargs`, empty or with values of None.
    unusual |= {name for name, value in (adapter_kwargs or {}).items() if value is not None}
    if unusual or is_deepspeed_zero3_enabled():
        return None
    on_cpu = device_map in (None, "cpu", torch.device("cpu")) and torch.get_default_device().type == "cpu"
    if not on_cpu or (config is not None and config.model_type != model_class.config_class.model_type):
        return None
    config = model_class.config_class.from_pretrained(path) if config is None else copy.deepcopy(config)
    if getattr(config, "quantization_config", None) is not None:
        return None
    set_attention(config, attn_implementation)
    try:
        with safe_open(file, framework="pt") as opened:
            weights = {name: opened.get_tensor(name) for name in opened.keys()}
    except (SafetensorError, OSError):
        return None
    model_dtype = _resolve_dtype(dtype, config, weights)
    if model_dtype is None:
        return None
    for section in (config, *(getattr(config, name) for name in config.sub_configs)):
        section.dtype = model_dtype
    config.name_or_path = str(folder)
    with torch.device("meta"), no_init_weights():
        model = model_class(config)
    for pattern in model._keys_to_ignore_on_load_unexpected or ():
        weights = {name: tensor for name, tensor in weights.items() if not re.search(pattern, name)}
    if not _has_shapes_of(weights, model):
        return None
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            weights[name] = tensor.to(torch.float32 if name == POSITIONAL_MATRIX else model_dtype)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _resolve_dtype(
    dtype: str | torch.dtype | None, config: PreTrainedConfig, weights: dict[str, Tensor]
) -> torch.dtype | None:
    """The dtype that transformers chooses: the argument, else that of config.json, else that of the weights."""
    if dtype in (None, "auto"):
        dtype = config.dtype or next((t.dtype for t in weights.values() if t.is_floating_point()), None)
    resolved = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    return resolved if isinstance(resolved, torch.dtype) and resolved.is_floating_point else None


def _has_shapes_of(weights: dict[str, Tensor], model: torch.nn.Module) -> bool:
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    return expected == {name: tensor.shape for name, tensor in weights.items()}


__all__ = ["load_safetensors_folder"]
