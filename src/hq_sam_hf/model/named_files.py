"""Files that other files name: annotations, prompt files, tables and indices may come from somebody else."""

import os
from collections.abc import Sequence
from pathlib import Path


def path_inside(
    folder: str | os.PathLike,
    name: object,
    what: str,
    advice: str,
    also: Sequence[str | os.PathLike] = (),
) -> Path:
    """The absolute path of a file that another file names, relative to a folder or absolute.

    Links are not followed: whoever makes a link in a folder may do so, but a name alone must not leave the folder.

    what: the name in words, for errors. advice: what to do about a name that leads out. also: other folders that the
    name may lead to.

    Raises ValueError for a name that is no text, and for one that leads out of the folders.
    """
    root = Path(os.path.abspath(folder))
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise ValueError(f"{what} must be the name of a file, got {name!r:.80}. Correct it.")
    path = Path(os.path.normpath(root / name))
    if not any(path.is_relative_to(os.path.abspath(one)) for one in (root, *also)):
        raise ValueError(f"{what}, {name!r:.200}, leads out of the folder {str(root)!r}, so it is not read. {advice}")
    return path


__all__ = ["path_inside"]
