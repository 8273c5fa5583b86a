"""Data sets from a short description: the `data` of a training configuration and of commands.

A description is a string, which is the root folder of HQSeg-44K, or a mapping with `kind` and the arguments of the
function that loads this kind:

    kind      arguments                                           loaded by
    hqseg44k  root, sets                                          hqseg44k.load_hqseg44k
    folders   images, masks, nested, mask_suffix                  custom.load_paired_folders
    columns   source, image_column, mask_column, split            custom.load_named_columns
    coco      annotations, images                                 coco.load_coco
    scenes    count, seed, size, labels, families, materials      scenes.SceneGenerator
    cutouts   objects, backgrounds, count, seed, size, labels     cutouts.CutoutGenerator

The table names the usual arguments; those functions document all of them. For folders, columns and coco,
`reading_options.ReadingOptions` are arguments too: max_pixels, value_range, mask_type, ignore_index and mask_pixels.

A list of descriptions is several data sets in one. For training each may have a `weight`, by default 1: an epoch sees
its images so many times, or that share of them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..cutouts import CutoutGenerator
from ..scenes import GROUPS, SceneGenerator, trained_families
from .coco import load_coco
from .custom import load_named_columns, load_paired_folders
from .hqseg44k import load_hqseg44k
from .image_bytes import undecoded
from .several import SeveralDataSets, take_weight


class DataKind(NamedTuple):
    """A kind of data set.

    load: the function that loads it. has_splits: whether the function takes the argument `split`.
    """

    load: Callable[..., Any]
    has_splits: bool


def _load_scenes(families: Any = None, **arguments: Any) -> SceneGenerator:
    """Like `SceneGenerator`; `families` may also name a group, "solid" or "thin"."""
    if families in ("solid", "thin"):
        families = [family for family in trained_families() if GROUPS[family] == families]
    return SceneGenerator(families=families, **arguments)


def _load_cutouts(**arguments: Any) -> CutoutGenerator:
    """A `CutoutGenerator` whose files are read, so that wrong ones are found now and workers share the memory."""
    generator = CutoutGenerator(**arguments)
    generator.load()
    return generator


KINDS = {
    "hqseg44k": DataKind(load_hqseg44k, has_splits=True),
    "folders": DataKind(load_paired_folders, has_splits=False),
    "columns": DataKind(load_named_columns, has_splits=True),
    "coco": DataKind(load_coco, has_splits=False),
    "scenes": DataKind(_load_scenes, has_splits=True),
    "cutouts": DataKind(_load_cutouts, has_splits=True),
}


def load_source(data: str | dict[str, Any], split: str) -> Any:
    """Load the data set of a description, which must be a single one.

    split: "train", "validation" or, for scenes, "held_out". A `split` in the description takes precedence. Folders and
        COCO files have no splits, so describe the validation data separately.
    """
    if not isinstance(data, str | dict):
        raise ValueError(f"A data set must be text or a mapping with `kind`, got {data!r:.200}.")
    arguments = {"kind": "hqseg44k", "root": data} if isinstance(data, str) else dict(data)
    name = arguments.pop("kind", None)
    if name not in list(KINDS):
        *first, last = KINDS
        raise ValueError(
            f"`kind` of data must be {', '.join(first)} or {last}, got {name!r}. A string without `kind` is the root "
            "folder of HQSeg-44K."
        )
    kind = KINDS[name]
    if kind.has_splits:
        arguments = {"split": split, **arguments}
    try:
        return kind.load(**arguments)
    except TypeError as error:
        raise ValueError(f"The data {data!r} do not fit their kind: {error}") from error


def load_rows(data: Any, split: str) -> Any:
    """Load the rows of a description for `read_sample`, with images undecoded. Raises ValueError for a stream.

    A list of descriptions gives `SeveralDataSets`.
    """
    if isinstance(data, list):
        described = [take_weight(part) for part in data]
        nested = next((part for part in data if isinstance(part, list)), None)
        if nested is not None or not data:
            raise ValueError(f"A list of data must hold texts and mappings with `kind`, got {nested or data!r:.200}.")
        return SeveralDataSets([load_rows(part, split) for part, _ in described], [weight for _, weight in described])
    loaded = load_source(data, split)
    if not hasattr(loaded, "__len__"):
        raise ValueError(
            f"The data {data!r} are a stream, but rows are read in random order. Remove `streaming` from them."
        )
    return undecoded(loaded) if hasattr(loaded, "features") else loaded


def parse_source(text: str) -> str | dict[str, Any]:
    """Parse a description on the command line: YAML if it starts with `{`, else the root folder of HQSeg-44K."""
    if not text.lstrip().startswith("{"):
        return text
    import yaml  # a requirement of transformers

    try:
        source = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r} is not a mapping in YAML: {error}") from error
    return source


def describe_source(data: Any) -> str:
    """Format a description for people: the root folder, or "kind: folders, images: photos"."""
    if isinstance(data, list):
        return " and ".join(describe_source(part) for part in data)
    return ", ".join(f"{key}: {value}" for key, value in data.items()) if isinstance(data, dict) else str(data)


def refuse_sets(sets: Sequence[str] | None) -> None:
    """Raise ValueError if sets are chosen for data other than HQSeg-44K."""
    if sets is not None:
        raise ValueError(f"Only HQSeg-44K has sets to choose from, got {', '.join(sets)} for your own data.")


__all__ = ["KINDS", "DataKind", "describe_source", "load_rows", "load_source", "parse_source", "refuse_sets"]
