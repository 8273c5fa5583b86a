"""Tracks of objects in videos, from result files of YouTube-VIS.

    [{"video_id", "category_id", "score", "segmentations": [RLE or null per frame]}, ...]

In place of the masks, `bboxes` may have a box [x, y, width, height] or null per frame. An entry is one object; its
number in the file is its identity.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..masks.rle import mask_to_bbox, rle_to_mask
from .json_lists import read_json_list
from .parts import BenchmarkImage, BenchmarkPart
from .prompt_sources import ObjectPrompt, PromptSource

WHAT = "tracks as results of YouTube-VIS (video_id, category_id, score, and segmentations or bboxes)"


class TrackFilePrompts(PromptSource):
    """The boxes of tracked objects with the scores of their tracks.

    max_dets: tracks to keep per video, by their scores. Raises ValueError, with the number of the entry, for one that
    is no track of the benchmark's videos.
    """

    def __init__(self, part: BenchmarkPart, path: Path, max_dets: int) -> None:
        frames = {video["id"]: len(video["file_names"]) for video in part.ground_truth["videos"]}
        categories = part.category_names
        by_video: dict[int, list[tuple[float, int, list[ObjectPrompt | None]]]] = {}
        for number, entry in enumerate(read_json_list(path, WHAT)):
            try:
                video_id, score, prompts = _track(entry, number, frames, categories)
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"{os.fspath(path)!r}: entry {number} is no track: {error}.") from error
            by_video.setdefault(video_id, []).append((-score, number, prompts))
        # Of equal scores, the earlier entry comes first; the prompts are not compared, since no two numbers are equal.
        self.tracks = {video: [one for *_, one in sorted(found)[:max_dets]] for video, found in by_video.items()}

    def prompts(self, image: BenchmarkImage, pixels: np.ndarray) -> list[ObjectPrompt]:
        of_frame = (track[image.frame] for track in self.tracks.get(image.video_id, []))
        return [one for one in of_frame if one is not None]


def _track(
    entry: Mapping[str, Any], number: int, frames: Mapping[int, int], categories: Mapping[int, str]
) -> tuple[int, float, list[ObjectPrompt | None]]:
    """The video and score of a track, and its prompt in each frame."""
    video_id, category_id = (entry.get(name, -1) for name in ("video_id", "category_id"))
    for what, value, among in (("video", video_id, frames), ("category", category_id, categories)):
        if value not in among:
            raise ValueError(f"{what}_id {value!r} is not among those of the annotations")
    score = float(entry["score"]) if entry.get("score") is not None else math.nan
    if not math.isfinite(score):
        raise ValueError("it lacks a score")
    places: Sequence[Any] | None = entry.get("bboxes") or entry.get("segmentations")
    if not isinstance(places, list) or len(places) != frames[video_id]:
        got = f"got {len(places)}" if isinstance(places, list) else "got none"
        raise ValueError(f"it needs a mask, a box or null for each of the {frames[video_id]} frames, {got}")
    boxes = [_box(place) for place in places]
    return (
        video_id,
        score,
        [None if box is None else ObjectPrompt(category_id, box, score=score, track_id=number) for box in boxes],
    )


def _box(place: Any) -> np.ndarray | None:
    """(x1, y1, x2, y2) of a box [x, y, width, height] or of a mask; None where the object is not visible."""
    if place is None:
        return None
    if isinstance(place, Mapping):
        place = mask_to_bbox(rle_to_mask(place))
    if not isinstance(place, list) or len(place) != 4:
        raise ValueError(f"a frame must have an RLE, [x, y, width, height] or null, got {place!r:.60}")
    x, y, width, height = (float(value) for value in place)
    if not all(map(math.isfinite, (x, y, width, height))):
        raise ValueError(f"a box must hold numbers, got {place!r:.60}")
    return None if width <= 0 or height <= 0 else np.array([x, y, x + width, y + height])


__all__ = ["WHAT", "TrackFilePrompts"]
