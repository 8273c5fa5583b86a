"""A table of keys in two layouts, the original's and this package's, used in both directions."""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class KeyTable:
    """Prefixes of keys in the original's layout, each with the prefix in this package's. {n} stands for a number.

    name: the original's layout in error messages, such as "the original HQ-SAM or SAM layout".
    prefixes: what follows a prefix is the same in both layouts. Of several that fit, the first counts.
    mlps: prefixes of MLPs with numbered layers. The original numbers all layers of an MLP from 0. Here the first is
        `proj_in`, the last is `proj_out`, and the ones between are numbered from 0, so that `layers.0` is another
        layer in each layout.
    """

    name: str
    prefixes: tuple[tuple[str, str], ...]
    mlps: tuple[tuple[str, str], ...]

    def from_original(self, keys: Iterable[str]) -> dict[str, str]:
        """This package's key for each key of the original. Raises ValueError for other keys."""
        keys = list(keys)
        names = {}
        for key in keys:
            name = _replace_prefix(key, self.prefixes)
            if name is None:
                name = self._mlp_from_original(key, keys)
            if name is None:
                raise ValueError(f"{key!r} is not a key of {self.name}.")
            names[key] = name
        return names

    def to_original(self, names: Iterable[str]) -> dict[str, str]:
        """The original's key for each key of this package. Raises ValueError for keys that the original lacks."""
        names = list(names)
        keys = {}
        for name in names:
            key = _replace_prefix(name, _reversed(self.prefixes))
            if key is None:
                key = self._mlp_to_original(name, names)
            if key is None:
                raise ValueError(f"{name!r} has no counterpart in {self.name}.")
            keys[name] = key
        return keys

    def _mlp_from_original(self, key: str, keys: list[str]) -> str | None:
        match = re.match(r"(.*\.)layers\.(\d+)\.(weight|bias)$", key)
        module = _replace_prefix(match[1], self.mlps) if match else None
        if match is None or module is None:
            return None
        index = int(match[2])
        last = max(int(other[len(match[1]) :].split(".")[1]) for other in keys if other.startswith(match[1]))
        layer = "proj_in" if index == 0 else "proj_out" if index == last else f"layers.{index - 1}"
        return f"{module}{layer}.{match[3]}"

    def _mlp_to_original(self, name: str, names: list[str]) -> str | None:
        match = re.match(r"(.*\.)(proj_in|layers\.\d+|proj_out)\.(weight|bias)$", name)
        module = _replace_prefix(match[1], _reversed(self.mlps)) if match else None
        if match is None or module is None:
            return None
        inner = {other.split(".")[-2] for other in names if other.startswith(f"{match[1]}layers.")}
        index = {"proj_in": 0, "proj_out": len(inner) + 1}.get(match[2])
        if index is None:
            index = 1 + int(match[2].split(".")[1])
        return f"{module}layers.{index}.{match[3]}"


def _reversed(prefixes: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(ours, theirs) for theirs, ours in prefixes]


@functools.cache
def _pattern(prefix: str) -> re.Pattern[str]:
    return re.compile(re.escape(prefix).replace(r"\{n\}", r"(\d+)"))


def _replace_prefix(key: str, prefixes: Iterable[tuple[str, str]]) -> str | None:
    for source, target in prefixes:
        match = _pattern(source).match(key)
        if match:
            for number in match.groups():
                target = target.replace("{n}", number, 1)
            return target + key[match.end() :]
    return None


__all__ = ["KeyTable"]
