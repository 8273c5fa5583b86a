"""Files of predictions that the benchmarks' own tools and servers read: COCO and YouTube-VIS JSON, DAVIS label "
"maps."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ..masks.rle import rle_to_mask
from ..model.files import whole_folder, write_atomically
from .parts import BenchmarkPart
from .predictions import PredictionRow, read_predictions, save_list, save_results
from .run_folder import RunFolder

# The numbers 0 to 7 of DAVIS in the colours of its own files, of which tools show the objects. Others are grey.
_DAVIS_COLOURS = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128))


def write_result_files(folder: RunFolder, parts: Sequence[BenchmarkPart], outputs: Sequence[str]) -> list[Path]:
    """Write RUN/results from the shards of all parts, one file per part and output. Returns them.

    Videos get the results of YouTube-VIS. Videos with label maps as ground truth, as DAVIS, also get label maps.
    """
    written = []
    (folder.path / "results").mkdir(exist_ok=True)
    for part in parts:
        for output in outputs:
            path = folder.results(part.name, output)
            rows = read_predictions(folder.predictions(part.name), output)
            if part.is_video:
                save_list(path, video_results(rows, part.ground_truth["videos"]))
            else:
                save_results(path, rows)
            written.append(path)
            if part.is_video and any("mask_files" in one for one in part.ground_truth["annotations"]):
                maps = folder.results(part.name, output, suffix="")
                _save_label_maps(maps, read_predictions(folder.predictions(part.name), output), part)
                written.append(maps)
    return written


def video_results(rows: Iterable[PredictionRow], videos: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows of one output as results of YouTube-VIS, a video at a time.

    An entry has video_id, category_id, score and segmentations, an RLE or None per frame. The score is the mean of the
    track's rows.
    """
    lengths = {video["id"]: len(video["file_names"]) for video in videos}
    for video_id, of_video in groupby(rows, key=lambda row: row["video_id"]):
        tracks: dict[int, list[PredictionRow]] = {}
        for row in of_video:
            tracks.setdefault(row["track_id"], []).append(row)
        for _, track in sorted(tracks.items()):
            masks: list[dict[str, Any] | None] = [None] * lengths[video_id]
            for row in track:
                masks[row["frame"]] = {"size": row["size"], "counts": row["counts"]}
            score = sum(row["score"] for row in track) / len(track)
            category_id = track[0]["category_id"]
            yield {"video_id": video_id, "category_id": category_id, "score": score, "segmentations": masks}


def _save_label_maps(folder: Path, rows: Iterable[PredictionRow], part: BenchmarkPart) -> None:
    """Write FOLDER/VIDEO/NNNNN.png for every frame, with the numbers of the objects."""
    videos = {video["id"]: video for video in part.ground_truth["videos"]}
    if folder.is_dir():
        shutil.rmtree(folder)
    with whole_folder(folder) as temporary:
        frames = iter(groupby(rows, key=lambda row: (row["video_id"], row["frame"])))
        following = next(frames, None)
        for video in part.ground_truth["videos"]:
            (temporary / video["name"]).mkdir(parents=True)
            for frame, name in enumerate(video["file_names"]):
                labels = np.zeros((video["height"], video["width"]), np.uint8)
                if following is not None and following[0] == (video["id"], frame):
                    for row in following[1]:
                        labels[rle_to_mask({"size": row["size"], "counts": row["counts"]})] = row["track_id"]
                    following = next(frames, None)
                write_atomically((temporary / name).with_suffix(".png"), _png(labels))
    assert following is None or following[0][0] not in videos, "rows follow the order of the frames"


def _png(labels: np.ndarray) -> Callable[[BinaryIO], object]:
    image = Image.fromarray(labels, "P")
    palette = [*_DAVIS_COLOURS, *((value, value, value) for value in range(len(_DAVIS_COLOURS), 256))]
    image.putpalette([value for colour in palette for value in colour])
    return lambda file: image.save(file, format="PNG")


__all__ = ["video_results", "write_result_files"]
