"""Benchmarks of videos: HQ-YTVIS and YouTube-VIS with their JSON files, DAVIS with its label maps."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..model.named_files import path_inside
from .mask_parts import OBJECT
from .parts import BenchmarkImage, BenchmarkPart, read_label_map

VIDEO_FIELDS = ("id", "file_names", "height", "width")
_NAME_ADVICE = "Use the benchmark's own files."


def load_ytvis_part(name: str, annotations: Path, images: Path) -> BenchmarkPart:
    """Read a JSON file of YouTube-VIS and find its frames.

    A file without annotations, as those of the evaluation server, gives a part without ground truth.

    Raises ValueError, with the name of the file, for one of another form, for ids that contradict each other and for
    missing frames.
    """
    path = os.fspath(annotations)
    content = _read(path)
    videos = content["videos"]
    frames: list[BenchmarkImage] = []
    missing: list[str] = []
    for video in videos:
        for frame, file in enumerate(video["file_names"]):
            what = f"{path!r}: a frame of the video {video['id']}"
            full = path_inside(images, file, what, _NAME_ADVICE)
            size = (int(video["height"]), int(video["width"]))
            frames.append(BenchmarkImage(len(frames) + 1, str(full), file, size, video["id"], frame))
            if not full.is_file():
                missing.append(file)
    if missing:
        raise ValueError(
            f"{len(missing)} of the {len(frames)} frames that {path!r} lists are missing in {os.fspath(images)!r}, "
            f"such as {missing[0]!r}. Put the benchmark's frames there."
        )
    objects = [{**one, "segmentations": _segmentations(one)} for one in content.get("annotations") or []]
    _check_objects(path, objects, {video["id"]: video for video in videos}, content["categories"])
    named = [{"name": _video_name(video), **video} for video in videos]
    ground_truth = {"videos": named, "annotations": objects, "categories": content["categories"]}
    notes = [] if objects else [f"{path!r} has no annotations, as the files of an evaluation server."]
    return BenchmarkPart(name, frames, ground_truth, [Path(annotations)], notes)


def _segmentations(annotation: Mapping[str, Any]) -> Any:
    """The masks of an object. HQ-YTVIS has its own beside those of YouTube-VIS."""
    return annotation.get("segmentations_refined", annotation.get("segmentations"))


def _read(path: str) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_bytes())
        for name in ("videos", "categories"):
            if not isinstance(content[name], list) or not all(isinstance(one, dict) for one in content[name]):
                raise TypeError(f"`{name}` must be a list of objects")
        objects = content.get("annotations") or []
        if not isinstance(objects, list) or not all(isinstance(one, dict) for one in objects):
            raise TypeError("`annotations` must be a list of objects")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path!r} is not a file of YouTube-VIS with `videos` and `categories` ({error!r})."
        ) from error
    for video in content["videos"]:
        lacking = [field for field in VIDEO_FIELDS if not video.get(field)]
        if lacking:
            raise ValueError(f"{path!r}: the video {video.get('id')} lacks {', '.join(lacking)}.")
    return content


def _video_name(video: Mapping[str, Any]) -> str:
    return Path(video["file_names"][0]).parent.name


def _check_objects(
    path: str, objects: Sequence[Any], videos: Mapping[int, Mapping[str, Any]], categories: Sequence[Mapping[str, Any]]
) -> None:
    known, category_ids = set(), {one.get("id") for one in categories}
    for one in objects:
        name = one.get("id")
        video = videos.get(one.get("video_id"))
        if video is None or one.get("category_id") not in category_ids:
            what = "video" if video is None else "category"
            raise ValueError(
                f"{path!r}: the annotation {name} belongs to the {what} {one.get(f'{what}_id')}, which the file does "
                "not list. Use the benchmark's own file."
            )
        masks = one.get("segmentations")
        if not isinstance(masks, list) or len(masks) != len(video["file_names"]):
            raise ValueError(
                f"{path!r}: the annotation {name} must have one segmentation, or null, for each of the "
                f"{len(video['file_names'])} frames of its video."
            )
        if name in known or not isinstance(name, int):
            raise ValueError(f"{path!r}: annotations must have ids that differ, got {name!r} twice or as no number.")
        known.add(name)


def load_davis_part(root: Path, split: str = "val") -> BenchmarkPart:
    """The videos of DAVIS 2017 at 480p. The objects are those of the first frame's label map.

    Raises ValueError, with the name of what is missing, for an incomplete folder.
    """
    listing = root / "ImageSets" / "2017" / f"{split}.txt"
    names = [line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{str(listing)!r} lists no video. It has the name of one video per line.")
    videos: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    frames: list[BenchmarkImage] = []
    for number, name in enumerate(names, start=1):
        files = [
            path_inside(root / kind / "480p", name, f"{str(listing)!r}: a video", _NAME_ADVICE) for kind in _KINDS
        ]
        images, maps = (sorted(_files(*one)) for one in zip(files, (".jpg", ".png")))
        if not images or [one.stem for one in images] != [one.stem for one in maps]:
            raise ValueError(
                f"The video {name!r} has {len(images)} frames in {str(files[0])!r} and {len(maps)} label maps in "
                f"{str(files[1])!r}. DAVIS has a NNNNN.png for each NNNNN.jpg."
            )
        with Image.open(images[0]) as first:
            width, height = first.size
        file_names = [f"{name}/{one.name}" for one in images]
        videos.append({"id": number, "name": name, "file_names": file_names, "height": height, "width": width})
        labels = sorted(set(read_label_map(maps[0]).ravel().tolist()) - {0, 255})  # 255 is "void" in some releases
        for label in labels:
            own = {"id": len(objects) + 1, "video_id": number, "category_id": OBJECT["id"], "iscrowd": 0}
            objects.append({**own, "label": label, "mask_files": [str(one) for one in maps]})
        for frame, image in enumerate(images):
            frames.append(
                BenchmarkImage(len(frames) + 1, str(image), file_names[frame], (height, width), number, frame)
            )
    ground_truth = {"videos": videos, "annotations": objects, "categories": [dict(OBJECT)]}
    return BenchmarkPart("davis", frames, ground_truth, [listing])


_KINDS = ("JPEGImages", "Annotations")


def _files(folder: Path, suffix: str) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix == suffix] if folder.is_dir() else []


__all__ = ["load_davis_part", "load_ytvis_part"]
