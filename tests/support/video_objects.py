"""Generated videos: ground truth in the form of YouTube-VIS, and prediction rows of tracks."""

from typing import Any

import numpy as np

from hq_sam_hf.masks import mask_to_rle
from support.coco_objects import random_mask, row, shifted


def video_objects(
    videos: int = 12, seed: int = 0, size: tuple[int, int] = (90, 120), crowds: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Objects move, leave and come back. Predictions are moved, incomplete, duplicated or of nothing.

    The ids of objects count from 1 in all videos together, and so do those of tracks.
    """
    random = np.random.default_rng(seed)
    categories = [{"id": number, "name": name} for number, name in ((2, "dog"), (5, "cat"), (6, "owl"))]
    truth: dict[str, Any] = {"videos": [], "annotations": [], "categories": categories}
    rows: list[dict[str, Any]] = []
    track_id = 0
    for number in range(1, videos + 1):
        length = int(random.integers(3, 7))
        names = [f"v{number}/{i:05d}.jpg" for i in range(length)]
        about = {"id": number, "name": f"v{number}", "file_names": names, "height": size[0], "width": size[1]}
        truth["videos"].append({**about, "length": length})
        for _ in range(int(random.integers(1, 4))):
            category = int(random.choice([2, 5, 6]))
            frames = track(random, size, length)
            own = {"id": len(truth["annotations"]) + 1, "video_id": number, "category_id": category}
            crowd = int(crowds and random.random() < 0.3)
            segmentations = [None if mask is None else mask_to_rle(mask) for mask in frames]
            areas = [None if mask is None else int(mask.sum()) for mask in frames]
            truth["annotations"].append({**own, "iscrowd": crowd, "segmentations": segmentations, "areas": areas})
            for step in [(1, 1), (0, 0), (4, 0)][: int(random.integers(0, 4))]:
                track_id += 1
                score = round(float(random.random()), 1)
                moved = [None if mask is None or random.random() < 0.15 else shifted(mask, *step) for mask in frames]
                rows += track_rows(moved, number, track_id, category, score)
        track_id += 1
        rows += track_rows(track(random, size, length), number, track_id, 5, float(random.random()))
    return truth, rows


def track(random: np.random.Generator, size: tuple[int, int], length: int) -> list[np.ndarray | None]:
    """A moving object, which is not visible in some frames."""
    mask = random_mask(random, size)
    step = random.integers(-4, 5, 2)
    frames = [shifted(mask, *(int(value) * i for value in step)) for i in range(length)]
    return [one if one.any() and random.random() < 0.8 else None for one in frames]


def track_rows(
    frames: list[np.ndarray | None], video_id: int, track_id: int, category: int, score: float
) -> list[dict[str, Any]]:
    """The rows of a track, one per frame in which it is visible."""
    return [
        row(mask, 100 * video_id + i, category, score, video_id=video_id, frame=i, track_id=track_id)
        for i, mask in enumerate(frames)
        if mask is not None
    ]
