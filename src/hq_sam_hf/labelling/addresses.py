"""Files by path or by fsspec URL (s3://, gs://, hf://, zip://): finding them and reading their bytes."""

import functools
import os
import time
from pathlib import Path
from typing import Any

from ..data.image_bytes import read_bytes
from .examples import ImagePlace

# A network may fail for a moment. Reading is tried so often, with pauses of 1, 2, ... seconds.
TRIES = 3
PAUSE = 1.0
# What cannot be mended by trying again.
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError, ValueError)


def is_url(address: str) -> bool:
    """Whether an address is an fsspec URL, also a chained one such as zip://a.jpg::s3://bucket/images.zip."""
    return "://" in address or "::" in address


def is_local(place: ImagePlace) -> bool:
    """Whether an image is a file on this machine, which Pillow can open by its path."""
    return place.content is None and place.address is not None and not is_url(place.address)


def read_address(address: str) -> bytes:
    """The bytes of a file. Raises OSError or ValueError if it cannot be read."""
    if not is_url(address):
        return Path(address).read_bytes()
    if address.startswith("zip://") and not is_url(address.rpartition("::")[2]):
        return read_bytes(address)
    for attempt in range(TRIES):
        try:
            with open_address(address) as file:
                return file.read()
        except _FINAL:
            raise
        except Exception as error:  # every file system has errors of its own
            if attempt == TRIES - 1:
                raise OSError(f"cannot read {address!r} ({type(error).__name__}: {error}).") from error
            time.sleep(PAUSE * (attempt + 1))
    raise AssertionError("unreachable")


def open_address(address: str) -> Any:
    """Open a path or URL for reading, with random access.

    Raises ValueError where the URL's file system is not installed.
    """
    import fsspec

    try:
        first, chain, rest = address.partition("::")
        if chain:
            return _archive(f"{first.partition('://')[0]}://::{rest}", os.getpid()).open(first, "rb")
        system, path = fsspec.core.url_to_fs(address)
        return system.open(path, "rb")
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"{address!r} cannot be opened ({error}). Install the file system of its URL, such as s3fs for s3:// or "
            "gcsfs for gs://, or correct the URL."
        ) from error


# Archives stay open: reading the directory of a large one takes seconds, and fsspec closes an archive that nobody
# refers to, also under a member that is being read. There is one handle per process, as forked ones would share it.
@functools.lru_cache(maxsize=8)
def _archive(url: str, process_id: int) -> Any:
    import fsspec

    return fsspec.core.url_to_fs(url)[0]


__all__ = ["is_local", "is_url", "open_address", "read_address"]
