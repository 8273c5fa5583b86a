"""Compose an image of cut-out objects with the exact mask of each."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from .appearance import change_appearance
from .backgrounds import Backgrounds, soft_focus
from .camera import photograph
from .objects import CutoutObjects
from .placing import Placed, cast_shadow, paste, place

MIN_VISIBLE = 0.4  # share of an object's pixels in the image that others leave visible; with less it gets no mask
MIN_AREA = 0.002  # of a mask, as a share of the image
MAX_ATTEMPTS = 8  # at an image with at least one mask
COUNT_PROBABILITIES = (0.3, 0.25, 0.2, 0.15, 0.1)  # of one to five objects
SAME_KIND = 0.15  # probability that all objects of an image are copies of one
CLUTTER = 0.35  # probability of small objects without masks behind all others
PART = 0.2  # probability that a large object carries another one, whose pixels belong to both masks


@dataclass
class Composition:
    """A composed image with its masks.

    image: RGB uint8 (H, W, 3).
    masks: float32 (N, H, W) in [0, 1], one per object: the share of each pixel that shows it. Where objects overlap,
        the pixels belong to the object in front. The pixels of a part belong to the part and to the object that
        carries it.
    names: the name of each object.
    """

    image: np.ndarray
    masks: np.ndarray
    names: tuple[str, ...]


def compose(
    rng: np.random.Generator, objects: CutoutObjects, backgrounds: Backgrounds, size: int = 256
) -> Composition:
    """Compose an image of one to five objects, and of parts and clutter.

    The result depends only on the arguments. Bytes are equal for equal versions of NumPy and Pillow.

    size: height and width in pixels, at least 64.
    """
    for _ in range(MAX_ATTEMPTS):
        layers = _Layers(_background(rng, backgrounds, size), size)
        _add_objects(rng, layers, objects, backgrounds)
        kept = layers.visible()
        if kept:
            return Composition(
                image=photograph(rng, layers.image),
                masks=np.stack([layers.masks[number] for number in kept]),
                names=tuple(layers.names[number] for number in kept),
            )
    raise ValueError(
        f"No object of {MAX_ATTEMPTS} attempts covers {MIN_AREA:.1%} of an image. The objects seem to be mostly "
        "transparent; look at them."
    )


@dataclass
class _Layers:
    """The image so far, and of each object its name, its visible mask (H, W) and the area of its whole mask."""

    image: np.ndarray
    size: int
    names: list[str] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)

    def add(self, name: str, placed: Placed, hidden: list[np.ndarray]) -> None:
        """Paste an object, and remove the pixels that it covers from the `hidden` masks."""
        for mask in hidden:
            mask[placed.window] *= 1 - placed.alpha
        paste(self.image, placed)
        mask = np.zeros((self.size, self.size), dtype=np.float32)
        mask[placed.window] = placed.alpha
        self.names.append(name)
        self.masks.append(mask)
        self.areas.append(float(placed.alpha.sum()))

    def visible(self) -> list[int]:
        """The numbers of the objects that are large and visible enough for a mask."""
        smallest = MIN_AREA * self.size**2
        areas = [float(mask.sum()) for mask in self.masks]
        return [
            number
            for number, area in enumerate(areas)
            if area >= max(smallest, MIN_VISIBLE * self.areas[number]) and (self.masks[number] > 0.5).sum() >= 16
        ]


def _background(rng: np.random.Generator, backgrounds: Backgrounds, size: int) -> np.ndarray:
    """RGB float32 (size, size, 3); three in ten are out of focus."""
    crop = backgrounds.crop(rng, size, size)
    if rng.random() < 0.3:
        crop = soft_focus(rng, crop)
    return np.array(crop, dtype=np.float32)


def _add_objects(rng: np.random.Generator, layers: _Layers, objects: CutoutObjects, backgrounds: Backgrounds) -> None:
    size = layers.size
    if rng.random() < CLUTTER:
        _add_clutter(rng, layers, objects)
    count = 1 + int(rng.choice(len(COUNT_PROBABILITIES), p=COUNT_PROBABILITIES))
    same = int(rng.integers(len(objects))) if rng.random() < SAME_KIND else None
    smallest, largest = (0.2, 1.05) if count <= 2 else (0.15, 0.75)
    for _ in range(count):
        index = int(rng.integers(len(objects))) if same is None else same
        length = size * float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
        placed = place(rng, objects[index], size, length)
        if placed is None:
            continue
        placed = _with_new_looks(rng, layers.image, placed, backgrounds, 0.4)
        layers.add(objects.name(index), placed, hidden=layers.masks)
        if length > 0.4 * size and rng.random() < PART:
            _add_part(rng, layers, placed, objects, backgrounds)


def _add_part(
    rng: np.random.Generator, layers: _Layers, host: Placed, objects: CutoutObjects, backgrounds: Backgrounds
) -> None:
    """Place a smaller object on the object that was added last."""
    inside = np.argwhere(host.alpha > 0.5)
    if not len(inside):
        return
    row, column = inside[rng.integers(len(inside))] + (host.rows.start, host.columns.start)
    index = int(rng.integers(len(objects)))
    length = max(host.alpha.shape) * float(rng.uniform(0.15, 0.45))
    placed = place(rng, objects[index], layers.size, length, centre=(float(column), float(row)))
    if placed is None:
        return
    # A part does not reach beyond its host, whose mask is the last one.
    placed = placed._replace(alpha=placed.alpha * layers.masks[-1][placed.window])
    placed = _with_new_looks(rng, layers.image, placed, backgrounds, 0.2)
    layers.add(objects.name(index), placed, hidden=layers.masks[:-1])


def _add_clutter(rng: np.random.Generator, layers: _Layers, objects: CutoutObjects) -> None:
    """Paste small objects without masks, as they are; half of the time all out of focus."""
    for _ in range(rng.integers(3, 13)):
        length = layers.size * float(rng.uniform(0.06, 0.3))
        placed = place(rng, objects[int(rng.integers(len(objects)))], layers.size, length)
        if placed is not None:
            paste(layers.image, placed)
    if rng.random() < 0.5:
        blurred = soft_focus(rng, Image.fromarray(layers.image.clip(0, 255).astype(np.uint8)))
        layers.image[:] = np.asarray(blurred)


def _with_new_looks(
    rng: np.random.Generator, image: np.ndarray, placed: Placed, backgrounds: Backgrounds, shadow: float
) -> Placed:
    """The object with another appearance; with probability `shadow` it also casts a shadow on the image."""
    colours = change_appearance(rng, placed.colours, placed.alpha, image[placed.window], backgrounds)
    placed = placed._replace(colours=colours)
    if rng.random() < shadow:
        cast_shadow(rng, image, placed)
    return placed


__all__ = ["Composition", "compose"]
