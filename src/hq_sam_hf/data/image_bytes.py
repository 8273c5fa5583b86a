"""Image bytes of data sets before decoding: from rows, files and zip archives.

A member of a zip archive has an address in the form that `datasets` uses: `zip://folder/a.jpg::/data/DIS5K.zip`.
"""

import functools
import lzma
import os
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..model.files import readable_name

if TYPE_CHECKING:
    import datasets

    AnyDataset: TypeAlias = datasets.Dataset | datasets.IterableDataset

# How often its size in the archive a member larger than this may have.
MOST_COMPRESSED = 100
LARGE_MEMBER = 64 * 2**20

# What zipfile raises for damaged members.
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)


def undecoded(dataset: "AnyDataset") -> "AnyDataset":
    """Return the same data set with images as {"bytes", "path"} instead of PIL images.

    `read_sample` reads both. It can name the item of a corrupt file only if it decodes the file itself, and it opens a
    zip archive once instead of once per image.
    """
    import datasets

    if dataset.features is None:
        raise ValueError(
            "The data set does not know its columns. Pass `features` when you create it, or load it without streaming."
        )
    for name, feature in dataset.features.items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(name, datasets.Image(decode=False))
        elif is_list_of_images(feature):
            dataset = dataset.cast_column(name, list_of(datasets.Image(decode=False)))
    return dataset


def is_list_of_images(feature: Any) -> bool:
    """Whether a feature of `datasets` is a list of images."""
    import datasets

    return isinstance(_item_feature(feature), datasets.Image)


def is_list_of_strings(feature: Any) -> bool:
    """Whether a feature of `datasets` is a list of strings."""
    return getattr(_item_feature(feature), "dtype", None) in ("string", "large_string")


def _item_feature(feature: Any) -> Any:
    """The feature of a list's items. Before `datasets` 4 a list feature is a Python list, since then an object."""
    return feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)


def list_of(feature: Any) -> Any:
    """A list feature, of the type that the installed version of `datasets` uses."""
    import datasets

    return datasets.Features({"items": [feature]})["items"]


def member_path(archive: str | os.PathLike, member: str) -> str:
    """The address of a member of a zip archive."""
    return f"zip://{member}::{archive}"


def list_members(archive: str | os.PathLike) -> list[str]:
    """Names of the files in a zip archive, in stored order, without folders."""
    names = _open_archive(os.fspath(archive), os.getpid()).namelist()
    return [name for name in names if not name.endswith("/")]


def read_bytes(path: str) -> bytes:
    """Read a file or a member of a zip archive. Raises ValueError or OSError if it cannot be read.

    A member that unpacks to more than 64 MiB and more than a hundred times its size in the archive is not unpacked.
    """
    if not path.startswith("zip://"):
        return Path(path).read_bytes()
    member, _, archive = path.removeprefix("zip://").rpartition("::")
    try:
        opened = _open_archive(archive, os.getpid())
        _check_unpacked_size(opened.getinfo(member), archive)
        return opened.read(member)
    except KeyError as error:
        raise ValueError(f"{archive!r} has no member {member!r}.") from error
    except (*_DAMAGE, NotImplementedError, RuntimeError, MemoryError) as error:
        raise ValueError(f"Cannot read {member!r} from {archive!r} ({error}).") from error


def image_value(path: str) -> str | dict[str, Any]:
    """An image file as a value of a data set: its path, or its bytes if the path is no text, as bytes beyond UTF-8."""
    readable = readable_name(path)
    return path if readable == path else {"bytes": Path(path).read_bytes(), "path": readable}


def _check_unpacked_size(member: zipfile.ZipInfo, archive: str) -> None:
    """Raise ValueError, before anything is unpacked, for a member that few bytes would make very large."""
    if member.file_size > max(LARGE_MEMBER, MOST_COMPRESSED * member.compress_size):
        raise ValueError(
            f"{member.filename!r} in {archive!r} would unpack from {member.compress_size} to {member.file_size} "
            "bytes, as no usual image does, so it is not read. If you trust it, unpack the archive and name "
            "the folder."
        )


def file_name(path: str) -> str:
    """The file name of a path or of a zip address, without its folder and archive."""
    return path.split("::")[0].rpartition("/")[2]


# Reading the directory of an archive with 80,000 files takes a second, so archives stay open. There is one handle per
# process, because forked workers would share the read position of a single handle.
@functools.lru_cache(maxsize=8)
def _open_archive(archive: str, process_id: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive!r} is not a complete zip archive ({error}). Download it again.") from error


__all__ = [
    "file_name",
    "image_value",
    "is_list_of_images",
    "is_list_of_strings",
    "list_members",
    "list_of",
    "member_path",
    "read_bytes",
    "undecoded",
]
