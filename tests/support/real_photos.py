"""Photos of tests/photos with their masks, for tests of mask quality.

They have three parts: "first" are the 17 objects that the gates of tests use, "work" may be looked at while a model is
trained, and "final" is for one measurement at the end: no test runs a model on it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset

from hq_sam_hf.data.custom import load_paired_folders
from hq_sam_hf.data.prompt_simulation import mask_to_box
from hq_sam_hf.data.reading import read_sample
from support.paths import TESTS

PHOTOS = TESTS / "photos"
PARTS = {"first": PHOTOS, "work": PHOTOS / "work", "final": PHOTOS / "final"}


@dataclass(frozen=True)
class RealObject:
    """An object in a photo. image: RGB, uint8 (H, W, 3). mask: bool (H, W). box: (x1, y1, x2, y2) of the mask."""

    photo: str
    name: str
    image: np.ndarray
    mask: np.ndarray
    box: list[float]


def load_real_photos(part: str = "first") -> Dataset:
    """One row per photo, with the columns image, masks, set and name. The masks follow `mask_names`."""
    return load_paired_folders(PARTS[part] / "images", PARTS[part] / "masks")


def mask_names(photo: str, part: str = "first") -> list[str]:
    return sorted(path.stem for path in (PARTS[part] / "masks" / photo).iterdir())


def photo_paths(part: str = "first") -> list[Path]:
    return sorted((PARTS[part] / "images").iterdir())


def real_objects(part: str = "first") -> list[RealObject]:
    """Every object of every photo of a part."""
    objects = []
    for row in load_real_photos(part):
        sample = read_sample(row)
        for name, mask in zip(mask_names(sample.name, part), sample.masks > 0.5, strict=True):
            box = mask_to_box(mask)
            assert box is not None, f"the mask {sample.name}/{name} is empty"
            objects.append(RealObject(sample.name, name, sample.image, mask, box.tolist()))
    return objects


__all__ = ["PARTS", "PHOTOS", "RealObject", "load_real_photos", "mask_names", "photo_paths", "real_objects"]
