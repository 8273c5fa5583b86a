"""Generate a scene: an image and the exact mask of each of its objects, from a seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from . import solid_nature, solid_shapes, solid_things, thin_nature, thin_structures, thin_things  # noqa: F401, they register families
from .background import random_background
from .camera import add_lighting, add_noise, blur
from .contrast import LUMA_WEIGHTS, boundary_contrast
from .crowds import add_crowd, draw_part
from .families import FAMILIES, GROUPS, Group, choose_family, trained_families
from .objects import MIN_PIXELS, ObjectMaterials, SceneObject, cast_shadow, colour_object, paste_object, pose
from .sketch import Drawing

MIN_IMAGE_SIZE = 64
MIN_VISIBLE = 0.5  # the share of an object's pixels that later objects must leave visible
MIN_CONTRAST = 24.0  # `boundary_contrast` of every object, before noise and JPEG
MAX_ATTEMPTS = 12
OBJECT_COUNT_PROBABILITIES = (0.35, 0.3, 0.2, 0.15)  # of trying one to four objects; some of them find no place
THIN_PROBABILITY: dict[ObjectMaterials, float] = {"one": 0.5, "several": 0.5, "printed": 0.3}  # of a thin object
GREY_PROBABILITY = 0.12  # of a grey image; scenes with the materials "one" are never grey
CROWD_PROBABILITY = 0.6  # of a crowd in a printed scene
PART_PROBABILITY = 0.7  # of a part with its own mask on a solid object of a printed scene

Materials = Literal[ObjectMaterials, "mixed", "all"]

# What each scene of a kind is made of: one of these, chosen with equal probability.
MATERIAL_CHOICES: dict[Materials, tuple[ObjectMaterials, ...]] = {
    "one": ("one",),
    "several": ("several",),
    "printed": ("printed",),
    "mixed": ("several", "one"),
    "all": ("one", "several", "printed", "printed"),
}


@dataclass
class Scene:
    """A generated image with its masks.

    image: RGB uint8 (H, W, 3).
    masks: float32 (N, H, W) in [0, 1], one per object: the share of each pixel that shows it. Where objects overlap,
        the pixels belong to the object in front. The pixels of a part belong to the part and to its host.
    families: the family of each object.
    groups: "solid" or "thin" for each object.

    The order of the objects is random and does not tell which one is in front.
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
    """Generate a scene of one to four objects; printed scenes may also have parts of objects with their own masks.

    The scene depends only on the arguments, not on the order of calls or the process. Bytes are equal for equal
    versions of NumPy and Pillow.

    Args:
        seed: not negative.
        size: height and width in pixels, at least 64. Masks are averages of 4 x 4 sub-pixels.
        families: names of `FAMILIES` to choose from, by default `trained_families()`. Half of the objects are thin; in
            printed scenes three in ten.
        key: numbers that are combined with the seed, such as (split, index). Every key gives another scene.
        materials: how objects are coloured.
            "one": each object has one colour, with a pattern and shading.
            "several": most objects have parts, rims, bands or spots in other colours. Backgrounds are richer, and some
                images are grey.
            "printed": like "several", and most solid objects also have prints (drawings, rings, colour fields,
                reliefs), shade and highlights. Some carry a part, which is an object with its own mask. Most
                backgrounds show a crowd of other objects without masks.
            "mixed": each scene is "one" or "several", with equal probability.
            "all": half of the scenes are "printed", a quarter "one" and a quarter "several".
    """
    check_materials(materials)
    if size < MIN_IMAGE_SIZE:
        raise ValueError(f"`size` must be at least {MIN_IMAGE_SIZE} pixels to show thin objects, got {size}.")
    chosen = tuple(trained_families() if families is None else families)
    unknown = [family for family in chosen if family not in FAMILIES]
    if unknown or not chosen:
        raise ValueError(
            f"`families` must name one or more of {', '.join(sorted(FAMILIES))}; got {unknown or 'none'}. "
            "Without `families`, those of training are used."
        )
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
    choices = MATERIAL_CHOICES[materials]
    object_materials = choices[int(rng.random() * len(choices))] if len(choices) > 1 else choices[0]
    layout = _visible_layout(rng, size, chosen, object_materials)
    order = rng.permutation(len(layout.objects))
    names = tuple(layout.objects[i].family for i in order)
    return Scene(
        image=add_noise(rng, layout.image),
        masks=np.stack([layout.masks[i] for i in order]),
        families=names,
        groups=tuple(GROUPS[name] for name in names),
    )


def check_materials(materials: str) -> None:
    known = get_args(Materials)
    if materials not in known:
        raise ValueError(f"`materials` must be one of {', '.join(known)}, got {materials!r}.")


@dataclass
class _Layout:
    """The objects of a scene pasted on its background.

    image: float32 (H, W, 3). masks: the visible mask (H, W) of each object. areas: pixels of each object's whole mask.
    """

    image: np.ndarray
    objects: list[SceneObject] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)

    def leaves_others_visible(self, drawing: Drawing) -> bool:
        """Whether enough of every object remains visible behind a new one."""
        remaining = [float(mask.sum() - (mask[drawing.window] * drawing.coverage).sum()) for mask in self.masks]
        return all(pixels >= max(MIN_VISIBLE * area, MIN_PIXELS) for pixels, area in zip(remaining, self.areas))

    def add(self, scene_object: SceneObject, hidden: list[np.ndarray]) -> None:
        """Paste an object, and remove the pixels that it covers from the `hidden` masks."""
        drawing = scene_object.drawing
        for mask in hidden:
            mask[drawing.window] *= 1 - drawing.coverage
        paste_object(self.image, scene_object)
        mask = np.zeros(self.image.shape[:2], dtype=np.float32)
        mask[drawing.window] = drawing.coverage
        self.objects.append(scene_object)
        self.masks.append(mask)
        self.areas.append(float(drawing.coverage.sum()))


def _visible_layout(
    rng: np.random.Generator, size: int, families: tuple[str, ...], materials: ObjectMaterials
) -> _Layout:
    """Compose layouts until every object has `MIN_CONTRAST`; after `MAX_ATTEMPTS` take the one with the most contrast.

    The image of the layout is uint8, with lighting and blur.
    """
    best, best_contrast = None, -1.0
    for _ in range(MAX_ATTEMPTS):
        layout = _compose(rng, size, families, materials)
        if layout.objects:
            layout.image = blur(rng, add_lighting(rng, layout.image))
            contrast = min(boundary_contrast(layout.image, mask) for mask in layout.masks)
            if contrast > best_contrast:
                best, best_contrast = layout, contrast
            if best_contrast >= MIN_CONTRAST:
                break
    assert best is not None, "few attempts have no object, so twelve in a row do not happen"
    return best


def _compose(rng: np.random.Generator, size: int, families: tuple[str, ...], materials: ObjectMaterials) -> _Layout:
    """Paste random objects on a random background."""
    image = random_background(rng, size, size, rich=materials != "one").clip(0, 255).astype(np.float32)
    if materials == "printed" and rng.random() < CROWD_PROBABILITY:
        add_crowd(rng, image, families)
    layout = _Layout(image)
    for _ in range(1 + int(rng.choice(len(OBJECT_COUNT_PROBABILITIES), p=OBJECT_COUNT_PROBABILITIES))):
        family = choose_family(rng, families, "thin" if rng.random() < THIN_PROBABILITY[materials] else "solid")
        drawing = pose(rng, family, size, size, materials)
        if drawing is None or not layout.leaves_others_visible(drawing):
            continue
        if rng.random() < 0.4:
            cast_shadow(rng, image, drawing)
        layout.add(colour_object(rng, family, drawing, image, materials), hidden=layout.masks)
        if materials == "printed" and GROUPS[family] == "solid" and rng.random() < PART_PROBABILITY:
            part = draw_part(rng, drawing, image, families)
            if part is not None:
                # The last mask is the host's, which keeps the pixels of its part.
                layout.add(colour_object(rng, *part, image, materials), hidden=layout.masks[:-1])
    if materials != "one" and rng.random() < GREY_PROBABILITY:
        layout.image = np.repeat((image @ LUMA_WEIGHTS)[..., None], 3, axis=2)
    return layout


__all__ = ["MIN_CONTRAST", "Materials", "Scene", "check_materials", "generate_scene"]
