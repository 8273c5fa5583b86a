"""A griffe extension: it turns the docstrings of this package, which are plain text, into Markdown."""

import re
from typing import Any

import griffe

# A parameter or field: "name: text" or "a, b: text", continued on lines that are indented further. A name starts with
# a small letter, unlike a sentence.
ENTRY = re.compile(r"^(?P<names>[a-z_]\w*(?:, [a-z_]\w*)*): (?P<text>.+)$")


class PlainDocstrings(griffe.Extension):
    """Turn entries of the form "name: text" into lists."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(docstring: str) -> str:
    lines: list[str] = []
    in_entry = False
    for line in docstring.splitlines():
        entry = ENTRY.match(line)
        if entry is not None:
            if not in_entry:
                lines.append("")
            names = ", ".join(f"`{name}`" for name in entry["names"].split(", "))
            lines.append(f"* {names}: {entry['text']}")
            in_entry = True
        elif in_entry and line.startswith("    "):
            lines.append(f"  {line.strip()}")
        else:
            if in_entry and line:
                lines.append("")
            in_entry = False
            lines.append(line)
    return "\n".join(lines)
