"""Solid families: man-made objects."""

import numpy as np

from .families import solid
from .sketch import Sketch, arc, mirror, smooth


@solid
def bottle(pen: Sketch, rng: np.random.Generator) -> None:
    neck, body, shoulder = rng.uniform(0.12, 0.2), rng.uniform(0.32, 0.5), rng.uniform(-0.5, -0.1)
    half = [(neck, -1), (neck, shoulder - 0.25), (body, shoulder + 0.15), (body, 0.95)]
    pen.polygon(mirror([half[0], *smooth(half[1:], steps=5), (body * 0.9, 1)]))
    pen.polygon(mirror([(neck * 1.3, -1.08), (neck * 1.3, -0.9)]), tone=-0.4)
    pen.polygon(mirror([(body, low := rng.uniform(0.2, 0.4)), (body, low + 0.4)]), tone=rng.choice([-0.35, 0.5]))


@solid
def mug(pen: Sketch, rng: np.random.Generator) -> None:
    top, bottom, height = rng.uniform(0.5, 0.7), rng.uniform(0.4, 0.65), rng.uniform(0.55, 0.85)
    pen.ring(top * 0.95, 0, rng.uniform(0.25, 0.4), height * 0.55, width=rng.uniform(0.1, 0.18))
    half = np.concatenate([[(top, -height)], arc(0, height, bottom, 0.13, start=0, stop=np.pi / 2)])
    pen.polygon(mirror(half))
    pen.ellipse(0, -height, top, 0.16, tone=-0.3)
    pen.ellipse(0, -height + 0.03, top * 0.85, 0.11, tone=-0.6)


@solid
def teapot(pen: Sketch, rng: np.random.Generator) -> None:
    wide, high = rng.uniform(0.65, 0.8), rng.uniform(0.5, 0.65)
    pen.ring(-wide, 0, 0.32, high * 0.65, width=rng.uniform(0.09, 0.14))
    lip = rng.uniform(0.2, 0.3)
    pen.polygon(
        smooth([(0.4, 0.3), (1.0, -0.1), (1.3, -0.5), (1.3 + lip, -0.5), (1.25, 0.1), (0.5, 0.5)], closed=True)
    )
    pen.ellipse(0, 0, wide, high)
    pen.ellipse(0, -high * 0.85, 0.4, 0.13, tone=-0.3)
    pen.ellipse(0, -high - 0.12, 0.1, tone=0.2)
    pen.polygon(mirror([(0.45, high * 0.8), (0.5, high * 1.05)]), tone=-0.3)


@solid
def house(pen: Sketch, rng: np.random.Generator) -> None:
    wide, tall, roof = rng.uniform(0.7, 1.1), rng.uniform(0.6, 1), rng.uniform(0.5, 0.9)
    x = rng.choice([-1, 1]) * wide * rng.uniform(0.4, 0.6)
    pen.polygon([(x - 0.1, 0), (x - 0.1, -roof), (x + 0.12, -roof), (x + 0.12, 0)], tone=-0.4)
    pen.polygon(mirror([(wide, 0), (wide, tall)]))
    pen.polygon(mirror([(rng.uniform(0, 0.3), -roof), (wide * 1.2, 0.05)]), tone=rng.choice([-0.5, -0.3, 0.3]))
    door = rng.uniform(-0.4, 0.4) * wide
    pen.polygon([(door - 0.15, tall), (door - 0.15, 0.4), (door + 0.15, 0.4), (door + 0.15, tall)], tone=-0.6)
    for x in (-0.65 * wide, 0.65 * wide):
        pen.polygon([(x - 0.15, 0.2), (x + 0.15, 0.2), (x + 0.15, 0.48), (x - 0.15, 0.48)], tone=0.6)


@solid
def car(pen: Sketch, rng: np.random.Generator) -> None:
    hood, boot, roof = rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.5), rng.uniform(0.55, 0.8)
    cabin = [(-1.2 + boot, -0.1), (-1 + boot, -roof), (0.9 - hood, -roof), (1.3 - hood, -0.1)]
    pen.polygon(cabin)
    glass = np.asarray(cabin) * [0.82, 0.82] + [0.02, -0.06]
    pen.polygon(glass, tone=-0.5)
    pen.polygon(smooth([(-1.3, 0.35), (-1.3, -0.1), (0, -0.17), (1.2, -0.05), (1.4, 0.35)], steps=4))
    pen.stroke([((glass[1] + glass[2]) / 2), (0, 0)], 0.07)
    for x in (-0.75, 0.8):
        pen.ellipse(x, 0.35, rng.uniform(0.24, 0.3), tone=-0.7)
        pen.ellipse(x, 0.35, 0.13, tone=0.3)


@solid
def shoe(pen: Sketch, rng: np.random.Generator) -> None:
    heel, ankle, toe = rng.uniform(0, 0.35), rng.uniform(0.5, 1.0), rng.uniform(0.25, 0.4)
    back = [(-1, 0.3 - heel), (-0.98, -ankle), (-0.45, -ankle + 0.05)]
    upper = [(-0.3, -0.3), (0.3, -0.05), (0.85, 0.3 - toe * 0.5), (1.05, 0.3)]
    pen.polygon(smooth([*back, *upper, (-0.1, 0.3), (-0.6, 0.3 - heel)], closed=True, steps=5))
    pen.polygon([(-1, 0.25 - heel), (-0.5, 0.25 - heel), (0.1, 0.24), (1.06, 0.24), (1.05, 0.4), (-0.1, 0.4),
                 (-0.45, 0.33 - heel), (-0.65, 0.4), (-0.98, 0.4)], tone=-0.5)  # fmt: skip
    for x in np.linspace(-0.25, 0.3, 4):
        pen.stroke([(x, -0.22 + 0.25 * x), (x + 0.14, -0.05 + 0.25 * x)], 0.05, tone=0.6)


@solid
def key(pen: Sketch, rng: np.random.Generator) -> None:
    wide = rng.uniform(0.16, 0.22)
    pen.polygon([(0, -wide / 2), (1.5, -wide / 2), (1.6, 0), (1.5, wide / 2), (0, wide / 2)])
    for x in np.linspace(0.95, 1.4, rng.integers(2, 5)):
        pen.polygon([(x - 0.06, 0), (x + 0.06, 0), (x + 0.06, y := rng.uniform(0.2, 0.38)), (x - 0.06, y)])
    pen.ellipse(-0.2, 0, rng.uniform(0.4, 0.5), rng.uniform(0.35, 0.55))
    pen.ellipse(-0.3, 0, rng.uniform(0.12, 0.22), erase=True)


@solid
def shirt(pen: Sketch, rng: np.random.Generator) -> None:
    sleeve, drop, wide = rng.uniform(0.3, 0.8), rng.uniform(0.1, 0.7), rng.uniform(0.45, 0.6)
    elbow = np.array([wide + sleeve, -0.6 + drop])
    pen.polygon(mirror([(0.2, -0.9), (0.45, -0.85), elbow, elbow + [-0.25, 0.3], (wide, -0.2), (wide, 1)]))
    pen.ellipse(0, -0.92, 0.22, rng.uniform(0.12, 0.3), erase=True)
    if rng.random() < 0.5:
        for y in np.linspace(-0.45, 0.8, 5):
            pen.ellipse(0, y, 0.04, tone=0.6)


@solid
def hammer(pen: Sketch, rng: np.random.Generator) -> None:
    wide, head = rng.uniform(0.07, 0.12), rng.uniform(0.14, 0.22)
    pen.polygon(mirror([(wide, -0.8), (wide * 1.3, 1)]), tone=rng.uniform(-0.2, 0.3))
    claw = [(0.1, -0.85 - head), (0.5, -0.95 - head / 2), (0.75, -0.6), (0.35, -0.8), (0.1, -0.8 + head)]
    pen.polygon([(-0.55, -0.85 - head), *claw, (-0.55, -0.8 + head)], tone=-0.4)
    pen.polygon([(-0.7, -0.9 - head), (-0.5, -0.9 - head), (-0.5, -0.75 + head), (-0.7, -0.75 + head)], tone=-0.5)


@solid
def boat(pen: Sketch, rng: np.random.Generator) -> None:
    pen.polygon([(-1, 0.5), (rng.uniform(0.9, 1.2), 0.45), (0.7, rng.uniform(0.8, 1)), (-0.75, 0.9)], tone=-0.4)
    pen.stroke([(0, 0.5), (0, -1.1)], 0.08, tone=-0.5)
    pen.polygon(smooth([(0.07, -1), (0.5, -0.4), (rng.uniform(0.7, 1), 0.3)]).tolist() + [(0.07, 0.3)], tone=0.3)
    pen.polygon([(-0.08, -0.8), (-0.08, 0.3), (-rng.uniform(0.5, 0.85), 0.3)], tone=0.1)


@solid
def rocket(pen: Sketch, rng: np.random.Generator) -> None:
    wide = rng.uniform(0.25, 0.4)
    pen.polygon(
        mirror([(wide, 0.25), (fin := wide + rng.uniform(0.25, 0.5), 0.75), (fin, 1), (wide, 0.75)]), tone=-0.5
    )
    pen.polygon(mirror(smooth([(0, -1.2), (wide * 0.8, -0.7), (wide, 0), (wide * 0.8, 0.8)])))
    pen.ellipse(0, -0.4, wide * 0.5, tone=0.7)
    pen.ellipse(0, -0.4, wide * 0.35, tone=-0.6)
    if rng.random() < 0.5:
        pen.polygon(mirror([(wide * 0.6, 0.8), (wide * 0.7, 1.0), (0, rng.uniform(1.2, 1.5))]), tone=0.5)


@solid
def guitar(pen: Sketch, rng: np.random.Generator) -> None:
    waist, low = rng.uniform(0.28, 0.36), rng.uniform(0.5, 0.6)
    pen.polygon(mirror([(0.09, -1.5), (0.07, -0.2)]), tone=-0.4)
    pen.polygon(mirror([(0.16, -1.8), (0.12, -1.45)]), tone=-0.5)
    body = [(0.02, -0.4), (0.35, -0.3), (waist, 0.05), (low, 0.45), (0.35, 0.85), (0.02, 0.92)]
    pen.polygon(mirror(smooth(body)))
    pen.ellipse(0, 0.1, 0.16, tone=-0.7)
    pen.polygon(mirror([(0.2, 0.55), (0.2, 0.62)]), tone=-0.6)


@solid
def lamp(pen: Sketch, rng: np.random.Generator) -> None:
    pen.polygon(mirror([(0.06, 0), (0.06, 0.9)]), tone=-0.4)
    pen.polygon(mirror(smooth([(0.06, 0.75), (0.15, 0.9), (rng.uniform(0.35, 0.5), 1)])), tone=-0.4)
    pen.polygon(mirror([(rng.uniform(0.25, 0.5), -0.9), (rng.uniform(0.65, 0.85), 0.1)]), tone=0.3)


__all__: list[str] = []
