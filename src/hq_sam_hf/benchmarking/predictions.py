"""Predicted masks of a benchmark on the disk: Parquet shards with a row per mask, and COCO results as JSON.

    FOLDER/00000.parquet, 00001.parquet, ...

Rows follow the order of the images, then of the prompts of an image, then of the outputs. A shard is written as a
whole, so a file that is there is complete.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from ..masks.rle import mask_to_bbox, mask_to_rle
from ..model.files import write_atomically

if TYPE_CHECKING:
    import pyarrow

SHARD = re.compile(r"\d{5,}\.parquet")
ROWS_AT_ONCE = 1024  # rows that are read into memory together
NONE = -1  # of an id that a prediction does not have


class PredictionRow(TypedDict):
    """A predicted mask.

    image_id: of the image; for a frame of a video its number in the benchmark.
    category_id: of the object, as in the ground truth.
    output: "sam" for plain SAM, "hq" for the HQ mask alone, "sum" for their sum.
    score: the detector's score or the predicted IoU, as the benchmark ranks its predictions.
    predicted_iou: the model's estimate of the mask's IoU.
    size: [height, width] of the mask, which is that of the image. counts: COCO's compressed run lengths.
    bbox: [x, y, width, height] in pixels of the image; zeros for an empty mask.
    annotation_id: the annotation that the prompt was made from, -1 for the box of a detector.
    video_id, frame, track_id: the video, the position of the frame in it, and the identity of the object in it; -1 in
        benchmarks of images.
    """

    image_id: int
    category_id: int
    output: str
    score: float
    predicted_iou: float
    size: list[int]
    counts: str
    bbox: list[float]
    annotation_id: int
    video_id: int
    frame: int
    track_id: int


def make_row(
    mask: np.ndarray,
    image_id: int,
    output: str,
    predicted_iou: float,
    score: float,
    category_id: int,
    annotation_id: int = NONE,
    video_id: int = NONE,
    frame: int = NONE,
    track_id: int = NONE,
) -> PredictionRow:
    """A row for a mask, bool (height, width)."""
    rle = mask_to_rle(mask)
    return {
        "image_id": int(image_id),
        "category_id": int(category_id),
        "output": output,
        "score": float(score),
        "predicted_iou": float(predicted_iou),
        "size": list(rle["size"]),
        "counts": str(rle["counts"]),
        "bbox": [float(value) for value in mask_to_bbox(mask)],
        "annotation_id": int(annotation_id),
        "video_id": int(video_id),
        "frame": int(frame),
        "track_id": int(track_id),
    }


def prediction_schema() -> "pyarrow.Schema":
    """The columns of the shards and their types."""
    import pyarrow

    integer, number, text = pyarrow.int64(), pyarrow.float64(), pyarrow.string()
    types = {
        "image_id": integer,
        "category_id": integer,
        "output": text,
        "score": number,
        "predicted_iou": number,
        "size": pyarrow.list_(integer),
        "counts": text,
        "bbox": pyarrow.list_(number),
        "annotation_id": integer,
        "video_id": integer,
        "frame": integer,
        "track_id": integer,
    }
    return pyarrow.schema(list(types.items()))


def shard_path(folder: str | os.PathLike, number: int) -> Path:
    """The file of a shard."""
    return Path(folder) / f"{number:05d}.parquet"


def write_shard(folder: str | os.PathLike, number: int, rows: Sequence[PredictionRow]) -> None:
    """Write a shard, which may be empty. Equal rows give equal bytes."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist(list(rows), schema=prediction_schema())
    path = shard_path(folder, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: pyarrow.parquet.write_table(table, file))


def find_shards(folder: str | os.PathLike) -> list[Path]:
    """The shards in a folder, in their order."""
    found = [path for path in Path(folder).glob("*.parquet") if SHARD.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem))


def read_predictions(folder: str | os.PathLike, output: str | None = None) -> Iterator[PredictionRow]:
    """Read the rows of all shards in their order, a part at a time.

    output: only rows of this output.

    Raises ValueError for a folder without shards, and for a file that is no shard.
    """
    shards = find_shards(folder)
    if not shards:
        raise ValueError(f"{os.fspath(folder)!r} holds no predictions. Run the evaluation that writes them.")
    for path in shards:
        for row in _read_shard(path):
            if output is None or row["output"] == output:
                yield row


def _read_shard(path: Path) -> Iterator[PredictionRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if file.schema_arrow != prediction_schema():
                raise ValueError(f"its columns are {', '.join(file.schema_arrow.names)}")
            for batch in file.iter_batches(ROWS_AT_ONCE):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} is no shard of predictions ({error}). Remove it and run the evaluation again, which "
            "writes the shards that are missing."
        ) from error


def save_results(path: str | os.PathLike, rows: Iterable[PredictionRow]) -> int:
    """Write COCO results, as evaluation servers and pycocotools read them, a row at a time. Returns their number.

    An entry has image_id, category_id, score, bbox and the segmentation as RLE.
    """
    return save_list(path, map(_coco_result, rows))


def _coco_result(row: PredictionRow) -> dict[str, Any]:
    return {
        "image_id": row["image_id"],
        "category_id": row["category_id"],
        "score": row["score"],
        "bbox": row["bbox"],
        "segmentation": {"size": row["size"], "counts": row["counts"]},
    }


def save_list(path: str | os.PathLike, entries: Iterable[dict[str, Any]]) -> int:
    """Write a JSON list, an entry at a time. Returns the number of entries."""
    count = 0

    def write(file: Any) -> None:
        nonlocal count
        file.write(b"[")
        for entry in entries:
            file.write(b",\n" if count else b"\n")
            file.write(json.dumps(entry).encode())
            count += 1
        file.write(b"\n]\n")

    write_atomically(path, write)
    return count


__all__ = [
    "NONE",
    "PredictionRow",
    "find_shards",
    "make_row",
    "prediction_schema",
    "read_predictions",
    "save_list",
    "save_results",
    "shard_path",
    "write_shard",
]
