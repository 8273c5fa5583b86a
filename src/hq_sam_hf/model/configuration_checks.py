"""Checks of configuration fields, with errors that name the field, what was expected and what was given."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
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

    def mask_decoder(self) -> None:
        """Check the fields of SAM's mask decoder, which HQ-SAM and HQ-SAM 2 share."""
        self.positive_integers("hidden_size", "mlp_dim", "num_hidden_layers", "num_attention_heads")
        self.positive_integers("attention_downsample_rate", "num_multimask_outputs", "iou_head_hidden_dim")
        self.require(self.config.iou_head_depth >= 2, "iou_head_depth", "at least 2")
        self.require(self.config.hidden_size % 8 == 0, "hidden_size", "a multiple of 8")
        step = self.config.attention_downsample_rate * self.config.num_attention_heads
        expected = (
            f"such that attention_downsample_rate * num_attention_heads ({step}) divides hidden_size "
            f"({self.config.hidden_size})"
        )
        self.require(self.config.hidden_size % step == 0, "num_attention_heads", expected)
        self.norm_eps()


def check_stored(fields: object, sections: Iterable[str]) -> None:
    """Raise ValueError unless the content of a config.json is an object, whose general fields can have their values.

    These are the fields that transformers uses before a configuration checks its own. sections: names of the fields
    that are objects with general fields too.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"config.json must hold a JSON object, got {type(fields).__name__}. Download it again.")
    for prefix, part in (("", fields), *((f"{name}.", fields.get(name)) for name in sections)):
        if not isinstance(part, dict):
            continue
        for name in ("dtype", "torch_dtype"):
            dtype = part.get(name)
            is_dtype = isinstance(dtype, torch.dtype) or isinstance(
                getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else None, torch.dtype
            )
            require(dtype is None or is_dtype, f"{prefix}{name}", "the name of a dtype such as float32", dtype)
    quantization = fields.get("quantization_config")
    is_quantization = isinstance(quantization, dict) or hasattr(quantization, "to_dict")
    require(quantization is None or is_quantization, "quantization_config", "an object or missing", quantization)
    file = fields.get("transformers_weights")
    is_name = isinstance(file, str) and os.path.basename(file) == file
    require(file is None or is_name, "transformers_weights", "the name of a file beside config.json", file)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise ValueError in one line in place of an error of a field's type, which has several lines."""
    try:
        yield
    except StrictDataclassError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise ValueError(f"{' '.join(lines)}. Correct it in config.json or the call.") from error


__all__ = ["FieldChecks", "check_stored", "plain_errors", "require"]
