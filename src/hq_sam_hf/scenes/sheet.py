"""Draw the sheet of example scenes in docs/scenes.md: `python -m hq_sam_hf.scenes.sheet docs/scenes.png`."""

import sys

import numpy as np
from PIL import Image, ImageDraw

from .families import FAMILIES, GROUPS, HELD_OUT, sketch_of
from .scene import Materials, Scene, generate_scene
from .sketch import draw, warp

CELL, CAPTION, COLUMNS = 128, 12, 8  # side of a cell and height of a caption in pixels, cells per row
OUTLINE_COLOURS = ((255, 230, 0), (255, 0, 60), (0, 230, 255), (255, 0, 255))


def outlined(scene: Scene) -> np.ndarray:
    """The image (H, W, 3) with a line of one pixel around each mask, just outside it."""
    image = scene.image.copy()
    for i, mask in enumerate(scene.masks):
        inside = np.pad(mask >= 0.5, 1)
        grown = inside[:-2, 1:-1] | inside[2:, 1:-1] | inside[1:-1, :-2] | inside[1:-1, 2:]
        image[grown & ~inside[1:-1, 1:-1]] = OUTLINE_COLOURS[i % len(OUTLINE_COLOURS)]
    return image


def scene_grid(
    rows: int, seed: int, families: tuple[str, ...] | None = None, materials: Materials = "one"
) -> Image.Image:
    """A grid of scenes. Each takes two cells: the image, and the image with outlined masks."""
    grid = Image.new("RGB", (COLUMNS * CELL, rows * CELL), "white")
    for i in range(rows * COLUMNS // 2):
        scene = generate_scene(seed, CELL, families, (i,), materials)
        y, x = divmod(2 * i, COLUMNS)
        grid.paste(Image.fromarray(scene.image), (x * CELL, y * CELL))
        grid.paste(Image.fromarray(outlined(scene)), ((x + 1) * CELL, y * CELL))
    return grid


def family_grid(cell: int = 85) -> Image.Image:
    """A grid with one instance of every family and its name, solid families first. A star marks held-out families."""
    columns = COLUMNS * CELL // cell
    names = sorted(FAMILIES, key=lambda name: (GROUPS[name], name))
    rows = -(-len(names) // columns)
    grid = Image.new("L", (COLUMNS * CELL, rows * (cell + CAPTION)), 255)
    pen = ImageDraw.Draw(grid)
    for i, name in enumerate(names):
        sketch = sketch_of(name, np.random.default_rng([i, 1]))
        drawing = draw(warp(sketch, np.eye(2), np.zeros(2), 0.45 * cell, np.full(2, cell / 2)), cell, cell)
        assert drawing is not None
        shade = np.full((cell, cell), 255, dtype=np.float32)
        shade[drawing.window] += drawing.coverage * (105 + 80 * drawing.tone - 255)
        y, x = divmod(i, columns)
        grid.paste(Image.fromarray(shade.clip(0, 255).astype(np.uint8)), (x * cell, y * (cell + CAPTION)))
        caption = name + (" *" if name in HELD_OUT else "")
        pen.text((x * cell + 4, y * (cell + CAPTION) + cell - 2), caption, fill=0, font_size=10)
    return grid


def scene_sheet() -> Image.Image:
    """Training scenes with the materials one, several and printed, scenes of held-out families, and all families."""
    parts = [
        scene_grid(4, seed=11),
        scene_grid(4, seed=11, materials="several"),
        scene_grid(4, seed=14, materials="printed"),
        scene_grid(2, seed=12, families=HELD_OUT),
        family_grid().convert("RGB"),
    ]
    sheet = Image.new("RGB", (COLUMNS * CELL, sum(part.height + 8 for part in parts)), "white")
    y = 0
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height + 8
    return sheet


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m hq_sam_hf.scenes.sheet FILE.png")
    # 255 colours keep the file small. Dithering would look like noise in the scenes.
    scene_sheet().quantize(255, kmeans=3, dither=Image.Dither.NONE).save(sys.argv[1], optimize=True)
