"""Shards of the output: Parquet files that are written whole, once all of their images are done.

    OUT/data/train-00000-of-00012.parquet    a row per image that is done

The columns of a row:

    image                the image: its bytes, or its path
    set, name            "labels", and the key of the image
    masks                COCO RLE of each mask as JSON text, {"size": [height, width], "counts": "..."}
    boxes                [x, y, width, height] of each mask in pixels, as in COCO
    scores               SAM's estimate of the IoU of each mask
    stability_scores     IoU of each mask at two thresholds
    labels               the label of each mask, "object" if it has none
    detection_scores     the detector's score of each object, where one found it
    height, width        of the image in pixels

Images that were skipped are no rows. The metadata of the file names them with the reason, so that a shard and the list
of what it lacks are written in one step.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..data.image_bytes import list_of
from ..data.reading_options import READING_COLUMN, ReadingOptions
from ..model.files import readable_name, write_atomically
from ..model.image_reading import ImageOptions
from .examples import ImageRecord
from .plan import Shard

if TYPE_CHECKING:
    import datasets

DATA = "data"
SET_NAME = "labels"
SKIPPED = b"hq_sam_skipped"  # a key of the metadata
# Readers hold a group in memory, whose images may be large.
ROWS_PER_GROUP = 100


def shard_path(folder: Path, shard: Shard) -> Path:
    """Where a shard of the output folder is."""
    return folder / DATA / shard.name


def is_written(folder: Path, shard: Shard) -> bool:
    """Whether a shard is complete. Its name exists only then."""
    return shard_path(folder, shard).is_file()


def write_shard(folder: Path, shard: Shard, records: Sequence[ImageRecord], image_options: ImageOptions) -> None:
    """Write the records of all images of a shard, in their order, as one file.

    image_options: how the images were read, which readers of the data set have to know.

    Raises ValueError if the records are not those of the shard.
    """
    import pyarrow
    import pyarrow.parquet

    if len(records) != len(shard):
        raise ValueError(f"The shard {shard.name} has {len(shard)} images, got {len(records)} records.")
    reading = ReadingOptions(**image_options.as_options()).as_text()
    schema = shard_features(reading is not None).arrow_schema
    skipped = {record.key: record.problem for record in records if record.problem is not None}
    schema = schema.with_metadata({**schema.metadata, SKIPPED: json.dumps(skipped).encode()})
    rows = [_row(record, reading) for record in records if record.problem is None]
    table = pyarrow.Table.from_pylist(rows, schema=schema)
    path = shard_path(folder, shard)
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(file: BinaryIO) -> None:
        with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            if len(table):  # `datasets` cannot read a row group without rows
                writer.write_table(table, row_group_size=ROWS_PER_GROUP)

    write_atomically(path, write)


def shard_features(has_reading_options: bool) -> "datasets.Features":
    """The columns of a shard."""
    import datasets

    text, number, whole = datasets.Value("string"), datasets.Value("float32"), datasets.Value("int32")
    columns: dict[str, Any] = {"image": datasets.Image(), "set": text, "name": text, "masks": list_of(text)}
    columns |= {"boxes": list_of(list_of(whole))}
    columns |= {name: list_of(number) for name in ("scores", "stability_scores", "detection_scores")}
    columns |= {"labels": list_of(text), "height": whole, "width": whole}
    return datasets.Features({**columns, READING_COLUMN: text} if has_reading_options else columns)


def _row(record: ImageRecord, reading: str | None) -> dict[str, Any]:
    height, width = record.size or (0, 0)
    address = record.place.address
    row = {
        "image": {"bytes": record.place.content, "path": None if address is None else readable_name(address)},
        "set": SET_NAME,
        "name": readable_name(record.key),
        "masks": [json.dumps(mask["segmentation"]) for mask in record.masks],
        "boxes": [mask["bbox"] for mask in record.masks],
        "scores": [mask["predicted_iou"] for mask in record.masks],
        "stability_scores": [mask["stability_score"] for mask in record.masks],
        "detection_scores": [mask.get("score") for mask in record.masks],
        "labels": [mask.get("label", "object") for mask in record.masks],
        "height": height,
        "width": width,
    }
    return row if reading is None else {**row, READING_COLUMN: reading}


def read_skipped(folder: Path, shards: Iterable[Shard]) -> dict[str, str]:
    """The images that shards on the disk lack, with the reasons."""
    import pyarrow.parquet

    skipped: dict[str, str] = {}
    for shard in shards:
        metadata: Mapping[bytes, bytes] = pyarrow.parquet.read_schema(shard_path(folder, shard)).metadata or {}
        skipped.update(json.loads(metadata[SKIPPED]))
    return skipped


__all__ = ["DATA", "SET_NAME", "is_written", "read_skipped", "shard_features", "shard_path", "write_shard"]
