"""The demo's files on the server: one folder while the server runs, and each upload in a folder of its own."""

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.output_lock import output_lock
from .request_checks import MAX_FILE_SIZE
from .session import shorten_name

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

logger = logging.getLogger(__name__)

FOLDER_PREFIX = "hq-sam-demo-server-"
GRADIO_FOLDER = "GRADIO_TEMP_DIR"  # the environment variable that names gradio's folder of uploads
LONGEST_NAME = 100  # bytes; longer names of uploads are cut


@contextmanager
def server_folder() -> Iterator[Path]:
    """Give a new folder that is deleted at the end, and let gradio store uploads in it.

    The process holds the folder's lock. Folders whose lock nobody holds are of servers that were killed; they are
    deleted first.
    """
    remove_remnants()
    previous = os.environ.get(GRADIO_FOLDER)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    try:
        with output_lock(folder):
            (folder / "uploads").mkdir()
            os.environ[GRADIO_FOLDER] = str(folder / "uploads")
            yield folder
    finally:
        remove_folder(folder)
        if previous is None:
            os.environ.pop(GRADIO_FOLDER, None)
        else:
            os.environ[GRADIO_FOLDER] = previous


def remove_remnants() -> None:
    """Delete the folders of this user's servers that no longer run."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError, ValueError):
            is_own = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
            if is_own and not folder.is_symlink():
                with output_lock(folder):  # raises ValueError if a server runs there
                    remove_folder(folder)
                logger.info("Deleted what a killed server left behind: %s", folder.name)


def remove_folder(folder: Path) -> None:
    """Delete a folder in which threads may still write."""
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    logger.warning("%s could not be deleted completely. Delete it.", folder)


async def receive_upload(request: "Request") -> "Response":
    """Take one file of a form, in place of gradio's own endpoint. Returns its path in a list.

    gradio names the folder of a file after its content, so that users who upload the same file would share it. Here
    each upload has a folder of its own. Until it is complete, it is a temporary file without a name, of which nothing
    is left when the client goes away or the server is killed.
    """
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
    from starlette.responses import JSONResponse, PlainTextResponse

    try:
        async with request.form(max_files=1, max_fields=8) as form:
            (upload,) = [value for value in form.getlist("files") if not isinstance(value, str)]
            if upload.size is None or upload.size > MAX_FILE_SIZE:
                text = f"The file exceeds the maximum allowed size of {MAX_FILE_SIZE // 2**20} MiB. Reduce it first."
                return PlainTextResponse(text, status_code=413)
            path = await run_in_threadpool(_store, upload.file, upload.filename, request.app.uploaded_file_dir)
    except ClientDisconnect:
        return PlainTextResponse("The upload was not complete. Send it again.", status_code=400)
    except (HTTPException, ValueError):
        return PlainTextResponse("An upload must be a form with one file named `files`.", status_code=400)
    except OSError as error:
        logger.error("An upload could not be stored: %s", error)
        return PlainTextResponse("The server cannot store the file. Its log has more.", status_code=507)
    request.app.get_blocks().upload_file_set.add(str(path))  # gradio deletes it after an hour if no session takes it
    return JSONResponse([str(path)])


async def refuse_upload(request: "Request") -> "Response":
    """Stand in for an endpoint of gradio that takes files and that the page does not use."""
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("The page has no recordings. Open an image instead.", status_code=404)


def _store(file: Any, name: str | None, folder: str | os.PathLike) -> Path:
    """Copy a file into a new folder inside `folder`."""
    own_folder = Path(folder) / secrets.token_hex(16)
    try:
        own_folder.mkdir(mode=0o700)
        path = own_folder / safe_name(name or "")
        with path.open("xb") as target:
            shutil.copyfileobj(file, target, 2**20)
    except BaseException:
        shutil.rmtree(own_folder, ignore_errors=True)
        raise
    return path


def safe_name(name: str) -> str:
    """A file name that every file system takes, with the last part of `name` and its suffix."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join("_" if character in '<>:"|?*' or not character.isprintable() else character for character in last)
    stem, dot, suffix = kept.strip(" .").rpartition(".")
    suffix = shorten_name(suffix, 10) if dot else ""
    return shorten_name(stem if dot else kept.strip(" ."), LONGEST_NAME - 11).rstrip(" .") + dot + suffix or "image"


def discard_upload(path: str | os.PathLike) -> None:
    """Delete a stored upload with its folder."""
    with suppress(OSError):
        os.unlink(path)
        os.rmdir(Path(path).parent)


__all__ = [
    "discard_upload",
    "receive_upload",
    "refuse_upload",
    "remove_folder",
    "remove_remnants",
    "safe_name",
    "server_folder",
]
