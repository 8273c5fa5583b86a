"""A mask as COCO polygons, exactly: outlines along the edges of pixels, holes joined to them by slits.

Regions are of pixels that touch by a side. A polygon goes round its region with the region on its right; a hole is
reached from the outline, or from another hole, by a horizontal slit to the left, walked both ways, which encloses
nothing. Filled by the even-odd or the nonzero rule, and by pycocotools, the polygons give the mask again.
"""

from bisect import bisect_right
from collections import defaultdict

import numpy as np

Ring = list[tuple[int, int]]


def mask_to_polygons(mask: np.ndarray, x: int = 0, y: int = 0) -> list[list[int]]:
    """The polygons [x1, y1, x2, y2, ...] of a bool mask (H, W) whose upper left pixel is (x, y) of the picture."""
    rings = _trace_rings(mask)
    rings.sort(key=lambda ring: (ring[0][1], ring[0][0]))
    edges = _left_edges(rings)
    # Where holes are joined: per ring and per corner that an edge starts from, the slit's end and the hole's walk.
    joints: dict[int, dict[int, list[tuple[int, Ring]]]] = defaultdict(lambda: defaultdict(list))
    polygons: list[list[int]] = []
    # A hole's slit ends at a ring that begins higher up, or as high and further left; so it is joined to that later.
    for number in range(len(rings) - 1, -1, -1):
        ring = rings[number]
        walk = _with_joints(ring, joints.pop(number, {}))
        column, row = ring[0]
        if mask[row, column]:
            polygons.append([coordinate for px, py in walk for coordinate in (px + x, py + y)])
        else:
            other, corner = _hit_by_slit(mask, edges, column, row)
            joints[other][corner].append((row, [*walk, walk[0]]))
    return polygons[::-1]


def _trace_rings(mask: np.ndarray) -> list[Ring]:
    """The corners (x, y) of each closed outline, from its upper left one on, with the mask on the right.

    A ring alternates between horizontal and vertical edges; in each row of corners the 1st is joined with the 2nd,
    the 3rd with the 4th and so on, and likewise in each column. Where two pixels touch by a corner there are two.
    """
    height, width = mask.shape
    framed = np.zeros((height + 2, width + 2), dtype=np.int8)
    framed[1:-1, 1:-1] = mask
    upper_left, upper_right, lower_left, lower_right = (
        framed[:-1, :-1],
        framed[:-1, 1:],
        framed[1:, :-1],
        framed[1:, 1:],
    )
    total = upper_left + upper_right + lower_left + lower_right
    saddle = (total == 2) & (upper_left == lower_right)
    ys, xs = np.nonzero((total % 2 == 1) | saddle)  # row by row
    copies = np.where(saddle[ys, xs], 2, 1)
    ys, xs, is_saddle = (np.repeat(values, copies) for values in (ys, xs, saddle[ys, xs]))
    along_row = np.arange(len(xs)) ^ 1
    by_column = np.lexsort((ys, xs))
    # At a saddle of the pixels upper right and lower left, the left edge belongs to the lower one.
    crossed = is_saddle & (upper_right[ys, xs] == 1)
    first = np.flatnonzero(crossed)[::2]
    place = np.empty(len(xs), dtype=np.int64)
    place[by_column] = np.arange(len(xs))
    place[first], place[first + 1] = place[first + 1], place[first]
    by_column[place] = np.arange(len(xs))
    along_column = by_column[place ^ 1]

    corners = list(zip(xs.tolist(), ys.tolist()))
    row_partner, column_partner = along_row.tolist(), along_column.tolist()
    seen = [False] * len(corners)
    rings = []
    for start in range(len(corners)):  # the first corner met of a ring is its upper left one
        if seen[start]:
            continue
        # There a mask lies below and to the right, or a hole does. Either way the mask must be on the right.
        right_first = bool(framed[corners[start][1] + 1, corners[start][0] + 1])
        partners = (row_partner, column_partner) if right_first else (column_partner, row_partner)
        ring, here, turn = [], start, 0
        while not seen[here]:
            seen[here] = True
            ring.append(corners[here])
            here = partners[turn][here]
            turn = 1 - turn
        rings.append(ring)
    return rings


def _left_edges(rings: list[Ring]) -> dict[int, list[tuple[int, int, int, int]]]:
    """Per column of corners the edges with the mask to their right, (upper y, lower y, ring, corner they start from).

    With the mask on the right-hand side these are the edges that go up.
    """
    edges = defaultdict(list)
    for number, ring in enumerate(rings):
        for corner, ((x, y), (next_x, next_y)) in enumerate(zip(ring, [*ring[1:], ring[0]])):
            if x == next_x and next_y < y:
                edges[x].append((next_y, y, number, corner))
    for column in edges.values():
        column.sort()
    return edges


def _hit_by_slit(
    mask: np.ndarray, edges: dict[int, list[tuple[int, int, int, int]]], x: int, y: int
) -> tuple[int, int]:
    """Ring and corner of the edge that a slit from (x, y) to the left meets: both rows beside it are in the mask."""
    beside = mask[y - 1, :x] & mask[y, :x]
    outside = np.flatnonzero(~beside)
    column = int(outside[-1]) + 1 if len(outside) else 0
    row = y if column == 0 or not mask[y, column - 1] else y - 1
    # The edges of a column do not overlap, so it is the last that begins at or above the row.
    _, lower, ring, corner = edges[column][bisect_right(edges[column], row, key=lambda edge: edge[0]) - 1]
    assert lower > row
    return ring, corner


def _with_joints(ring: Ring, joints: dict[int, list[tuple[int, Ring]]]) -> Ring:
    """The ring with the walks round its holes put in where their slits meet its edges, which go up there."""
    walk: Ring = []
    for corner, point in enumerate(ring):
        walk.append(point)
        for y, hole in sorted(joints.get(corner, []), key=lambda joint: -joint[0]):
            walk += [(point[0], y), *hole, (point[0], y)]
    return walk


__all__ = ["mask_to_polygons"]
