"""Find and read the tensors of a checkpoint file or folder, without running code that a pickle may contain."""

import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

# Keys under which training checkpoints nest the state dict.
_CONTAINERS = ("state_dict", "model", "model_state_dict", "module")
WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")
# Prefixes that DistributedDataParallel, torch.compile and training scripts put before every key.
_WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.", "sam.")
_FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def find_file(
    source: str | os.PathLike,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
) -> Path | None:
    """The local path of a weights file, or None if `source` is a folder or a Hub repository.

    source: a path, or a file of a Hub repository as "organisation/name/file.pth", which is downloaded to the cache.

    Raises ValueError if it looks like a path to a file that does not exist.
    """
    path = Path(source)
    if os.path.isfile(path):  # unlike Path.is_file, False for a name that is too long
        return path
    if os.path.isdir(path) or path.suffix not in WEIGHT_SUFFIXES:
        return None
    parts = str(source).split("/")
    if isinstance(source, Path) or len(parts) < 3 or parts[0] in ("", ".", "..", "~"):
        raise ValueError(
            f"There is no file {str(source)!r}. Correct the path, or give a file on the Hub as organisation/name/file."
        )
    from huggingface_hub import hf_hub_download

    repository, name = "/".join(parts[:2]), "/".join(parts[2:])
    return Path(hf_hub_download(repository, name, revision=revision, token=token, cache_dir=cache_dir))


def read_weights(source: str | os.PathLike) -> dict[str, Tensor]:
    """Read a .safetensors or PyTorch file, or a folder with one (sharded or not), to tensors by key.

    Tensors are memory-mapped if the format allows it. Only tensors are read: a pickle that contains code is refused.

    Raises ValueError for anything that is not a dict of tensors.
    """
    path = Path(source)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise ValueError(f"{str(source)!r} is neither a file nor a folder. Correct the path.")
    if path.stat().st_size == 0:
        raise ValueError(f"{str(path)!r} is empty. Download it again.")
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{str(path)!r} is a Git LFS pointer, not the file itself. Run `git lfs pull`.")
    weights = _read_torch(path) if _is_pickle(start) else _read_safetensors(path)
    if not weights:
        raise ValueError(f"{str(path)!r} holds no tensors. Expected a state dict: tensors by key.")
    return _strip_wrapper_prefixes(weights)


def _is_pickle(start: bytes) -> bool:
    """Whether the first bytes are those of a zip archive or of a pickle of protocol 2 to 5."""
    return start[:2] == b"PK" or (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} is neither a PyTorch nor a safetensors file, or it is damaged ({error}). Download it "
            "again."
        ) from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{str(path)!r} holds Python objects besides tensors, which are not loaded because they could run code "
            f"({str(error).splitlines()[0]}). Save its state dict alone with torch.save."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as a PyTorch file; it is damaged or cut short "
            f"({(str(error) or type(error).__name__).splitlines()[0]}). Download it again."
        ) from error
    for container in _CONTAINERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(container), Mapping):
            loaded = loaded[container]
            break
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{str(path)!r} holds a {type(loaded).__name__}, expected a state dict: tensors by key.")
    others = [name for name, value in loaded.items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(
            f"{str(path)!r} holds entries that are not tensors, such as {others[0]!r}. Expected a state dict: "
            "tensors by key."
        )
    return {str(name): tensor.detach() for name, tensor in loaded.items()}


def _read_folder(folder: Path) -> dict[str, Tensor]:
    name = next((name for name in _FOLDER_FILES if (folder / name).is_file()), None)
    if name is None:
        raise ValueError(f"The folder {str(folder)!r} holds no weights; expected one of {', '.join(_FOLDER_FILES)}.")
    if not name.endswith(".index.json"):
        return read_weights(folder / name)
    try:
        shards = sorted(set(json.loads((folder / name).read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{str(folder / name)!r} is not an index of shards ({error}). Download it again.") from error
    weights: dict[str, Tensor] = {}
    for shard in shards:
        if not (folder / shard).is_file():
            raise ValueError(
                f"The folder {str(folder)!r} lacks the shard {shard!r} listed in {name}. Download it again."
            )
        weights.update(read_weights(folder / shard))
    return weights


def _strip_wrapper_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove wrapper prefixes that all keys share, one after the other if they are nested."""
    for prefix in _WRAPPER_PREFIXES:
        if all(name.startswith(prefix) for name in weights):
            return _strip_wrapper_prefixes({name.removeprefix(prefix): weights[name] for name in weights})
    return weights


__all__ = ["WEIGHT_SUFFIXES", "find_file", "read_weights"]
