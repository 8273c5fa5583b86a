"""Generated ground truth and predictions in COCO's form: crowds, tiny, empty, duplicated and overlapping objects."""

from typing import Any

import cv2
import numpy as np

from hq_sam_hf.masks import mask_to_bbox, mask_to_rle

SIZES = ((96, 128), (150, 200), (100, 75), (120, 160))  # 1 % of the diagonal of (150, 200) is 2.5


def random_mask(random: np.random.Generator, size: tuple[int, int], largest: float = 0.8) -> np.ndarray:
    """An ellipse or a rectangle with a notch."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    centre_y, centre_x = random.uniform(0, height), random.uniform(0, width)
    half_y, half_x = (random.uniform(2, max(3, largest * side / 2)) for side in size)
    dy, dx = (y - centre_y) / half_y, (x - centre_x) / half_x
    if random.random() < 0.5:
        mask = dy**2 + dx**2 <= 1
    else:
        mask = (np.abs(dy) <= 1) & (np.abs(dx) <= 1) & ~((dy > 0.2) & (dx > 0.2))
    if not mask.any():
        mask[min(height - 1, int(centre_y)), min(width - 1, int(centre_x))] = True
    return mask


def shifted(mask: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """The mask moved by some pixels. What leaves the image is lost."""
    moved = np.zeros_like(mask)
    height, width = mask.shape
    ys, xs = np.nonzero(mask)
    inside = (ys + dy >= 0) & (ys + dy < height) & (xs + dx >= 0) & (xs + dx < width)
    moved[ys[inside] + dy, xs[inside] + dx] = True
    return moved


def original_boundary(mask: np.ndarray, ratio: float) -> np.ndarray:
    """As in the original's evaluation code."""
    height, width = mask.shape
    steps = max(1, round(ratio * np.sqrt(height**2 + width**2)))
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=steps)
    return mask & ~eroded[1:-1, 1:-1].astype(bool)


def coco_objects(images: int = 200, seed: int = 0, categories: int = 5) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth in COCO's form, and prediction rows."""
    random = np.random.default_rng(seed)
    truth: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 3 * i + 1, "name": f"c{i}", "frequency": "rcf"[i % 3]} for i in range(categories)],
    }
    ids = [category["id"] for category in truth["categories"]]
    rows: list[dict[str, Any]] = []
    for number in range(images):
        size = SIZES[number % len(SIZES)]
        image_id = 7 * number
        absent = [int(one) for one in random.choice(ids, 2, replace=False)]
        truth["images"].append(
            {
                "id": image_id,
                "file_name": f"{number}.jpg",
                "height": size[0],
                "width": size[1],
                "neg_category_ids": absent[:1],
                "not_exhaustive_category_ids": absent[1:],
            }
        )
        masks = [random_mask(random, size) for _ in range(int(random.integers(0, 6)))]
        if masks:
            masks.append(shifted(masks[0], 3, 3))  # overlapping
        if number % 5 == 0:
            tiny = np.zeros(size, dtype=bool)
            tiny[10, 10] = True
            masks.append(tiny)
        for mask in masks:
            category = int(random.choice(ids))
            is_crowd = int(random.random() < 0.15)
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "iscrowd": is_crowd,
                    "area": int(mask.sum()),
                    "bbox": mask_to_bbox(mask),
                    "segmentation": mask_to_rle(mask),
                }
            )
            rows += guesses(random, mask, image_id, category, ids)
        for _ in range(int(random.integers(0, 4))):  # of nothing
            rows.append(row(random_mask(random, size, 0.3), image_id, int(random.choice(ids)), random.random()))
    return truth, rows


def guesses(
    random: np.random.Generator, mask: np.ndarray, image_id: int, category: int, ids: list[int]
) -> list[dict[str, Any]]:
    """Between none and four predictions of an object: exact, moved, duplicated, of another category, empty."""
    score = lambda: round(float(random.random()), 1)  # noqa: E731 - few values, so many are equal
    found = []
    if random.random() < 0.9:
        dy, dx = (int(one) for one in random.integers(-3, 4, 2))
        found.append(row(shifted(mask, dy, dx), image_id, category, score()))
    if random.random() < 0.3:
        found.append(row(mask, image_id, category, score()))
        found.append(row(mask, image_id, category, found[-1]["score"]))
    if random.random() < 0.2:
        found.append(row(mask, image_id, int(random.choice(ids)), score()))
    if random.random() < 0.1:
        found.append(row(np.zeros_like(mask), image_id, category, score()))
    return found


def row(mask: np.ndarray, image_id: int, category: int, score: float, **fields: Any) -> dict[str, Any]:
    """A prediction row."""
    rle = mask_to_rle(mask)
    one = {"image_id": image_id, "category_id": category, "output": "hq", "score": float(score), "predicted_iou": 0.5}
    ids = {"annotation_id": -1, "video_id": -1, "frame": -1, "track_id": -1}
    return {**one, **rle, "bbox": [float(value) for value in mask_to_bbox(mask)], **ids, **fields}
