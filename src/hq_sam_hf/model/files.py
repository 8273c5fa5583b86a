"""Write files and folders atomically: readers see the old content or the whole new one.

Content is first written beside its place, to a hidden `.NAME.RANDOM.part`. A killed process leaves this behind, and
`remove_leftovers` removes it.
"""

import ctypes
import errno
import hashlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

LONGEST_NAME = 255  # bytes of a file name that file systems allow
_LONGEST_PREFIX = 64
_RANDOM_PART = re.compile(r"[0-9a-z_]{8,16}\.(part|old)")

# Errors of a whole disk rather than of one file, with what a user can do, and names that are too long.
DISK_ERRORS = {
    errno.ENOSPC: "No space is left on the disk. Free some space and run it again",
    errno.EDQUOT: "Your quota of disk space is used up. Free some space and run it again",
    errno.EROFS: "The disk can only be read. Choose an output on another disk",
}
_REMEDIES = {**DISK_ERRORS, errno.ENAMETOOLONG: "The file name is too long. Choose a shorter name"}


def check_parent(path: Path) -> None:
    """Raise ValueError unless the parent folder of a path exists and its name is short enough for a file."""
    if not path.parent.is_dir():
        raise ValueError(f"Cannot write {str(path)!r}: {str(path.parent)!r} is not a folder. Create it first.")
    length = len(os.fsencode(path.name))
    if length > LONGEST_NAME:
        raise ValueError(
            f"Cannot write {str(path)!r}: a file name may have {LONGEST_NAME} bytes, this one has {length}. Choose a "
            "shorter name."
        )


def check_place(target: Path) -> None:
    """Raise ValueError if a whole folder or file cannot be put at `target`: a link, or a folder that we are in."""
    if target.is_symlink():
        raise ValueError(
            f"Cannot write {str(target)!r}: it is a link to {os.path.realpath(target)!r}. Name the place itself."
        )
    if target.is_dir() and any(target.samefile(folder) for folder in (Path.cwd(), *Path.cwd().parents)):
        raise ValueError(
            f"Cannot write {str(target)!r}: it would replace the current folder or a folder around it. Name a new "
            "folder inside it."
        )


def write_atomically(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it. If it fails, `path` stays as it was."""
    target = Path(path)
    temporary = _temporary_path(target)
    try:
        with with_remedies(target):
            with temporary.open("xb") as file:
                write(file)
            os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def whole_folder(path: str | os.PathLike, check: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Give a temporary folder beside `path`, and put it at `path` when the block ends.

    An existing folder is replaced as a whole. If the block fails, it stays as it was.

    check: called with `path` before a folder is replaced, to raise an error if it holds what must not be lost.
    """
    target = Path(os.path.abspath(path))
    temporary = _temporary_path(target)
    check_place(target)
    try:
        with with_remedies(target):
            temporary.mkdir()
            yield temporary
            give_default_permissions(temporary.rglob("*.safetensors"))
            check_place(target)
            if check is not None and target.exists():
                check(Path(path))
            replace_folder(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def give_default_permissions(paths: Iterable[Path]) -> None:
    """Give files the permissions of new files beside them. safetensors lets only their owner read its files."""
    for path in list(paths):
        new = _temporary_path(path)
        new.touch()
        path.chmod(new.stat().st_mode)
        new.unlink()


def replace_folder(new: Path, target: Path) -> None:
    """Put a complete folder in the place of another one, or of none, on the same disk. The other one is removed.

    Whatever fails, `target` is then the old folder or the new one.
    """
    if not os.path.lexists(target):
        new.rename(target)
        return
    old = new.with_suffix(".old")
    try:
        if not _exchange(new, target):
            target.rename(old)
            new.rename(target)
        _remove(old if os.path.lexists(old) else new)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(target):
            old.rename(target)
        _remove(old)
        raise


def remove_leftovers(target: Path) -> None:
    """Remove what killed processes left beside a file or folder. No other process may be writing it.

    A folder that a process had moved away to replace it, without coming to the replacement, is moved back.
    """
    prefix = f".{_short(target.name)}."
    for path in sorted(target.parent.glob(f"{_escaped(prefix)}*")):
        match = _RANDOM_PART.fullmatch(path.name, len(prefix))
        if match and match[1] == "old" and not os.path.lexists(target):
            path.rename(target)
        elif match:
            _remove(path)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step. Returns False where the system or the file system has no such step."""
    at_current_folder, swap = -100, 2
    first, second = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "linux":
            return ctypes.CDLL(None).renameat2(at_current_folder, first, at_current_folder, second, swap) == 0
        if sys.platform == "darwin":
            return ctypes.CDLL(None).renamex_np(first, second, swap) == 0
    except (AttributeError, OSError):  # a C library without the function
        pass
    return False


def _remove(path: Path) -> None:
    """Remove a file or folder, if it is there and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _temporary_path(target: Path) -> Path:
    return target.with_name(f".{_short(target.name)}.{secrets.token_hex(8)}.part")


def _short(name: str) -> str:
    """A name that leaves room for the random part: long names by their beginning and a hash."""
    encoded = os.fsencode(name)
    if len(encoded) <= _LONGEST_PREFIX:
        return name
    return f"{shortened_name(name, _LONGEST_PREFIX)}~{hashlib.sha256(encoded).hexdigest()[:12]}"


def shortened_name(name: str, most_bytes: int) -> str:
    """The beginning of a name, in whole characters, with at most so many bytes."""
    return _encoded(name)[:most_bytes].decode("utf-8", "ignore")


def readable_name(name: str) -> str:
    """A file name as text that can be stored and printed: bytes that are not UTF-8 become backslash escapes."""
    return _encoded(name).decode("utf-8", "backslashreplace")


def _encoded(name: str) -> bytes:
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # text of another origin than a file name
        return name.encode("utf-8", "backslashreplace")


def _escaped(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)


@contextmanager
def with_remedies(target: Path) -> Iterator[None]:
    """Name the output instead of its temporary path in errors that a user can mend, with what to do."""
    try:
        yield
    except OSError as error:
        text = _REMEDIES.get(error.errno or 0)
        if text is None:
            raise
        raise OSError(error.errno, text, str(target)) from error


__all__ = [
    "DISK_ERRORS",
    "LONGEST_NAME",
    "check_parent",
    "check_place",
    "readable_name",
    "remove_leftovers",
    "replace_folder",
    "shortened_name",
    "whole_folder",
    "with_remedies",
    "write_atomically",
]
