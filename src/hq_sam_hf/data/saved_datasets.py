"""Data sets of the library `datasets` that are in memory, or in folders that its `save_to_disk` wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What a configuration file says in the place of a data set in memory.
IN_MEMORY = "a data set in memory"

# What `save_to_disk` writes into the folder of a data set, and of several splits.
_SAVED_FILES = ("state.json", "dataset_dict.json")


def choose_split(source: Any, split: str) -> Any:
    """A data set in memory as it is, and a split of several. Raises ValueError for anything else."""
    if isinstance(source, Mapping):
        if split not in source:
            raise ValueError(
                f"The data have the splits {', '.join(map(str, source))}, got `split` {split!r}. Choose one."
            )
        source = source[split]
    if not hasattr(source, "features"):
        expected = "a data set of `datasets`, a Hub repository or a folder"
        raise ValueError(f"`source` must be {expected}, got {type(source).__name__}.")
    return source


def load_stored(source: str, split: str, streaming: bool, options: dict[str, Any]) -> Any:
    """The data set of a Hub repository or folder, which `save_to_disk` may have written. A folder may have no splits.

    options: for `datasets.load_dataset`.
    """
    import datasets

    if source.startswith(IN_MEMORY):
        raise ValueError(
            f"The data are {source}, which no file can hold. Give the data set in Python again, or write it with "
            "`save_to_disk` and name that folder as `source`."
        )
    if not any((Path(source) / name).is_file() for name in _SAVED_FILES):
        return datasets.load_dataset(source, split=split, streaming=streaming, **options)
    try:
        dataset = choose_split(datasets.load_from_disk(source), split)
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{source!r} is not a complete folder of `save_to_disk` ({error}). Save it again.") from error
    return dataset.to_iterable_dataset() if streaming else dataset


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


__all__ = ["choose_split", "describe_in_memory", "holds_data_in_memory", "load_stored"]
