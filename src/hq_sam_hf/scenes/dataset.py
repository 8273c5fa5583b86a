"""Scenes as data sets: generated on demand for training, or stored once for evaluation."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from PIL import Image

from .families import HELD_OUT, trained_families
from .labels import Labels, check_labels, label_images
from .scene import Materials, check_materials, generate_scene

if TYPE_CHECKING:
    import datasets

Split = Literal["train", "validation", "held_out"]

# The first part of every scene's random key, so that no two splits share a scene. Changing a number changes all scenes
# of the split.
SPLITS: dict[str, int] = {"train": 0, "validation": 1, "held_out": 2}


class SceneRow(TypedDict):
    """A scene as a row of a data set, which `data.reading.read_sample` reads.

    image: RGB.
    masks: one per object, mode L, 0 to 255, of the size of the image.
    set: the group of the first object, "solid" or "thin".
    families: the family of each object.
    name: split, seed and index, such as "train_0_000042".
    """

    image: Image.Image
    masks: list[Image.Image]
    set: str
    families: list[str]
    name: str


class SceneGenerator:
    """A sequence of scenes that are generated on access: `len(scenes)`, `scenes[i]`, iteration.

    It works as a map-style data set of PyTorch. Row i depends only on (split, seed, i, size, labels, families,
    materials), so any number of workers can read it in any order.

    Args:
        count: number of scenes.
        seed: the same seed in another split gives other scenes.
        size: height and width in pixels.
        split: "train", "validation" (the same families, other scenes) or "held_out" (only families of `HELD_OUT`).
        labels: "exact", or "coarse" for masks from `coarse_mask` with the same images.
        families: the families to choose from, by default all of the split.
        materials: see `generate_scene`.
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
        check_labels(labels)
        if count < 0:
            raise ValueError(f"`count` must be a number of scenes, 0 or more, got {count}.")
        self.count, self.seed, self.size, self.split, self.labels = count, seed, size, split, labels
        self.materials: Materials = materials
        allowed = HELD_OUT if split == "held_out" else trained_families()
        self.families = allowed if families is None else tuple(families)
        not_allowed = sorted(set(self.families) - set(allowed))
        if not_allowed:
            raise ValueError(
                f"`families` of split {split!r} must be among {', '.join(allowed)}; got {', '.join(not_allowed)}. "
                "To mix trained and held-out families, call `generate_scene`."
            )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> SceneRow:
        if not -self.count <= index < self.count:
            raise IndexError(f"There is no scene {index} of {self.count}.")
        index = int(index) % self.count
        key = (SPLITS[self.split], index)
        scene = generate_scene(self.seed, self.size, self.families, key, self.materials)
        return {
            "image": Image.fromarray(scene.image),
            "masks": label_images(scene.masks, self.labels, self.seed, key),
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
    """The scenes of a `SceneGenerator` as a `datasets.Dataset`, generated once and then read from disk.

    The columns are those of `SceneRow`, with images as `datasets.Image`. A later call with equal arguments finds the
    files in the cache of datasets, unless a source file of this package has changed.

    Args:
        from_generator: passed to `datasets.Dataset.from_generator`, such as `cache_dir`, or `num_proc` to generate in
            several processes, which gives the same rows.
    """
    import datasets  # slow to import, and needed only here

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
    # `indices` is a list because datasets splits lists among processes. `version` only makes the cache key differ.
    return (scenes[index] for index in indices)


def _code_version() -> str:
    """A digest of the source files of this package, so that changed code does not read scenes from an old cache."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


__all__ = ["SPLITS", "SceneGenerator", "SceneRow", "scene_dataset"]
