"""Thin families: tools and furniture."""

import numpy as np

from .families import thin
from .sketch import Sketch, arc, smooth


@thin
def glasses(pen: Sketch, rng: np.random.Generator) -> None:
    wide, high, rim = rng.uniform(0.38, 0.48), rng.uniform(0.28, 0.45), rng.uniform(0.05, 0.08)
    for side in (-1, 1):
        if rng.random() < 0.6:
            pen.ring(side * 0.6, 0, wide, high, width=rim)
        else:
            corner = np.array([(-1, -1), (1, -1), (0.8, 1), (-0.8, 1), (-1, -1), (1, -1)]) * [wide, high * 0.8]
            pen.stroke(corner + [side * 0.6, 0], rim)
        hinge = side * (0.6 + wide)
        ear = side * rng.uniform(1.3, 1.6)
        pen.stroke(smooth([(hinge, -0.1), (ear, -0.5), (ear + side * 0.1, -0.3)]), rim * 0.8, tone=-0.3)
    pen.stroke(arc(0, 0, 0.6 - wide, 0.15, start=np.pi, stop=2 * np.pi), rim)


@thin
def chair(pen: Sketch, rng: np.random.Generator) -> None:
    deep, tall, leg = rng.uniform(0.25, 0.4), rng.uniform(0.8, 1.2), rng.uniform(0.05, 0.08)
    seat = np.array([(-0.5, 0.1), (0.35, 0.1), (0.35 + deep, -0.15), (-0.5 + deep, -0.15)])
    feet = rng.uniform(0.8, 1.1)
    for x, y in seat:
        pen.stroke([(x, y), (x * 1.05, y + feet)], leg, tone=-0.2)
    pen.polygon(np.concatenate([seat[:2] + [0, 0.07], seat[2:]]), tone=0.2)
    a, b = seat[3], seat[2]
    top = np.array([rng.uniform(-0.05, 0.15), -tall])
    for post in (a, b):
        pen.stroke([post, post + top], leg)
    pen.stroke([a + top, b + top], leg * 1.5)
    if rng.random() < 0.5:
        for t in np.linspace(0.2, 0.8, rng.integers(2, 5)):
            pen.stroke([a + t * (b - a), a + t * (b - a) + top], leg * 0.6)
    else:
        for t in np.linspace(0.35, 0.8, rng.integers(2, 4)):
            pen.stroke([a + t * top, b + t * top], leg)


@thin
def table(pen: Sketch, rng: np.random.Generator) -> None:
    leg, feet = rng.uniform(0.05, 0.08), rng.uniform(0.7, 1)
    top = np.array([(-1, 0), (0.6, 0), (1, -0.3), (-0.6, -0.3)])
    for x, y in top:
        pen.stroke([(x * 0.93, y), (x * rng.uniform(0.85, 1), y + feet)], leg, tone=-0.2)
    pen.stroke([*top, *top[:2]], leg * 1.2)
    for t in np.linspace(0.15, 0.85, rng.integers(4, 7)):  # a top of slats
        pen.stroke([top[0] + t * (top[1] - top[0]), top[3] + t * (top[2] - top[3])], 0.05, tone=0.2)


@thin
def fork(pen: Sketch, rng: np.random.Generator) -> None:
    tines, wide = rng.integers(3, 5), rng.uniform(0.2, 0.28)
    for x in np.linspace(-wide, wide, tines):
        pen.stroke([(x, -1.1), (x, -0.55), (x * 0.7, -0.4)], 0.07)
    pen.stroke(arc(0, -0.55, wide, 0.3, start=0, stop=np.pi), 0.1)
    handle = np.array([(0, -0.35), (0, 0), (0, 0.6), (0, 1.2)])
    pen.stroke(handle, np.array([0.12, 0.07, 0.11, rng.uniform(0.12, 0.18)]), tone=-0.1)


@thin
def comb(pen: Sketch, rng: np.random.Generator) -> None:
    pen.stroke([(-1, 0), (1, 0)], rng.uniform(0.08, 0.13))
    length = rng.uniform(0.35, 0.6)
    for x in np.linspace(-0.98, 0.98, rng.integers(12, 20)):
        pen.stroke([(x, 0), (x, length)], 0.045)


@thin
def rake(pen: Sketch, rng: np.random.Generator) -> None:
    pen.stroke([(0, -1.6), (0, 0.4)], rng.uniform(0.05, 0.08), tone=0.2)
    wide, fan = rng.uniform(0.5, 0.7), rng.uniform(0.3, 1)
    for x in np.linspace(-wide, wide, rng.integers(6, 11)):
        pen.stroke([(x * (1 - fan), 0.4), (x, 0.85), (x, 1.0)], 0.045, tone=-0.2)
    pen.stroke([(-wide, 0.7), (wide, 0.7)], 0.05, tone=-0.2)


@thin
def scissors(pen: Sketch, rng: np.random.Generator) -> None:
    angle = rng.uniform(0.2, 0.5)
    for side in (-1, 1):
        tip = np.array([np.sin(angle) * side, -np.cos(angle)])
        pen.stroke(np.linspace(-0.45 * tip, 1.3 * tip, 5), np.array([0.11, 0.12, 0.13, 0.09, 0.02]), tone=0.2 * side)
        x, y = -0.75 * tip
        pen.ring(x, y, rng.uniform(0.24, 0.32), rng.uniform(0.28, 0.36), 0.085, turn=side * angle, tone=-0.5)
    pen.ellipse(0, 0, 0.04, tone=-0.8)


@thin
def racket(pen: Sketch, rng: np.random.Generator) -> None:
    wide, high = rng.uniform(0.5, 0.65), rng.uniform(0.65, 0.85)
    n = rng.integers(6, 10)
    for t in np.linspace(-0.85, 0.85, n):
        reach = np.sqrt(1 - t * t)
        pen.stroke([(t * wide, -high * reach), (t * wide, high * reach)], 0.02, tone=0.5)
        pen.stroke([(-wide * reach, t * high), (wide * reach, t * high)], 0.02, tone=0.5)
    pen.ring(0, 0, wide, high, width=rng.uniform(0.06, 0.09))
    pen.stroke([(-wide * 0.5, high * 0.85), (0, high + 0.3), (wide * 0.5, high * 0.85)], 0.05)
    pen.stroke([(0, high + 0.25), (0, high + rng.uniform(0.7, 1))], 0.1, tone=-0.5)


@thin
def hanger(pen: Sketch, rng: np.random.Generator) -> None:
    wire, drop = rng.uniform(0.05, 0.08), rng.uniform(0.4, 0.6)
    pen.stroke([(0, 0), (1, drop), (0.95, drop + 0.1), (-0.95, drop + 0.1), (-1, drop), (0, 0), (1, drop)], wire)
    hook = arc(0, -0.35, rng.uniform(0.13, 0.2), start=-np.pi, stop=np.pi / 2)
    pen.stroke(np.concatenate([hook, [(0, 0)]]), wire, tone=0.2)


@thin
def paperclip(pen: Sketch, rng: np.random.Generator) -> None:
    r, long = rng.uniform(0.24, 0.34), rng.uniform(0.6, 0.9)
    path = [(-r, -long * 0.6)]
    for i, (radius, end) in enumerate([(r, long), (r * 0.9, -long), (r * 0.7, long * 0.7)]):
        sign, middle = (1, path[-1][0] + radius) if i % 2 == 0 else (-1, path[-1][0] - radius)
        path += [*arc(middle, end, radius, start=np.pi if sign > 0 else 0, stop=0 if sign > 0 else -np.pi).tolist()]
    pen.stroke([*path, (path[-1][0], -long * 0.5)], rng.uniform(0.06, 0.09))


@thin
def necklace(pen: Sketch, rng: np.random.Generator) -> None:
    loop = arc(0, 0, rng.uniform(0.6, 0.8), 1, start=-np.pi / 2, stop=1.5 * np.pi)
    pen.stroke(loop, 0.03, tone=-0.3)
    for x, y in loop[:: rng.integers(2, 4)]:
        pen.ellipse(x, y, rng.uniform(0.045, 0.065), tone=rng.uniform(0, 0.5))
    pen.ellipse(0, 1.12, 0.1, 0.15, tone=0.5)


# The strokes of each letter on a grid 2 wide and 3 high: "|" separates strokes, blanks separate points.
ALPHABET = {
    "A": "0,3 1,0 2,3|.4,2 1.6,2",
    "E": "2,0 0,0 0,3 2,3|0,1.5 1.5,1.5",
    "F": "2,0 0,0 0,3|0,1.4 1.5,1.4",
    "H": "0,0 0,3|2,0 2,3|0,1.5 2,1.5",
    "K": "0,0 0,3|2,0 0,1.7 2,3",
    "L": "0,0 0,3 2,3",
    "M": "0,3 0,0 1,1.6 2,0 2,3",
    "N": "0,3 0,0 2,3 2,0",
    "R": "0,3 0,0 1.6,0 2,.7 1.6,1.5 0,1.5|.8,1.5 2,3",
    "S": "2,.4 1.5,0 .4,0 0,.6 .4,1.4 1.6,1.6 2,2.4 1.6,3 .4,3 0,2.6",
    "T": "0,0 2,0|1,0 1,3",
    "V": "0,0 1,3 2,0",
    "X": "0,0 2,3|2,0 0,3",
    "Z": "0,0 2,0 0,3 2,3",
}


@thin
def letters(pen: Sketch, rng: np.random.Generator) -> None:
    """A word of two to four letters."""
    width, slant = rng.uniform(0.22, 0.4), rng.uniform(-0.1, 0.3)
    word = rng.choice(list(ALPHABET), rng.integers(2, 5))
    for i, letter in enumerate(word):
        for line in ALPHABET[letter].split("|"):
            points = np.array([[float(v) for v in point.split(",")] for point in line.split()])
            points[:, 0] += 2.9 * i - slant * points[:, 1]
            pen.stroke(points, width)
    # A line below joins the letters, so that the word is one object.
    pen.stroke([(-0.2 - 3.6 * slant, 3.6), (2.9 * len(word) - 0.7 - 3.6 * slant, 3.6)], width * 0.8)


@thin
def figure(pen: Sketch, rng: np.random.Generator) -> None:
    """A stick figure."""
    limb = rng.uniform(0.07, 0.11)
    pen.ring(0, -1, 0.22, width=limb * 0.8)
    pen.stroke([(0, -0.78), (0, 0.1)], limb)
    for side in (-1, 1):
        hand = (side * rng.uniform(0.4, 0.75), rng.uniform(-0.9, 0.1))
        pen.stroke([(0, -0.6), (side * 0.35, rng.uniform(-0.5, -0.2)), hand], limb * 0.85)
        foot = (side * rng.uniform(0.2, 0.6), rng.uniform(0.8, 1))
        pen.stroke([(0, 0.1), (side * rng.uniform(0.2, 0.35), 0.5), foot, (foot[0] + 0.15, foot[1])], limb)


__all__: list[str] = []
