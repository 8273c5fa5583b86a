"""Solid families: plants, animals and other things in nature."""

import numpy as np

from .families import solid
from .sketch import Sketch, arc, mirror, smooth


@solid
def apple(pen: Sketch, rng: np.random.Generator) -> None:
    dip, low = rng.uniform(0.1, 0.25), rng.uniform(0.35, 0.6)
    half = [(0, -0.75 + dip), (0.4, -0.85), (0.88, -0.45), (0.85, 0.2), (low, 0.8), (0.2, 0.9), (0, 0.83)]
    pen.polygon(mirror(smooth(half)))
    pen.stroke(smooth([(0, -0.6), (0.05, -0.9), (rng.uniform(-0.1, 0.25), -1.15)]), 0.09, tone=-0.6)
    if rng.random() < 0.7:
        pen.ellipse(0.32, -1, 0.28, 0.11, turn=rng.uniform(-0.7, 0.2), tone=-0.3)


@solid
def leaf(pen: Sketch, rng: np.random.Generator) -> None:
    y = np.linspace(-1, 1, 24)
    widest, wide = rng.uniform(-0.3, 0.4), rng.uniform(0.3, 0.65)
    x = wide * (1 - y**2) ** rng.uniform(0.6, 1) * (1 + widest * y)
    if rng.random() < 0.5:
        x *= 1 - 0.18 * (np.arange(24) % 2)  # a serrated edge
    pen.polygon(mirror(np.stack([x, y], axis=1)))
    pen.stroke([(0, -0.9), (0, rng.uniform(1.2, 1.5))], 0.05, tone=-0.45)
    for v in np.linspace(-0.5, 0.7, 6):
        for side in (-1, 1):
            pen.stroke([(0, v), (side * wide * 0.65 * (1 - v**2), v - 0.25)], 0.025, tone=-0.3)


@solid
def flower(pen: Sketch, rng: np.random.Generator) -> None:
    petals, length = rng.integers(5, 10), rng.uniform(0.32, 0.45)
    if rng.random() < 0.7:
        pen.stroke(smooth([(0, 0), (rng.uniform(-0.2, 0.2), 1), (rng.uniform(-0.3, 0.3), 1.9)]), 0.1, tone=-0.5)
        pen.ellipse(0.3, 1.3, 0.34, 0.13, turn=-0.5, tone=-0.5)
    for angle in np.arange(petals) * 2 * np.pi / petals:
        x, y = 0.6 * np.cos(angle), 0.6 * np.sin(angle)
        pen.ellipse(x, y, length, 1.7 / petals, turn=angle, tone=rng.uniform(0, 0.3))
    pen.ellipse(0, 0, rng.uniform(0.22, 0.35), tone=-0.5)


@solid
def mushroom(pen: Sketch, rng: np.random.Generator) -> None:
    stem, flare, tall = rng.uniform(0.15, 0.28), rng.uniform(1, 1.5), rng.uniform(0.6, 1)
    pen.polygon(mirror(smooth([(stem, -0.1), (stem, 0.4), (stem * flare, tall), (0, tall + 0.05)])), tone=0.35)
    cap = arc(0, 0.05, 0.85, rng.uniform(0.6, 0.95), start=np.pi, stop=2 * np.pi)
    pen.polygon(np.concatenate([cap, arc(0, 0.05, 0.85, 0.15, start=0, stop=np.pi)]))
    for _ in range(rng.integers(0, 7)):
        pen.ellipse(rng.uniform(-0.5, 0.5), rng.uniform(-0.5, -0.15), rng.uniform(0.06, 0.12), 0.06, tone=0.7)


@solid
def cloud(pen: Sketch, rng: np.random.Generator) -> None:
    n = rng.integers(4, 8)
    for x in np.linspace(-0.8, 0.8, n):
        radius = rng.uniform(0.25, 0.5) * (1.2 - 0.5 * abs(x))
        pen.ellipse(x, -radius * 0.5, radius, tone=rng.uniform(0, 0.2))
    pen.polygon(smooth([(-0.9, -0.1), (0.9, -0.1), (0.95, 0.15), (-0.95, 0.15)], closed=True))


@solid
def cactus(pen: Sketch, rng: np.random.Generator) -> None:
    wide = rng.uniform(0.3, 0.42)
    pen.stroke([(0, -0.8), (0, 1)], wide)
    for side, y in ((-1, rng.uniform(-0.1, 0.5)), (1, rng.uniform(-0.1, 0.5))):
        reach = side * rng.uniform(0.55, 0.75)
        pen.stroke([(0, y), (reach, y), (reach, y - rng.uniform(0.35, 0.7))], wide * 0.7)
    for x in (-0.08, 0.08):
        pen.stroke([(x, -0.75), (x, 0.95)], 0.025, tone=-0.4)
    if rng.random() < 0.5:
        pen.polygon(mirror([(0.4, 0.85), (0.28, 1.4)]), tone=-0.5)


@solid
def fish(pen: Sketch, rng: np.random.Generator) -> None:
    high, fork = rng.uniform(0.3, 0.55), rng.uniform(0.3, 0.5)
    fin = rng.uniform(0.2, 0.45)
    pen.polygon(smooth([(-0.3, -high * 0.7), (0, -high - fin), (0.45, -high - fin * 0.4), (0.4, 0)]), tone=-0.3)
    pen.polygon([(-0.1, high * 0.6), (0.15, high + fin * 0.7), (0.35, high * 0.5)], tone=-0.3)
    pen.polygon(smooth([(0.6, 0), (1.3, -fork), (1.15, 0), (1.3, fork)], closed=True, steps=4), tone=-0.3)
    x = np.linspace(-1, 0.9, 16)
    half = high * np.sin(np.pi * ((x + 1) / 2.05) ** 0.75)
    pen.polygon(np.concatenate([np.stack([x, -half], axis=1), np.stack([x, half], axis=1)[::-1]]))
    pen.stroke(arc(-0.62, 0, 0.2, high * 0.6, start=-1.2, stop=1.2), 0.03, tone=-0.4)
    pen.ellipse(-0.7, -0.08, 0.07, tone=0.8)
    pen.ellipse(-0.7, -0.08, 0.035, tone=-0.9)


@solid
def bird(pen: Sketch, rng: np.random.Generator) -> None:
    plump, head = rng.uniform(0.32, 0.46), rng.uniform(0.2, 0.28)
    for x in (-0.1, 0.12):
        pen.stroke([(x, 0.3), (x - 0.05, 0.85), (x - 0.2, 0.9)], 0.05, tone=-0.5)
    pen.polygon([(0.4, -0.1), (rng.uniform(1, 1.4), rng.uniform(-0.3, 0.3)), (1, 0.35), (0.4, 0.25)], tone=-0.2)
    pen.polygon([(-0.75, -0.5), (-rng.uniform(1.05, 1.3), -0.38), (-0.75, -0.3)], tone=-0.6)
    pen.ellipse(0, 0.05, 0.68, plump, turn=0.3)
    pen.ellipse(-0.6, -0.4, head)
    pen.polygon(smooth([(-0.2, -0.1), (0.35, -0.15), (0.75, 0.2), (0.2, 0.25)], closed=True), tone=-0.35)
    pen.ellipse(-0.67, -0.45, 0.05, tone=-0.9)


@solid
def hand(pen: Sketch, rng: np.random.Generator) -> None:
    wide = rng.uniform(0.2, 0.26)
    for x, length in zip((-0.36, -0.12, 0.12, 0.36), (0.75, 0.95, 0.88, 0.65)):
        if rng.random() < 0.85:
            tip = (x * rng.uniform(1.2, 2.2), -0.3 - length * rng.uniform(0.85, 1.1))
            pen.stroke([(x, 0), (x * 1.1, -0.3), tip], wide)
    pen.stroke([(0.1, 0.55), (0.5, 0.3), (rng.uniform(0.8, 1), rng.uniform(-0.2, 0.15))], wide)
    pen.polygon(smooth([(-0.48, -0.3), (0.48, -0.3), (0.5, 0.3), (0.3, 0.7), (-0.3, 0.7), (-0.48, 0.2)], closed=True))
    pen.polygon(mirror([(0.3, 0.5), (0.28, rng.uniform(0.9, 1.3))]))


@solid
def cat(pen: Sketch, rng: np.random.Generator) -> None:
    swing = rng.uniform(-0.4, 0.4)
    pen.stroke(smooth([(0.3, 0.9), (0.85, 0.85), (1 + swing / 3, 0.3), (1.1 + swing, -0.2)]), 0.15)
    pen.polygon(mirror(smooth([(0.1, -0.4), (0.35, 0), (rng.uniform(0.45, 0.6), 0.6), (0.45, 1), (0, 1)])))
    for side in (-1, 1):
        pen.polygon([(side * 0.42, -0.55), (side * rng.uniform(0.35, 0.48), -1.2), (side * 0.05, -0.85)])
        pen.polygon([(side * 0.36, -0.7), (side * 0.37, -1.05), (side * 0.18, -0.85)], tone=0.4)
    pen.ellipse(0, -0.6, rng.uniform(0.4, 0.47), 0.37)
    for side in (-1, 1):
        pen.ellipse(side * 0.17, -0.65, 0.08, tone=0.8)
        pen.ellipse(side * 0.17, -0.65, 0.04, tone=-0.9)
    pen.polygon([(-0.06, -0.5), (0.06, -0.5), (0, -0.43)], tone=-0.6)


@solid
def butterfly(pen: Sketch, rng: np.random.Generator) -> None:
    upper, lower = rng.uniform(0.8, 1.1), rng.uniform(0.5, 0.8)
    for side in (-1, 1):
        wing = smooth([(0, -0.1), (upper * 0.5, -0.75), (upper, -0.8), (upper * 0.9, -0.1), (0, 0.1)], closed=True)
        pen.polygon(wing * [side, 1])
        hind = smooth([(0, 0), (lower, 0.1), (lower * 0.9, 0.75), (0.35, 0.7), (0, 0.2)], closed=True)
        pen.polygon(hind * [side, 1], tone=-0.2)
        pen.ellipse(side * upper * 0.65, -0.45, 0.17, tone=0.5)
        pen.ellipse(side * lower * 0.6, 0.4, 0.12, tone=-0.5)
        pen.stroke(smooth([(0, -0.35), (side * 0.12, -0.75), (side * 0.3, -0.95)]), 0.035, tone=-0.6)
    pen.ellipse(0, 0.1, 0.08, 0.5, tone=-0.7)


__all__: list[str] = []
