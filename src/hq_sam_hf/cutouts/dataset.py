"""Composed images as a data set that is generated on access."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from PIL import Image

from ..scenes.labels import Labels, check_labels, label_images
from .backgrounds import Backgrounds
from .composition import compose
from .objects import CutoutObjects, ObjectSplit

# The first part of every image's random key, so that no two splits share an image. Changing a number changes all
# images of the split.
SPLITS: dict[str, int] = {"train": 0, "validation": 1, "all": 2}
MIN_IMAGE_SIZE = 64


class CutoutRow(TypedDict):
    """A composed image as a row of a data set, which `data.reading.read_sample` reads.

    image: RGB.
    masks: one per object, mode L, 0 to 255, of the size of the image.
    set: "cutouts".
    objects: the file name of each object without its suffix.
    name: split, seed and index, such as "train_0_000042".
    """

    image: Image.Image
    masks: list[Image.Image]
    set: str
    objects: list[str]
    name: str


class CutoutGenerator:
    """A sequence of composed images that are generated on access: `len(images)`, `images[i]`, iteration.

    It works as a map-style data set of PyTorch. Row i depends only on the files and on (split, seed, i, size, labels),
    so any number of workers can read it in any order.

    Args:
        objects: folders and zip files with images of objects that have a transparent background.
        backgrounds: folders with photos of surroundings. Without them, backgrounds are generated.
        count: number of images.
        seed: the same seed in another split gives other images.
        size: height and width in pixels.
        split: "train" leaves out one object in eight, "validation" has only those, "all" has all of them.
        labels: "exact", or "coarse" for masks from `scenes.coarse_mask` with the same images.
    """

    def __init__(
        self,
        objects: str | Path | Sequence[str | Path],
        backgrounds: str | Path | Sequence[str | Path] | None = None,
        count: int = 10_000,
        seed: int = 0,
        size: int = 256,
        split: ObjectSplit = "train",
        labels: Labels = "exact",
    ) -> None:
        check_labels(labels)
        if count < 0:
            raise ValueError(f"`count` must be a number of images, 0 or more, got {count}.")
        if size < MIN_IMAGE_SIZE:
            raise ValueError(f"`size` must be at least {MIN_IMAGE_SIZE} pixels, got {size}.")
        self.objects = CutoutObjects(objects, split, side=max(256, size))
        self.backgrounds = Backgrounds(backgrounds)
        self.count, self.seed, self.size, self.split, self.labels = count, seed, size, split, labels

    def load(self) -> None:
        """Read all files now. Worker processes that are forked afterwards share them."""
        self.objects.load()
        self.backgrounds.load()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> CutoutRow:
        if not -self.count <= index < self.count:
            raise IndexError(f"There is no image {index} of {self.count}.")
        index = int(index) % self.count
        key = (SPLITS[self.split], index)
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
        composition = compose(rng, self.objects, self.backgrounds, self.size)
        return {
            "image": Image.fromarray(composition.image),
            "masks": label_images(composition.masks, self.labels, self.seed, key),
            "set": "cutouts",
            "objects": list(composition.names),
            "name": f"{self.split}_{self.seed}_{index:06d}",
        }

    def __iter__(self) -> Iterator[CutoutRow]:
        return (self[index] for index in range(self.count))


__all__ = ["SPLITS", "CutoutGenerator", "CutoutRow"]
