"""Where the prompts of each image come from: columns of the source, a file, text, or nothing."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .examples import Example
from .sources import SourceRow


class PromptSource(ABC):
    """Turns a row of a source into an example. It can be pickled."""

    @abstractmethod
    def example(self, row: SourceRow) -> Example:
        """The image of a row with its prompts. Raises ValueError for prompts that are malformed."""

    @abstractmethod
    def as_options(self) -> dict[str, Any]:
        """What says which prompts these are, as JSON values."""


@dataclass(frozen=True)
class AutomaticPrompts(PromptSource):
    """No prompts: everything in the images is segmented."""

    def example(self, row: SourceRow) -> Example:
        return Example(row.key, row.place)

    def as_options(self) -> dict[str, Any]:
        return {"prompts": "automatic"}


@dataclass(frozen=True)
class TextPrompts(PromptSource):
    """The same text for all images. labels: what a detector looks for."""

    labels: Sequence[str]

    def example(self, row: SourceRow) -> Example:
        return Example(row.key, row.place, text=self.labels)

    def as_options(self) -> dict[str, Any]:
        return {"prompts": "text", "text": list(self.labels)}


__all__ = ["AutomaticPrompts", "PromptSource", "TextPrompts"]
