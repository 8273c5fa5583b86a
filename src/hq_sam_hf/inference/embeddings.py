"""The features of an encoded picture as a safetensors file, with a check that they belong to the model.

image_embeddings (C, h, w), hq_features (C / 8, 4h, 4w)
metadata: format, model (fingerprint), original_size [height, width] as JSON
"""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..model.files import write_atomically
from ..model.modeling_hq_sam import HQSamImageFeatures, HQSamModel

FORMAT = "hq_sam_hf image embedding 1"

# All weights that an embedding depends on: the encoder, and the part of the HQ head that sees the image alone.
_ENCODING_WEIGHTS = ("vision_encoder.", "mask_decoder.compress_vit_", "mask_decoder.encoder_")


def fingerprint(model: HQSamModel) -> str:
    """A hash of what turns a picture into features: the weights and the side of the model's frame.

    Weights are rounded to bfloat16 first, so that a model has the same fingerprint in float32 and bfloat16.
    """
    digest = hashlib.sha256()
    # No weight of a TinyViT depends on the side.
    digest.update(f"image_size {model.config.vision_config.image_size}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith(_ENCODING_WEIGHTS) and tensor.is_floating_point():
            rounded = tensor.detach().to("cpu", torch.bfloat16).contiguous()
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(memoryview(rounded.view(torch.uint8).numpy()))
    return digest.hexdigest()


def save_embedding(
    path: str | os.PathLike, features: HQSamImageFeatures, original_size: tuple[int, int], model_fingerprint: str
) -> None:
    """Write the features of one picture of (height, width) original_size; on failure an older file stays."""
    if not Path(path).absolute().parent.is_dir():
        raise ValueError(f"Cannot write {os.fspath(path)!r}: its folder does not exist. Create it first.")
    tensors = {
        "image_embeddings": features.image_embeddings[0].cpu().contiguous(),
        "hq_features": features.hq_features[0].cpu().contiguous(),
    }
    metadata = {"format": FORMAT, "model": model_fingerprint, "original_size": json.dumps(list(original_size))}
    content = save(tensors, metadata)
    write_atomically(path, lambda file: file.write(content))


def load_embedding(path: str | os.PathLike, model_fingerprint: str) -> tuple[HQSamImageFeatures, tuple[int, int]]:
    """Read features and (height, width) of the picture.

    Raises ValueError for a file that is no embedding, is damaged, or was made with other weights.
    """
    if not Path(path).is_file():
        raise ValueError(f"{os.fspath(path)!r} is not a file.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)!r} is no whole safetensors file ({error}). Save it again.") from error
    if metadata.get("format") != FORMAT or tensors.keys() != {"image_embeddings", "hq_features"}:
        raise ValueError(
            f"{os.fspath(path)!r} is no embedding saved by HQSamPredictor; it says {metadata.get('format')!r} and "
            f"holds {', '.join(sorted(tensors)) or 'nothing'}."
        )
    if metadata["model"] != model_fingerprint:
        raise ValueError(
            f"{os.fspath(path)!r} was made by a model with other weights or another input size: its fingerprint is "
            f"{metadata['model'][:12]}, that of this model {model_fingerprint[:12]}. Encode the picture again."
        )
    height, width = json.loads(metadata["original_size"])
    features = HQSamImageFeatures(**{name: tensor[None] for name, tensor in tensors.items()})
    return features, (height, width)


__all__ = ["fingerprint", "load_embedding", "save_embedding"]
