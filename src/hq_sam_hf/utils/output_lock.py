"""One lock per output, so that two processes do not write the same folder.

The operating system holds the lock and releases it when the process ends, however it ends.
"""

import errno
import hashlib
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

LOCK_FILE = ".hq-sam.lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_FAR_AWAY = 1 << 30  # Windows locks bytes; these hold no text, so the text can be read

_held: set[tuple[Path, int]] = set()  # lock files and the threads that hold them
_open_files: set[int] = set()


@contextmanager
def output_lock(output: str | os.PathLike, beside: bool = False) -> Iterator[None]:
    """Hold the lock of an output while the block runs. In a thread that already holds it, the block just runs.

    The lock file `.hq-sam.lock` lies in the folder `output`, which is made if it does not exist and removed if it is
    still empty after the block.

    beside: put the lock file beside the output, which may be a file, because a folder is replaced as a whole.

    Raises ValueError, with the process that holds the lock, if another one is writing there.
    """
    path = Path(os.path.realpath(output))
    made: list[Path] = []
    if beside:
        lock_file = path.with_name(f".{_short(path.name)}.lock")
    else:
        if path.exists() and not path.is_dir():
            raise ValueError(f"The output must be a folder, but {os.fspath(output)!r} is a file. Name a folder.")
        lock_file = path / LOCK_FILE
    key = (lock_file, threading.get_ident())
    if key in _held:
        yield
        return
    handle = None
    try:
        try:
            if not beside:
                made = _make_folders(path)
            handle = _acquire(lock_file, os.fspath(output))
        except OSError as error:
            advice = f"{error.strerror}: nothing can be written there. Make room or choose another output"
            raise OSError(error.errno, advice, os.fspath(output)) from error
        _open_files.add(handle)
        _held.add(key)
        yield
    finally:
        _held.discard(key)
        if handle is not None:
            _release(handle, lock_file)
        for folder in made:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _acquire(lock_file: Path, output: str) -> int:
    """Open and lock the file. Returns its descriptor."""
    while True:
        handle = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle)
            # The holder removes the file at the end. Whoever opened it before then holds the lock of no file.
            if not _is_file_of(handle, lock_file):
                os.close(handle)
                continue
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps(_description()).encode())
            return handle
        except BlockingIOError:
            holder = _holder(handle)
            os.close(handle)
            raise ValueError(
                f"{output!r} is being written by {holder}. Wait until it has ended, or choose another output."
            ) from None
        except BaseException:
            with suppress(OSError):
                os.close(handle)
            raise


def _release(handle: int, lock_file: Path) -> None:
    _open_files.discard(handle)
    if os.name == "nt":  # an open file cannot be removed
        os.close(handle)
        with suppress(OSError):
            lock_file.unlink()
        return
    with suppress(OSError):
        if _is_file_of(handle, lock_file):
            lock_file.unlink()
    os.close(handle)


def _lock(handle: int) -> None:
    """Lock an open file or raise BlockingIOError. A file system without locks gets a warning."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(handle, _FAR_AWAY, os.SEEK_SET)
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            except OSError as error:
                raise BlockingIOError from error
            finally:
                os.lseek(handle, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError) or error.errno not in _NO_LOCKS:
            raise
        logger.warning("the file system of the output has no locks, so let only one process write it")


def _is_file_of(handle: int, path: Path) -> bool:
    """Whether the open file is still the one at the path."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _description() -> dict[str, str | int]:
    module = getattr(sys.modules.get("__main__"), "__spec__", None)  # if started by `python -m`
    program = module.name.removesuffix(".__main__") if module else Path(sys.argv[0]).name
    command = " ".join([program, *sys.argv[1:]])
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "command": command[:200], "started": started}


def _holder(handle: int) -> str:
    """Name the process that holds the lock, from what it wrote into the file."""
    try:
        found = json.loads(os.read(handle, 4096))
        place = "" if found["host"] == socket.gethostname() else f" on {found['host']}"
        return f"process {found['pid']}{place} ({found['command']!r}, since {found['started']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has not written it yet
        return "another process"


def _make_folders(path: Path) -> list[Path]:
    """Make a folder and the folders around it. Returns those that did not exist, the innermost first."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing


def _short(name: str) -> str:
    return name if len(os.fsencode(name)) <= 200 else hashlib.sha256(os.fsencode(name)).hexdigest()


def _forget_in_child() -> None:
    """Close the files in a forked process, which would hold the locks for as long as it lives."""
    for handle in _open_files:
        with suppress(OSError):
            os.close(handle)
    _open_files.clear()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


__all__ = ["LOCK_FILE", "output_lock"]
