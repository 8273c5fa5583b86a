"""The outlines of a mask and of its holes, along the edges of its pixels."""

from bisect import bisect_right
from collections import defaultdict

import numpy as np

Ring = list[tuple[int, int]]


def outlines(mask: np.ndarray) -> list[Ring]:
    """The rings of `trace_rings`, sorted by their first corners, row by row.

    So the ring around a hole comes after the ring that its slit leads to, see `edge_left_of_hole`.
    """
    return sorted(trace_rings(mask), key=lambda ring: (ring[0][1], ring[0][0]))


def trace_rings(mask: np.ndarray) -> list[Ring]:
    """The closed outlines of a mask and of its holes: the corners (x, y), from the upper left one on.

    The mask is on the right-hand side. A ring alternates between horizontal and vertical edges. In each row of
    corners, the 1st is connected to the 2nd, the 3rd to the 4th and so on; likewise in each column. Where two pixels
    touch at a corner only (a saddle), this corner counts twice.
    """
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), dtype=np.int8)
    padded[1:-1, 1:-1] = mask
    upper_left, upper_right, lower_left, lower_right = (
        padded[:-1, :-1],
        padded[:-1, 1:],
        padded[1:, :-1],
        padded[1:, 1:],
    )
    total = upper_left + upper_right + lower_left + lower_right
    saddle = (total == 2) & (upper_left == lower_right)
    ys, xs = np.nonzero((total % 2 == 1) | saddle)  # row by row
    copies = np.where(saddle[ys, xs], 2, 1)
    ys, xs, is_saddle = (np.repeat(values, copies) for values in (ys, xs, saddle[ys, xs]))
    along_row = np.arange(len(xs)) ^ 1
    by_column = np.lexsort((ys, xs))
    # At a saddle of the upper right and the lower left pixel, the edge to the left belongs to the lower pixel.
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
    for start in range(len(corners)):  # the first corner of a ring in this order is its upper left one
        if seen[start]:
            continue
        # Below and to the right of this corner is either the mask or a hole. The mask must be on the right.
        right_first = bool(padded[corners[start][1] + 1, corners[start][0] + 1])
        partners = (row_partner, column_partner) if right_first else (column_partner, row_partner)
        ring, here, turn = [], start, 0
        while not seen[here]:
            seen[here] = True
            ring.append(corners[here])
            here = partners[turn][here]
            turn = 1 - turn
        rings.append(ring)
    return rings


def left_edges(rings: list[Ring]) -> dict[int, list[tuple[int, int, int, int]]]:
    """The edges that have the mask to their right, per column of corners and sorted from top to bottom.

    Each is (upper y, lower y, index of the ring, index of the corner it starts from). Because the mask is on the
    right-hand side of the rings, these are the edges that go up.
    """
    edges = defaultdict(list)
    for number, ring in enumerate(rings):
        for corner, ((x, y), (next_x, next_y)) in enumerate(zip(ring, [*ring[1:], ring[0]])):
            if x == next_x and next_y < y:
                edges[x].append((next_y, y, number, corner))
    for column in edges.values():
        column.sort()
    return edges


def edge_left_of_hole(
    mask: np.ndarray, edges: dict[int, list[tuple[int, int, int, int]]], x: int, y: int
) -> tuple[int, int]:
    """The ring and the start corner of the edge that a slit from corner (x, y) to the left ends at.

    Along the slit, the pixels above and below it are in the mask.
    """
    is_inside = mask[y - 1, :x] & mask[y, :x]
    outside = np.flatnonzero(~is_inside)
    column = int(outside[-1]) + 1 if len(outside) else 0
    row = y if column == 0 or not mask[y, column - 1] else y - 1
    # The edges of a column do not overlap, so it is the last one that starts at or above the row.
    _, lower, ring, corner = edges[column][bisect_right(edges[column], row, key=lambda edge: edge[0]) - 1]
    assert lower > row
    return ring, corner


__all__ = ["Ring", "edge_left_of_hole", "left_edges", "outlines", "trace_rings"]
