"""Values of a configuration: read from YAML with overrides, and checked against the type annotations of the fields."""

import datetime
import os
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np

from ..data.saved_datasets import describe_in_memory

NAMES = {int: "an integer", float: "a number", str: "text", bool: "true or false", dict: "a mapping", NoneType: "null"}
PLURALS = {float: "numbers", str: "texts", Any: "mappings"}


def read_fields(path: str | Path, overrides: list[str]) -> dict[str, Any]:
    """The fields in a YAML file, with overrides `key=value` or `outer.inner=value`, whose values are YAML too."""
    import yaml  # a requirement of transformers

    try:
        fields = yaml.safe_load(Path(path).read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must hold `key: value` lines, got {type(fields).__name__}.")
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"An override must have the form key=value, got {override!r}.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"The value of the override {override!r} is not valid YAML: {error}") from error
        _set(fields, key.split("."), value, override)
    return fields


def _set(fields: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    *outer, last = keys
    for name in outer:
        if name in ("data", "validation") and isinstance(fields.get(name), str):
            fields[name] = {"kind": "hqseg44k", "root": fields[name]}  # the mapping that a string is short for
        fields = fields.setdefault(name, {})
        if not isinstance(fields, dict):
            raise ValueError(f"{override!r}: `{name}` is not a mapping.")
    fields[last] = value


def check_type(name: str, annotation: Any, value: Any) -> Any:
    """Return a field's value as its annotated type; raise ValueError if it is of another type.

    Integers, and text that is a number, may stand for floats: YAML reads 1e-3 as text. Paths become text.
    annotation: int, float, str, bool, None, list, dict, a Literal, or a union of them.
    """
    try:
        return _convert(annotation, _paths_to_text(value))
    except TypeError:
        raise ValueError(f"`{name}` must be {_describe(annotation)}, got {value!r}.") from None


def _convert(annotation: Any, value: Any) -> Any:
    """A value as an annotated type; TypeError where it has another type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        for option in arguments:
            try:
                return _convert(option, value)
            except TypeError:
                continue
    elif origin is Literal:
        if isinstance(value, str) and value in arguments:
            return value
    elif origin is list:
        if isinstance(value, list):
            return [entry if arguments[0] is Any else _convert(arguments[0], entry) for entry in value]
    elif annotation is float:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                return float(value)
            except ValueError:
                pass
    elif isinstance(value, origin or annotation) and (annotation is bool or not isinstance(value, bool)):
        return value
    raise TypeError


def _describe(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_describe(option) for option in arguments)
    if origin is Literal:
        return f"one of {', '.join(arguments)}"
    if origin is list:
        return f"a list of {PLURALS[arguments[0]]}"
    return NAMES[origin or annotation]


def _paths_to_text(value: Any) -> Any:
    """A value with path objects as text, which YAML can hold."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return {key: _paths_to_text(entry) for key, entry in value.items()}
    return [_paths_to_text(entry) for entry in value] if isinstance(value, list) else value


def plain_value(name: str, value: Any) -> Any:
    """A value as YAML can hold it, with a text for a data set in memory; raise ValueError for other objects."""
    if isinstance(value, Mapping):
        return {
            key: describe_in_memory(entry)
            if key == "source" and not isinstance(entry, str)
            else plain_value(f"{name}.{key}", entry)
            for key, entry in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain_value(name, entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is not None and not isinstance(value, str | int | float | bool | datetime.date):
        expected = "text, a number, true, false, null, a list or a mapping"
        raise ValueError(f"`{name}` must be {expected}, got {value!r:.200}.")
    return value


def require(condition: bool, name: str, expected: str, value: object) -> None:
    """Raise ValueError, with what was expected of the field `name` and its value, unless the condition holds."""
    if not condition:
        raise ValueError(f"`{name}` must be {expected}, got {value!r}.")


__all__ = ["check_type", "plain_value", "read_fields", "require"]
