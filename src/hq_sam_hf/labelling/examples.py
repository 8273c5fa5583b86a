"""Images to label, and what a batch of them becomes: examples and records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .prompt_files import ObjectPrompt


@dataclass(frozen=True)
class ImagePlace:
    """Where an image is: `content` holds its encoded bytes, else `address` names a file or an fsspec URL.

    A content may have an address too, which then only names it.
    """

    address: str | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class Example:
    """An image to label.

    key: the name of the image in the output; each has its own.
    prompts: the objects to segment, in pixels of the image. text: labels that a detector looks for. With neither of
        them, everything in the image is segmented.
    problem: why the image cannot be labelled, where the source knows it already.
    """

    key: str
    place: ImagePlace
    prompts: Sequence[ObjectPrompt] | None = None
    text: Sequence[str] | None = None
    problem: str | None = None


@dataclass
class ImageRecord:
    """What an example became.

    size: (height, width) of the upright image; None if it could not be read.
    masks: a record per mask, as `masks.coco` describes them.
    problem: why the image was skipped; None for an image that is done.
    place: where the image is, with its bytes if they go into the output.
    """

    key: str
    size: tuple[int, int] | None = None
    masks: list[Mapping[str, Any]] = field(default_factory=list)
    problem: str | None = None
    place: ImagePlace = field(default_factory=ImagePlace)


__all__ = ["Example", "ImagePlace", "ImageRecord"]
