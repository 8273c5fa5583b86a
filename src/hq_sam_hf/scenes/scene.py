"""A scene: a seeded picture and the exact mask of each of its objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from . import solid_nature, solid_shapes, solid_things, thin_nature, thin_structures, thin_things  # noqa: F401, they register families
from .background import random_background
from .camera import blur, develop, light
from .contrast import EYE, boundary_contrast
from .crowds import crowd, part_of
from .families import FAMILIES, GROUPS, Group, choose_family, trained_families
from .objects import LEAST_PIXELS, ObjectMaterials, SceneObject, cast_shadow, dress, lay, pose
from .sketch import Drawing

SMALLEST_PICTURE = 64
OBJECT_COUNTS = (0.35, 0.3, 0.2, 0.15)  # how often one to four objects are tried; some find no place
LEAST_VISIBLE = 0.5  # the share of an object's pixels that later objects must leave visible
CONTRAST_FLOOR = 24.0  # `boundary_contrast` of every object, before noise and JPEG
ATTEMPTS = 12
GREY = 0.12  # how often a scene of several or printed materials is a black and white picture
THIN: dict[ObjectMaterials, float] = {"one": 0.5, "several": 0.5, "printed": 0.3}  # how often an object is a thin one
CROWDED = 0.6  # how often there is a crowd where there may be
PARTS = 0.7  # how often a solid object has a part with a mask of its own where it may

Materials = Literal[ObjectMaterials, "mixed", "all"]
MADE_OF: dict[Materials, tuple[ObjectMaterials, ...]] = {
    "one": ("one",),
    "several": ("several",),
    "printed": ("printed",),
    "mixed": ("several", "one"),
    "all": ("one", "several", "printed", "printed"),
}


@dataclass
class Scene:
    """A generated picture.

    image: RGB uint8 (H, W, 3).
    masks: float32 (N, H, W) in [0, 1], one per object: how much of each pixel shows it. Where one object hides
        another, the pixels belong to the one in front; where one is part of another, to both.
    families: the family of each object.
    groups: "solid" or "thin" for each object.

    The order of the objects says nothing about which lies on top.
    """

    image: np.ndarray
    masks: np.ndarray
    families: tuple[str, ...]
    groups: tuple[Group, ...]


def generate_scene(
    seed: int,
    size: int = 256,
    families: Sequence[str] | None = None,
    key: tuple[int, ...] = (),
    materials: Materials = "one",
) -> Scene:
    """Draw a scene of one to four objects, and of their parts where `materials` says so.

    The scene depends on the arguments alone: not on the order of calls, nor on the process. Bytes are equal for equal
    versions of NumPy and Pillow.

    Args:
        seed: not negative.
        size: height and width in pixels, at least 64. Objects are drawn at four times that and averaged.
        families: names of `FAMILIES` to choose from; default those of training, `trained_families()`. Thin ones are
            chosen as often as solid ones, in printed scenes three times in ten.
        key: a path below the seed, such as (split, index); every key is a scene of its own.
        materials: "one", where an object has one colour under its pattern and shading; "several", where most have
            parts, rims, bands or spots in other colours, backgrounds are richer, and some pictures are grey; or
            "printed", where most solid ones also bear figures, rings, fields or reliefs, shade and glints, some of
            them another object, which has a mask of its own, and most pictures are crowded with further objects
            without masks. "mixed" makes every scene one of the first two, alike likely; "all" half of them printed and
            a quarter each of the others.
    """
    check_materials(materials)
    if size < SMALLEST_PICTURE:
        raise ValueError(f"`size` must be at least {SMALLEST_PICTURE} pixels to show thin objects, got {size}.")
    chosen = tuple(trained_families() if families is None else families)
    unknown = [family for family in chosen if family not in FAMILIES]
    if unknown or not chosen:
        raise ValueError(
            f"`families` must name one or more of {', '.join(sorted(FAMILIES))}; got {unknown or 'none'}. "
            "Leave it out for the families of training."
        )
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
    kinds = MADE_OF[materials]
    made_of = kinds[int(rng.random() * len(kinds))] if len(kinds) > 1 else kinds[0]
    best, visible = None, -1.0
    for _ in range(ATTEMPTS):
        image, objects, masks = _compose(rng, size, chosen, made_of)
        if objects:
            image = blur(rng, light(rng, image))
            contrast = min(boundary_contrast(image, mask) for mask in masks)
            if contrast > visible:
                best, visible = (image, objects, masks), contrast
            if visible >= CONTRAST_FLOOR:
                break
    assert best is not None, "an attempt seldom finds no place for its objects, and never twelve in a row"
    image, objects, masks = best
    order = rng.permutation(len(objects))
    names = tuple(objects[i].family for i in order)
    return Scene(
        image=develop(rng, image),
        masks=np.stack([masks[i] for i in order]),
        families=names,
        groups=tuple(GROUPS[name] for name in names),
    )


def check_materials(materials: str) -> None:
    known = get_args(Materials)
    if materials not in known:
        raise ValueError(f"`materials` must be one of {', '.join(known)}, got {materials!r}.")


def _compose(
    rng: np.random.Generator, size: int, families: tuple[str, ...], materials: ObjectMaterials
) -> tuple[np.ndarray, list[SceneObject], list[np.ndarray]]:
    """Lay objects on a background: the picture as float32 (H, W, 3), the objects and their visible masks (H, W)."""
    image = random_background(rng, size, size, several=materials != "one").clip(0, 255).astype(np.float32)
    if materials == "printed" and rng.random() < CROWDED:
        crowd(rng, image, families)
    objects: list[SceneObject] = []
    masks: list[np.ndarray] = []
    whole: list[float] = []

    def add(family: str, drawing: Drawing, behind: list[np.ndarray]) -> None:
        for mask in behind:
            mask[drawing.window] *= 1 - drawing.coverage
        thing = dress(rng, family, drawing, image, materials)
        lay(image, thing)
        mask = np.zeros((size, size), dtype=np.float32)
        mask[drawing.window] = drawing.coverage
        objects.append(thing)
        masks.append(mask)
        whole.append(float(drawing.coverage.sum()))

    for _ in range(1 + int(rng.choice(len(OBJECT_COUNTS), p=OBJECT_COUNTS))):
        family = choose_family(rng, families, "thin" if rng.random() < THIN[materials] else "solid")
        drawing = pose(rng, family, size, size, materials)
        if drawing is None:
            continue
        left = [float(mask.sum() - (mask[drawing.window] * drawing.coverage).sum()) for mask in masks]
        if any(pixels < max(LEAST_VISIBLE * all_pixels, LEAST_PIXELS) for pixels, all_pixels in zip(left, whole)):
            continue
        if rng.random() < 0.4:
            cast_shadow(rng, image, drawing)
        add(family, drawing, masks)
        if materials == "printed" and GROUPS[family] == "solid" and rng.random() < PARTS:
            part = part_of(rng, drawing, image, families)
            if part is not None:
                add(*part, behind=masks[:-1])
    if materials != "one" and rng.random() < GREY:
        image = np.repeat((image @ EYE)[..., None], 3, axis=2)
    return image, objects, masks


__all__ = ["CONTRAST_FLOOR", "Materials", "Scene", "check_materials", "generate_scene"]
