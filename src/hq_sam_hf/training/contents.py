"""What a run was started with, to tell on resuming whether a path that has changed leads to the same content."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image
from torch import nn

from ..data.image_bytes import read_bytes
from ..data.reading import MASK_COLUMNS
from ..data.several import SeveralDataSets

# Rows of a data set and values of a weight that stand for all of them, evenly spread.
SAMPLED_ROWS, SAMPLED_VALUES = 16, 256

# The arguments of data sets that say where they are; all others say what they are.
PATH_ARGUMENTS = (
    "root",
    "images",
    "masks",
    "annotations",
    "source",
    "data_dir",
    "data_files",
    "cache_dir",
    "image_folder",
)


def without_paths(field: str, value: Any) -> Any:
    """The value of a field of the configuration without the paths in it."""
    if field == "model":
        return None if value is None else "a model"
    if field not in ("data", "validation"):
        return value
    if isinstance(value, list):
        return [without_paths(field, part) for part in value]
    if isinstance(value, str):
        return {"kind": "hqseg44k"}
    if isinstance(value, dict):
        return {key: entry for key, entry in value.items() if key not in PATH_ARGUMENTS}
    return value


def model_digest(model: nn.Module) -> str:
    """A digest of the names, shapes and some values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        values = tensor.detach().flatten()
        chosen = _evenly_spread(len(values), SAMPLED_VALUES)
        _add(digest, [name, str(tuple(tensor.shape)), values[chosen].cpu().float().numpy().tobytes()])
    return digest.hexdigest()


def data_digest(rows: Any) -> list[dict[str, Any]]:
    """For each data set the number of images, and digests of all names and of the files of some rows.

    Generated scenes have no files: their description says what they are.
    """
    if isinstance(rows, SeveralDataSets):
        return [one for part in rows.parts for one in data_digest(part)]
    content: dict[str, Any] = {"images": len(rows)}
    if hasattr(rows, "features"):
        names, files = hashlib.sha256(), hashlib.sha256()
        _add(names, (str(name) for name in (rows["name"] if "name" in rows.features else ())))
        for index in _evenly_spread(len(rows), SAMPLED_ROWS):
            row = rows[index]
            for column in ("image", *MASK_COLUMNS):
                _add(files, _contents_of(row.get(column)))
        content |= {"names": names.hexdigest(), "files": files.hexdigest()}
    return [content]


def _evenly_spread(count: int, most: int) -> list[int]:
    number = min(count, most)
    return [index * count // number for index in range(number)]


def _add(digest: Any, contents: Iterable[str | bytes]) -> None:
    for content in contents:
        encoded = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        digest.update(f"{len(encoded)}:".encode())
        digest.update(encoded)


def _contents_of(value: Any) -> list[str | bytes]:
    """What a value of a row holds: the bytes of files and images, and text."""
    if isinstance(value, Mapping):
        if value.get("bytes") is not None:
            return [value["bytes"]]
        try:
            return [read_bytes(str(value.get("path")))]
        except (ValueError, OSError) as error:  # a sample that training skips
            return [type(error).__name__]
    if isinstance(value, Image.Image):
        return [value.mode, str(value.size), value.tobytes()]
    if isinstance(value, str | bytes):
        return [value]
    if isinstance(value, Sequence):
        return [str(len(value)), *(content for entry in value for content in _contents_of(entry))]
    return [json.dumps(value, default=str)]


def refuse_other_contents(now: dict[str, Any], earlier: dict[str, Any] | None, moved: list[str]) -> None:
    """Raise ValueError if a run would go on with another model or other data than it was started with.

    now, earlier: by field, from `model_digest` and `data_digest`; None for a run of a version that kept none.
    moved: the fields whose paths have changed. Elsewhere the number and names of the images are compared, so that a
    repaired file is no reason to start anew.
    """
    if earlier is None:
        if moved:
            raise ValueError(
                f"`{moved[0]}` has another path than when the run was started, and the run is of a version that cannot"
                " tell whether the content is the same. Set the path back to resume it, or choose another output_dir."
            )
        return
    for field in ("model", "data", "validation"):
        before, after = earlier.get(field), now.get(field)
        if field not in moved:
            before, after = (_without_files(content) for content in (before, after))
        if before != after:
            reason = _difference(before, after)
            raise ValueError(
                f"`{field}` has another content than when the run was started: {reason}. Give what it was started "
                "with to resume it, or choose another output_dir."
            )


def _without_files(content: Any) -> Any:
    if not isinstance(content, list):
        return None  # a model whose path has not changed
    return [{key: value for key, value in part.items() if key != "files"} for part in content]


def _difference(before: Any, after: Any) -> str:
    if not isinstance(before, list) or not isinstance(after, list):
        return "other weights"
    counts = [[part["images"] for part in content] for content in (before, after)]
    if counts[0] != counts[1]:
        return f"{' + '.join(map(str, counts[0]))} images then, {' + '.join(map(str, counts[1]))} now"
    names = [[part.get("names") for part in content] for content in (before, after)]
    return "other file names" if names[0] != names[1] else "other images or masks"


__all__ = ["PATH_ARGUMENTS", "data_digest", "model_digest", "refuse_other_contents", "without_paths"]
