"""Save and load the features of an encoded image as safetensors, with a fingerprint of the model.

Tensors: image_embeddings (C, h, w) and hq_features (C / 8, 4h, 4w).
Metadata: format, model (the fingerprint) and original_size ([height, width] as JSON).
"""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..model.files import write_atomically
from ..model.image_reading import shortened
from ..model.modeling_hq_sam import HQSamImageFeatures, HQSamModel

FORMAT = "hq_sam_hf image embedding 1"

# The weights that an embedding depends on: the encoder, and the part of the HQ head that reads the image only.
_ENCODING_WEIGHTS = ("vision_encoder.", "mask_decoder.compress_vit_", "mask_decoder.encoder_")


def fingerprint(model: HQSamModel) -> str:
    """Hash what the features of an image depend on: the encoding weights and the model input size.

    Weights are rounded to bfloat16 first, so that a model has the same fingerprint in float32 and bfloat16.
    """
    digest = hashlib.sha256()
    # No weight of a TinyViT depends on the input size, so the weights alone would not tell two sizes apart.
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
    """Write the features of one image whose (height, width) is original_size. On failure an older file stays."""
    if not Path(path).absolute().parent.is_dir():
        raise ValueError(f"Cannot write {os.fspath(path)!r}: its folder does not exist. Create the folder first.")
    tensors = {
        "image_embeddings": features.image_embeddings[0].cpu().contiguous(),
        "hq_features": features.hq_features[0].cpu().contiguous(),
    }
    metadata = {"format": FORMAT, "model": model_fingerprint, "original_size": json.dumps(list(original_size))}
    content = save(tensors, metadata)
    write_atomically(path, lambda file: file.write(content))


def load_embedding(path: str | os.PathLike, model_fingerprint: str) -> tuple[HQSamImageFeatures, tuple[int, int]]:
    """Read the features of an image and its (height, width).

    Raises ValueError for a file that is damaged, is not an embedding, or was made with other weights.
    """
    if not os.path.isfile(path):
        raise ValueError(f"{shortened(os.fspath(path))} is not a file. Correct the path, or save an embedding there.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{os.fspath(path)!r} is not a complete safetensors file ({error}). Save it again."
        ) from error
    if metadata.get("format") != FORMAT or tensors.keys() != {"image_embeddings", "hq_features"}:
        raise ValueError(
            f"{os.fspath(path)!r} is not an embedding saved by HQSamPredictor: its format is "
            f"{metadata.get('format')!r} and its tensors are {', '.join(sorted(tensors)) or 'none'}. Save one with "
            "`HQSamPredictor.save_embedding`."
        )
    if metadata["model"] != model_fingerprint:
        raise ValueError(
            f"{os.fspath(path)!r} was made by a model with other weights or another input size: its fingerprint is "
            f"{metadata['model'][:12]}, that of this model is {model_fingerprint[:12]}. Encode the image again."
        )
    height, width = json.loads(metadata["original_size"])
    features = HQSamImageFeatures(**{name: tensor[None] for name, tensor in tensors.items()})
    return features, (height, width)


__all__ = ["fingerprint", "load_embedding", "save_embedding"]
