"""Thin families: plants, animals and other things in nature."""

import numpy as np

from .families import thin
from .sketch import Sketch, arc, smooth


def _wander(rng: np.random.Generator, start: np.ndarray, heading: float, length: float, n: int = 5) -> np.ndarray:
    """Points (n, 2) of a random path of the given length, roughly in the direction `heading` (radians)."""
    angles = heading + np.cumsum(rng.normal(0, 0.18, n - 1))
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * length / (n - 1)
    return np.concatenate([[start], start + np.cumsum(steps, axis=0)])


def _fork(
    pen: Sketch, rng: np.random.Generator, start: np.ndarray, heading: float, length: float, width: float
) -> None:
    """Draw a stem that ends in two or three thinner stems, recursively down to twigs."""
    path = _wander(rng, start, heading, length)
    pen.stroke(path, np.linspace(width, width * 0.65, len(path)))
    if length < 0.22:
        return
    spread = rng.uniform(0.3, 0.6)
    for side in rng.permutation([-1, 1, 0])[: 2 + (rng.random() < 0.25)]:
        at = path[-1] if side else path[3]
        _fork(
            pen, rng, at, heading + side * spread + rng.normal(0, 0.12), length * rng.uniform(0.62, 0.82), width * 0.65
        )


@thin
def tree(pen: Sketch, rng: np.random.Generator) -> None:
    _fork(pen, rng, np.zeros(2), -np.pi / 2, rng.uniform(0.55, 0.7), rng.uniform(0.08, 0.13))


@thin
def branch(pen: Sketch, rng: np.random.Generator) -> None:
    stem = _wander(rng, np.zeros(2), 0.0, 2, 9)
    pen.stroke(stem, np.linspace(rng.uniform(0.07, 0.11), 0.03, 9))
    for i in range(1, 8):
        side = (-1) ** i
        twig = _wander(rng, stem[i], side * rng.uniform(0.5, 0.9), rng.uniform(0.35, 0.7))
        pen.stroke(twig, np.linspace(0.045, 0.02, len(twig)))
        if rng.random() < 0.6:
            pen.stroke(_wander(rng, twig[2], side * rng.uniform(0, 0.4), 0.3), 0.02)
        if rng.random() < 0.3:  # a bud
            pen.ellipse(twig[-1][0], twig[-1][1], 0.045, tone=0.5)


@thin
def fern(pen: Sketch, rng: np.random.Generator) -> None:
    bend = rng.uniform(-0.5, 0.5)
    t = np.linspace(0, 1, 16)
    stem = np.stack([bend * t**2, -2 * t], axis=1)
    pen.stroke(stem, np.linspace(0.06, 0.02, 16), tone=-0.3)
    reach = rng.uniform(0.55, 0.8)
    for i in range(2, 16):
        length = reach * np.sin(np.pi * min(1, 0.25 + 0.75 * t[i])) + 0.08
        for side in (-1, 1):
            tip = stem[i] + length * np.array([side * np.cos(0.45), -np.sin(0.45)])
            leaflet = np.linspace(stem[i], tip, 5)
            pen.stroke(leaflet, np.array([0.03, 0.07, 0.06, 0.04, 0.01]))


@thin
def grass(pen: Sketch, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(8, 16)):
        x = rng.normal(0, 0.12)
        blade = smooth([(x, 0), (x * 2, -0.6), (x * 4 + rng.normal(0, 0.2), -rng.uniform(0.9, 1.6))], steps=4)
        pen.stroke(blade, np.linspace(0.06, 0.01, len(blade)), tone=rng.uniform(-0.3, 0.3))
    if rng.random() < 0.4:
        pen.ellipse(blade[-1][0], blade[-1][1], 0.05, 0.14, tone=-0.5)


@thin
def hair(pen: Sketch, rng: np.random.Generator) -> None:
    curl, lean = rng.uniform(0.05, 0.2), rng.uniform(-0.5, 0.5)
    for x in np.linspace(-0.5, 0.5, rng.integers(9, 18)):
        y = np.linspace(0, 1, 7) * rng.uniform(1.3, 2)
        sway = curl * np.sin(y * 4 + rng.normal(0, 0.4)) + lean * y**2 / 2
        lock = np.stack([x * (1 + 0.6 * y) + sway, y], axis=1)
        pen.stroke(smooth(lock, steps=3), rng.uniform(0.015, 0.03), tone=rng.uniform(-0.3, 0.3))
    pen.stroke([(-0.55, 0), (0.55, 0)], 0.07, tone=-0.4)


@thin
def feather(pen: Sketch, rng: np.random.Generator) -> None:
    t = np.linspace(0, 1, 22)
    quill = np.stack([rng.uniform(-0.4, 0.4) * t**2, -2 * t], axis=1)
    wide, gap = rng.uniform(0.3, 0.5), rng.integers(5, 20)
    for i in range(5, 22):
        if i == gap:
            continue
        for side in (-1, 1):
            length = wide * np.sin(np.pi * (0.2 + 0.75 * t[i]))
            pen.stroke([quill[i], quill[i] + length * np.array([side, -0.7])], 0.035, tone=0.15 * side)
    pen.stroke(quill, np.linspace(0.05, 0.02, 22), tone=-0.4)


@thin
def web(pen: Sketch, rng: np.random.Generator) -> None:
    rays, turns = rng.integers(7, 12), rng.integers(4, 7)
    angles = (np.arange(rays) + rng.uniform(-0.2, 0.2, rays)) * 2 * np.pi / rays
    out = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    reach = rng.uniform(0.8, 1.1, rays)[:, None]
    for ray in out * reach:
        pen.stroke([(0, 0), ray], 0.02)
    for r in np.linspace(0.2, 0.92, turns):
        corners = out * reach * r
        corners = np.concatenate([corners, corners[:1]])
        sag = (corners[:-1] + corners[1:]) / 2 * 0.9
        loop = np.stack([corners[:-1], sag], axis=1).reshape(-1, 2)
        pen.stroke(np.concatenate([loop, loop[:1]]), 0.018)


@thin
def insect(pen: Sketch, rng: np.random.Generator) -> None:
    spread = rng.uniform(0.7, 1)
    for y, knee in zip((-0.25, 0, 0.25), (-0.5, 0.05, 0.45)):
        for side in (-1, 1):
            foot = (side * spread, knee * 1.3 + rng.uniform(0.05, 0.25))
            pen.stroke([(0, y), (side * spread * 0.6, knee), foot], 0.045, tone=-0.3)
    for side in (-1, 1):
        feeler = smooth([(0, -0.5), (side * 0.15, -0.85), (side * rng.uniform(0.25, 0.5), -1.05)])
        pen.stroke(feeler, 0.03, tone=-0.3)
    slim = rng.uniform(0.09, 0.14)
    pen.ellipse(0, 0.62, slim * 1.3, 0.42)
    pen.ellipse(0, 0.02, slim, 0.26, tone=-0.2)
    pen.ellipse(0, -0.42, slim * 1.15, 0.15, tone=-0.4)


@thin
def antlers(pen: Sketch, rng: np.random.Generator) -> None:
    wide, tines = rng.uniform(0.6, 0.9), rng.integers(3, 6)
    for side in (-1, 1):
        beam = smooth([(side * 0.1, 0.6), (side * wide, 0.3), (side * (wide + 0.15), -0.4), (side * 0.55, -1)])
        pen.stroke(beam, np.linspace(0.11, 0.04, len(beam)))
        for i in np.linspace(3, len(beam) - 4, tines).astype(int):
            tine = np.linspace(beam[i], beam[i] + [-side * rng.uniform(0.05, 0.25), -rng.uniform(0.3, 0.5)], 3)
            pen.stroke(tine, np.linspace(0.07, 0.03, 3))
    pen.stroke([(-0.15, 0.62), (0.15, 0.62)], 0.12, tone=-0.3)


@thin
def reed(pen: Sketch, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(2, 5)):
        x, lean = rng.uniform(-0.4, 0.4), rng.uniform(-0.4, 0.4)
        stem = smooth([(x, 1), (x + lean * 0.3, 0), (x + lean, -rng.uniform(0.7, 1))], steps=4)
        pen.stroke(stem, 0.03)
        pen.stroke(stem[-3:-1], 0.11, tone=-0.5)
        leaf = smooth([(x, 1), (x - lean * 0.5, 0.3), (x - lean * 1.6, rng.uniform(-0.4, 0.1))], steps=4)
        pen.stroke(leaf, np.linspace(0.06, 0.01, len(leaf)), tone=0.2)


@thin
def vine(pen: Sketch, rng: np.random.Generator) -> None:
    """A climbing stem with curled tendrils."""
    x = np.linspace(-1, 1, 9)
    stem = smooth(np.stack([x, 0.3 * np.sin(x * rng.uniform(3, 6))], axis=1), steps=4)
    pen.stroke(stem, 0.045)
    for i in range(3, len(stem) - 1, rng.integers(5, 8)):
        side = rng.choice([-1, 1])
        t = np.linspace(0, rng.uniform(5, 9), 18)
        radius = 0.22 * np.exp(-t / 5)
        centre = stem[i] + [0, side * 0.3]
        curl = centre + np.stack([radius * np.sin(t), -side * radius * np.cos(t)], axis=1)
        pen.stroke(np.concatenate([stem[i : i + 1], curl]), 0.025)
        if rng.random() < 0.5:
            pen.polygon(stem[i] + arc(0.08, -side * 0.08, 0.1, 0.05, turn=-side * 0.8), tone=-0.3)


__all__: list[str] = []
