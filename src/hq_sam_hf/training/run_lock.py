"""The lock of a run's folder, and what a run may replace there."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..export.layout_writing import FOLDER_FILES
from ..model.destinations import first_foreign
from ..model.files import remove_leftovers
from ..utils.output_lock import output_lock

FILES = ("config.yaml", "contents.json", "log.jsonl", "curves.png", "best.safetensors", "best.pt")
RESULTS = ("final", "best")
FOLDERS = (*RESULTS, "checkpoints", "overlays")
RESULT_FILES = re.compile(rf"{FOLDER_FILES.pattern}|hq_head\.safetensors|metrics\.json")


@contextmanager
def hold_run_folder(output: str | os.PathLike) -> Iterator[None]:
    """Let no other process train into the folder during the block, and remove what killed runs left in it.

    Raises ValueError, with the process, if another one does, and if the run would replace files of another origin.
    """
    folder = Path(output)
    with output_lock(folder):
        for name in (*FILES, *RESULTS):
            remove_leftovers(folder / name)
        _restore_checkpoints(folder / "checkpoints")
        _refuse_foreign(folder)
        for name in RESULTS:
            refuse_foreign_files(folder / name)
        yield


def _restore_checkpoints(folder: Path) -> None:
    """Move back checkpoints that a killed run had moved away to replace them."""
    for old in folder.glob(".step-*.old"):
        complete = folder / old.stem.removeprefix(".")
        if complete.exists():
            shutil.rmtree(old)
        else:
            old.rename(complete)


def _refuse_foreign(folder: Path) -> None:
    """Raise ValueError if there is a file that a run would replace, but no run."""
    config = folder / "config.yaml"
    found = [name for name in (*FILES, *FOLDERS) if os.path.lexists(folder / name)]
    if config.is_file():
        # The configuration that a run writes has all fields, that of a user only some.
        text = config.read_text(encoding="utf-8", errors="replace")
        if len(found) > 1 or re.search(r"^resume:", text, re.MULTILINE):
            return
    elif found == ["contents.json"]:  # of a run that was killed as it started
        return
    if found:
        raise ValueError(
            f"{str(folder)!r} holds {found[0]!r}, which no run has written and which would be replaced. Choose "
            "another output_dir."
        )


def refuse_foreign_files(result: Path) -> None:
    """Raise ValueError if a folder with the result of a run holds other files too."""
    name = first_foreign(result, RESULT_FILES) if result.is_dir() else None
    if name is not None:
        raise ValueError(
            f"{str(result)!r} would be replaced and holds {name!r}, which is no file of a result. Move it elsewhere, "
            "then continue the run with --resume."
        )


__all__ = ["hold_run_folder", "refuse_foreign_files"]
