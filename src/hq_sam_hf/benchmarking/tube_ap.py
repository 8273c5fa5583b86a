"""Average precision of tubes, the masks of an object in all frames of a video: YouTube-VIS and HQ-YTVIS.

The IoU of two tubes is the sum of their intersections over the sum of their unions in all frames. That is the IoU of
one mask that has the frames side by side, so tubes are counted like masks of images. Tube boundary AP is that of Ke et
al. (Video Mask Transfiner, arXiv 2207.14012): the same with the boundary of every frame.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..masks.metrics import DILATION_RATIO
from ..masks.rle import compress_counts, counts_to_list, mask_to_rle
from .average_precision import AveragePrecision, summarise
from .counting import EdgeOf, boundary_rle, coco_masks, count, region
from .parts import annotation_mask

TUBE_KINDS: dict[str, float | None] = {"": None, "_B": DILATION_RATIO}
SIZE_LIMITS = (128, 256)  # YouTube-VIS: sides of the squares whose areas part small, medium and large
Frame = Mapping[str, Any] | None  # an RLE, or None where the object is not visible


def video_ap(
    ground_truth: Mapping[str, Any],
    predictions: Iterable[Mapping[str, Any]],
    max_dets: int = 100,
    kinds: Mapping[str, float | None] = TUBE_KINDS,
) -> AveragePrecision:
    """Average precision of the tracks of videos.

    ground_truth: of videos, as in `parts`.
    predictions: rows of one output, as in `predictions`: a mask per video_id, track_id and frame. The category of a
        track is that of its first row, its score the mean of its rows.
    max_dets: tracks that count, per video and category, by their scores.
    kinds: which boundaries to measure, by the suffix of the metrics.

    Raises ValueError for predictions of unknown videos or frames, of another size than their video, or twice for a
    frame of a track.
    """
    videos = {video["id"]: video for video in ground_truth["videos"]}
    true, predicted = _true_tubes(ground_truth, videos), _predicted_tubes(predictions, videos)
    categories = ground_truth["categories"]
    counts = {}
    for suffix, ratio in kinds.items():
        edge_of = None if ratio is None else _edge_of(ratio, videos)
        counts[suffix] = count(
            true, predicted, categories, ground_truth["videos"], max_dets, edge_of, size_limits=SIZE_LIMITS
        )
    return summarise(counts, true, categories)


def _edge_of(ratio: float, videos: Mapping[int, Mapping[str, Any]]) -> EdgeOf:
    """The boundaries of a tube's frames, side by side."""

    def edge_of(tube: Mapping[str, Any]) -> Mapping[str, Any]:
        edges = [None if rle is None else boundary_rle(rle, ratio) for rle in tube["frames"]]
        return side_by_side(edges, _size(videos[tube["image_id"]]))

    return edge_of


def _true_tubes(ground_truth: Mapping[str, Any], videos: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    tubes = []
    for number, one in enumerate(ground_truth["annotations"], start=1):
        video = videos[one["video_id"]]
        size = _size(video)
        masks = [annotation_mask(one, size, frame) for frame in range(len(video["file_names"]))]
        frames: list[Frame] = [None if mask is None else mask_to_rle(mask) for mask in masks]
        area = _mean_area(one["areas"]) if one.get("areas") else None
        fields = {"iscrowd": int(one.get("iscrowd") or 0)}
        tubes.append(_tube(number, video, one["category_id"], frames, area, fields))
    return tubes


def _predicted_tubes(
    predictions: Iterable[Mapping[str, Any]], videos: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    frames: dict[tuple[int, int], list[Frame]] = {}
    scores: dict[tuple[int, int], list[float]] = {}
    categories: dict[tuple[int, int], int] = {}
    for row in predictions:
        key = row["video_id"], row["track_id"]
        video = videos.get(row["video_id"])
        length = 0 if video is None else len(video["file_names"])
        if video is None or not 0 <= row["frame"] < length or tuple(row["size"]) != _size(video):
            expected = "the ground truth does not have" if video is None else f"has {length} frames of {_size(video)}"
            raise ValueError(
                f"A prediction must be of a video's frame and of its size, got the frame {row['frame']}, "
                f"{tuple(row['size'])}, for the video {row['video_id']}, which {expected}. Evaluate with the "
                "annotations that the predictions were made for."
            )
        own = frames.setdefault(key, [None] * length)
        if own[row["frame"]] is not None:
            raise ValueError(
                f"A track must have one mask per frame, got several for the frame {row['frame']} of the track "
                f"{row['track_id']} in the video {row['video_id']}. Give each object of the video a track of its own."
            )
        own[row["frame"]] = {"size": list(row["size"]), "counts": row["counts"]}
        scores.setdefault(key, []).append(row["score"])
        categories.setdefault(key, row["category_id"])
    # An exact mean, so that equal scores of frames give this score and rank as such.
    means = {key: float(statistics.mean(values)) for key, values in scores.items()}
    return [
        _tube(number, videos[key[0]], categories[key], own, None, {"score": means[key]})
        for number, (key, own) in enumerate(frames.items(), start=1)
    ]


def _tube(
    number: int,
    video: Mapping[str, Any],
    category_id: int,
    frames: list[Frame],
    area: float | None,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """The region of the frames side by side, with the field `frames`.

    area: the mean of the frames in which the object is visible, computed if None.
    """
    if area is None:
        area = _mean_area([0 if rle is None else int(coco_masks().area(rle)) for rle in frames])
    whole = side_by_side(frames, _size(video))
    return region(number, video["id"], category_id, whole, area, frames=frames, **fields)


def _size(video: Mapping[str, Any]) -> tuple[int, int]:
    return int(video["height"]), int(video["width"])


def _mean_area(areas: Sequence[float | None]) -> float:
    visible = [area for area in areas if area]
    return sum(visible) / len(visible) if visible else 0.0


def side_by_side(frames: Sequence[Frame], size: tuple[int, int]) -> dict[str, Any]:
    """The masks of frames as one mask with the frames from left to right. size: (height, width) of a frame."""
    height, width = size
    counts = [0]
    for rle in frames:
        own = [height * width] if rle is None else counts_to_list(rle["counts"])
        is_object = len(counts) % 2 == 0  # of the last run
        # A run goes on from frame to frame. The first run of a frame is background and may be empty.
        if is_object and own[0] == 0 and len(own) > 1:
            counts[-1] += own[1]
            counts += own[2:]
        elif is_object:
            counts += own
        else:
            counts[-1] += own[0]
            counts += own[1:]
    return {"size": [height, width * len(frames)], "counts": compress_counts(counts)}


__all__ = ["SIZE_LIMITS", "TUBE_KINDS", "side_by_side", "video_ap"]
