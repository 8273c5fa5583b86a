"""Data sets by a short description: the `data` of a training configuration, and of commands that read data."""

from collections.abc import Sequence
from typing import Any

from .image_bytes import undecoded

KINDS = ("hqseg44k", "folders", "columns", "coco", "scenes")


def parse_source(text: str) -> str | dict[str, Any]:
    """The description in an argument of a command: a mapping where the text starts with `{`, else the root itself."""
    if not text.lstrip().startswith("{"):
        return text
    import yaml  # a requirement of transformers

    try:
        source = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r} is no mapping in YAML: {error}") from error
    return source


def describe_source(data: Any) -> str:
    """A description in words: the root itself, or "kind: folders, images: photos"."""
    return ", ".join(f"{key}: {value}" for key, value in data.items()) if isinstance(data, dict) else str(data)


def refuse_sets(sets: Sequence[str] | None) -> None:
    """Raise ValueError where sets are chosen of own data."""
    if sets is not None:
        raise ValueError(f"Sets can be chosen of HQSeg-44K alone, got {', '.join(sets)} for own data.")


def load_source(data: str | dict[str, Any], split: str) -> Any:
    """The data set that a description names; `split` is "train", "validation" or, of scenes, "held_out".

    A string is the root of HQSeg-44K. A mapping has `kind` and the arguments of the function it stands for:
        hqseg44k    root, sets                              `load_hqseg44k`
        folders     images, masks                           `load_paired_folders`
        columns     source, image_column, mask_column, ...  `load_named_columns`
        coco        annotations, images                     `load_coco`
        scenes      count, seed, size, labels, families, materials
                                                            `scenes.SceneGenerator`; families may be "solid" or "thin"
    Folders and COCO files have no splits: name others for validation. The rest may have a `split` of their own.
    """
    arguments = {"kind": "hqseg44k", "root": data} if isinstance(data, str) else dict(data)
    kind = arguments.pop("kind", None)
    try:
        if kind == "scenes":
            return _scenes(split, **arguments)
        if kind == "hqseg44k":
            from .hqseg44k import load_hqseg44k

            return load_hqseg44k(**{"split": split, **arguments})
        from . import custom

        if kind == "columns":
            return custom.load_named_columns(**{"split": split, **arguments})
        loaders: dict[Any, Any] = {"folders": custom.load_paired_folders, "coco": custom.load_coco}
        if kind not in loaders:
            raise ValueError(
                f"`kind` of data must be {', '.join(KINDS[:-1])} or {KINDS[-1]}, got {kind!r}. A string alone is the "
                "root of HQSeg-44K."
            )
        return loaders[kind](**arguments)
    except TypeError as error:
        raise ValueError(f"The data {data!r} do not fit their kind: {error}") from error


def load_rows(data: str | dict[str, Any], split: str) -> Any:
    """The same as rows for `read_sample`, with pictures undecoded. Raises ValueError for a stream."""
    loaded = load_source(data, split)
    if not hasattr(loaded, "__len__"):
        raise ValueError(f"The data {data!r} are a stream, but rows are taken in any order. Leave `streaming` out.")
    return undecoded(loaded) if hasattr(loaded, "features") else loaded


def _scenes(split: str, families: Any = None, **arguments: Any) -> Any:
    from ..scenes import GROUPS, SceneGenerator, trained_families

    if families in ("solid", "thin"):
        families = [family for family in trained_families() if GROUPS[family] == families]
    return SceneGenerator(**{"split": split, "families": families, **arguments})


__all__ = ["KINDS", "describe_source", "load_rows", "load_source", "parse_source", "refuse_sets"]
