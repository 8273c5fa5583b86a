"""The benchmarks: what lies where in their folders, which prompts they take, and how they are measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .coco_parts import load_coco_part
from .mask_parts import load_big_parts, load_hqseg_parts
from .parts import BenchmarkPart
from .video_parts import load_davis_part, load_ytvis_part

Places = Mapping[str, Path]

# The data sets of SGinW, all with the split `valid`.
SGINW_SETS = (
    "Airplane-Parts, Bottles, Brain-Tumor, Chicken, Cows, Electric-Shaver, Elephants, Fruits, Garbage, Ginger-Garlic, "
    "Hand, Hand-Metal, HouseHold-Items, House-Parts, Nutterfly-Squireel, Phones, Poles, Puppies, Rail, Salmon-Fillet, "
    "Strawberry, Tablets, Toolkits, Trash, Watermelon"
).split(", ")
SGINW_FILE = "_annotations_min1cat.coco.json"


@dataclass(frozen=True)
class Place:
    """A file or folder of a benchmark. names: where it may lie in the root; the first is the published place."""

    names: tuple[str, ...]
    what: str


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of the paper, or custom COCO data.

    layout: what must lie in the root, by short names, which `load` gets the paths of.
    prompts: the kinds of prompts it takes, the usual one first: "detections" (a detector's boxes), "tracks" (those of
        a tracker), "detector" (a zero-shot detector), "box" (of the ground truth, also with noise) and "mask" (coarse
        masks).
    measure: "image-ap"; "lvis-ap", with its rules and frequency groups; "iou", mIoU and mBIoU of pairs of prediction
        and ground truth; "video-ap", with tubes; "j-and-f" of DAVIS.
    max_dets: predictions that count, per image or per video.
    use_categories: False compares all objects as one category.
    """

    name: str
    title: str
    layout: Mapping[str, Place]
    load: Callable[[Places], list[BenchmarkPart]]
    prompts: tuple[str, ...]
    measure: Literal["image-ap", "lvis-ap", "iou", "video-ap", "j-and-f"]
    max_dets: int = 100
    use_categories: bool = True
    protocol: str = "aspect"


def _coco(places: Places) -> list[BenchmarkPart]:
    return [load_coco_part("coco", places["annotations"], places["images"])]


def _lvis(places: Places) -> list[BenchmarkPart]:
    return [load_coco_part("lvis", places["annotations"], places["root"], is_lvis=True)]


def _uvo(places: Places) -> list[BenchmarkPart]:
    return [load_coco_part("uvo", places["annotations"], places["images"])]


def _sginw(places: Places) -> list[BenchmarkPart]:
    folders = {name: places["root"] / name / "valid" for name in SGINW_SETS}
    missing = [name for name, folder in folders.items() if not (folder / SGINW_FILE).is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of the {len(folders)} data sets of SGinW are missing in {str(places['root'])!r}, such as "
            f"{missing[0]}/valid/{SGINW_FILE}. Unpack all of seginw.zip there."
        )
    return [load_coco_part(name, folder / SGINW_FILE, folder) for name, folder in folders.items()]


def _hqseg(places: Places) -> list[BenchmarkPart]:
    return load_hqseg_parts(places["root"])


def _big(places: Places) -> list[BenchmarkPart]:
    return load_big_parts(places["root"])


def _ytvis(name: str) -> Callable[[Places], list[BenchmarkPart]]:
    return lambda places: [load_ytvis_part(name, places["annotations"], places["images"])]


def _davis(places: Places) -> list[BenchmarkPart]:
    return [load_davis_part(places["root"])]


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "hqseg",
            "the four validation sets of HQSeg-44K",
            {},  # found by `data.hqseg44k`, also in zip archives
            _hqseg,
            ("box",),
            "iou",
            protocol="stretch",
        ),
        Benchmark(
            "coco",
            "COCO val2017",
            {
                "annotations": Place(("annotations/instances_val2017.json",), "annotations of val2017"),
                "images": Place(("val2017", "images/val2017"), "folder with the 5,000 images of val2017"),
            },
            _coco,
            ("detections", "box"),
            "image-ap",
        ),
        Benchmark(
            "lvis",
            "LVIS v1 val",
            {
                "annotations": Place(("annotations/lvis_v1_val.json", "lvis_v1_val.json"), "annotations of val"),
                "images": Place(("val2017",), "folder with COCO's images of val2017"),
                "train_images": Place(("train2017",), "folder with COCO's images of train2017"),
            },
            _lvis,
            ("detections", "box"),
            "lvis-ap",
            max_dets=300,
        ),
        Benchmark(
            "uvo",
            "UVO v1.0, frames of val",
            {
                "annotations": Place(
                    ("FrameSet/UVO_frame_val.json", "annotations/UVO_frame_val.json"),
                    "annotations of val",
                ),
                "images": Place(("uvo_videos_sparse_frames",), "folder with a folder of frames per video"),
            },
            _uvo,
            ("detections", "box"),
            "image-ap",
            use_categories=False,
        ),
        Benchmark(
            "sginw",
            "SGinW, 25 data sets",
            {},  # a folder per data set
            _sginw,
            ("detector", "detections", "box"),
            "image-ap",
        ),
        Benchmark("big", "BIG test", {}, _big, ("box", "mask"), "iou"),
        Benchmark(
            "hq-ytvis",
            "HQ-YTVIS test",
            {
                "annotations": Place(("annotations/ytvis_hq-test.json", "ytvis_hq-test.json"), "annotations of test"),
                "images": Place(("train/JPEGImages", "JPEGImages", "train"), "frames of YouTube-VIS 2019 train"),
            },
            _ytvis("hq-ytvis"),
            ("tracks", "box"),
            "video-ap",
        ),
        Benchmark(
            "ytvis",
            "YouTube-VIS 2019 valid",
            {
                "annotations": Place(
                    ("annotations/valid.json", "valid.json", "annotations/instances_val_sub.json"),
                    "videos of the valid set; without annotations results are only written",
                ),
                "images": Place(("valid/JPEGImages", "val/JPEGImages", "val"), "frames of the valid set"),
            },
            _ytvis("ytvis"),
            ("tracks", "box"),
            "video-ap",
        ),
        Benchmark(
            "davis",
            "DAVIS 2017 val at 480p",
            {
                "list": Place(("ImageSets/2017/val.txt",), "names of the videos of val"),
                "images": Place(("JPEGImages/480p",), "folder with a folder of frames per video"),
                "masks": Place(("Annotations/480p",), "folder with a folder of label maps per video"),
            },
            _davis,
            ("tracks", "box"),
            "j-and-f",
        ),
    )
}


def load_benchmark(benchmark: Benchmark, root: Path) -> list[BenchmarkPart]:
    """Read the annotation files of a benchmark and find its images.

    Raises ValueError, with the name of the file and what belongs there, for what is missing or wrong.
    """
    if not root.is_dir():
        raise ValueError(
            f"{str(root)!r} is not a folder. Name the folder of {benchmark.title}{_expectation(benchmark)}."
        )
    places = {"root": root}
    for name, place in benchmark.layout.items():
        found = next((root / one for one in place.names if (root / one).exists()), None)
        if found is None:
            others = f" (or {', '.join(place.names[1:])})" if len(place.names) > 1 else ""
            raise ValueError(
                f"{str(root / place.names[0])!r}{others} is missing, the {place.what}. The benchmark {benchmark.name} "
                f"needs{_expectation(benchmark)}."
            )
        places[name] = found
    return benchmark.load(places)


def _expectation(benchmark: Benchmark) -> str:
    listed = [f"{place.names[0]} ({place.what})" for place in benchmark.layout.values()]
    return f" in its folder: {', '.join(listed)}" if listed else ""


def custom_benchmark(annotations: Path, images: Path) -> Benchmark:
    """COCO data of a user, with the files' own paths in place of a root."""
    for path, is_right, what in ((annotations, annotations.is_file(), "file"), (images, images.is_dir(), "folder")):
        if not is_right:
            raise ValueError(f"{str(path)!r} is not a {what}. Name COCO annotations and the folder of their images.")
    load = lambda places: [load_coco_part("custom", annotations, images)]  # noqa: E731
    return Benchmark("custom", f"{annotations.name}", {}, load, ("detections", "box"), "image-ap")


__all__ = ["BENCHMARKS", "Benchmark", "Place", "custom_benchmark", "load_benchmark"]
