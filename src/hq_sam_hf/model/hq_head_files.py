"""The HQ head alone: save it to a small file, and load it into a model with the same SAM."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save
from torch import Tensor
from transformers.utils import logging

from .checkpoint_format import MODEL_CLASSES, ModelWeights, family_of, is_hq_key, read_checkpoint
from .destinations import check_output_file
from .files import write_atomically
from .weight_checks import check_keys
from .weights import find_file

if TYPE_CHECKING:
    from .modeling_hq_sam import HQSamModel

logger = logging.get_logger(__name__)

HQ_HEAD_FILE = "hq_head.safetensors"


def hq_head_weights(model: "HQSamModel") -> dict[str, Tensor]:
    """The weights of the HQ head, the part that HQ-SAM adds to SAM and trains, by their keys in the model."""
    return {name: tensor for name, tensor in model.state_dict().items() if is_hq_key(name)}


def save_hq_head(model: "HQSamModel", folder: str | os.PathLike) -> None:
    """Write the HQ head to `hq_head.safetensors` in a folder, which is created if it does not exist.

    Raises ValueError if a file of that name is there and is no HQ head.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    check_output_file(Path(folder) / HQ_HEAD_FILE, "an HQ head", _is_head)
    head = {name: tensor.detach().cpu().contiguous() for name, tensor in hq_head_weights(model).items()}
    vit_dim = getattr(model.config.mask_decoder_config, "vit_dim", None)  # HQ-SAM 2 has no early features
    data = save(head, metadata={"format": "pt", **({} if vit_dim is None else {"vit_dim": str(vit_dim)})})
    write_atomically(Path(folder) / HQ_HEAD_FILE, lambda file: file.write(data))


def _is_head(path: Path) -> bool:
    try:
        found = read_checkpoint(path)
    except (ValueError, OSError):
        return False
    return found.part == "head"


def load_hq_head(
    model: "HQSamModel", source: str | os.PathLike, revision: str | None = None, token: str | bool | None = None
) -> None:
    """Copy a trained HQ head into a model, in place; `HQSamModel.load_hq_head` documents the arguments."""
    checkpoint = read_checkpoint(_find_head(source, revision, token))
    if not checkpoint.has_hq:
        raise ValueError(f"{str(source)!r} is a {checkpoint.describe()} and holds no HQ head.")
    if checkpoint.family != family_of(model.config):
        raise ValueError(
            f"{str(source)!r} is a {checkpoint.describe()}. Load it into an {checkpoint.model_class}; this model is "
            f"an {MODEL_CLASSES[family_of(model.config)]}."
        )
    own = hq_head_weights(model)
    head = {name: tensor for name, tensor in checkpoint.weights.items() if is_hq_key(name)}
    check_keys(source, own.keys() - head.keys(), head.keys() - own.keys(), checkpoint.model_class)
    for name, tensor in head.items():
        if tensor.shape != own[name].shape:
            raise ValueError(
                f"The HQ head {str(source)!r} does not fit this base: {name} is {tuple(tensor.shape)}, expected "
                f"{tuple(own[name].shape)}. {_sizes(model, head)}"
            )
    _warn_about_another_decoder(model, checkpoint)
    with torch.no_grad():
        for name, tensor in head.items():
            own[name].copy_(tensor)


def _sizes(model: "HQSamModel", head: dict[str, Tensor]) -> str:
    """A sentence with the size by which heads differ."""
    if family_of(model.config) == "sam2":
        width = head["mask_decoder.hq_token.weight"].shape[-1]
        return f"It was made for a decoder of width {width}; that of every published SAM 2 is 256."
    return (
        f"It was made for early features of {head['mask_decoder.compress_vit_conv1.weight'].shape[0]} channels, this "
        f"base has {model.config.mask_decoder_config.vit_dim} (ViT-B 768, ViT-L 1024, ViT-H 1280, TinyViT 160)."
    )


def _find_head(source: str | os.PathLike, revision: str | None, token: str | bool | None) -> Path:
    """The local file or folder that holds the head, downloaded if `source` is a Hub repository."""
    path = find_file(source, revision, token)
    if path is not None:
        return path
    if os.path.isdir(source):
        head_file = Path(source) / HQ_HEAD_FILE
        return head_file if head_file.is_file() else Path(source)
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(str(source), HQ_HEAD_FILE, revision=revision, token=token))


def _warn_about_another_decoder(model: "HQSamModel", checkpoint: ModelWeights) -> None:
    """Log a warning if the checkpoint's SAM decoder differs from the model's: the head was trained with the former."""
    own = model.state_dict()
    shared = [name for name in checkpoint.weights if name.startswith("mask_decoder.") and not is_hq_key(name)]
    for name in shared:
        theirs, ours = checkpoint.weights[name].float(), own[name].float().cpu()
        # The tolerance allows for a decoder that was stored in half precision.
        if theirs.shape != ours.shape or not torch.allclose(theirs, ours, rtol=1e-2, atol=1e-2):
            logger.warning(
                f"The HQ head {checkpoint.source!r} was trained with another SAM decoder than this model's; they "
                f"differ in {name}. To use its decoder too, run `hq-sam convert FILE FOLDER --base SAM`."
            )
            return


__all__ = ["HQ_HEAD_FILE", "hq_head_weights", "load_hq_head", "save_hq_head"]
