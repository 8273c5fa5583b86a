"""MkDocs hooks: links from the docs to files of the repository that are not pages become plain text."""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?!https?:)[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace `[text](../FILE)` by the text if FILE is in the repository but not in docs/.

    A link to a file that does not exist stays, so that a strict build reports it.
    """

    def plain(match: re.Match[str]) -> str:
        text, target, _ = match.groups()
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), target))
        is_outside = not path.startswith(("docs/", "../"))
        return text if is_outside and (ROOT / path).exists() else match[0]

    return LINK.sub(plain, markdown)
