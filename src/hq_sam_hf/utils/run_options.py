"""The options.json of an output folder: what its files depend on, so that a run goes on only with the same options."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def read_options(file: Path, required: Iterable[str]) -> dict[str, Any] | None:
    """The options of an earlier run; None if there is no such file, or one that lacks a required option."""
    try:
        options = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return options if isinstance(options, dict) and options.keys() >= set(required) else None


def changed_options(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names of the options that differ, sorted."""
    return sorted(name for name in {*earlier, *now} if earlier.get(name) != now.get(name))


def describe_changes(earlier: Mapping[str, Any], now: Mapping[str, Any], most: int | None = None) -> str:
    """The options that differ: "a was 1 and is 2, b was not given and is 4".

    most: characters of a value that are shown; by default all.
    """

    def shown(options: Mapping[str, Any], name: str) -> str:
        value = options.get(name)
        return "not given" if value is None else repr(value)[:most]

    return ", ".join(
        f"{name} was {shown(earlier, name)} and is {shown(now, name)}" for name in changed_options(earlier, now)
    )


__all__ = ["changed_options", "describe_changes", "read_options"]
