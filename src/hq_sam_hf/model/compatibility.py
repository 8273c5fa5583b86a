"""The names of transformers that its documentation does not promise, each with the reason why it is needed.

A new release of transformers may change them, so all other modules of this package take them from here. The attributes
that every model of transformers sets or reads (`_no_split_modules`, `_init_weights` and so on) are not listed.
"""

import copy
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from logging import LogRecord
from typing import Any

from torch import nn
from transformers.configuration_utils import PreTrainedConfig
from transformers.initialization import no_init_weights
from transformers.utils import logging

ATTENTION = ("sdpa", "eager")
CAPTURING_MODULE = "transformers.utils.output_capturing"


def set_attention(config: PreTrainedConfig, implementation: str | None) -> None:
    """Choose the attention implementation ("sdpa", "eager") of the models that will be built from a configuration.

    None keeps the choice of the configuration. The public `attn_implementation` is an argument of `from_pretrained`
    alone; for a configuration that exists already there is only the private attribute.
    """
    check_attention(implementation)
    if implementation is not None:
        config._attn_implementation = implementation


def check_attention(implementation: Any) -> None:
    """Raise ValueError unless an attention implementation, or None, is one that HQ-SAM has.

    In transformers the name may also be that of a repository on the Hub, "organisation/kernel", whose code is
    downloaded and run, and the name may come from the config.json of a model.
    """
    by_section = implementation.values() if isinstance(implementation, dict) else (implementation,)
    if any(one is not None and one not in ATTENTION for one in by_section):
        raise ValueError(
            f"`attn_implementation` must be {' or '.join(map(repr, ATTENTION))}, in config.json as in the call, got "
            f"{implementation!r:.200}. Remove it, or write one of these."
        )


@contextmanager
def without_load_report() -> Iterator[None]:
    """Within the block, transformers does not log its report of missing, unexpected and mismatched weights.

    This package raises an error for such weights, or, for the HQ head of a plain SAM, expects them to be missing. The
    public verbosity setting would silence every other warning too, so the report is recognised by its title.
    """

    def is_other_message(record: LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger = logging.get_logger("transformers.modeling_utils")
    logger.addFilter(is_other_message)
    try:
        yield
    finally:
        logger.removeFilter(is_other_message)


def without_capturing_hooks(model: nn.Module) -> nn.Module:
    """A model that shares all parameters with `model`, without the hooks that transformers adds on the first call.

    These hooks are local functions, so that a model of transformers that was called once cannot be pickled. A model
    without the mark that goes with them gets them again on its next call.
    """
    copies: dict[int, nn.Module] = {}  # a module may be in several places

    def copied(module: nn.Module) -> nn.Module:
        if id(module) not in copies:
            copies[id(module)] = copy.copy(module)
            own = vars(copies[id(module)])
            own.pop("_output_capturing_hooks_installed", None)
            own["_forward_hooks"] = OrderedDict(
                (key, hook)
                for key, hook in module._forward_hooks.items()
                if getattr(hook, "__module__", "") != CAPTURING_MODULE
            )
            own["_modules"] = {
                name: child if child is None else copied(child) for name, child in module._modules.items()
            }
        return copies[id(module)]

    return copied(model)


# `no_init_weights` makes building a model skip its initialisation, which the loaded weights would overwrite at once.
__all__ = ["check_attention", "no_init_weights", "set_attention", "without_load_report"]
