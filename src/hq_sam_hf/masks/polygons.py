"""Convert masks to COCO polygons that reproduce every pixel, with holes.

The polygons follow the edges of the pixels. Each encloses one 4-connected component, whose pixels touch at their
edges, and runs around it with the component on its right. COCO polygons have no holes, so a polygon reaches its holes
by slits: a horizontal line from the hole to the left, to the outline or to another hole, which is run along in both
directions and encloses nothing. Filled by the even-odd rule, the nonzero rule or pycocotools, the polygons give the
same mask again.
"""

from bisect import bisect_right
from collections import defaultdict

import numpy as np

Ring = list[tuple[int, int]]


def mask_to_polygons(mask: np.ndarray, x: int = 0, y: int = 0) -> list[list[int]]:
    """Convert a mask to polygons [x1, y1, x2, y2, ...], one per 4-connected component.

    mask: bool (height, width), of the image or of a part of it.
    x, y: the image pixel (column, row) of the mask's upper left corner.

    Returns coordinates of pixel corners in the image: the pixel in column 0 and row 0 goes from (0, 0) to (1, 1).
    """
    rings = _trace_rings(mask)
    rings.sort(key=lambda ring: (ring[0][1], ring[0][0]))
    edges = _left_edges(rings)
    # The holes to insert: per ring and per corner at which an edge starts, the row of the slit and the hole's path.
    slits: dict[int, dict[int, list[tuple[int, Ring]]]] = defaultdict(lambda: defaultdict(list))
    polygons: list[list[int]] = []
    # A slit leads to a ring that starts higher, or at the same height and further left. In reverse order, each hole is
    # inserted into its ring before that ring is used.
    for number in range(len(rings) - 1, -1, -1):
        ring = rings[number]
        path = _with_holes(ring, slits.pop(number, {}))
        column, row = ring[0]
        if mask[row, column]:
            polygons.append([coordinate for px, py in path for coordinate in (px + x, py + y)])
        else:
            other, corner = _edge_at_end_of_slit(mask, edges, column, row)
            slits[other][corner].append((row, [*path, path[0]]))
    return polygons[::-1]


def _trace_rings(mask: np.ndarray) -> list[Ring]:
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


def _left_edges(rings: list[Ring]) -> dict[int, list[tuple[int, int, int, int]]]:
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


def _edge_at_end_of_slit(
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


def _with_holes(ring: Ring, slits: dict[int, list[tuple[int, Ring]]]) -> Ring:
    """The ring with the paths around its holes inserted where their slits meet its edges, which go up there."""
    path: Ring = []
    for corner, point in enumerate(ring):
        path.append(point)
        for y, hole in sorted(slits.get(corner, []), key=lambda slit: -slit[0]):
            path += [(point[0], y), *hole, (point[0], y)]
    return path


__all__ = ["mask_to_polygons"]
