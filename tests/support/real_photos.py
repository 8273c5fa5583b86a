"""Photos of tests/photos with their masks, for tests of mask quality."""

from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from hq_sam_hf.data.custom import load_paired_folders
from hq_sam_hf.data.prompt_simulation import mask_to_box
from hq_sam_hf.data.reading import read_sample
from support.paths import TESTS

PHOTOS = TESTS / "photos"


@dataclass(frozen=True)
class RealObject:
    """An object in a photo. image: RGB, uint8 (H, W, 3). mask: bool (H, W). box: (x1, y1, x2, y2) of the mask."""

    photo: str
    name: str
    image: np.ndarray
    mask: np.ndarray
    box: list[float]


def load_real_photos() -> Dataset:
    """One row per photo, with the columns image, masks, set ("photos") and name. The masks follow `mask_names`."""
    return load_paired_folders(PHOTOS / "images", PHOTOS / "masks")


def mask_names(photo: str) -> list[str]:
    return sorted(path.stem for path in (PHOTOS / "masks" / photo).iterdir())


def real_objects() -> list[RealObject]:
    """Every object of every photo."""
    objects = []
    for row in load_real_photos():
        sample = read_sample(row)
        for name, mask in zip(mask_names(sample.name), sample.masks > 0.5, strict=True):
            box = mask_to_box(mask)
            assert box is not None, f"the mask {sample.name}/{name} is empty"
            objects.append(RealObject(sample.name, name, sample.image, mask, box.tolist()))
    return objects


__all__ = ["PHOTOS", "RealObject", "load_real_photos", "mask_names", "real_objects"]
