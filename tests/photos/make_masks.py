"""Draw the masks of the photos from outlines that were traced by hand: `python tests/photos/make_masks.py`.

The outlines of `images/NAME.jpg` are in `outlines/NAME.txt`, and its masks are `masks/NAME/OBJECT.png`. Each object
starts with a line "[OBJECT]". Every other line is a shape, which is drawn over the earlier ones. An indented line
continues the line before it.

    curve X,Y X,Y! ...        a smooth closed curve, with corners at the points with an exclamation mark
    polygon X,Y X,Y ...       straight lines between the points
    stroke WIDTH X,Y X,Y      a straight bar between two points
    ellipse X,Y ACROSS,DOWN   centre and half axes
    object OBJECT             all shapes of another object of the photo

"without" in front of a shape erases it: for gaps, and for objects in front. Coordinates are in pixels. The corner of
the image is (0, 0), the centre of its first pixel (0.5, 0.5).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

HERE = Path(__file__).parent
FOLDERS = (HERE, HERE / "work", HERE / "final")  # each has images/, masks/ and outlines/
SUPERSAMPLING = 8
STEPS = 12  # straight pieces of a curve between two points


@dataclass
class Shape:
    """A closed outline (N, 2). If `removed`, it is erased from the shapes drawn before it."""

    outline: np.ndarray
    removed: bool = False


def curve(text: str) -> np.ndarray:
    """The outline of a curve through the points of `text`, with `STEPS` points for each of them."""
    corner = np.array([word.endswith("!") for word in text.split()])
    points = polygon(text.replace("!", ""))
    chords = np.roll(points, -1, axis=0) - points  # from each point to the next
    lengths = np.linalg.norm(chords, axis=1, keepdims=True)
    slopes = chords / lengths
    before, after = np.roll(lengths, 1, axis=0), lengths
    tangents = (np.roll(slopes, 1, axis=0) * after + slopes * before) / (before + after)
    leaving = np.where(corner[:, None], slopes, tangents)
    arriving = np.roll(np.where(corner[:, None], np.roll(slopes, 1, axis=0), tangents), -1, axis=0)
    t = (np.arange(STEPS) / STEPS)[:, None, None]
    # A cubic Hermite curve between each point and the next.
    pieces = (
        (2 * t**3 - 3 * t**2 + 1) * points
        + (3 * t**2 - 2 * t**3) * np.roll(points, -1, axis=0)
        + (t**3 - 2 * t**2 + t) * leaving * lengths
        + (t**3 - t**2) * arriving * lengths
    )
    return pieces.swapaxes(0, 1).reshape(-1, 2)


def polygon(text: str) -> np.ndarray:
    return np.array([[float(value) for value in point.split(",")] for point in text.split()])


def stroke(text: str) -> np.ndarray:
    width, _, ends = text.partition(" ")
    start, end = polygon(ends)
    along = (end - start) / np.linalg.norm(end - start)
    side = np.array([-along[1], along[0]]) * float(width) / 2
    return np.array([start + side, end + side, end - side, start - side])


def ellipse(text: str) -> np.ndarray:
    centre, half_axes = polygon(text)
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    return centre + half_axes * np.stack([np.cos(angles), np.sin(angles)], axis=1)


KINDS = {"curve": curve, "polygon": polygon, "stroke": stroke, "ellipse": ellipse}


def read_outlines(path: Path) -> dict[str, list[Shape]]:
    """The shapes of every object in an outlines file, {OBJECT: [shapes in the order of drawing]}."""
    lines = path.read_text(encoding="utf-8").replace("\n ", " ").splitlines()
    found: dict[str, list[tuple[bool, str, str]]] = {}
    for line in filter(None, lines):
        if line.startswith("["):
            shapes = found.setdefault(line.strip("[]"), [])
        else:
            kind, _, value = line.removeprefix("without ").partition(" ")
            shapes.append((line.startswith("without "), kind, value))

    def shapes_of(name: str) -> list[Shape]:
        result = []
        for removed, kind, value in found[name]:
            if kind != "object":
                result.append(Shape(KINDS[kind](value), removed))
            elif removed:
                result += [Shape(shape.outline, removed=True) for shape in shapes_of(value) if not shape.removed]
            else:
                result += shapes_of(value)
        return result

    return {name: shapes_of(name) for name in found}


def draw(shapes: list[Shape], size: tuple[int, int]) -> np.ndarray:
    """The mask, bool (H, W), of a photo of `size` (width, height): the pixels that are covered by more than half."""
    width, height = size
    large = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    pen = ImageDraw.Draw(large)
    for shape in shapes:
        # Pillow's origin is the centre of the first pixel.
        corners = shape.outline * SUPERSAMPLING - 0.5
        pen.polygon([(x, y) for x, y in corners], fill=0 if shape.removed else 255)
    return np.asarray(large.resize(size, Image.Resampling.BOX)) > 128


def main() -> None:
    for folder in FOLDERS:
        for path in sorted((folder / "outlines").iterdir()):
            with Image.open(folder / "images" / f"{path.stem}.jpg") as image:
                size = image.size
            target = folder / "masks" / path.stem
            target.mkdir(parents=True, exist_ok=True)
            for name, shapes in read_outlines(path).items():
                Image.fromarray(draw(shapes, size).astype(np.uint8) * 255).save(target / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
