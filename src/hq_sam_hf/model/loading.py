"""Load an `HQSamModel` or `HQSam2Model` from a folder, the Hub, a single file or a plain SAM.

Their class methods `from_pretrained` and `from_sam_pretrained` are thin class methods around `load_model` and
`load_sam`. An HQ head alone is loaded by `hq_head`.
"""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from .checkpoint_format import (
    MODEL_CLASSES,
    ModelWeights,
    derive_config,
    family_of,
    is_hq_key,
    read_checkpoint,
    warn_if_not_finite,
)
from .compatibility import check_attention, set_attention, without_load_report
from .fast_loading import load_safetensors_folder
from .folder_checks import check_model_folder, check_weight_files
from .key_mapping import HQ_HEAD_MODULES, HQ_INITS
from .modeling_vision_encoder import init_like_pytorch
from .tensor_types import computing_device
from .weight_checks import check_keys, check_weights
from .weights import find_file

if TYPE_CHECKING:
    from .configuration_hq_sam import HQSamConfig
    from .modeling_hq_sam import HQSamModel

VALUES_CHECKED_PER_WEIGHT = 2**14

# Arguments of `PreTrainedModel.from_pretrained` that say where on the Hub a file is ...
_HUB_ARGUMENTS = ("revision", "token", "cache_dir")
# ... and those that have no meaning for a single file once it has been found.
_UNUSED_FOR_A_FILE = ("local_files_only", "force_download", "proxies", "use_safetensors", "weights_only")


def load_model(
    model_class: "type[HQSamModel]",
    load_with_transformers: Callable[..., Any],
    source: str | os.PathLike,
    *args: Any,
    image_size: int | None = None,
    **kwargs: Any,
) -> "tuple[HQSamModel, dict[str, Any]]":
    """Load an HQ-SAM or HQ-SAM 2. Returns it with transformers' loading info.

    The arguments are those of `HQSamModel.from_pretrained`.

    load_with_transformers: `PreTrainedModel.from_pretrained`, bound to model_class.
    """
    file = find_file(source, **{name: kwargs.get(name) for name in _HUB_ARGUMENTS})
    if file is not None:
        checkpoint = read_checkpoint(file)
        _check_family(model_class, checkpoint)
        _check_is_hq_sam(checkpoint)
        model, info = _build_model(model_class, checkpoint, **kwargs), _empty_info()
    else:
        model, info = _load_folder(model_class, load_with_transformers, source, *args, **kwargs)
        check_keys(source, info["missing_keys"], info["unexpected_keys"], _public_name(model_class))
    if image_size is not None:
        model.resize_image(image_size)
    return model, info


def load_sam(
    model_class: "type[HQSamModel]",
    load_with_transformers: Callable[..., Any],
    source: str | os.PathLike,
    image_size: int | None = None,
    hq_init: str = "random",
    **kwargs: Any,
) -> "HQSamModel":
    """Load a plain SAM and add a fresh HQ head; `HQSamModel.from_sam_pretrained` has the arguments."""
    if hq_init not in HQ_INITS:
        raise ValueError(f"`hq_init` must be one of {', '.join(HQ_INITS)}, got {hq_init!r}.")
    file = find_file(source, **{name: kwargs.get(name) for name in _HUB_ARGUMENTS})
    if file is not None:
        checkpoint = read_checkpoint(file)
        _check_family(model_class, checkpoint)
        _check_is_plain_sam(checkpoint)
        model = _build_model(model_class, checkpoint, **kwargs)
    else:
        model, info = _load_folder(model_class, load_with_transformers, source, **kwargs)
        missing = info["missing_keys"]
        if not any(map(is_hq_key, missing)):
            raise ValueError(_has_head_already(source, _public_name(model_class)))
        sam_missing = {key for key in missing if not is_hq_key(key)}
        check_keys(source, sam_missing, info["unexpected_keys"], _public_name(model_class))
    if hq_init == "sam":
        model.mask_decoder.start_hq_mask_from_sam()
    if image_size is not None:
        model.resize_image(image_size)
    return model


def _load_folder(
    model_class: "type[HQSamModel]",
    load_with_transformers: Callable[..., Any],
    name: str | os.PathLike,
    *args: Any,
    ignore_mismatched_sizes: bool = False,
    **kwargs: Any,
) -> "tuple[HQSamModel, dict[str, Any]]":
    """Load a folder or Hub repository, by the fast path where it applies. Missing keys are reported in the info."""
    check_attention(kwargs.get("attn_implementation"))
    check_model_folder(name, kwargs.get("subfolder") or "", needs_config=kwargs.get("config") is None)
    if not args and not ignore_mismatched_sizes:
        model = load_safetensors_folder(model_class, name, **kwargs)
        if model is not None:
            # Sample each tensor; checking all values would read the whole file.
            samples = {key: tensor.flatten()[:VALUES_CHECKED_PER_WEIGHT] for key, tensor in model.state_dict().items()}
            warn_if_not_finite(samples, str(name))
            return model, _empty_info()
    model, info = _load_by_transformers(load_with_transformers, name, *args, **kwargs)
    for key, got, expected in info["mismatched_keys"] if not ignore_mismatched_sizes else ():
        raise ValueError(
            f"The weights of {str(name)!r} do not fit its config.json: {key} is {tuple(got)}, expected "
            f"{tuple(expected)}. Correct config.json, or use the one that belongs to these weights."
        )
    _check_dispatched(model, kwargs.get("device_map"))
    warn_if_not_finite(model.state_dict(), str(name))
    return model, info


def _load_by_transformers(
    load_with_transformers: Callable[..., Any], name: str | os.PathLike, *args: Any, **kwargs: Any
) -> "tuple[HQSamModel, dict[str, Any]]":
    """Load with transformers, with a check of the files: before, if they are here, or after they came from the Hub.

    Errors of transformers about files of the Hub are replaced by what the checks find, if they find something.
    """
    is_local = os.path.isdir(name)
    if is_local:
        _check_weight_files(Path(name), **kwargs)
    try:
        with without_load_report():
            model, info = load_with_transformers(
                name, *args, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs
            )
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"The .bin weights of {str(name)!r} hold Python objects besides tensors, which are not loaded because "
            "they could run code. Get them as safetensors."
        ) from error
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(
            f"A weights file or index of {str(name)!r} is damaged or cut short ({error}). Download or convert it "
            "again."
        ) from error
    except OSError:  # what could not be fetched; its message says so
        raise
    except Exception:
        if not is_local:
            _check_downloaded_files(name, **kwargs)
        raise
    if not is_local:
        _check_downloaded_files(name, **kwargs)
    return model, info


def _check_dispatched(model: "HQSamModel", device_map: Any) -> None:
    """Raise ValueError for a model whose weights are all on the disk, with nothing that would load them.

    Older versions of transformers and accelerate make one of a `device_map` that names nothing but "disk".
    """
    on_disk = isinstance(device_map, dict) and "disk" in device_map.values()
    if on_disk and computing_device(model).type == "meta":
        places = {name: "cpu" if name == "prompt_encoder" else "disk" for name, _ in model.named_children()}
        raise ValueError(
            "This version of transformers or accelerate does not load weights back from the disk where `device_map` "
            f"names nothing else. Keep a small part in memory: {places}."
        )


def _check_weight_files(
    folder: Path,
    subfolder: str = "",
    variant: str | None = None,
    use_safetensors: bool | None = None,
    **others: Any,
) -> None:
    check_weight_files(folder / (subfolder or ""), variant, use_safetensors)


def _check_downloaded_files(
    name: str | os.PathLike, cache_dir: str | Path | None = None, revision: str | None = None, **kwargs: Any
) -> None:
    """Check the weight files of a Hub repository in the cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(str(name), "config.json", cache_dir, revision)
    except HFValidationError:  # not a name of a repository
        return
    if isinstance(config, str):
        _check_weight_files(Path(config).parent, **kwargs)


def _build_model(
    model_class: "type[HQSamModel]",
    checkpoint: ModelWeights,
    config: "HQSamConfig | None" = None,
    dtype: torch.dtype | str | None = None,
    device_map: str | int | torch.device | None = None,
    attn_implementation: str | None = None,
    **others: Any,
) -> "HQSamModel":
    """Build a model, in evaluation mode, from the weights of a single file. A missing HQ head is initialised."""
    not_supported = others.keys() - {*_HUB_ARGUMENTS, *_UNUSED_FOR_A_FILE}
    if not_supported:
        raise TypeError(
            f"`{sorted(not_supported)[0]}` cannot be given with a single file, {checkpoint.source!r}. Convert it to a "
            "folder first, with `hq-sam convert`."
        )
    if isinstance(device_map, dict) or device_map in ("balanced", "balanced_low_0", "sequential"):
        raise ValueError(f"`device_map` must be a single device for a file, got {device_map!r}.")
    config = derive_config(checkpoint) if config is None else config
    set_attention(config, attn_implementation)
    with torch.device("meta"):
        model = model_class(config)
    check_weights(checkpoint, model)
    model.load_state_dict(checkpoint.weights, strict=False, assign=True)
    if not checkpoint.has_hq:
        for name in HQ_HEAD_MODULES:
            if hasattr(model.mask_decoder, name):  # HQ-SAM 2 has a part of them
                getattr(model.mask_decoder, name).to_empty(device="cpu").apply(init_like_pytorch)
    model.config.name_or_path = checkpoint.source
    if isinstance(dtype, str):
        dtype = None if dtype == "auto" else getattr(torch, dtype)
    if device_map == "auto":
        device_map = "cuda" if torch.cuda.is_available() else None
    return model.to(device=device_map, dtype=dtype).eval()


def _check_family(model_class: "type[HQSamModel]", checkpoint: ModelWeights) -> None:
    """Raise ValueError for a SAM 2 where a SAM is loaded, and for a SAM where a SAM 2 is."""
    if checkpoint.model_class == _public_name(model_class):
        return
    method = "from_pretrained" if checkpoint.has_hq else "from_sam_pretrained"
    raise ValueError(
        f"{checkpoint.source!r} is a {checkpoint.describe()}, another model than {_public_name(model_class)}. Load it "
        f"with {checkpoint.model_class}.{method}."
    )


def _check_is_hq_sam(checkpoint: ModelWeights) -> None:
    _check_is_whole(checkpoint)
    if not checkpoint.has_hq:
        raise ValueError(
            f"{checkpoint.source!r} is a {checkpoint.describe()}, without an HQ head. Load an HQ-SAM checkpoint, or "
            f"start a fresh head on it with {checkpoint.model_class}.from_sam_pretrained."
        )


def _check_is_plain_sam(checkpoint: ModelWeights) -> None:
    _check_is_whole(checkpoint)
    if checkpoint.has_hq:
        raise ValueError(_has_head_already(checkpoint.source, checkpoint.model_class))


def _check_is_whole(checkpoint: ModelWeights) -> None:
    if checkpoint.part != "model":
        raise ValueError(
            f"{checkpoint.source!r} is a {checkpoint.describe()}, without an image encoder. Load the SAM that it was "
            f"trained on with {checkpoint.model_class}.from_sam_pretrained, then call load_hq_head with this file."
        )


def _has_head_already(source: object, model_class: str) -> str:
    return f"{str(source)!r} already has an HQ head. Load it with {model_class}.from_pretrained."


def _public_name(model_class: "type[HQSamModel]") -> str:
    """The name of the class that a subclass of it extends."""
    return MODEL_CLASSES[family_of(model_class.config_class)]


def _empty_info() -> dict[str, Any]:
    """transformers' loading info when every weight fits."""
    return {"missing_keys": set(), "unexpected_keys": set(), "mismatched_keys": set()}


__all__ = ["load_model", "load_sam"]
