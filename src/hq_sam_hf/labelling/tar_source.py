"""WebDataset archives as a source: tar files on this machine or by fsspec URL, read where they are.

The members of a sample have the same path up to the first dot of the file name, which is its key: 0001.jpg, 0001.json.
The member that is an image is the image; a JSON object gives columns, and a text file the column of its suffix.
"""

import functools
import json
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model.image_files import image_suffixes
from .addresses import is_url, open_address
from .examples import ImagePlace
from .sources import Source, SourceRow

_TEXT = ("txt", "cls", "caption", "text")


@dataclass(frozen=True)
class TarSample:
    """The members of a sample: for each suffix its name, offset and size in bytes."""

    archive: str
    key: str
    members: Mapping[str, tuple[str, int, int]]


@dataclass(frozen=True)
class TarSource(Source):
    """The samples of tar files. json_columns: the names in the JSON object of the first sample."""

    samples: Sequence[TarSample]
    json_columns: Sequence[str]
    archives: Sequence[str]

    def __len__(self) -> int:
        return len(self.samples)

    def keys(self) -> Iterable[str]:
        return (sample.key for sample in self.samples)

    def read(self, rows: range) -> list[SourceRow]:
        return [_read_sample(self.samples[i]) for i in rows]

    @property
    def columns(self) -> Sequence[str]:
        suffixes = {suffix for sample in self.samples[:100] for suffix in sample.members if suffix in _TEXT}
        return [*self.json_columns, *sorted(suffixes)]

    @property
    def has_addresses(self) -> bool:
        return False

    def files(self) -> Iterable[Path]:
        return (Path(path) for path in self.archives if not is_url(path))


def open_tars(archives: Sequence[str]) -> TarSource:
    """Read the directories of tar files. Raises ValueError for one that is not complete."""
    samples: list[TarSample] = []
    for archive in archives:
        samples += _list_samples(archive)
    first = _read_sample(samples[0]).columns if samples else {}
    return TarSource(samples, [name for name in first if name not in _TEXT], list(archives))


def _list_samples(archive: str) -> list[TarSample]:
    found: list[tuple[str, dict[str, tuple[str, int, int]]]] = []
    newest: dict[str, dict[str, tuple[str, int, int]]] = {}  # the sample that further members of a key belong to
    try:
        with open_address(archive) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                stem, dot, suffix = name.partition(".")
                if member.isfile() and stem and dot:
                    key, suffix = f"{folder}/{stem}" if folder else stem, suffix.lower()
                    if suffix in newest.get(key, {suffix: None}):  # a new key, or a second sample with the same one
                        newest[key] = {}
                        found.append((key, newest[key]))
                    newest[key][suffix] = (member.name, member.offset_data, member.size)
            size = file.seek(0, os.SEEK_END)
    except (tarfile.TarError, OSError) as error:
        raise ValueError(
            f"{archive!r} is not a complete, uncompressed tar file ({error}). Write or download it again."
        ) from error
    ends = [offset + length for _, members in found for _, offset, length in members.values()]
    if max(ends, default=0) > size:
        raise ValueError(f"{archive!r} is not complete: it ends inside a member. Write or download it again.")
    return [TarSample(archive, key, members) for key, members in found if _image_suffix(members) is not None]


def _image_suffix(members: Mapping[str, Any]) -> str | None:
    suffixes = image_suffixes()
    return next((suffix for suffix in members if f".{suffix.rpartition('.')[2]}" in suffixes), None)


def _read_sample(sample: TarSample) -> SourceRow:
    columns: dict[str, Any] = {}
    image_suffix = _image_suffix(sample.members)
    place, problem = ImagePlace(), None
    for suffix, (name, offset, size) in sample.members.items():
        if suffix not in (image_suffix, "json", *_TEXT):
            continue
        file = _open(sample.archive, os.getpid())
        file.seek(offset)
        content = file.read(size)
        if suffix == image_suffix:
            place = ImagePlace(name, content)
        elif suffix == "json":
            try:
                columns.update(json.loads(content))
            except (ValueError, TypeError) as error:
                problem = f"{name!r} in {sample.archive!r} is not a JSON object ({error}). Correct it."
        else:
            columns[suffix] = content.decode("utf-8", "replace").strip()
    return SourceRow(sample.key, place, columns, problem)


@functools.lru_cache(maxsize=16)
def _open(archive: str, process_id: int) -> Any:
    return open_address(archive)


__all__ = ["TarSource", "open_tars"]
