"""Scenes as data: drawn on demand for training, or written once as a dataset for evaluation."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
from PIL import Image

from .coarse import coarse_mask
from .families import HELD_OUT, trained_families
from .scene import Materials, check_materials, generate_scene

if TYPE_CHECKING:
    import datasets

Split = Literal["train", "validation", "held_out"]
Labels = Literal["exact", "coarse"]

# The first step of every scene's key, so no two splits share a scene. A number once given stays.
SPLITS: dict[str, int] = {"train": 0, "validation": 1, "held_out": 2}
COARSE = 3  # the step below a scene's key at which its coarse labels draw their randomness


class SceneRow(TypedDict):
    """One scene.

    image: RGB.
    masks: the labels of the objects, mode L of the image's size, 0 to 255; `samples.read_sample` reads them.
    set: the group of the first object, "solid" or "thin".
    families: the family of each object.
    name: "train_0_000042": split, seed and index.
    """

    image: Image.Image
    masks: list[Image.Image]
    set: str
    families: list[str]
    name: str


class SceneGenerator:
    """A sequence of scenes that exist only while they are looked at: `len(scenes)`, `scenes[i]`, a loop over them.

    Row i depends on (split, seed, i, size, labels, materials) alone, so any number of workers may share it, in any
    order. It can stand wherever PyTorch wants a map-style dataset.

    Args:
        count: number of scenes.
        seed: one seed gives one set of scenes; the same seed in another split gives others.
        size: height and width in pixels.
        split: "train", "validation" (the same families, other scenes) or "held_out" (only families of `HELD_OUT`).
        labels: "exact", or "coarse" as from `coarse_mask`; the pictures are the same.
        families: only these, say for a first lesson; default all families of the split.
        materials: "one", "several" or "mixed", see `generate_scene`.
    """

    def __init__(
        self,
        count: int,
        seed: int = 0,
        size: int = 256,
        split: Split = "train",
        labels: Labels = "exact",
        families: Sequence[str] | None = None,
        materials: Materials = "one",
    ) -> None:
        check_materials(materials)
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {', '.join(SPLITS)}; got {split!r}.")
        if labels not in ("exact", "coarse"):
            raise ValueError(f'`labels` must be "exact" or "coarse", got {labels!r}.')
        if count < 0:
            raise ValueError(f"`count` must be 0 or more scenes, got {count}.")
        self.count, self.seed, self.size, self.split, self.labels = count, seed, size, split, labels
        self.materials: Materials = materials
        allowed = HELD_OUT if split == "held_out" else trained_families()
        self.families = allowed if families is None else tuple(families)
        foreign = sorted(set(self.families) - set(allowed))
        if foreign:
            raise ValueError(
                f"`families` of split {split!r} must be among {', '.join(allowed)}; got {', '.join(foreign)}. "
                "`generate_scene` draws any families together."
            )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> SceneRow:
        if not -self.count <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        index = int(index) % self.count
        key = (SPLITS[self.split], index)
        scene = generate_scene(self.seed, self.size, self.families, key, self.materials)
        masks = scene.masks
        if self.labels == "coarse":
            rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(*key, COARSE)))
            masks = np.stack([coarse_mask(mask, rng) for mask in masks])
        pictures = [Image.fromarray(mask) for mask in np.rint(masks * 255).astype(np.uint8)]
        return {
            "image": Image.fromarray(scene.image),
            "masks": pictures,
            "set": scene.groups[0],
            "families": list(scene.families),
            "name": f"{self.split}_{self.seed}_{index:06d}",
        }

    def __iter__(self) -> Iterator[SceneRow]:
        return (self[index] for index in range(self.count))


def scene_dataset(
    count: int,
    seed: int = 0,
    size: int = 256,
    split: Split = "train",
    labels: Labels = "exact",
    families: Sequence[str] | None = None,
    materials: Materials = "one",
    **from_generator: Any,
) -> "datasets.Dataset":
    """The scenes of a `SceneGenerator` as a `datasets.Dataset`, drawn once and read from disk afterwards.

    Columns: those of `SceneRow`, pictures as `datasets.Image`. The next call with equal arguments finds the files in
    the cache of datasets, unless the code of the scenes has changed.

    Args:
        from_generator: passed to `datasets.Dataset.from_generator`, such as `cache_dir`, or `num_proc` to draw in
            several processes, which gives the same rows.
    """
    import datasets  # slow to import, and needed here alone

    scenes = SceneGenerator(count, seed, size, split, labels, families, materials)
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "masks": [datasets.Image()],
            "set": datasets.Value("string"),
            "families": [datasets.Value("string")],
            "name": datasets.Value("string"),
        }
    )
    return datasets.Dataset.from_generator(
        _rows,
        features=features,
        gen_kwargs={"indices": list(range(count)), "scenes": scenes, "version": _code_version()},
        **from_generator,
    )


def _rows(indices: list[int], scenes: SceneGenerator, version: str) -> Iterator[SceneRow]:
    # `indices` is a list because datasets splits lists among processes; `version` only tells caches apart.
    return (scenes[index] for index in indices)


def _code_version() -> str:
    """A digest of this package's code: other code draws other scenes, which must not come from an old cache."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


__all__ = ["SPLITS", "SceneGenerator", "SceneRow", "scene_dataset"]
