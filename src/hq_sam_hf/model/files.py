"""Files that are either whole or not there."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def check_parent(path: Path) -> None:
    """Raise ValueError unless the folder that is to hold a path is there."""
    if not path.parent.is_dir():
        raise ValueError(f"Cannot write {str(path)!r}: {str(path.parent)!r} is not a folder. Create it first.")


def write_atomically(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it; on any failure `path` stays as it was."""
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


@contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends.

    A folder that was there is replaced as a whole; on any failure it stays as it was.
    """
    target = Path(path).absolute()
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if target.exists():
            old = temporary.with_suffix(".old")
            target.rename(old)
            temporary.rename(target)
            shutil.rmtree(old)
        else:
            temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _umask() -> int:
    # mkstemp makes files for the owner alone; the umask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


__all__ = ["check_parent", "whole_folder", "write_atomically"]
