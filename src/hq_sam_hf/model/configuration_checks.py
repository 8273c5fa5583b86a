"""Checks of configuration fields, with errors that name the field, what was expected and what was given."""

from typing import Any

from transformers.configuration_utils import PreTrainedConfig


def require(holds: bool, field: str, expected: str, got: object) -> None:
    """Raise ValueError for a field, named with its section, unless a condition holds."""
    if not holds:
        raise ValueError(f"`{field}` must be {expected}, got {got!r}. Correct it in config.json or the call.")


class FieldChecks:
    """Checks of the fields of one configuration; errors name them as "section.field"."""

    def __init__(self, config: PreTrainedConfig, section: str) -> None:
        self.config = config
        self.section = section

    def require(self, holds: bool, field: str, expected: str) -> None:
        value: Any = getattr(self.config, field)
        require(holds, f"{self.section}.{field}", expected, list(value) if isinstance(value, tuple) else value)

    def positive_integers(self, *fields: str) -> None:
        for field in fields:
            value = getattr(self.config, field)
            self.require(type(value) is int and value > 0, field, "a positive integer")

    def positive(self, *fields: str) -> None:
        for field in fields:
            self.require(getattr(self.config, field) > 0, field, "positive")

    def norm_eps(self) -> None:
        eps = self.config.layer_norm_eps
        self.require(0 < eps < 1, "layer_norm_eps", "a small positive number such as 1e-6")

    def activation(self) -> None:
        from transformers.activations import ACT2FN

        self.require(self.config.hidden_act in ACT2FN, "hidden_act", "an activation known to transformers")


__all__ = ["FieldChecks", "require"]
