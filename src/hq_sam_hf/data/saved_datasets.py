"""Data sets of the library `datasets` that are in memory, or in folders that its `save_to_disk` wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .row_files import refuse_files_outside

# What a configuration file says in the place of a data set in memory.
IN_MEMORY = "a data set in memory"


def choose_split(source: Any, split: str) -> Any:
    """A data set in memory as it is, and a split of several."""
    if not isinstance(source, Mapping):
        return source
    if split not in source:
        raise ValueError(f"The data have the splits {', '.join(map(str, source))}, got `split` {split!r}. Choose one.")
    return source[split]


def is_saved_folder(source: str) -> bool:
    """Whether `save_to_disk` wrote this folder, from one data set or from several splits."""
    return any((Path(source) / name).is_file() for name in ("state.json", "dataset_dict.json"))


def load_saved_folder(source: str, split: str) -> Any:
    """The data set in a folder of `save_to_disk`. A folder without splits is taken for any."""
    import datasets

    try:
        dataset = choose_split(datasets.load_from_disk(source), split)
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{source!r} is not a complete folder of `save_to_disk` ({error}). Save it again.") from error
    return refuse_files_outside(dataset, [source])


def refuse_description(source: str) -> None:
    """Raise ValueError for the text that stands for a data set in memory in a configuration file."""
    if source.startswith(IN_MEMORY):
        raise ValueError(
            f"The data are {source}, which no file can hold. Give the data set in Python again, or write it with "
            "`save_to_disk` and name that folder as `source`."
        )


def holds_data_in_memory(described: Any) -> bool:
    """Whether a description of data, as a configuration file has it, stands for a data set in memory."""
    if isinstance(described, list):
        return any(holds_data_in_memory(part) for part in described)
    source = described.get("source") if isinstance(described, Mapping) else None
    return isinstance(source, str) and source.startswith(IN_MEMORY)


def describe_in_memory(source: Any) -> str:
    """The text that stands for a data set in memory in a configuration file."""
    rows = f" of {len(source):,} rows" if hasattr(source, "__len__") and not isinstance(source, Mapping) else ""
    return f"{IN_MEMORY}: {type(source).__name__}{rows}"


__all__ = [
    "choose_split",
    "describe_in_memory",
    "holds_data_in_memory",
    "is_saved_folder",
    "load_saved_folder",
    "refuse_description",
]
