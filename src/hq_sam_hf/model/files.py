"""Write files and folders atomically: readers see the old content or the whole new one."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def check_parent(path: Path) -> None:
    """Raise ValueError unless the parent folder of a path exists."""
    if not path.parent.is_dir():
        raise ValueError(f"Cannot write {str(path)!r}: {str(path.parent)!r} is not a folder. Create it first.")


def write_atomically(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it. If it fails, `path` stays as it was."""
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
    """Give a temporary folder beside `path`, and rename it to `path` when the block ends.

    An existing folder is replaced as a whole. If the block fails, it stays as it was.
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
    # mkstemp creates files that only the owner can read. The umask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


__all__ = ["check_parent", "whole_folder", "write_atomically"]
