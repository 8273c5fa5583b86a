"""Check what a local folder holds before transformers loads it, whose errors would be about something else."""

import os
import shlex
from pathlib import Path

from .weights import WEIGHT_SUFFIXES, read_shards, read_weights

# Names that transformers loads: whole, sharded, and of a variant such as fp16.
_MODEL_FILES = ("model*.safetensors", "model.safetensors.index*.json", "pytorch_model*.bin")
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def check_model_folder(source: str | os.PathLike, subfolder: str = "", needs_config: bool = True) -> None:
    """Raise ValueError for a local folder that lacks weights or config.json; other sources pass.

    needs_config: no configuration was given as an argument.
    """
    folder = Path(source, subfolder)
    if not os.path.isdir(folder) or (folder / "adapter_config.json").is_file():
        return
    if not any(any(folder.glob(pattern)) for pattern in _MODEL_FILES):
        raise ValueError(_without_model_file(folder))
    if needs_config and not (folder / "config.json").is_file():
        command = f"hq-sam convert {shlex.quote(str(folder))} NEW_FOLDER"
        raise ValueError(
            f"The folder {str(folder)!r} holds weights but no config.json, which says what model they are of. Copy "
            f"the config.json that belongs to them, or derive it: `{command}`."
        )


def check_weight_files(folder: Path, variant: str | None = None, use_safetensors: bool | None = None) -> None:
    """Raise ValueError if the files that transformers loads from a folder are damaged or outside of it.

    Transformers itself joins the names of an index to the folder, compares no checksum of a .bin file, and its errors
    about damage are of many kinds.

    variant, use_safetensors: arguments of `PreTrainedModel.from_pretrained`.
    """
    formats = {True: (".safetensors",), False: (".bin",), None: (".safetensors", ".bin")}[use_safetensors]
    for suffix in formats:
        stem = "model" if suffix == ".safetensors" else "pytorch_model"
        ending = f".{variant}" if variant else ""
        if (folder / f"{stem}{ending}{suffix}").is_file():
            read_weights(folder / f"{stem}{ending}{suffix}")
            return
        index = folder / f"{stem}{suffix}.index{ending}.json"
        if index.is_file():
            for shard in read_shards(index):
                read_weights(shard)
            return


def check_processor_folder(source: str | os.PathLike, subfolder: str = "") -> None:
    """Raise ValueError for a local folder without the file of a processor; other sources pass."""
    folder = Path(source, subfolder)
    if os.path.isdir(folder) and not any((folder / name).is_file() for name in _PROCESSOR_FILES):
        raise ValueError(
            f"The folder {str(folder)!r} holds no processor ({' or '.join(_PROCESSOR_FILES)}). Make it of the model, "
            "`HQSamProcessor.from_config(model.config)`, and save it there with its `save_pretrained`."
        )


def _without_model_file(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES and path.is_file())
    if not files:
        return f"The folder {str(folder)!r} holds no weights (model.safetensors). Give the folder or file with them."
    message = f"The folder {str(folder)!r} holds no model.safetensors, but {files[0].name}. "
    if files[0].name == "hq_head.safetensors":
        return f"{message}Load the SAM that it was trained on, then pass this folder to its `load_hq_head`."
    return f"{message}Load this file: {str(files[0])!r}."


__all__ = ["check_model_folder", "check_processor_folder", "check_weight_files"]
