"""Thin families: wires, frames, grids and machines."""

import numpy as np

from .families import thin
from .sketch import Sketch, arc, smooth


@thin
def wire(pen: Sketch, rng: np.random.Generator) -> None:
    points = rng.uniform(-1, 1, (rng.integers(4, 8), 2))
    points = points[np.argsort(points[:, 0])] + rng.normal(0, 0.15, points.shape)
    pen.stroke(smooth(points, steps=8), rng.uniform(0.03, 0.07))
    if rng.random() < 0.5:  # a plug
        pen.polygon(points[-1] + np.array([(-0.02, -0.09), (0.2, -0.07), (0.2, 0.07), (-0.02, 0.09)]), tone=-0.4)


@thin
def spring(pen: Sketch, rng: np.random.Generator) -> None:
    turns, depth = rng.integers(5, 10), rng.uniform(0.04, 0.13)
    t = np.linspace(0, turns * 2 * np.pi, turns * 14)
    x = t / t[-1] * 2 - 1
    coil = np.stack([x + depth * np.cos(t), rng.uniform(0.2, 0.4) * np.sin(t)], axis=1)
    pen.stroke(np.concatenate([[(-1.3, 0)], coil, [(1.3, 0)]]), rng.uniform(0.03, 0.05))


@thin
def chain(pen: Sketch, rng: np.random.Generator) -> None:
    links, bend, width = rng.integers(6, 11), rng.uniform(-0.5, 0.5), rng.uniform(0.02, 0.035)
    x = np.linspace(-1, 1, links)
    for i in range(links):
        slim = 0.35 if i % 2 else 0.7  # every second link is seen from the side
        angle = np.arctan2(-2 * bend * x[i], 1)
        pen.ring(x[i], bend * (1 - x[i] ** 2), 1.35 / links, slim / links, width, turn=angle, tone=0.3 * (i % 2) - 0.1)


@thin
def ladder(pen: Sketch, rng: np.random.Generator) -> None:
    top, rail = rng.uniform(0.22, 0.4), rng.uniform(0.05, 0.09)
    foot = top + rng.uniform(0, 0.25)
    for side in (-1, 1):
        pen.stroke([(side * top, -1.1), (side * foot, 1.1)], rail)
    for y in np.linspace(-0.95, 0.95, rng.integers(5, 10)):
        x = top + (foot - top) * (y + 1.1) / 2.2
        pen.stroke([(-x, y), (x, y)], rail * 0.75, tone=0.2)


@thin
def fence(pen: Sketch, rng: np.random.Generator) -> None:
    slats, wide, tip = rng.integers(6, 11), rng.uniform(0.05, 0.08), rng.uniform(0, 0.15)
    for y in (-0.25, 0.3):
        pen.stroke([(-1.1, y), (1.1, y)], 0.06, tone=-0.3)
    for x in np.linspace(-1, 1, slats):
        pen.polygon(
            [(x - wide / 2, -0.5), (x, -0.5 - tip), (x + wide / 2, -0.5), (x + wide / 2, 0.6), (x - wide / 2, 0.6)]
        )


@thin
def lattice(pen: Sketch, rng: np.random.Generator) -> None:
    bar, n = rng.uniform(0.04, 0.07), rng.integers(3, 6)
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1), (1, -1)]
    if rng.random() < 0.5:
        for t in np.linspace(-1, 1, n + 1)[1:-1]:
            pen.stroke([(t, -1), (t, 1)], bar)
            pen.stroke([(-1, t), (1, t)], bar)
    else:
        for t in np.linspace(-2, 2, 2 * n + 1)[1:-1]:
            low, high = max(-1, -1 - t), min(1, 1 - t)
            pen.stroke([(low, low + t), (high, high + t)], bar)
            pen.stroke([(-low, low + t), (-high, high + t)], bar)
    pen.stroke(corners, bar * 1.5, tone=-0.2)


@thin
def net(pen: Sketch, rng: np.random.Generator) -> None:
    n, sag = rng.integers(5, 8), rng.uniform(0.1, 0.3)
    t = np.linspace(-1, 1, n)
    x, y = np.meshgrid(t, t)
    y = y + sag * (1 - x**2) * (y + 1) + rng.normal(0, 0.03, x.shape)
    x = x * (1 - 0.15 * (y + 1)) + rng.normal(0, 0.03, x.shape)
    knots = np.stack([x, y], axis=2)
    for i in range(n):
        pen.stroke(smooth(knots[i], steps=3), 0.025)
        pen.stroke(smooth(knots[:, i], steps=3), 0.025)
    pen.stroke(knots[0], 0.06, tone=-0.4)


@thin
def truss(pen: Sketch, rng: np.random.Generator) -> None:
    bays, high, bar = rng.integers(5, 9), rng.uniform(0.15, 0.3), rng.uniform(0.03, 0.05)
    x = np.linspace(-1.2, 1.2, bays + 1)
    rise = rng.uniform(0, 0.5) * (1 - (x / 1.2) ** 2)
    upper, lower = np.stack([x, -high - rise], axis=1), np.stack([x, np.full(bays + 1, high)], axis=1)
    pen.stroke(upper, bar * 1.3)
    pen.stroke(lower, bar * 1.3)
    for i in range(bays + 1):
        pen.stroke([upper[i], lower[i]], bar)
        if i < bays:
            pen.stroke([upper[i], lower[i + 1]] if i % 2 else [lower[i], upper[i + 1]], bar)


@thin
def antenna(pen: Sketch, rng: np.random.Generator) -> None:
    rod = rng.uniform(0.035, 0.055)
    pen.stroke([(0, -0.5), (0, 1.3)], rod * 1.6, tone=-0.3)
    pen.stroke([(-1.1, -0.5), (1.1, -0.5)], rod * 1.2)
    for x in np.linspace(-1, 1, rng.integers(5, 9)):
        reach = 0.28 + 0.22 * (1 - x) / 2
        pen.stroke([(x - 0.12, -0.5 - reach), (x + 0.12, -0.5 + reach)], rod)
    for side in (-1, 1):
        pen.stroke([(0, 0.6), (side * 0.35, 1.3)], rod)


@thin
def umbrella(pen: Sketch, rng: np.random.Generator) -> None:
    """The frame of an umbrella without its cloth."""
    bone, ribs, deep = rng.uniform(0.035, 0.05), rng.integers(5, 8), rng.uniform(0.6, 0.9)
    for x in np.linspace(-1, 1, ribs):
        t = np.linspace(0, 1, 7)
        rib = np.stack([x * np.sin(t * np.pi / 2), -deep * np.cos(t * np.pi / 2) * (1 - 0.1 * abs(x))], axis=1)
        pen.stroke(rib, bone)
        pen.stroke([(0, -0.25), rib[3]], bone * 0.7, tone=0.2)
    r = rng.uniform(0.13, 0.2)
    crook = arc(-r, 0.95, r, start=0, stop=np.pi)
    pen.stroke(np.concatenate([[(0, -deep - 0.12)], crook]), bone * 1.5, tone=-0.3)


def _wheel(pen: Sketch, x: float, y: float, radius: float, tyre: float, spokes: int, turn: float) -> None:
    for angle in turn + np.arange(spokes) * 2 * np.pi / spokes:
        pen.stroke([(x, y), (x + radius * np.cos(angle), y + radius * np.sin(angle))], tyre * 0.35, tone=0.4)
    pen.ring(x, y, radius, width=tyre, tone=-0.4)
    pen.ellipse(x, y, radius * 0.12, tone=-0.2)


@thin
def wheel(pen: Sketch, rng: np.random.Generator) -> None:
    _wheel(pen, 0, 0, 1, rng.uniform(0.07, 0.14), int(rng.integers(6, 17)), rng.uniform(0, 1))


@thin
def bicycle(pen: Sketch, rng: np.random.Generator) -> None:
    r, tube = rng.uniform(0.45, 0.55), rng.uniform(0.05, 0.075)
    for x in (-0.75, 0.75):
        _wheel(pen, x, 0.3, r, rng.uniform(0.045, 0.07), int(rng.integers(6, 11)), rng.uniform(0, 1))
    crank, seat, head = np.array([-0.1, 0.35]), np.array([-0.3, -0.35]), np.array([0.5, -0.35])
    pen.stroke([(-0.75, 0.3), crank, head, seat, (-0.75, 0.3)], tube)
    pen.stroke([crank, seat + (seat - crank) * 0.25], tube)
    pen.stroke([(0.75, 0.3), head + [-0.05, -0.15]], tube)
    bar = rng.uniform(-0.25, 0.1)
    pen.stroke(smooth([head + [-0.05, -0.15], (0.6, -0.6), (0.62 + bar, -0.5 + abs(bar) / 2)]), tube, tone=-0.4)
    saddle = seat + (seat - crank) * 0.28
    pen.stroke([saddle - [0.15, 0], saddle + [0.15, 0]], tube * 1.6, tone=-0.5)
    pen.ring(crank[0], crank[1], 0.11, width=0.04, tone=-0.3)


@thin
def helix(pen: Sketch, rng: np.random.Generator) -> None:
    """A double helix: two strands and the rungs between them."""
    turns, wide, strand = rng.uniform(1, 2), rng.uniform(0.25, 0.4), rng.uniform(0.04, 0.06)
    y = np.linspace(-1.1, 1.1, 40)
    x = wide * np.sin(np.pi * turns * y)
    for i in range(1, 40, 3):
        pen.stroke([(-x[i], y[i]), (x[i], y[i])], strand * 0.6, tone=0.3)
    for side in (-1, 1):
        pen.stroke(np.stack([side * x, y], axis=1), strand, tone=0.2 * side)


@thin
def cage(pen: Sketch, rng: np.random.Generator) -> None:
    """A bird cage: a dome of bars."""
    bars, wide, bar = rng.integers(6, 10), rng.uniform(0.55, 0.75), rng.uniform(0.03, 0.045)
    for t in np.linspace(-1, 1, bars):
        dome = arc(0, -0.3, wide * t, 0.7, start=-np.pi / 2, stop=0)
        pen.stroke(np.concatenate([dome, [(wide * t, 0.9)]]), bar)
    for y in (-0.3, 0.3, 0.9):
        pen.ring(0, y, wide, 0.09, width=bar * 1.2, tone=-0.2)
    pen.ring(0, -1.1, 0.1, width=bar)


__all__: list[str] = []
