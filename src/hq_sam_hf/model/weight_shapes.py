"""Shapes of weights by key, from which sizes of a model are derived."""

from collections.abc import Mapping

from torch import Tensor


class WeightShapes:
    """Shapes by key, with errors that name the weight that is missing or has a wrong shape.

    source: where the weights come from, for error messages. model: the class whose keys they have.
    """

    def __init__(self, source: str, weights: Mapping[str, Tensor], model: str) -> None:
        self.source = source
        self.model = model
        self._shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """The shape of a weight. Raises ValueError if it is missing, empty or of another rank."""
        if name not in self._shapes:
            raise ValueError(f"{self.source!r} lacks the weight {name!r} (a key of {self.model}). Download it again.")
        shape = self._shapes[name]
        if len(shape) != rank or 0 in shape:
            raise ValueError(f"{self.source!r}: the weight {name!r} must have {rank} dimensions, got {shape}.")
        return shape

    def count(self, prefix: str) -> int:
        """The number of different indexes after a prefix: the length of a module list."""
        return count_indexes(self._shapes, prefix)


def count_indexes(names: Mapping[str, object], prefix: str) -> int:
    """The number of different indexes after a prefix of keys: the length of a module list."""
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})


__all__ = ["WeightShapes", "count_indexes"]
