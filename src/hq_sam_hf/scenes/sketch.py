"""Vector sketches of objects: filled outlines and strokes, warped as points and then rasterised once.

Only points are warped, never pixels, so masks are exact at every size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Points = np.ndarray | Sequence[Any]  # (n, 2): an array, or pairs and arrays (2,)

SUPERSAMPLING = 4  # sub-pixels per pixel and axis
MIN_STROKE_WIDTH = 1.3  # pixels; a thinner stroke may cover less than half of every pixel and would have no mask


@dataclass
class Part:
    """A filled outline or a stroke.

    points: (n, 2) as (x, y); y points down.
    width: None for a filled outline; for a stroke its width in the units of the points, one number or one per point.
    tone: lighter (up to 1) or darker (down to -1) than the object's colour.
    erase: cut a hole instead of drawing.
    """

    points: np.ndarray
    width: float | np.ndarray | None = None
    tone: float = 0.0
    erase: bool = False


class Sketch:
    """The parts of an object in drawing order, in coordinates of any scale."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def polygon(self, points: Points, tone: float = 0.0, erase: bool = False) -> None:
        self.parts.append(Part(np.asarray(points, dtype=np.float64), None, tone, erase))

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float | None = None,
        turn: float = 0,
        tone: float = 0,
        erase: bool = False,
    ) -> None:
        self.polygon(arc(x, y, rx, ry, turn=turn)[:-1], tone, erase)

    def stroke(self, points: Points, width: float | np.ndarray, tone: float = 0.0) -> None:
        self.parts.append(Part(np.asarray(points, dtype=np.float64), width, tone))

    def ring(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float | None = None,
        width: float = 0.1,
        turn: float = 0,
        tone: float = 0,
    ) -> None:
        self.stroke(arc(x, y, rx, ry, turn=turn), width, tone)


def arc(
    x: float,
    y: float,
    rx: float,
    ry: float | None = None,
    start: float = 0.0,
    stop: float = 2 * np.pi,
    turn: float = 0.0,
) -> np.ndarray:
    """Points (n, 2) on an ellipse around (x, y) from angle `start` to `stop`; `turn` rotates the ellipse. Radians."""
    ry = rx if ry is None else ry
    angles = np.linspace(start, stop, max(4, round(abs(stop - start) * 6)))
    u, v = rx * np.cos(angles), ry * np.sin(angles)
    c, s = np.cos(turn), np.sin(turn)
    return np.stack([x + c * u - s * v, y + s * u + c * v], axis=1)


def smooth(points: Points, closed: bool = False, steps: int = 6) -> np.ndarray:
    """A Catmull-Rom curve through the points, with `steps` points for each segment."""
    p = np.asarray(points, dtype=np.float64)
    if closed:
        p = np.concatenate([p[-1:], p, p[:2]])
    else:
        p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    a, b, c, d = p[:-3], p[1:-2], p[2:-1], p[3:]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.transpose(1, 0, 2).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-2:-1]])


def mirror(right: Points) -> np.ndarray:
    """Complete an outline symmetric about x = 0 from its right half, given from top to bottom."""
    right = np.asarray(right, dtype=np.float64)
    return np.concatenate([right, right[::-1] * [-1, 1]])


def rotation(angle: float) -> np.ndarray:
    """The rotation matrix (2, 2) for an angle in radians, from x towards y."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def warp(sketch: Sketch, matrix: np.ndarray, perspective: np.ndarray, radius: float, centre: np.ndarray) -> list[Part]:
    """Transform the parts of a sketch to pixels: linear map `matrix` (2, 2), then `perspective` (2,), then scaling.

    The longer side of the object's box becomes 2 `radius` pixels, and its centre moves to `centre` (x, y).
    """
    points = np.concatenate([part.points for part in sketch.parts])  # all at once: an object has dozens of parts
    drawn = np.repeat([not part.erase for part in sketch.parts], [len(part.points) for part in sketch.parts])
    low, high = points[drawn].min(axis=0), points[drawn].max(axis=0)
    unit = max(float((high - low).max()) / 2, 1e-6)
    points = (points - (low + high) / 2) / unit
    points = (points @ matrix.T) / (1 + points @ perspective)[:, None]
    low, high = points[drawn].min(axis=0), points[drawn].max(axis=0)
    scale = 2 * radius / max(float((high - low).max()), 1e-6)
    points = (points - (low + high) / 2) * scale + centre
    # The perspective is weak, so one factor is accurate enough for the width of all strokes.
    width_factor = scale / unit * float(np.sqrt(abs(np.linalg.det(matrix))))
    warped, start = [], 0
    for part in sketch.parts:
        stop = start + len(part.points)
        width = None if part.width is None else np.maximum(part.width * width_factor, MIN_STROKE_WIDTH)
        warped.append(Part(points[start:stop], width, part.tone, part.erase))
        start = stop
    return warped


@dataclass
class Drawing:
    """A rasterised object in its window of the image.

    window: slices (rows, columns) of the image.
    coverage: float32 (h, w) in [0, 1], the share of each pixel that the object covers.
    tone: float32 (h, w) in [-1, 1], see `Part`.
    inside: the share of the object's box that lies in the image, 0 to 1.
    """

    window: tuple[slice, slice]
    coverage: np.ndarray
    tone: np.ndarray
    inside: float


def draw(parts: list[Part], height: int, width: int) -> Drawing | None:
    """Rasterise parts given in pixels of an image (height, width). Returns None if they lie outside."""
    margin = max(float(np.max(part.width)) / 2 if part.width is not None else 0.0 for part in parts) + 1
    points = np.concatenate([part.points for part in parts if not part.erase])
    low, high = np.floor(points.min(axis=0) - margin), np.ceil(points.max(axis=0) + margin)
    x0, y0 = np.maximum(low, 0).astype(int)
    x1, y1 = np.minimum(high, [width, height]).astype(int)
    if x1 <= x0 or y1 <= y0:
        return None
    coverage = _paint(parts, (x0, y0), (x1 - x0, y1 - y0), SUPERSAMPLING, toned=False)
    tone = np.zeros_like(coverage)
    if any(part.tone for part in parts):
        tone = _paint(parts, (x0, y0), (x1 - x0, y1 - y0), 2, toned=True) * (255 / 127) - 128 / 127
    inside = float((x1 - x0) * (y1 - y0) / np.prod(high - low))
    return Drawing((slice(y0, y1), slice(x0, x1)), coverage, tone, inside)


def _paint(parts: list[Part], origin: tuple[int, int], size: tuple[int, int], scale: int, toned: bool) -> np.ndarray:
    canvas = Image.new("L", (size[0] * scale, size[1] * scale), 128 if toned else 0)
    pen = ImageDraw.Draw(canvas)
    for part in parts:
        if toned and part.erase:
            continue
        value = round(128 + 127 * part.tone) if toned else 0 if part.erase else 255
        points = (part.points - origin) * scale
        if part.width is None:
            pen.polygon(points.ravel().tolist(), fill=value)
        elif np.ndim(part.width):
            pen.polygon(_ribbon(points, np.asarray(part.width) * scale).ravel().tolist(), fill=value)
        else:
            _stroke(pen, points, float(part.width) * scale, value)
    return np.asarray(canvas.reduce(scale), dtype=np.float32) / 255


def _stroke(pen: ImageDraw.ImageDraw, points: np.ndarray, width: float, value: int) -> None:
    pen.line(points.ravel().tolist(), fill=value, width=max(1, round(width)))
    # Pillow leaves a notch at every bend. A disc fills it, and also rounds the ends.
    step = np.diff(points, axis=0)
    turn = np.abs(step[1:, 0] * step[:-1, 1] - step[1:, 1] * step[:-1, 0])
    straight = (step[1:] * step[:-1]).sum(axis=1)
    bends = points[1:-1][turn * width > 3 * np.maximum(straight, 1e-9)]
    r = width / 2
    for x, y in [points[0].tolist(), points[-1].tolist(), *bends.tolist()]:
        pen.ellipse((x - r, y - r, x + r, y + r), fill=value)


def _ribbon(points: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The outline (2 n, 2) of a stroke through n points with a width for each point."""
    along = np.gradient(points, axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    side = np.stack([-along[:, 1], along[:, 0]], axis=1) * widths[:, None] / 2
    return np.concatenate([points + side, (points - side)[::-1]])


__all__ = ["Drawing", "Part", "Points", "Sketch", "arc", "draw", "mirror", "rotation", "smooth", "warp"]
