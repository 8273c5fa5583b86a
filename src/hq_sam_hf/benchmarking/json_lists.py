"""Read a JSON list of objects one object at a time: files of detections may be larger than the memory."""

import json
import os
from collections.abc import Iterator
from typing import Any

_CHUNK = 2**20  # characters that are read at once; more for an object that is longer
_BETWEEN = " \t\r\n,"


def read_json_list(path: str | os.PathLike, what: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list.

    what: what the file should hold, for errors, such as "detections as COCO results".

    Raises ValueError, with the file's name, if it is no list of objects or ends in the middle.
    """
    decoder, buffer, position, number = json.JSONDecoder(), "", 0, 0
    try:
        with open(path, encoding="utf-8-sig") as file:
            buffer = file.read(_CHUNK).lstrip()
            if not buffer.startswith("["):
                raise ValueError("it does not start with [")
            position, chunk = 1, _CHUNK
            while True:
                while position < len(buffer) and buffer[position] in _BETWEEN:
                    position += 1
                if buffer.startswith("]", position):
                    return
                try:
                    value, position = decoder.raw_decode(buffer, position)
                    chunk = _CHUNK
                except json.JSONDecodeError as error:
                    more = file.read(chunk)
                    if not more:
                        raise ValueError(f"entry {number} is incomplete or damaged ({error.msg})") from error
                    buffer, position, chunk = buffer[position:] + more, 0, 2 * chunk
                    continue
                if not isinstance(value, dict):
                    raise ValueError(f"entry {number} is a {type(value).__name__}")
                number += 1
                yield value
    except FileNotFoundError as error:
        raise ValueError(f"{os.fspath(path)!r} does not exist. Name a file with {what}.") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{os.fspath(path)!r} must be a JSON list with {what}: {error}.") from error


__all__ = ["read_json_list"]
