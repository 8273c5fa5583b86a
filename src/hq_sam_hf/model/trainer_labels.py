"""Tell transformers' Trainer which inputs of the model are labels."""

import inspect
from collections.abc import Callable
from typing import TypeVar

Forward = TypeVar("Forward", bound=Callable)


class _NoLabel(str):
    """The name of a parameter in which `"label" in name` is false."""

    __slots__ = ()

    def __contains__(self, part: str) -> bool:  # type: ignore[override]  # as that of str
        return part != "label" and super().__contains__(part)


def only_labels(*names: str) -> Callable[[Forward], Forward]:
    """Decorate a `forward` so that Trainer takes only these parameters for labels.

    Trainer takes each parameter with "label" in its name for one, and an input that lacks one of them for an input
    without ground truth, for which it computes no loss. `input_labels` says what points mean and is a prompt. Other
    readers of the signature see the same names as before, so that Trainer keeps `input_labels` as an input.
    """

    def mark(forward: Forward) -> Forward:
        signature = inspect.signature(forward)
        parameters = [
            each if each.name in names else each.replace(name=_NoLabel(each.name))
            for each in signature.parameters.values()
        ]
        forward.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return forward

    return mark


__all__ = ["only_labels"]
