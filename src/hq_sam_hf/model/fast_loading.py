"""The short way from a local folder of safetensors to a model, several times as fast as transformers' general one.

Nothing is initialised and nothing copied: the parameters are the mapped file. Whatever is out of the ordinary in the
folder or the arguments is left to the general way, with its messages.
"""

import copy
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers.configuration_utils import PreTrainedConfig
from transformers.initialization import no_init_weights
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

# Arguments of `PreTrainedModel.from_pretrained` that change nothing for a local folder, by their defaults.
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
    "_from_auto",
    "_commit_hash",
}
_MATRIX = "shared_image_embedding.positional_embedding"
_SECOND_MATRIX = "prompt_encoder.shared_embedding.positional_embedding"  # a copy in transformers' SamHQ folders


def load_plain_folder(
    model_class: Any,
    folder: str | os.PathLike,
    config: PreTrainedConfig | None = None,
    dtype: str | torch.dtype | None = None,
    attn_implementation: str | None = None,
    device_map: Any = None,
    use_safetensors: bool | None = None,
    **others: Any,
) -> Any:
    """A model in evaluation mode, or None where the general way is to be taken.

    model_class: a PreTrainedModel. The result is what its own `from_pretrained` gives.
    """
    path = Path(folder)
    file = path / "model.safetensors"
    if not file.is_file() or (path / "adapter_config.json").is_file() or use_safetensors is False:
        return None
    if {name for name in others if others[name] is not None} - _WITHOUT_EFFECT or is_deepspeed_zero3_enabled():
        return None
    on_cpu = device_map in (None, "cpu", torch.device("cpu")) and torch.get_default_device().type == "cpu"
    if not on_cpu or not (config is None or isinstance(config, model_class.config_class)):
        return None
    config = model_class.config_class.from_pretrained(path) if config is None else copy.deepcopy(config)
    if getattr(config, "quantization_config", None) is not None:
        return None
    if attn_implementation is not None:
        config._attn_implementation = attn_implementation
    try:
        with safe_open(file, framework="pt") as opened:
            weights = {name: opened.get_tensor(name) for name in opened.keys()}
    except (SafetensorError, OSError):
        return None
    wanted = _dtype_of(dtype, config, weights)
    if wanted is None:
        return None
    for section in (config, *(getattr(config, name) for name in config.sub_configs)):
        section.dtype = wanted
    config.name_or_path = str(folder)
    with torch.device("meta"), no_init_weights():
        model = model_class(config)
    if not _fits(weights, model):
        return None
    weights.pop(_SECOND_MATRIX, None)
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            weights[name] = tensor.to(torch.float32 if name == _MATRIX else wanted)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _dtype_of(
    dtype: str | torch.dtype | None, config: PreTrainedConfig, weights: dict[str, Tensor]
) -> torch.dtype | None:
    """What transformers makes of the argument: by default what config.json says, else what the weights are."""
    if dtype in (None, "auto"):
        dtype = config.dtype or next((t.dtype for t in weights.values() if t.is_floating_point()), None)
    wanted = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    return wanted if isinstance(wanted, torch.dtype) and wanted.is_floating_point else None


def _fits(weights: dict[str, Tensor], model: torch.nn.Module) -> bool:
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    return expected == {name: tensor.shape for name, tensor in weights.items() if name != _SECOND_MATRIX}


__all__ = ["load_plain_folder"]
