"""One object of a scene: a random pose of its family, colours that contrast with the background, a shadow."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .families import GROUPS, sketch_of
from .materials import add_materials, blurred, contrasting_colour
from .prints import add_prints
from .sketch import Drawing, draw, rotation, warp
from .textures import noise, paint, random_pattern, tilt

ObjectMaterials = Literal["one", "several", "printed"]

MIN_PIXELS = 24.0  # the smallest area of an object that is drawn
SIZES = {"solid": (0.2, 0.7), "thin": (0.45, 0.95)}  # range of the object's longer side, as a share of the image's
PRINTED_SIZES = {**SIZES, "solid": (0.12, 0.9)}
MATERIALS_PROBABILITY = {"solid": 0.7, "thin": 0.3}  # of several materials, unless `materials` is "one"
PRINTS_PROBABILITY = 0.8  # of prints on a solid object, if `materials` is "printed"


@dataclass
class SceneObject:
    """An object before it is pasted into the image: RGB colours (h, w, 3) and opacity (h, w) in its window."""

    family: str
    drawing: Drawing
    colours: np.ndarray
    opacity: np.ndarray


def pose(rng: np.random.Generator, family: str, h: int, w: int, materials: ObjectMaterials = "one") -> Drawing | None:
    """Draw a random instance of the family with random rotation, shear, size and place.

    Returns None if too little of it lies in the image.
    """
    sketch = sketch_of(family, rng)
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < 0.35 else rng.normal(0, 0.25)
    flip = -1 if rng.random() < 0.5 else 1
    shear, stretch = rng.normal(0, 0.12), rng.uniform(0.85, 1.2)
    matrix = rotation(turn) @ np.array([[flip * stretch, shear], [0, 1 / stretch]])
    low, high = (PRINTED_SIZES if materials == "printed" else SIZES)[GROUPS[family]]
    radius = rng.uniform(low, high) * max(h, w) / 2
    # The centre may lie anywhere that keeps most of the object in the image, so large objects lie near the middle.
    room = np.maximum(np.array([w, h]) / 2 - 0.8 * radius, 0.03 * max(h, w))
    centre = np.array([w, h]) / 2 + rng.uniform(-1, 1, 2) * room
    drawing = draw(warp(sketch, matrix, rng.uniform(-0.2, 0.2, 2), radius, centre), h, w)
    if drawing is None or drawing.inside < 0.6 or drawing.coverage.sum() < MIN_PIXELS:
        return None
    return drawing


def colour_object(
    rng: np.random.Generator, family: str, drawing: Drawing, image: np.ndarray, materials: ObjectMaterials = "one"
) -> SceneObject:
    """Choose the colours and opacity of a drawn object.

    image: the RGB image (H, W, 3) so far, which the object contrasts with. materials: see `generate_scene`.
    """
    background = image[drawing.window]
    coverage = drawing.coverage
    group = GROUPS[family]
    texture = _texture(rng, drawing, solid=group == "solid")
    edge = (coverage > 0.02) & (coverage < 0.98)
    faint = rng.random() < 0.15
    colours = (contrasting_colour(rng, texture[edge], background[edge], faint) + texture).clip(0, 255)
    if materials != "one" and rng.random() < MATERIALS_PROBABILITY[group]:
        colours = add_materials(rng, drawing, colours, background, solid=group == "solid")
    if materials == "printed" and group == "solid" and rng.random() < PRINTS_PROBABILITY:
        colours = add_prints(rng, drawing, colours, background)
    opacity = coverage
    if rng.random() < 0.15:  # slightly transparent, like cloth or glass
        opacity = coverage * np.float32(rng.uniform(0.8, 0.95))
    return SceneObject(family, drawing, colours, opacity)


def paste_object(image: np.ndarray, scene_object: SceneObject) -> None:
    """Paste an object into the image (H, W, 3) in place."""
    behind = image[scene_object.drawing.window]
    behind += scene_object.opacity[..., None] * (scene_object.colours - behind)


def _texture(rng: np.random.Generator, drawing: Drawing, solid: bool) -> np.ndarray:
    """The variation that is added to the object's colour, RGB float32 (h, w, 3): tones of parts, pattern, shading."""
    h, w = drawing.coverage.shape
    unit = max(h, w) / 8
    texture = paint(drawing.tone * 90, np.zeros(3, np.float32), rng.uniform(0.7, 1, 3).astype(np.float32))
    kind = rng.random()
    if kind < (0.55 if solid else 0.3):
        pattern = random_pattern(rng, h, w, unit) - np.float32(0.5)
        tint = rng.normal(0, 1, 3).astype(np.float32) * 0.4 + 1
        # A strong pattern would cut a thin object into dashes.
        strength = rng.uniform(10, 50) if not solid or rng.random() < 0.8 else rng.uniform(50, 110)
        texture += pattern[..., None] * (tint * np.float32(strength))
    elif kind < 0.8:
        texture += (noise(rng, h, w, max(unit, 3)) - 0.5)[..., None] * np.float32(40)
    if rng.random() < 0.5:  # light from one side
        texture += (tilt(rng, h, w) * np.float32(rng.uniform(20, 70)))[..., None]
    if solid and rng.random() < 0.4:  # darker towards the outline, like a round body
        depth = blurred(drawing.coverage, 0.08 * max(h, w))
        texture += ((depth - 0.8) * np.float32(rng.uniform(40, 90)))[..., None]
    return texture


def cast_shadow(rng: np.random.Generator, image: np.ndarray, drawing: Drawing) -> None:
    """Draw the object's soft shadow into the image (H, W, 3) in place."""
    size = max(image.shape[:2])
    radius = size * rng.uniform(0.008, 0.03)
    shift = np.rint(rng.uniform(-0.04, 0.04, 2) * size).astype(int)
    reach = int(np.ceil(2 * radius))
    shadow = blurred(np.pad(drawing.coverage, reach), radius) * np.float32(rng.uniform(0.15, 0.5))
    low = np.array([side.start for side in drawing.window]) - reach + shift
    top, left = np.maximum(low, 0)  # the shadow may extend beyond the image
    shadow = shadow[top - low[0] :, left - low[1] :]
    under = image[top : top + shadow.shape[0], left : left + shadow.shape[1]]
    under *= 1 - shadow[: under.shape[0], : under.shape[1], None]


__all__ = ["MIN_PIXELS", "ObjectMaterials", "SceneObject", "cast_shadow", "colour_object", "paste_object", "pose"]
