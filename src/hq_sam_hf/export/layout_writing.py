"""Write a model in one of the layouts of checkpoints: this package's, transformers' or the original's."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ..model.checkpoint_format import MODEL_CLASSES, family_of, is_hq_key, read_checkpoint
from ..model.configuration_hq_sam import HQSamConfig, HQSamTinyViTConfig
from ..model.configuration_hq_sam2 import HQSam2Config
from ..model.destinations import check_output_file, check_output_folder, first_foreign
from ..model.families import processor_class_of
from ..model.files import whole_folder, write_atomically
from ..model.image_processing_hq_sam import IMAGE_MEAN, IMAGE_STD
from ..model.key_mapping import keys_to_original
from ..model.key_mapping_sam2 import weights_to_original_sam2
from ..model.weights import WEIGHT_SUFFIXES
from .layout_writing_sam2 import with_matrix_copy, write_sam2_config
from .model_cards import is_conversion_card

LAYOUTS = ("hq_sam", "transformers", "sam", "original")

# What `write_folder` writes.
FOLDER_FILES = re.compile(
    r"README\.md|config\.json|((video_)?pre)?processor_config\.json|model(-\d{5}-of-\d{5})?\.safetensors"
    r"|model\.safetensors\.index\.json"
)

# transformers' configuration, model, image processor and processor of the layouts that it reads.
TRANSFORMERS_CLASSES = {
    "transformers": ("SamHQConfig", "SamHQModel", "SamImageProcessor", "SamHQProcessor"),
    "sam": ("SamConfig", "SamModel", "SamImageProcessor", "SamProcessor"),
}


def default_layout(target: Path) -> str:
    return "original" if target.suffix in (".pth", ".pt") else "hq_sam"


def check_destination(
    target: Path, layout: str, overwrite: bool, inputs: Sequence[str | os.PathLike | None] = ()
) -> None:
    """Raise ValueError unless `target` can be written in the layout, and nothing but an earlier conversion is lost.

    inputs: files and folders that must stay.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"The layout must be one of {', '.join(LAYOUTS)}, got {layout!r}.")
    if layout == "original" and target.suffix not in (".pth", ".pt"):
        raise ValueError(f"The original layout is a single file; name it .pth, got {str(target)!r}.")
    if layout != "original" and target.suffix in WEIGHT_SUFFIXES:
        raise ValueError(f"The {layout} layout is a folder, got the file name {str(target)!r}. Name a folder.")
    if layout == "original":
        check_output_file(target, "an HQ-SAM in the original layout", _is_original, overwrite, inputs)
    else:
        check_output_folder(target, "a converted model", find_foreign, overwrite, inputs)


def find_foreign(folder: Path) -> str | None:
    """The name of an entry that `write_folder` has not written; None if it has written all of them."""
    foreign = first_foreign(folder, FOLDER_FILES)
    if foreign is None and not is_conversion_card(folder / "README.md"):
        return min(path.name for path in folder.iterdir())
    return foreign


def _is_original(path: Path) -> bool:
    """Whether a file is a whole HQ-SAM in the original layout."""
    try:
        found = read_checkpoint(path)
    except (ValueError, OSError):
        return False
    return found.layout == "original" and found.part == "model" and found.has_hq


def write_folder(
    target: Path,
    layout: str,
    config: HQSamConfig | HQSam2Config,
    weights: dict[str, Tensor],
    max_shard_size: str,
    card: str,
) -> None:
    """Write a folder in a layout other than "original": weights, configuration, processor and model card.

    weights: by the keys of `HQSamModel` or `HQSam2Model`; those of the HQ head are left out of the layout "sam".
    """
    if layout == "transformers" and isinstance(config, HQSam2Config):
        raise ValueError(
            "transformers has no HQ-SAM 2. Choose the layout hq_sam or original, or the layout sam for the SAM 2 "
            "inside, without the HQ head."
        )
    if layout in TRANSFORMERS_CLASSES and isinstance(config.vision_config, HQSamTinyViTConfig):
        model_class = TRANSFORMERS_CLASSES[layout][1]
        raise ValueError(f"transformers' {model_class} has no TinyViT encoder. Choose the layout hq_sam or original.")
    config.dtype = weights["mask_decoder.hq_token.weight"].dtype
    if layout == "sam":
        weights = {name: tensor for name, tensor in weights.items() if not is_hq_key(name)}
        if isinstance(config, HQSam2Config):
            weights = with_matrix_copy(weights)
    with whole_folder(target, _check_unchanged) as folder:
        _write_weights(folder, weights, max_shard_size)
        if isinstance(config, HQSam2Config) and layout == "sam":
            write_sam2_config(folder, config, config.dtype, weights)
        elif layout in TRANSFORMERS_CLASSES:
            _write_transformers_config(folder, config, *TRANSFORMERS_CLASSES[layout])
        else:
            _write_own_config(folder, config)
        (folder / "README.md").write_text(card)


def _check_unchanged(target: Path) -> None:
    """Raise ValueError if other files have come into the folder while the conversion ran."""
    check_output_folder(target, "a converted model", find_foreign, overwrite=True)


def _write_weights(folder: Path, weights: dict[str, Tensor], max_shard_size: str) -> None:
    split = split_torch_state_dict_into_shards(weights, max_shard_size=max_shard_size)
    for file, names in tqdm(split.filename_to_tensors.items(), desc="writing", unit="file", disable=None):
        tensors = {name: weights[name].contiguous() for name in names}
        try:
            save_file(tensors, folder / file, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(f"Cannot write {file!r} ({error}).") from error
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _write_own_config(folder: Path, config: HQSamConfig | HQSam2Config) -> None:
    config.architectures = [MODEL_CLASSES[family_of(config)]]
    config.save_pretrained(folder)
    processor_class_of(family_of(config)).from_config(config).save_pretrained(folder)


def _write_transformers_config(
    folder: Path, config: HQSamConfig, config_class: str, model_class: str, image_processor: str, processor: str
) -> None:
    import transformers

    sections = config.transformers_sections(plain=config_class == "SamConfig")
    transformers_config = getattr(transformers, config_class)(**sections)
    transformers_config.architectures = [model_class]
    transformers_config.dtype = config.dtype
    transformers_config.save_pretrained(folder)
    size, mask_size = config.vision_config.image_size, config.mask_size
    settings = {
        "image_processor_type": image_processor,
        "processor_class": processor,
        "size": {"longest_edge": size},
        "pad_size": {"height": size, "width": size},
        "mask_size": {"longest_edge": mask_size},
        "mask_pad_size": {"height": mask_size, "width": mask_size},
        "image_mean": IMAGE_MEAN,
        "image_std": IMAGE_STD,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2))


def write_original(target: Path, weights: dict[str, Tensor], family: str) -> None:
    """Write the original's layout: one file of `torch.save` with the original's keys.

    family: "sam" or "sam2", whose files nest the weights under "model".
    """
    state: dict[str, Any]
    if family == "sam2":
        original = weights_to_original_sam2(weights)
        state = {"model": {key: tensor.contiguous() for key, tensor in original.items()}}
    else:
        names = keys_to_original(weights)
        state = {names[name]: tensor.contiguous() for name, tensor in weights.items()}
    try:
        write_atomically(target, lambda file: torch.save(state, file))
    except RuntimeError as error:  # torch.save reports a full disk so
        raise OSError(f"Cannot write {str(target)!r} ({str(error).splitlines()[0]}).") from error


__all__ = ["LAYOUTS", "check_destination", "default_layout", "write_folder", "write_original"]
