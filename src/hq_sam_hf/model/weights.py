"""Find and read the tensors of a checkpoint file or folder, without running code that a pickle may contain."""

import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .named_files import path_inside

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


def read_weights(source: str | os.PathLike, check_damage: bool = True) -> dict[str, Tensor]:
    """Read a .safetensors or PyTorch file, or a folder with one (sharded or not), to tensors by key.

    Tensors are memory-mapped if the format allows it. Only tensors are read: a pickle that contains code is refused.
    What tells of damage is checked: the checksums of a .pth (each file is read once for them), and the length of a
    safetensors file or of an older .pth, which have no checksums.

    check_damage: whether to compare checksums, for which a file is read once. False is for reading keys alone.

    Raises ValueError for a damaged file and for anything that is not a dict of tensors.
    """
    path = Path(source)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise ValueError(f"{str(source)!r} is neither a file nor a folder. Correct the path.")
    if path.stat().st_size == 0:
        raise ValueError(f"{str(path)!r} is empty: it is damaged or was cut short. Download it again.")
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{str(path)!r} is a Git LFS pointer, not the file itself. Run `git lfs pull`.")
    weights = _read_torch(path, check_damage) if _is_pickle(start) else _read_safetensors(path)
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


def _read_torch(path: Path, check_damage: bool) -> dict[str, Tensor]:
    is_archive = zipfile.is_zipfile(path)
    if is_archive and check_damage:
        _check_records(path)
    try:
        loaded = _load(path) if is_archive else _load_to_the_end(path)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{str(path)!r} holds Python objects besides tensors, which are not loaded because they could run code "
            f"({str(error).splitlines()[0]}). Save its state dict alone with torch.save."
        ) from error
    except Exception as error:  # a damaged pickle can raise any error
        raise _damaged(path, error) from error
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


def _check_records(path: Path) -> None:
    """Raise ValueError unless every record of a .pth has the content that it was written with.

    PyTorch compares no checksum when it maps a file. The records are read in parts of 1 MiB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            compressed = [record.filename for record in records if record.compress_type != zipfile.ZIP_STORED]
            if compressed:
                raise ValueError(
                    f"{str(path)!r} is a compressed archive, whose record {compressed[0]!r} cannot be mapped. Load it "
                    "with torch.load and save it again with torch.save."
                )
            # torch.serialization.set_crc32_options(False) writes files without checksums.
            has_checksums = any(record.CRC for record in records)
            damaged = archive.testzip() if has_checksums else None
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, error) from error
    if damaged is not None:
        raise _damaged(path, f"its record {damaged!r} has other content than its checksum says")


def _load(file: Any) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True, mmap=isinstance(file, Path))


def _load_to_the_end(path: Path) -> Any:
    """Load a file in the format of PyTorch before 1.6, which has no checksums but ends with its last tensor."""
    with path.open("rb") as file:
        loaded = _load(file)
        rest = path.stat().st_size - file.tell()
    if rest:
        raise ValueError(f"{rest} bytes follow its last tensor")
    return loaded


def _damaged(path: Path, reason: object) -> ValueError:
    text = str(reason).splitlines()
    return ValueError(
        f"{str(path)!r} cannot be read as a PyTorch file; it is damaged or cut short "
        f"({text[0] if text else type(reason).__name__}). Download it again."
    )


def read_shards(index: str | os.PathLike) -> list[Path]:
    """The files that an index (model.safetensors.index.json) names, all of which are beside it.

    Raises ValueError for an index that is damaged, names files outside its folder or names files that are not there.
    """
    path = Path(index)
    name = str(path)
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name!r} is not an index of shards ({str(error)[:200]}). Download it again.") from error
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise ValueError(
            f"{name!r} is not an index of shards: it has no `weight_map` from weights to files. Download it again."
        )
    if not isinstance(content.get("metadata"), dict):
        raise ValueError(f'{name!r} lacks the object `metadata`. Add an empty one: "metadata": {{}}.')
    advice = "Get the index and its shards from a source that you trust."
    names = [shard for shard in shards.values() if isinstance(shard, str)]
    others = [shard for shard in shards.values() if not isinstance(shard, str)]
    files = {
        path_inside(path.parent, shard, f"A shard of {name!r}", advice): shard
        for shard in (*others[:1], *dict.fromkeys(names))
    }
    for file, shard in files.items():
        if not file.is_file():
            raise ValueError(
                f"The folder {str(path.parent)!r} lacks the shard {shard!r} listed in {path.name}. Download it again."
            )
    return sorted(files)


def _read_folder(folder: Path) -> dict[str, Tensor]:
    name = next((name for name in _FOLDER_FILES if (folder / name).is_file()), None)
    if name is None:
        raise ValueError(f"The folder {str(folder)!r} holds no weights; expected one of {', '.join(_FOLDER_FILES)}.")
    if not name.endswith(".index.json"):
        return read_weights(folder / name)
    weights: dict[str, Tensor] = {}
    for shard in read_shards(folder / name):
        weights.update(read_weights(shard))
    return weights


def _strip_wrapper_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove wrapper prefixes that all keys share, one after the other if they are nested."""
    for prefix in _WRAPPER_PREFIXES:
        if all(name.startswith(prefix) for name in weights):
            return _strip_wrapper_prefixes({name.removeprefix(prefix): weights[name] for name in weights})
    return weights


__all__ = ["WEIGHT_SUFFIXES", "find_file", "read_shards", "read_weights"]
