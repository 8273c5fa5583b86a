"""HQSeg-44K and the four validation sets of the paper, from folders, zip archives or Parquet.

The layout is that of the Hub repository sam-hq-team/sam-hq-training; see docs/data.md. Sets have short names: dis,
thin, fss, duts, ecssd, msra for training, and dis, coift, hrsod, thin for validation.
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
STREAMING_SHARDS = 64  # at most so many workers can share a stream


@dataclass(frozen=True)
class PublishedSet:
    """folders: pairs of an image and a mask folder below the root. counts: how many pairs it may have."""

    folders: tuple[tuple[str, str], ...]
    counts: tuple[int, ...]


def _side_by_side(folder: str) -> tuple[str, str]:
    return (folder, folder)


_THIN = "thin_object_detection/ThinObject5K"

SETS: dict[str, dict[str, PublishedSet]] = {
    "train": {
        "dis": PublishedSet((("DIS5K/DIS-TR/im", "DIS5K/DIS-TR/gt"),), (3_000,)),
        "thin": PublishedSet(((f"{_THIN}/images_train", f"{_THIN}/masks_train"),), (4_748,)),
        # The paper says 10,000; a listing of the published archive has 10,003.
        "fss": PublishedSet((_side_by_side("cascade_psp/fss_all"),), (10_000, 10_003)),
        "duts": PublishedSet(
            (_side_by_side("cascade_psp/DUTS-TR"), _side_by_side("cascade_psp/DUTS-TE")), (10_553 + 5_019,)
        ),
        "ecssd": PublishedSet((_side_by_side("cascade_psp/ecssd"),), (1_000,)),
        "msra": PublishedSet((_side_by_side("cascade_psp/MSRA_10K"),), (10_000,)),
    },
    "validation": {
        "dis": PublishedSet((("DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt"),), (470,)),
        "coift": PublishedSet((("thin_object_detection/COIFT/images", "thin_object_detection/COIFT/masks"),), (280,)),
        # The masks of its folder `masks` are not 0 and 255.
        "hrsod": PublishedSet(
            (("thin_object_detection/HRSOD/images", "thin_object_detection/HRSOD/masks_max255"),), (287,)
        ),
        "thin": PublishedSet(((f"{_THIN}/images_test", f"{_THIN}/masks_test"),), (500,)),
    },
}

# Items whose mask is known to be wrong (https://github.com/SysCV/sam-hq/issues/26), without "_" and in lower case:
# the report names FSS files by their source, bamboo_slip/7, which the published folder keeps flat.
BROKEN_ITEMS: dict[str, frozenset[str]] = {
    "fss": frozenset({"bambooslip7"}),
    "msra": frozenset({"97915"}),
}


@dataclass
class FoundSet:
    """One set as it lies on disk: pairs of an image and a mask, or shards of Parquet, and what is wrong with it."""

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

    root: folder with DIS5K/, cascade_psp/ and thin_object_detection/, or these as .zip, all of them directly or in
        data/; or a folder written by `export_parquet`, whose train/ or validation/ is then used alone.
    sets: short names of the sets to load; by default all of the split. A set that is absent is an error; one with an
        unexpected number of pairs, or files without partner, is warned about.
    skip_broken: leave out `BROKEN_ITEMS`. Parquet holds what was exported.

    Columns: image and mask (pictures), set (short name), name (file stem). The order is always the same: sets as in
    `SETS`, names sorted.
    """
    found = find_sets(root, split, sets, skip_broken)
    for problem in [problem for one in found for problem in one.problems]:
        logger.warning(problem)
    return load_found(found, split, streaming)


def find_sets(
    root: str | os.PathLike, split: str, sets: Sequence[str] | None = None, skip_broken: bool = True
) -> list[FoundSet]:
    """Find the chosen sets of a split. Raises ValueError for a set that is absent or has no pair."""
    if split not in SETS:
        raise ValueError(f"`split` must be 'train' or 'validation', got {split!r}.")
    if not Path(root).is_dir():
        raise ValueError(f"The data folder {os.fspath(root)!r} is not a folder. `hq-sam data download` fetches it.")
    shards = find_shards(root, split)
    if shards:
        return [_found_shards(root, split, name, shards) for name in choose_sets(split, sets)]
    return [_found_pairs(root, split, name, skip_broken) for name in choose_sets(split, sets)]


def load_found(found: Sequence[FoundSet], split: str, streaming: bool = False) -> "AnyDataset":
    """Load sets that `find_sets` has found; columns as of `load_hqseg44k`."""
    import datasets

    if found[0].shards:
        return load_shards([shard for one in found for shard in one.shards], split, streaming)
    columns = {
        "image": [image for one in found for image, _ in one.pairs],
        "mask": [mask for one in found for _, mask in one.pairs],
        "set": [one.name for one in found for _ in one.pairs],
        "name": [_stem(image) for one in found for image, _ in one.pairs],
    }
    picture, text = datasets.Image(), datasets.Value("string")
    features = datasets.Features({"image": picture, "mask": picture, "set": text, "name": text})
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


def _found_shards(root: str | os.PathLike, split: str, name: str, shards: dict[str, list[Path]]) -> FoundSet:
    if name not in shards:
        raise ValueError(
            f"The set {name!r} ({split}) is missing: expected {split}/{name}-*.parquet in {os.fspath(root)!r}, which "
            f"has {', '.join(sorted(shards))}. Export it too, or choose `sets`."
        )
    found = FoundSet(name, split, shards=shards[name])
    # An export may have left out the broken items.
    broken = len(BROKEN_ITEMS.get(name, ()))
    _check_count(found, count_rows(shards[name]), allowed_shortage=broken)
    return found


def _found_pairs(root: str | os.PathLike, split: str, name: str, skip_broken: bool) -> FoundSet:
    found = FoundSet(name, split)
    folders = SETS[split][name].folders
    for image_folder, mask_folder in folders:
        images, masks = _list_files(root, image_folder, IMAGE_SUFFIXES), _list_files(root, mask_folder, MASK_SUFFIXES)
        found.pairs += [(images[stem], masks[stem]) for stem in sorted(images.keys() & masks.keys())]
        if not images and not masks and len(folders) > 1:
            found.problems.append(f"{name} ({split}): {image_folder} is absent or empty.")
        for alone, kind, folder in (
            (images.keys() - masks.keys(), "images without mask", image_folder),
            (masks.keys() - images.keys(), "masks without image", mask_folder),
        ):
            if alone:
                found.problems.append(f"{name} ({split}): {len(alone)} {kind} in {folder}: {_some(alone)}.")
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


def _check_count(found: FoundSet, count: int, allowed_shortage: int = 0) -> None:
    expected = SETS[found.split][found.name].counts
    if not any(number - allowed_shortage <= count <= number for number in expected):
        found.problems.append(
            f"{found.name} ({found.split}): found {count} pairs, expected {' or '.join(map(str, expected))}."
        )


def _some(names: "set[str]", limit: int = 5) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:limit]) + (", ..." if len(ordered) > limit else "")


def _stem(path: str) -> str:
    return PurePosixPath(file_name(path)).stem


def _list_files(root: str | os.PathLike, folder: str, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Addresses of the files of a published folder by their stems: unpacked if it is, else in its archive."""
    archive_name, _, inside = folder.partition("/")
    for base in (Path(root).absolute() / "data", Path(root).absolute()):
        if (base / folder).is_dir():
            paths = [entry.path for entry in os.scandir(base / folder) if entry.is_file()]
            return _by_stem(paths, suffixes)
    for base in (Path(root).absolute() / "data", Path(root).absolute()):
        archive = base / f"{archive_name}.zip"
        if archive.is_file():
            return _by_stem([member_path(archive, member) for member in _members_of(archive, inside)], suffixes)
    return {}


def _members_of(archive: Path, inside: str) -> list[str]:
    """Members directly in the folder `inside`, whatever folders an archive has above it."""
    by_folder: dict[str, list[str]] = {}
    for member in list_members(archive):
        folder = member.rpartition("/")[0]
        if f"/{folder}".endswith(f"/{inside}"):
            by_folder.setdefault(folder, []).append(member)
    # The longer names are those of copies, such as macOS puts below __MACOSX/.
    return by_folder[min(by_folder, key=len)] if by_folder else []


def _by_stem(paths: list[str], suffixes: tuple[str, ...]) -> dict[str, str]:
    files = {}
    for path in sorted(paths):
        name = file_name(path)
        if name.lower().endswith(suffixes) and not name.startswith("."):
            files[_stem(path)] = path
    return files


__all__ = ["BROKEN_ITEMS", "SETS", "FoundSet", "choose_sets", "find_sets", "load_found", "load_hqseg44k"]
