"""Small generated data sets in the exact layout of each benchmark, and detections and tracks for them.

Images show scenes of `hq_sam_hf.scenes` with exact masks. `families` are the categories.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hq_sam_hf.benchmarking.benchmarks import SGINW_FILE, SGINW_SETS
from hq_sam_hf.masks.rle import mask_to_bbox, mask_to_rle, rle_to_mask
from hq_sam_hf.scenes import GROUPS, generate_scene
from support.small_hqseg44k import FOLDERS

SIZE = 192
FRAMES, STEP = 3, 6  # of a video, and the pixels by which the view moves between two frames
CATEGORIES = [{"id": 10, "name": "solid"}, {"id": 20, "name": "thin"}]


@dataclass(frozen=True)
class SmallImage:
    """pixels: uint8 (H, W, 3). masks: bool (N, H, W). categories: ids of the masks."""

    pixels: np.ndarray
    masks: np.ndarray
    categories: list[int]


@functools.cache
def small_image(number: int, size: int = SIZE) -> SmallImage:
    scene = generate_scene(3, size, key=(number,))
    categories = [10 if GROUPS[family] == "solid" else 20 for family in scene.families]
    return SmallImage(scene.image, scene.masks > 0.5, categories)


def upper_part(image: SmallImage) -> SmallImage:
    """The upper two thirds of an image, with the objects that are seen there."""
    masks = image.masks[:, : 2 * SIZE // 3]
    seen = [number for number, mask in enumerate(masks) if mask.any()]
    return SmallImage(image.pixels[: 2 * SIZE // 3], masks[seen], [image.categories[number] for number in seen])


def save_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def save_image(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def annotation(number: int, image_id: int, category_id: int, mask: np.ndarray, **more: Any) -> dict[str, Any]:
    own = {"id": number, "image_id": image_id, "category_id": category_id, "iscrowd": 0}
    return {**own, "bbox": mask_to_bbox(mask), "area": int(mask.sum()), "segmentation": mask_to_rle(mask), **more}


def coco_content(images: Sequence[SmallImage], names: Sequence[str], first: int = 0) -> dict[str, Any]:
    """COCO annotations of images with the ids 100, 101, ..."""
    entries, annotations = [], []
    for place, (image, name) in enumerate(zip(images, names), start=100 + first):
        height, width = image.pixels.shape[:2]
        entries.append({"id": place, "file_name": name, "height": height, "width": width})
        for mask, category in zip(image.masks, image.categories):
            annotations.append(annotation(len(annotations) + 1, place, category, mask))
    return {"images": entries, "annotations": annotations, "categories": CATEGORIES, "info": {}}


def write_coco(root: Path, count: int = 4) -> Path:
    images, names = [small_image(i) for i in range(count)], [f"{i:012d}.jpg" for i in range(count)]
    for image, name in zip(images, names):
        save_image(root / "val2017" / name, image.pixels, quality=95)
    content = coco_content(images, names)
    crowd = np.zeros((SIZE, SIZE), bool)
    crowd[-20:, -20:] = True
    content["annotations"].append(annotation(len(content["annotations"]) + 1, 100, 10, crowd, iscrowd=1))
    save_json(root / "annotations" / "instances_val2017.json", content)
    return root


def write_lvis(root: Path, count: int = 4) -> Path:
    """LVIS names its images by the addresses of COCO, and they lie in the folders of two splits."""
    images, splits = [small_image(i) for i in range(count)], ["val2017", "train2017"]
    names = [f"{splits[i % 2]}/{i:012d}.jpg" for i in range(count)]
    content = coco_content(images, names)
    for image, entry in zip(images, content["images"]):
        name = entry.pop("file_name")
        entry |= {"coco_url": f"http://images.cocodataset.org/{name}"}
        entry |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
        save_image(root / name, image.pixels, quality=95)
    for folder in splits:
        (root / folder).mkdir(exist_ok=True)
    content["categories"] = [{**one, "frequency": frequency} for one, frequency in zip(CATEGORIES, "cr")]
    for one in content["annotations"]:
        del one["iscrowd"]
    save_json(root / "annotations" / "lvis_v1_val.json", content)
    return root


def write_uvo(root: Path, count: int = 4) -> Path:
    images, names = [small_image(i) for i in range(count)], [f"video{i}/{30 * i}.png" for i in range(count)]
    for image, name in zip(images, names):
        save_image(root / "uvo_videos_sparse_frames" / name, image.pixels)
    content = coco_content(images, names)
    content["categories"] = [{"id": 1, "name": "object"}]
    content["annotations"] = [{**one, "category_id": 1} for one in content["annotations"]]
    save_json(root / "FrameSet" / "UVO_frame_val.json", content)
    return root


def write_sginw(root: Path, count: int = 1) -> Path:
    """The images are wider than high, as the small detector needs."""
    for number, name in enumerate(SGINW_SETS):
        images = [upper_part(small_image(number % 4 + i)) for i in range(count)]
        names = [f"{name}_{i}_jpg.rf.{i:032x}.jpg" for i in range(count)]
        for image, file in zip(images, names):
            save_image(root / name / "valid" / file, image.pixels, quality=95)
        content = coco_content(images, names)
        content["categories"] = [{"id": 10, "name": "cup"}, {"id": 20, "name": "red spoon"}]
        save_json(root / name / "valid" / SGINW_FILE, content)
    return root


def write_hqseg(root: Path, count: int = 2) -> Path:
    for number, ((image_folder, mask_folder),) in enumerate(FOLDERS["validation"].values()):
        for i in range(count):
            image = small_image(2 * number + i)
            save_image(root / image_folder / f"{i}.jpg", image.pixels, quality=95)
            save_image(root / mask_folder / f"{i}.png", image.masks[0].astype(np.uint8) * 255)
    return root


def write_big(root: Path, count: int = 4) -> Path:
    """The coarse masks are those of a model with cells of 8 pixels."""
    for i in range(count):
        image = small_image(i)
        mask = image.masks[0]
        coarse = mask.reshape(SIZE // 8, 8, SIZE // 8, 8).mean(axis=(1, 3)) > 0.4
        for ending, pixels in (("gt", mask), ("seg", np.kron(coarse, np.ones((8, 8))) > 0)):
            save_image(root / "test" / f"2009_{i:06d}_{ending}.png", pixels.astype(np.uint8) * 255)
        save_image(root / "test" / f"2009_{i:06d}_im.jpg", image.pixels, quality=95)
    return root


def video_frames(number: int) -> list[SmallImage]:
    """Frames of a view that moves over a scene. Their objects keep their places in `masks`, and may be empty."""
    scene, side = small_image(number, SIZE + FRAMES * STEP), SIZE
    corners = [(frame * STEP, frame * STEP) for frame in range(FRAMES)]
    return [
        SmallImage(
            scene.pixels[y : y + side, x : x + side], scene.masks[:, y : y + side, x : x + side], scene.categories
        )
        for y, x in corners
    ]


def ytvis_content(count: int, with_annotations: bool = True) -> dict[str, Any]:
    videos, annotations = [], []
    for number in range(count):
        frames, name = video_frames(number), f"0a2f{number:06d}"
        files = [f"{name}/{5 * i:05d}.jpg" for i in range(FRAMES)]
        videos.append({"id": number + 1, "file_names": files, "height": SIZE, "width": SIZE, "length": FRAMES})
        for place, category in enumerate(frames[0].categories):
            masks = [frame.masks[place] for frame in frames]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "video_id": number + 1,
                    "category_id": category,
                    "iscrowd": 0,
                    "segmentations": [mask_to_rle(mask) if mask.any() else None for mask in masks],
                    "bboxes": [mask_to_bbox(mask) if mask.any() else None for mask in masks],
                    "areas": [int(mask.sum()) if mask.any() else None for mask in masks],
                }
            )
    content = {"videos": videos, "categories": CATEGORIES, "info": {}}
    return {**content, "annotations": annotations} if with_annotations else content


def grown(mask: np.ndarray) -> np.ndarray:
    """A mask with every pixel that is at most two columns to the right of its own."""
    return mask | np.roll(mask, 1, axis=1) | np.roll(mask, 2, axis=1)


def write_ytvis(root: Path, count: int = 2, is_hq: bool = False, with_annotations: bool = True) -> Path:
    content = ytvis_content(count, with_annotations)
    for one in content.get("annotations", []) if is_hq else []:
        # HQ-YTVIS keeps the coarse masks of YouTube-VIS beside its own.
        one["segmentations_refined"] = one["segmentations"]
        one["segmentations"] = [rle and mask_to_rle(grown(rle_to_mask(rle))) for rle in one["segmentations"]]
    folder = root / ("train" if is_hq else "valid") / "JPEGImages"
    for number, video in enumerate(content["videos"]):
        for frame, file in zip(video_frames(number), video["file_names"]):
            save_image(folder / file, frame.pixels, quality=95)
    save_json(root / "annotations" / ("ytvis_hq-test.json" if is_hq else "valid.json"), content)
    return root


def label_map(masks: np.ndarray) -> np.ndarray:
    labels = np.zeros(masks.shape[1:], np.uint8)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return labels


def save_label_map(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels, "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128])
    image.save(path)


def write_davis(root: Path, count: int = 2) -> Path:
    names = [f"scene-{number}" for number in range(count)]
    for number, name in enumerate(names):
        for i, frame in enumerate(video_frames(number)):
            save_image(root / "JPEGImages" / "480p" / name / f"{i:05d}.jpg", frame.pixels, quality=95)
            save_label_map(root / "Annotations" / "480p" / name / f"{i:05d}.png", label_map(frame.masks))
    listing = root / "ImageSets" / "2017" / "val.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("".join(f"{name}\n" for name in names))
    return root


def write_detections(path: Path, annotations: Path, wrong: int = 1) -> Path:
    """Boxes near those of the annotations with falling scores, and `wrong` boxes of nothing per image."""
    content, rng, found = json.loads(annotations.read_text()), np.random.default_rng(0), []
    for one in content["annotations"]:
        if not one.get("iscrowd"):
            box = (np.array(one["bbox"]) + rng.uniform(-2, 2, 4)).tolist()
            ids = {"image_id": one["image_id"], "category_id": one["category_id"]}
            found.append({**ids, "bbox": box, "score": float(rng.uniform(0.4, 1))})
    for image in content["images"]:
        for _ in range(wrong):
            box = [*rng.uniform(0, SIZE / 2, 2).tolist(), SIZE / 3, SIZE / 4]
            category = content["categories"][0]["id"]
            found.append({"image_id": image["id"], "category_id": category, "bbox": box, "score": 0.1})
    return save_json(path, found)


def write_tracks(path: Path, annotations: Path, boxes: bool = False) -> Path:
    """The objects of a file of YouTube-VIS as a tracker's results."""
    content = json.loads(annotations.read_text())
    entries = [
        {
            "video_id": one["video_id"],
            "category_id": one["category_id"],
            "score": 0.9 - 0.1 * place,
            **({"bboxes": one["bboxes"]} if boxes else {"segmentations": one["segmentations"]}),
        }
        for place, one in enumerate(content["annotations"])
    ]
    return save_json(path, entries)
