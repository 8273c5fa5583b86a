"""Save and load the features of an encoded image as safetensors, with a fingerprint of the model.

Tensors: image_embeddings (C, h, w) and hq_features (C / 8, 4h, 4w).
Metadata: format, model (the fingerprint) and original_size ([height, width] as JSON).
"""

import hashlib
import json
import os
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..model.files import write_atomically
from ..model.image_reading import shortened
from ..model.modeling_hq_sam import HQSamImageFeatures
from ..model.modeling_hq_sam2 import HQSam2ImageFeatures, HQSam2Model
from ..model.tensor_types import ordinary_values
from .loading import AnyModel

FORMAT = "hq_sam_hf image embedding 1"
_LONGEST_SIZE = 64  # characters of the two numbers

# The weights that an embedding depends on: the encoder, and those parts of the decoder that read the image only.
_ENCODING_WEIGHTS = (
    "vision_encoder.",
    "mask_decoder.compress_vit_",
    "mask_decoder.encoder_",
    "no_memory_embedding",
    "mask_decoder.conv_s",
)

# The tensors that a file holds of an HQ-SAM and of an HQ-SAM 2.
FEATURES = (
    {"image_embeddings", "hq_features"},
    {"image_embeddings", "high_res_features_0", "high_res_features_1"},
)

AnyFeatures = HQSamImageFeatures | HQSam2ImageFeatures


def feature_shapes(model: AnyModel) -> dict[str, tuple[int, ...]]:
    """The shapes of the features of one image that a file holds, by name."""
    vision = model.config.vision_config
    width, grid = vision.output_channels, vision.image_size // vision.patch_size
    embeddings, finest = {"image_embeddings": (width, grid, grid)}, (width // 8, 4 * grid, 4 * grid)
    if isinstance(model, HQSam2Model):
        return {**embeddings, "high_res_features_0": finest, "high_res_features_1": (width // 4, 2 * grid, 2 * grid)}
    return {**embeddings, "hq_features": finest}


def fingerprint(model: AnyModel) -> str:
    """Hash what the features of an image depend on: the encoding weights and the model input size.

    Weights are rounded to bfloat16 first, so that a model has the same fingerprint in float32 and bfloat16. Quantized
    weights count with the values that they stand for.

    Raises ValueError for weights that are not in memory, because they were offloaded.
    """
    digest = hashlib.sha256()
    # No weight of a TinyViT depends on the input size, so the weights alone would not tell two sizes apart.
    digest.update(f"image_size {model.config.vision_config.image_size}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith(_ENCODING_WEIGHTS) and tensor.is_floating_point():
            values = ordinary_values(tensor.detach())
            if values is None:
                raise ValueError(
                    f"An embedding cannot be saved or loaded: the weight {name} is offloaded, or its values cannot be "
                    "read. Do it with a model whose `vision_encoder` and `mask_decoder` are in memory."
                )
            rounded = values.to("cpu", torch.bfloat16).contiguous()
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(rounded.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_embedding(
    path: str | os.PathLike, features: AnyFeatures, original_size: tuple[int, int], model_fingerprint: str
) -> None:
    """Write the features of one image whose (height, width) is original_size. On failure an older file stays."""
    if not Path(path).absolute().parent.is_dir():
        raise ValueError(f"Cannot write {os.fspath(path)!r}: its folder does not exist. Create the folder first.")
    tensors = {name: tensor[0].cpu().contiguous() for name, tensor in features.items() if name != "image_projections"}
    metadata = {"format": FORMAT, "model": model_fingerprint, "original_size": json.dumps(list(original_size))}
    content = save(tensors, metadata)
    write_atomically(path, lambda file: file.write(content))


def load_embedding(
    path: str | os.PathLike, model: AnyModel, model_fingerprint: str, max_pixels: int | None = None
) -> tuple[AnyFeatures, tuple[int, int]]:
    """Read the features of an image for a model, and the image's (height, width).

    max_pixels: the most pixels that the image may have, because masks take memory for each of them; by default what
        `load_image` reads.

    Raises ValueError for a file that is damaged, is not an embedding, or was made with other weights.
    """
    name = shortened(os.fspath(path))
    if not os.path.isfile(path):
        raise ValueError(f"{name} is not a file. Correct the path, or save an embedding there.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{name} is not a complete safetensors file ({error}). Save it again.") from error
    shapes = feature_shapes(model)
    if metadata.get("format") != FORMAT or set(tensors) not in FEATURES:
        raise ValueError(
            f"{name} is not an embedding saved by HQSamPredictor: its format is "
            f"{shortened(str(metadata.get('format')))} and its tensors are "
            f"{shortened(', '.join(sorted(tensors)) or 'none')}. Save one with `HQSamPredictor.save_embedding`."
        )
    if metadata.get("model") != model_fingerprint:
        raise ValueError(
            f"{name} was made by a model with other weights or another input size: its fingerprint is "
            f"{metadata.get('model', 'missing')[:12]}, that of this model is {model_fingerprint[:12]}. Encode the "
            "image again."
        )
    _check_tensors(name, tensors, shapes)
    original_size = _read_size(name, metadata.get("original_size", ""), max_pixels)
    features = {key: tensor[None] for key, tensor in tensors.items()}
    is_sam2 = isinstance(model, HQSam2Model)
    return HQSam2ImageFeatures(**features) if is_sam2 else HQSamImageFeatures(**features), original_size


def _check_tensors(name: str, tensors: dict[str, Tensor], shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless the features of an image have these shapes and values of features."""
    got = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if got != shapes:
        listings = [" and ".join(str(each[key]) for key in sorted(each, reverse=True)) for each in (got, shapes)]
        raise ValueError(
            f"{name} is damaged: its features have the shapes {listings[0]}, expected {listings[1]}. Encode the image "
            "again."
        )
    for tensor in tensors.values():
        is_float = tensor.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
        if not is_float or not tensor.isfinite().all():
            problem = "values that are not finite" if is_float else f"features of type {tensor.dtype}"
            raise ValueError(f"{name} is damaged: it holds {problem}. Encode the image again.")


def _read_size(name: str, text: str, max_pixels: int | None) -> tuple[int, int]:
    """(height, width) from the metadata. Raises ValueError for sizes that no image has, or that are too large."""
    try:
        size = json.loads(text) if len(text) <= _LONGEST_SIZE else None
    except ValueError:
        size = None
    if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
        raise ValueError(
            f"{name} is damaged: its original_size must be [height, width] in pixels, got {shortened(text)}. Encode "
            "the image again."
        )
    height, width = size
    limit = 2 * (Image.MAX_IMAGE_PIXELS or height * width) if max_pixels is None else max_pixels
    if height * width > limit:
        raise ValueError(
            f"{name} says that its image has {width} x {height} pixels, more than the limit of {limit}. If you trust "
            f"it, raise the limit: `load_embedding(path, max_pixels={height * width})`. Else encode the image again."
        )
    return height, width


__all__ = ["fingerprint", "load_embedding", "save_embedding"]
