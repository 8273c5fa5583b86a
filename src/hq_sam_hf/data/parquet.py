"""Data sets as sharded Parquet files that hold the original bytes of the image files.

    FOLDER/train/dis-00000-of-00003.parquet

Each set has its own shards, so sets can be chosen by file name. `datasets.load_dataset(FOLDER)` reads the folder too,
and it can be pushed to the Hub as it is.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.destinations import refuse_input
from ..utils.output_lock import output_lock
from .image_bytes import file_name, read_bytes, undecoded
from .row_files import refuse_files_outside

if TYPE_CHECKING:
    import datasets

    from .image_bytes import AnyDataset

SHARD_NAME = re.compile(r"(?P<set>.+)-(?P<index>\d{5})-of-(?P<total>\d{5})\.parquet")
OWN_COLUMNS = {"image", "set", "name"}
MEGABYTE = 2**20
# Streaming reads one row group at a time.
ROW_GROUP_BYTES = 32 * MEGABYTE


def export_parquet(
    dataset: "datasets.Dataset", folder: str | os.PathLike, split: str = "train", shard_megabytes: int = 500
) -> dict[str, int]:
    """Write a data set with the columns that `read_sample` reads as FOLDER/SPLIT/SET-00000-of-0000N.parquet.

    The shards of a set replace those of an earlier export. They are written to a hidden folder and moved when all are
    complete; if moving them fails, the earlier shards come back. The hidden folders of a killed export are never
    loaded, and the next export restores and removes them.

    Returns the number of rows of each set. Raises ValueError if another process is exporting to the folder, and if it
    holds files with the names of shards that no export has written.
    """
    if shard_megabytes < 1:
        raise ValueError(f"`shard_megabytes` must be at least 1, got {shard_megabytes}.")
    rows_of_sets: dict[str, list[int]] = {}
    for i, name in enumerate(dataset["set"]):
        rows_of_sets.setdefault(name, []).append(i)
    if not rows_of_sets:
        raise ValueError("The data set to export has no rows.")
    for name in rows_of_sets:
        if not re.fullmatch(r"\w[\w. -]*", name):
            raise ValueError(
                "The name of a set becomes part of file names and may hold letters, digits, spaces, '_', '-' and '.', "
                f"got {name!r}."
            )
    features = dataset.features
    unformatted = undecoded(dataset).with_format(None)
    target = Path(folder) / split
    with output_lock(folder):
        target.mkdir(parents=True, exist_ok=True)
        for name in rows_of_sets:
            _clean_up(target, name)
            _refuse_foreign_shards(target, name)
        for name, rows in rows_of_sets.items():
            _export_set(unformatted.select(rows), features, target, name, shard_megabytes * MEGABYTE)
    return {name: len(rows) for name, rows in rows_of_sets.items()}


def _export_set(
    dataset: "datasets.Dataset", features: "datasets.Features", target: Path, name: str, shard_bytes: int
) -> None:
    unfinished = _hidden(target, name, "part")
    try:
        unfinished.mkdir()
        _replace_shards(target, name, _write_shards(dataset, features, unfinished, shard_bytes))
        _clean_up(target, name)
    except BaseException:
        _clean_up(target, name)
        raise


def _replace_shards(target: Path, name: str, shards: list[Path]) -> None:
    """Move new shards to the place of the old ones. Until the last step, `_clean_up` brings back the old ones."""
    moving, old, replaced = (_hidden(target, name, state) for state in ("moving", "old", "replaced"))
    moving.mkdir()
    for shard in _shards_of(target, name):
        shard.rename(moving / shard.name)
    moving.rename(old)
    for i, shard in enumerate(shards):
        shard.rename(target / f"{name}-{i:05d}-of-{len(shards):05d}.parquet")
    old.rename(replaced)


def _clean_up(target: Path, name: str) -> None:
    """Restore the old shards of a set if the new ones are not all in place, and remove hidden folders."""
    moving, old = _hidden(target, name, "moving"), _hidden(target, name, "old")
    if old.is_dir():
        for shard in _shards_of(target, name):  # all old ones have been moved, so these are new
            shard.unlink()
        old.rename(moving)
    if moving.is_dir():
        for shard in moving.iterdir():
            shard.rename(target / shard.name)
        moving.rmdir()
    for state in ("replaced", "part"):
        shutil.rmtree(_hidden(target, name, state), ignore_errors=True)


def _hidden(target: Path, name: str, state: str) -> Path:
    return target / f".{name}.{state}"


def _shards_of(target: Path, name: str) -> list[Path]:
    matches = ((path, SHARD_NAME.fullmatch(path.name)) for path in sorted(target.glob("*.parquet")))
    return [path for path, match in matches if match and match["set"] == name]


def _refuse_foreign_shards(target: Path, name: str) -> None:
    """Raise ValueError if a file with the name of a shard is none. A damaged file may be replaced."""
    import pyarrow
    import pyarrow.parquet

    for path in _shards_of(target, name):
        columns = OWN_COLUMNS
        is_file = path.is_file() and not path.is_symlink()
        if is_file and path.stat().st_size:
            try:
                columns = set(pyarrow.parquet.read_schema(path).names)
            except pyarrow.ArrowInvalid:
                with path.open("rb") as file:
                    is_file = file.read(4) == b"PAR1"
        if not is_file or not columns >= OWN_COLUMNS:
            raise ValueError(f"{str(path)!r} would be replaced, but no export has written it. Choose another folder.")


def refuse_source_shards(folder: str | os.PathLike, split: str, sources: Iterable[str | os.PathLike]) -> None:
    """Raise ValueError if the shards in FOLDER/SPLIT, which an export would replace, are what it reads."""
    target = Path(folder) / split
    shards = list(target.glob("*.parquet"))
    for source in sources:
        for place in (Path(folder), target, *shards) if shards else ():
            refuse_input(place, source)


def _write_shards(
    dataset: "datasets.Dataset", features: "datasets.Features", folder: Path, shard_bytes: int
) -> list[Path]:
    import pyarrow
    import pyarrow.parquet

    schema = features.arrow_schema  # its metadata marks the image columns for `datasets`
    shards: list[Path] = []
    writer, written = None, 0
    try:
        for rows, size in _row_groups(dataset, min(ROW_GROUP_BYTES, shard_bytes)):
            if writer is not None and written + size > shard_bytes:
                writer.close()
                writer, written = None, 0
            if writer is None:
                shards.append(folder / f"{len(shards):05d}.parquet")
                # Image bytes are already compressed; dictionaries and min/max statistics would only copy them.
                writer = pyarrow.parquet.ParquetWriter(
                    shards[-1], schema, compression="none", use_dictionary=["set"], write_statistics=False
                )
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
            written += size
    finally:
        if writer is not None:
            writer.close()
    return shards


def _row_groups(dataset: "datasets.Dataset", group_bytes: int) -> Iterator[tuple[list[dict], int]]:
    """Groups of rows with their image bytes, each with its size in bytes."""
    from tqdm import tqdm

    rows: list[dict] = []
    size = 0
    for row in tqdm(dataset, desc=dataset[0]["set"], unit="row", disable=None):
        row = {column: _with_bytes(value) for column, value in row.items()}
        row_size = sum(_size(value) for value in row.values())
        if rows and size + row_size > group_bytes:
            yield rows, size
            rows, size = [], 0
        rows.append(row)
        size += row_size
    yield rows, size


def _with_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_bytes(item) for item in value]
    if not isinstance(value, dict):
        return value
    path, content = value["path"], value["bytes"]
    return {"bytes": read_bytes(path) if content is None else content, "path": file_name(path) if path else None}


def _size(value: Any) -> int:
    if isinstance(value, list):
        return sum(_size(item) for item in value)
    if isinstance(value, dict):
        return len(value["bytes"])
    return len(value) if isinstance(value, str) else 8


def find_shards(folder: str | os.PathLike, split: str) -> dict[str, list[Path]]:
    """The shards of each set in FOLDER/SPLIT, in order. Raises ValueError if shards of a set are missing."""
    found: dict[str, list[tuple[int, int, Path]]] = {}
    for path in sorted((Path(folder) / split).glob("*.parquet")):
        match = SHARD_NAME.fullmatch(path.name)
        if match:
            shard = (int(match["index"]), int(match["total"]), path)
            found.setdefault(match["set"], []).append(shard)
    for name, shards in found.items():
        totals = {total for _, total, _ in shards}
        if len(totals) > 1 or len(shards) not in totals:
            raise ValueError(
                f"{os.fspath(folder)!r} holds {len(shards)} shards of the set {name!r} ({split}), expected "
                f"{' or '.join(map(str, sorted(totals)))}. Export it again, or copy the missing files."
            )
    return {name: [path for _, _, path in sorted(shards)] for name, shards in found.items()}


def count_rows(shards: list[Path]) -> int:
    """The number of rows in Parquet files, read from their footers."""
    import pyarrow
    import pyarrow.parquet

    total = 0
    for shard in shards:
        try:
            total += pyarrow.parquet.read_metadata(shard).num_rows
        except pyarrow.ArrowInvalid as error:
            raise ValueError(f"{str(shard)!r} is not a complete Parquet file ({error}). Export it again.") from error
    return total


def load_shards(shards: list[Path], split: str, streaming: bool = False) -> "AnyDataset":
    """Load Parquet files. Without streaming, `datasets` first copies them into its cache for random access."""
    import datasets

    files = [str(path.absolute()) for path in shards]
    dataset = datasets.load_dataset("parquet", data_files={split: files}, split=split, streaming=streaming)
    return refuse_files_outside(dataset, {path.absolute().parent for path in shards})


__all__ = ["count_rows", "export_parquet", "find_shards", "load_shards", "refuse_source_shards"]
