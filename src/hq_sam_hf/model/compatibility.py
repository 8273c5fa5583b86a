"""The names of transformers that its documentation does not promise, each with the reason why it is needed.

A new release of transformers may change them, so all other modules of this package take them from here. The attributes
that every model of transformers sets or reads (`_no_split_modules`, `_init_weights` and so on) are not listed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import LogRecord

from transformers.configuration_utils import PreTrainedConfig
from transformers.initialization import no_init_weights
from transformers.utils import logging


def set_attention(config: PreTrainedConfig, implementation: str | None) -> None:
    """Choose the attention implementation ("sdpa", "eager") of the models that will be built from a configuration.

    None keeps the choice of the configuration. The public `attn_implementation` is an argument of `from_pretrained`
    alone; for a configuration that exists already there is only the private attribute.
    """
    if implementation is not None:
        config._attn_implementation = implementation


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


# `no_init_weights` makes building a model skip its initialisation, which the loaded weights would overwrite at once.
__all__ = ["no_init_weights", "set_attention", "without_load_report"]
