"""What the demo's page shows in place of paths of the server: the names of its models and files."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..utils.embedded import EMBEDDED

# In quotes a path may hold spaces; elsewhere it ends at a space, a quote, a bracket, a comma or a semicolon.
_START = r"(?:/|[A-Za-z]:[\\/]|\\\\)"
_QUOTED = re.compile(rf"(?P<quote>['\"`])({_START}[^'\"`\n]*)(?P=quote)")
_BARE = re.compile(rf"(?<![\w/:.\\])({_START}[^\s'\"`<>()\[\]{{}},;]+)")


def without_folders(text: str) -> str:
    """Replace each absolute path in a text by its last part."""
    text = _QUOTED.sub(lambda found: f"{found['quote']}{_last_part(found[2])}{found['quote']}", text)
    return _BARE.sub(lambda found: _last_part(found[1]), text)


def shown_names(models: Sequence[str]) -> dict[str, str]:
    """The name to show for each model, and the model: of a folder or file its last part, of a repository all of it.

    A number tells models of the same name apart. A model that is given twice is there once.
    """
    names: dict[str, str] = {}
    for model in dict.fromkeys(models):
        name = _shown_name(model)
        same, count = name, 1
        while name in names:
            count += 1
            name = f"{same} ({count})"
        names[name] = model
    return names


def _shown_name(model: str) -> str:
    path = Path(model).expanduser()
    if path == EMBEDDED:
        return f"{path.name} (inside the package)"
    return (path.resolve().name or model) if path.is_absolute() or path.exists() else model


def _last_part(path: str) -> str:
    parts = [part for part in re.split(r"[\\/]", path) if part]
    return parts[-1] if parts else path


__all__ = ["shown_names", "without_folders"]
