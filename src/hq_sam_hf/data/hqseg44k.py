"""HQSeg-44K and the four validation sets of the paper, from folders, zip archives or Parquet.

The layout is that of the Hub repository sam-hq-team/sam-hq-training, see docs/data.md. The sets have short names: dis,
thin, fss, duts, ecssd and msra for training; dis, coift, hrsod and thin for validation.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from .image_bytes import file_name, list_members, member_path
from .parquet import count_rows, find_shards, load_shards

if TYPE_CHECKING:
    from .image_bytes import AnyDataset

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg")
MASK_SUFFIXES = (".png",)
STREAMING_SHARDS = 64  # the largest number of workers that can share a stream


@dataclass(frozen=True)
class PublishedSet:
    """A published set.

    folders: (image folder, mask folder) below the root, one or more; the two are the same where masks lie beside
        their images.
    counts: the numbers of image-mask pairs that the complete set may have.
    """

    folders: tuple[tuple[str, str], ...]
    counts: tuple[int, ...]


_THIN = "thin_object_detection"
_CASCADE = "cascade_psp"

SETS: dict[str, dict[str, PublishedSet]] = {
    "train": {
        "dis": PublishedSet((("DIS5K/DIS-TR/im", "DIS5K/DIS-TR/gt"),), (3_000,)),
        "thin": PublishedSet(((f"{_THIN}/ThinObject5K/images_train", f"{_THIN}/ThinObject5K/masks_train"),), (4_748,)),
        # The paper gives 10,000 pairs; the published archive lists 10,003.
        "fss": PublishedSet(((f"{_CASCADE}/fss_all",) * 2,), (10_000, 10_003)),
        "duts": PublishedSet(((f"{_CASCADE}/DUTS-TR",) * 2, (f"{_CASCADE}/DUTS-TE",) * 2), (10_553 + 5_019,)),
        "ecssd": PublishedSet(((f"{_CASCADE}/ecssd",) * 2,), (1_000,)),
        "msra": PublishedSet(((f"{_CASCADE}/MSRA_10K",) * 2,), (10_000,)),
    },
    "validation": {
        "dis": PublishedSet((("DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt"),), (470,)),
        "coift": PublishedSet(((f"{_THIN}/COIFT/images", f"{_THIN}/COIFT/masks"),), (280,)),
        # HRSOD also has a folder `masks`, whose values are not 0 and 255.
        "hrsod": PublishedSet(((f"{_THIN}/HRSOD/images", f"{_THIN}/HRSOD/masks_max255"),), (287,)),
        "thin": PublishedSet(((f"{_THIN}/ThinObject5K/images_test", f"{_THIN}/ThinObject5K/masks_test"),), (500,)),
    },
}

# Items whose mask is known to be wrong (https://github.com/SysCV/sam-hq/issues/26), in lower case and without "_",
# because the report writes bamboo_slip/7 for a file that the published folder calls bamboo_slip_7.
BROKEN_ITEMS: dict[str, frozenset[str]] = {
    "fss": frozenset({"bambooslip7"}),
    "msra": frozenset({"97915"}),
}


@dataclass
class FoundSet:
    """A set found on disk: pairs of an image and a mask file, or Parquet shards.

    skipped: names of the known broken items that are left out. problems: sentences about what is wrong with the set.
    """

    name: str
    split: str
    pairs: list[tuple[str, str]] = field(default_factory=list)
    shards: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def load_hqseg44k(
    root: str | os.PathLike,
    split: str = "train",
    sets: Sequence[str] | None = None,
    streaming: bool = False,
    skip_broken: bool = True,
) -> "AnyDataset":
    """Load HQSeg-44K ("train") or the four validation sets ("validation").

    root: a folder with DIS5K/, cascade_psp/ and thin_object_detection/, or with these as .zip archives, directly or in
        data/; or a folder written by `export_parquet`.
    sets: short names of the sets to load, by default all of the split. A missing set is an error. An unexpected number
        of pairs and files without a partner are logged as warnings.
    skip_broken: leave out `BROKEN_ITEMS`. For Parquet this was decided at the export.

    Columns: `image` and `mask` (images), `set` (short name), `name` (file stem). The order of rows is fixed: sets as
    in `SETS`, names sorted.
    """
    found_sets = find_sets(root, split, sets, skip_broken)
    for problem in [problem for found in found_sets for problem in found.problems]:
        logger.warning(problem)
    return load_found(found_sets, split, streaming)


def find_sets(
    root: str | os.PathLike, split: str, sets: Sequence[str] | None = None, skip_broken: bool = True
) -> list[FoundSet]:
    """Find the chosen sets of a split. Raises ValueError if a set is missing or has no pair."""
    if split not in SETS:
        raise ValueError(f"`split` must be 'train' or 'validation', got {split!r}.")
    if not Path(root).is_dir():
        raise ValueError(
            f"The data folder {os.fspath(root)!r} is not a folder. `hq-sam data download` fetches the data."
        )
    shards = find_shards(root, split)
    if shards:
        return [_find_exported(root, split, name, shards) for name in choose_sets(split, sets)]
    return [_find_published(root, split, name, skip_broken) for name in choose_sets(split, sets)]


def load_found(found_sets: Sequence[FoundSet], split: str, streaming: bool = False) -> "AnyDataset":
    """Load the sets that `find_sets` found, with the columns of `load_hqseg44k`."""
    import datasets

    if found_sets[0].shards:
        return load_shards([shard for found in found_sets for shard in found.shards], split, streaming)
    columns = {
        "image": [image for found in found_sets for image, _ in found.pairs],
        "mask": [mask for found in found_sets for _, mask in found.pairs],
        "set": [found.name for found in found_sets for _ in found.pairs],
        "name": [_stem(image) for found in found_sets for image, _ in found.pairs],
    }
    image, text = datasets.Image(), datasets.Value("string")
    features = datasets.Features({"image": image, "mask": image, "set": text, "name": text})
    dataset = datasets.Dataset.from_dict(columns, features=features, split=datasets.NamedSplit(split))
    return dataset.to_iterable_dataset(num_shards=min(STREAMING_SHARDS, len(dataset))) if streaming else dataset


def choose_sets(split: str, sets: Sequence[str] | None) -> list[str]:
    """The chosen sets of a split in their fixed order, by default all. Raises ValueError for an unknown name."""
    known = list(SETS[split])
    chosen = known if sets is None else [sets] if isinstance(sets, str) else list(sets)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise ValueError(f"`sets` of the split {split!r} must be among {', '.join(known)}; got {list(chosen)}.")
    return [name for name in known if name in chosen]


def _find_exported(root: str | os.PathLike, split: str, name: str, shards: dict[str, list[Path]]) -> FoundSet:
    if name not in shards:
        raise ValueError(
            f"The set {name!r} ({split}) is missing: expected {split}/{name}-*.parquet in {os.fspath(root)!r}, which "
            f"has {', '.join(sorted(shards))}. Export it too, or choose `sets`."
        )
    found = FoundSet(name, split, shards=shards[name])
    broken = len(BROKEN_ITEMS.get(name, ()))  # the export may have left these out
    _check_count(found, count_rows(shards[name]), allowed_shortage=broken)
    return found


def _find_published(root: str | os.PathLike, split: str, name: str, skip_broken: bool) -> FoundSet:
    found = FoundSet(name, split)
    folders = SETS[split][name].folders
    for image_folder, mask_folder in folders:
        _add_pairs(found, root, image_folder, mask_folder, is_only_folder=len(folders) == 1)
    if not found.pairs:
        expected = " and ".join(f"{folder}/" for folder in dict.fromkeys(folders[0]))
        archive = f"{folders[0][0].split('/')[0]}.zip"
        raise ValueError(
            f"The set {name!r} ({split}) is missing: expected pairs of .jpg and .png in {expected}, in a folder or in "
            f"{archive}, below {os.fspath(root)!r} or its data/. `hq-sam data download` fetches it; or choose `sets`."
        )
    _check_count(found, len(found.pairs))
    if skip_broken:
        broken = BROKEN_ITEMS.get(name, frozenset())
        kept = [pair for pair in found.pairs if _stem(pair[0]).replace("_", "").lower() not in broken]
        found.skipped = sorted({_stem(pair[0]) for pair in found.pairs} - {_stem(pair[0]) for pair in kept})
        found.pairs = kept
    return found


def _add_pairs(
    found: FoundSet, root: str | os.PathLike, image_folder: str, mask_folder: str, is_only_folder: bool
) -> None:
    """Add the pairs of two published folders to a set, and note files without a partner."""
    label = f"{found.name} ({found.split})"
    images, masks = _list_files(root, image_folder, IMAGE_SUFFIXES), _list_files(root, mask_folder, MASK_SUFFIXES)
    found.pairs += [(images[stem], masks[stem]) for stem in sorted(images.keys() & masks.keys())]
    if not images and not masks and not is_only_folder:
        found.problems.append(f"{label}: {image_folder} is missing or empty.")
    for unpaired, kind, folder in (
        (images.keys() - masks.keys(), "images without mask", image_folder),
        (masks.keys() - images.keys(), "masks without image", mask_folder),
    ):
        if unpaired:
            found.problems.append(f"{label}: {len(unpaired)} {kind} in {folder}: {_first_few(unpaired)}.")


def _check_count(found: FoundSet, count: int, allowed_shortage: int = 0) -> None:
    expected = SETS[found.split][found.name].counts
    if not any(number - allowed_shortage <= count <= number for number in expected):
        found.problems.append(
            f"{found.name} ({found.split}): found {count} pairs, expected {' or '.join(map(str, expected))}."
        )


def _first_few(names: "set[str]", limit: int = 5) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:limit]) + (", ..." if len(ordered) > limit else "")


def _stem(path: str) -> str:
    return PurePosixPath(file_name(path)).stem


def _list_files(root: str | os.PathLike, folder: str, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Paths or zip addresses of the files of a published folder by stem. An unpacked folder is preferred."""
    archive_name, _, inside = folder.partition("/")
    bases = (Path(root).absolute() / "data", Path(root).absolute())
    for base in bases:
        if (base / folder).is_dir():
            paths = [entry.path for entry in os.scandir(base / folder) if entry.is_file()]
            return _files_by_stem(paths, suffixes)
    for base in bases:
        archive = base / f"{archive_name}.zip"
        if archive.is_file():
            return _files_by_stem([member_path(archive, member) for member in _members_of(archive, inside)], suffixes)
    return {}


def _members_of(archive: Path, inside: str) -> list[str]:
    """Members directly in the folder `inside`, which may itself lie in other folders of the archive."""
    by_folder: dict[str, list[str]] = {}
    for member in list_members(archive):
        folder = member.rpartition("/")[0]
        if f"/{folder}".endswith(f"/{inside}"):
            by_folder.setdefault(folder, []).append(member)
    # Several folders match if the archive holds copies, such as those of macOS in __MACOSX/. They have longer names.
    return by_folder[min(by_folder, key=len)] if by_folder else []


def _files_by_stem(paths: list[str], suffixes: tuple[str, ...]) -> dict[str, str]:
    files = {}
    for path in sorted(paths):
        name = file_name(path)
        if name.lower().endswith(suffixes) and not name.startswith("."):
            files[_stem(path)] = path
    return files


__all__ = [
    "BROKEN_ITEMS",
    "SETS",
    "FoundSet",
    "PublishedSet",
    "choose_sets",
    "find_sets",
    "load_found",
    "load_hqseg44k",
]
