"""Convert masks to polygons that give every pixel again when they are filled, with holes.

There are two conventions for the coordinates of polygons, and a polygon is filled right only under its own:

    "pixel_corners"   The polygons follow the edges of the pixels: the pixel in column 0 and row 0 goes from (0, 0) to
                      (1, 1). COCO, pycocotools, shapely and maps read polygons like this.
    "pixel_centres"   The polygons lead through the centres of the outermost pixels, and these have whole numbers: the
                      pixel in column 0 and row 0 is at (0, 0). cv2.fillPoly, Pillow's ImageDraw.polygon and labelling
                      tools that use them fill the pixels on the outline too.

Each polygon encloses one 4-connected component, whose pixels touch at their edges, and runs around it with the
component on its right. Such polygons have no holes, so a polygon reaches its holes by slits: a horizontal line from
the hole to the left, to the outline or to another hole, which is run along in both directions and encloses nothing.
Polygons with interior rings are in `geojson`.
"""

from collections import defaultdict
from typing import Any, Literal, get_args

from .binary import as_binary_mask
from .rings import Ring, edge_left_of_hole, left_edges, outlines

Convention = Literal["pixel_corners", "pixel_centres"]


def mask_to_polygons(mask: Any, x: int = 0, y: int = 0, convention: Convention = "pixel_corners") -> list[list[int]]:
    """Convert a mask to polygons [x1, y1, x2, y2, ...], one per 4-connected component.

    mask: (height, width), of the image or of a part of it; see `binary`.
    x, y: the image pixel (column, row) of the mask's upper left corner.
    convention: "pixel_corners" for COCO, pycocotools and shapely; "pixel_centres" for cv2.fillPoly, Pillow and
        labelling tools. See the module.

    Returns coordinates in the image. Each polygon has at least three points, which may be equal under "pixel_centres".
    """
    if convention not in get_args(Convention):
        raise ValueError(
            f"`convention` must be one of {', '.join(map(repr, get_args(Convention)))}, got {convention!r}. Use the "
            "first for COCO and shapely, the second for cv2.fillPoly, Pillow and labelling tools."
        )
    mask = as_binary_mask(mask)
    use_centres = convention == "pixel_centres"
    rings = outlines(mask)
    edges = left_edges(rings)
    # The holes to insert: per ring and per corner at which an edge starts, the row of the slit and the hole's path.
    slits: dict[int, dict[int, list[tuple[int, Ring]]]] = defaultdict(lambda: defaultdict(list))
    polygons: list[list[int]] = []
    # A slit leads to a ring that starts higher, or at the same height and further left. In reverse order, each hole is
    # inserted into its ring before that ring is used.
    for number in range(len(rings) - 1, -1, -1):
        ring = rings[number]
        path = _with_holes(_through_centres(ring) if use_centres else ring, slits.pop(number, {}))
        column, row = ring[0]
        if mask[row, column]:
            path = _without_repeats(path) if use_centres else path
            polygons.append([coordinate for px, py in path for coordinate in (px + x, py + y)])
        else:
            other, corner = edge_left_of_hole(mask, edges, column, row)
            # The pixels above and below the slit are in the mask. Through centres, it leads along those above.
            slits[other][corner].append((row - 1 if use_centres else row, [*path, path[0]]))
    return polygons[::-1]


def _with_holes(ring: Ring, slits: dict[int, list[tuple[int, Ring]]]) -> Ring:
    """The ring with the paths around its holes inserted where their slits meet its edges, which go up there."""
    path: Ring = []
    for corner, point in enumerate(ring):
        path.append(point)
        for y, hole in sorted(slits.get(corner, []), key=lambda slit: -slit[0]):
            path += [(point[0], y), *hole, (point[0], y)]
    return path


def _through_centres(ring: Ring) -> Ring:
    """The ring moved to the centres of the mask's pixels along it: each edge by half a pixel to its right-hand side.

    Coordinates are numbers of pixels, half a pixel less than those of the ring.
    """
    centres = []
    for (last_x, last_y), (x, y), (next_x, next_y) in zip([ring[-1], *ring[:-1]], ring, [*ring[1:], ring[0]]):
        # One of the two edges at a corner is vertical, the other is horizontal.
        down, right = (y - last_y, next_x - x) if last_x == x else (next_y - y, x - last_x)
        centres.append((x if down < 0 else x - 1, y if right > 0 else y - 1))
    return centres


def _without_repeats(path: Ring) -> Ring:
    """The path without points that equal the one before, but at least three points, which programs ask for."""
    kept = [point for point, last in zip(path, [None, *path]) if point != last]
    if len(kept) > 1 and kept[-1] == kept[0]:
        kept.pop()
    return kept + kept[-1:] * (3 - len(kept))


__all__ = ["Convention", "mask_to_polygons"]
