"""Check where a command may write: only what we wrote is replaced, and no output is one of the inputs."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from .files import check_parent, check_place

AnyPath = str | os.PathLike


def check_output_folder(
    target: Path,
    what: str,
    find_foreign: Callable[[Path], str | None],
    overwrite: bool = False,
    inputs: Iterable[AnyPath | None] = (),
) -> None:
    """Raise ValueError unless a folder can be written at `target` and nothing else is lost.

    what: what we write there, for messages, such as "an export".
    find_foreign: names an entry of the folder that we did not write, or returns None if we wrote all of it.
    overwrite: whether a folder that we wrote may be replaced.
    inputs: files and folders that must stay.
    """
    check_parent(target)
    if target.exists() and not target.is_dir():
        raise ValueError(f"Cannot write {str(target)!r}: there is a file of that name. Name a folder.")
    check_place(target)
    refuse_inputs(target, inputs)
    if not target.is_dir() or not any(target.iterdir()):
        return
    foreign = find_foreign(target)
    if foreign is not None:
        raise ValueError(
            f"{str(target)!r} is not empty and holds other files than {what}, such as {foreign!r}, which would be "
            "lost. Choose another folder."
        )
    if not overwrite:
        raise ValueError(f"{str(target)!r} exists already and is not empty. Choose another one or pass --overwrite.")


def check_output_file(
    target: Path,
    what: str,
    is_ours: Callable[[Path], bool] = lambda path: True,
    overwrite: bool = True,
    inputs: Iterable[AnyPath | None] = (),
) -> None:
    """Raise ValueError unless a file can be written at `target` and nothing else is lost.

    The arguments are those of `check_output_folder`. is_ours: whether we wrote the file that is there.
    """
    check_parent(target)
    if target.is_dir():
        raise ValueError(f"Cannot write {str(target)!r}: there is a folder of that name. Name a file.")
    refuse_inputs(target, inputs)
    check_place(target)
    if not target.exists():
        return
    if not is_ours(target):
        raise ValueError(
            f"{str(target)!r} exists already and is not {what}, so it would be lost. Choose another file name."
        )
    if not overwrite:
        raise ValueError(f"{str(target)!r} exists already. Choose another file name or pass --overwrite.")


def refuse_inputs(output: Path, inputs: Iterable[AnyPath | None]) -> None:
    """Raise ValueError if an output is one of the inputs, or a folder around one.

    What the paths lead to is compared, so links, relative paths and file systems that ignore case make no difference.
    """
    if not output.exists():
        return
    for one in inputs:
        if one is None or not os.path.exists(one):
            continue
        refuse_input(output, one)
        if output.is_dir() and _lies_inside(Path(one), output):
            raise ValueError(
                f"The input {os.fspath(one)!r} lies inside the output folder {str(output)!r} and would be lost. "
                "Choose another output."
            )


def refuse_input(output: Path, path: AnyPath) -> None:
    """Raise ValueError if an output is this input. Files inside a folder do not count."""
    if output.exists() and os.path.exists(path) and output.samefile(path):
        raise ValueError(
            f"The output {str(output)!r} is also an input ({os.fspath(path)!r}), which would be lost. Choose another "
            "output."
        )


def _lies_inside(path: Path, folder: Path) -> bool:
    """Whether a path, or what it links to, lies in a folder or its subfolders."""
    parents = {*Path(os.path.abspath(path)).parents, *Path(os.path.realpath(path)).parents}
    return any(parent.is_dir() and folder.samefile(parent) for parent in parents)


def first_foreign(folder: Path, names: re.Pattern[str]) -> str | None:
    """The first entry of a folder that is no plain file with one of our names; None if there is none."""
    for path in sorted(folder.iterdir()):
        if not names.fullmatch(path.name) or path.is_symlink() or not path.is_file():
            return path.name
    return None


__all__ = ["check_output_file", "check_output_folder", "first_foreign", "refuse_input", "refuse_inputs"]
