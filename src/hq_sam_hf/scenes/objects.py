"""One object: its family's drawing, posed in the picture, in colours that set it off from what lies behind it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .families import GROUPS, sketch_of
from .materials import blurred, several_materials, standing_out
from .prints import printed
from .sketch import Drawing, draw, rotation, warp
from .textures import noise, paint, random_pattern, tilt

ObjectMaterials = Literal["one", "several", "printed"]

LEAST_PIXELS = 24.0
SIZES = {"solid": (0.2, 0.7), "thin": (0.45, 0.95)}  # the longer side of the object as a share of the picture's
PRINTED_SIZES = {**SIZES, "solid": (0.12, 0.9)}
SEVERAL = {"solid": 0.7, "thin": 0.3}  # how often an object has several materials where it may
PRINTED = 0.8  # how often a solid object has prints where it may


@dataclass
class SceneObject:
    """An object of a scene before it is laid down: its drawing, RGB colours (h, w, 3) and opacity (h, w) there."""

    family: str
    drawing: Drawing
    colours: np.ndarray
    opacity: np.ndarray


def pose(rng: np.random.Generator, family: str, h: int, w: int, materials: ObjectMaterials = "one") -> Drawing | None:
    """Draw an instance of the family with random parameters, turn, slant, size and place; None if mostly outside."""
    sketch = sketch_of(family, rng)
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < 0.35 else rng.normal(0, 0.25)
    flip = -1 if rng.random() < 0.5 else 1
    shear, stretch = rng.normal(0, 0.12), rng.uniform(0.85, 1.2)
    matrix = rotation(turn) @ np.array([[flip * stretch, shear], [0, 1 / stretch]])
    low, high = (PRINTED_SIZES if materials == "printed" else SIZES)[GROUPS[family]]
    radius = rng.uniform(low, high) * max(h, w) / 2
    # Anywhere that leaves most of the object in the frame; large ones near the middle.
    room = np.maximum(np.array([w, h]) / 2 - 0.8 * radius, 0.03 * max(h, w))
    centre = np.array([w, h]) / 2 + rng.uniform(-1, 1, 2) * room
    drawing = draw(warp(sketch, matrix, rng.uniform(-0.2, 0.2, 2), radius, centre), h, w)
    if drawing is None or drawing.inside < 0.6 or drawing.coverage.sum() < LEAST_PIXELS:
        return None
    return drawing


def dress(
    rng: np.random.Generator, family: str, drawing: Drawing, behind: np.ndarray, materials: ObjectMaterials = "one"
) -> SceneObject:
    """Give a drawing colours and opacity.

    behind: the RGB picture (H, W, 3) so far, to stand out from. materials: as for
    `generate_scene`.
    """
    ground = behind[drawing.window]
    coverage = drawing.coverage
    group = GROUPS[family]
    texture = _texture(rng, drawing, solid=group == "solid")
    edge = (coverage > 0.02) & (coverage < 0.98)
    faint = rng.random() < 0.15
    colours = (standing_out(rng, texture[edge], ground[edge], faint) + texture).clip(0, 255)
    if materials != "one" and rng.random() < SEVERAL[group]:
        colours = several_materials(rng, drawing, colours, ground, solid=group == "solid")
    if materials == "printed" and group == "solid" and rng.random() < PRINTED:
        colours = printed(rng, drawing, colours, ground)
    opacity = coverage
    if rng.random() < 0.15:  # cloth or glass: a little of the ground shows through
        opacity = coverage * np.float32(rng.uniform(0.8, 0.95))
    return SceneObject(family, drawing, colours, opacity)


def lay(image: np.ndarray, thing: SceneObject) -> None:
    """Put an object on the picture (H, W, 3), in place."""
    ground = image[thing.drawing.window]
    ground += thing.opacity[..., None] * (thing.colours - ground)


def _texture(rng: np.random.Generator, drawing: Drawing, solid: bool) -> np.ndarray:
    """What is added to the object's colour, RGB float32 (h, w, 3): pattern, tones of its parts, and shading."""
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
    if rng.random() < 0.5:  # lit from one side
        texture += (tilt(rng, h, w) * np.float32(rng.uniform(20, 70)))[..., None]
    if solid and rng.random() < 0.4:  # round: darker towards the outline
        depth = blurred(drawing.coverage, 0.08 * max(h, w))
        texture += ((depth - 0.8) * np.float32(rng.uniform(40, 90)))[..., None]
    return texture


def cast_shadow(rng: np.random.Generator, image: np.ndarray, drawing: Drawing) -> None:
    """Darken the picture (H, W, 3) in place where the object's soft shadow falls."""
    size = max(image.shape[:2])
    radius = size * rng.uniform(0.008, 0.03)
    shift = np.rint(rng.uniform(-0.04, 0.04, 2) * size).astype(int)
    reach = int(np.ceil(2 * radius))
    shadow = blurred(np.pad(drawing.coverage, reach), radius) * np.float32(rng.uniform(0.15, 0.5))
    low = np.array([side.start for side in drawing.window]) - reach + shift
    top, left = np.maximum(low, 0)  # the shadow may leave the frame
    shadow = shadow[top - low[0] :, left - low[1] :]
    under = image[top : top + shadow.shape[0], left : left + shadow.shape[1]]
    under *= 1 - shadow[: under.shape[0], : under.shape[1], None]


__all__ = ["LEAST_PIXELS", "ObjectMaterials", "SceneObject", "cast_shadow", "dress", "lay", "pose"]
