"""Pictures of a data set before they are decoded: their bytes from rows, files or zip archives.

A member of an archive is addressed as `datasets` does: `zip://folder/a.jpg::/data/DIS5K.zip`.
"""

import functools
import os
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import datasets

    AnyDataset: TypeAlias = datasets.Dataset | datasets.IterableDataset


def undecoded(dataset: "AnyDataset") -> "AnyDataset":
    """The same data set with pictures as {"bytes", "path"} instead of PIL images.

    `read_sample` takes both. With this one it does the decoding itself: a corrupt file then has the name of its item,
    and an archive is opened once instead of once per picture.
    """
    import datasets

    if dataset.features is None:
        raise ValueError("The data set does not know its columns. Give it `features`, or load it without streaming.")
    for name, feature in dataset.features.items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(name, datasets.Image(decode=False))
        elif is_list_of_pictures(feature):
            dataset = dataset.cast_column(name, list_of(datasets.Image(decode=False)))
    return dataset


def is_list_of_pictures(feature: Any) -> bool:
    """Whether a feature of `datasets` is a list of pictures."""
    import datasets

    return isinstance(_inner(feature), datasets.Image)


def is_list_of_text(feature: Any) -> bool:
    """Whether a feature of `datasets` is a list of strings."""
    return getattr(_inner(feature), "dtype", None) in ("string", "large_string")


def _inner(feature: Any) -> Any:
    """What a feature is a list of: it is a Python list before `datasets` 4, an object with `feature` since."""
    return feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)


def list_of(feature: Any) -> Any:
    """The feature of a list, as the installed `datasets` spells it."""
    import datasets

    return datasets.Features({"items": [feature]})["items"]


def member_path(archive: str | os.PathLike, member: str) -> str:
    """The address of a member of a zip archive."""
    return f"zip://{member}::{archive}"


def list_members(archive: str | os.PathLike) -> list[str]:
    """Names of the files in a zip archive, as stored."""
    names = _open_archive(os.fspath(archive), os.getpid()).namelist()
    return [name for name in names if not name.endswith("/")]


def read_bytes(path: str) -> bytes:
    """The content of a file, or of a member of a zip archive. Raises ValueError or OSError where it cannot be read."""
    if not path.startswith("zip://"):
        return Path(path).read_bytes()
    member, _, archive = path.removeprefix("zip://").rpartition("::")
    try:
        return _open_archive(archive, os.getpid()).read(member)
    except KeyError as error:
        raise ValueError(f"{archive!r} has no member {member!r}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"Cannot read {member!r} from {archive!r} ({error}).") from error


def file_name(path: str) -> str:
    """The last part of an address, without its folder and archive."""
    return path.split("::")[0].rpartition("/")[2]


# Reading the directory of an archive of 80,000 files takes a second, so it stays open. One per process: forked
# workers would share the position in the file.
@functools.lru_cache(maxsize=8)
def _open_archive(archive: str, process_id: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive!r} is not a whole zip archive ({error}). Download it again.") from error


__all__ = [
    "file_name",
    "is_list_of_pictures",
    "is_list_of_text",
    "list_members",
    "list_of",
    "member_path",
    "read_bytes",
    "undecoded",
]
