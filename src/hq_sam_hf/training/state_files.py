"""Files of a run's state: tensors as safetensors, with values as JSON in their metadata. Nothing in them can run code.

Earlier versions wrote files of `torch.save`. Those are read too, by the reader of PyTorch that runs no code.
"""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..model.files import give_default_permissions

_VALUES = "values"  # the entry of the metadata


def write_tensors(path: Path, tensors: dict[str, Tensor], values: Any = None) -> None:
    """Write tensors by name, and values that JSON can hold. Raises OSError, with the file as it was, if that fails."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        contents = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(contents, temporary, {_VALUES: json.dumps(values)})
        give_default_permissions([temporary])
        os.replace(temporary, path)
    except SafetensorError as error:
        raise OSError(f"{str(path)!r} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """The tensors and values of a file of `write_tensors`. Raises ValueError for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {}).get(_VALUES, "null"))
            return {name: file.get_tensor(name) for name in file.keys()}, values
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is missing, damaged or not a safetensors file ({error}).") from error


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file. Raises ValueError for any other file."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is missing, damaged or not a JSON file ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{str(path)!r} must hold a JSON object, got {type(content).__name__}.")
    return content


def read_earlier_version(path: Path) -> dict[Any, Any]:
    """The mapping in a file of an earlier version. Raises ValueError if it has other than tensors and numbers."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{str(path)!r} holds Python objects, which are not loaded because they could run code ({reason})."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{str(path)!r} is missing or damaged ({reason}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{str(path)!r} must hold a mapping, got {type(content).__name__}.")
    return content


def check_tensors(path: Path, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Raise ValueError unless the tensors of a file have the names, shapes and types of those expected."""
    for name, tensor in expected.items():
        if name not in tensors:
            raise ValueError(f"{str(path)!r} does not fit this run: it lacks {name!r}.")
        found = tensors[name]
        if not isinstance(found, Tensor) or (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(
                f"{str(path)!r} does not fit this run: {name!r} is {_describe(found)}, expected {_describe(tensor)}."
            )
    others = [str(name) for name in tensors if name not in expected]
    if others:
        raise ValueError(f"{str(path)!r} does not fit this run, which does not train {others[0]!r}.")


def _describe(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


__all__ = ["check_tensors", "read_earlier_version", "read_json", "read_tensors", "write_tensors"]
