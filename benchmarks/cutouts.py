"""Measure how fast images are composed of cut-out objects, and draw a sheet of some with their masks.

example: python benchmarks/cutouts.py objects.zip --backgrounds photos --sheet docs/cutouts.jpg
"""

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

from hq_sam_hf.cutouts import CutoutGenerator

SHOWN, COLUMNS, SIDE = 12, 6, 200
COLOURS = np.array([(230, 80, 70), (80, 190, 90), (80, 120, 230), (230, 200, 70), (200, 90, 210), (80, 200, 210)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("objects", type=Path, nargs="+", help="folders or zip files of objects with transparency")
    parser.add_argument("--backgrounds", type=Path, nargs="+", help="folders with photos")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--count", type=int, default=200, help="images to measure")
    parser.add_argument("--sheet", type=Path, help="image file to draw")
    arguments = parser.parse_args()
    if arguments.sheet:
        images = CutoutGenerator(arguments.objects, arguments.backgrounds, SHOWN, seed=1, size=256)
        draw_sheet(images).save(arguments.sheet, quality=88)
    print("| size | labels | ms per image | images a second and core |\n|---:|---|---:|---:|")
    for size in arguments.sizes:
        for labels in ("exact", "coarse"):
            images = CutoutGenerator(
                arguments.objects, arguments.backgrounds, arguments.count, size=size, labels=labels
            )
            images.load()
            images[0]  # the maps of noise are made once
            start = time.process_time()
            for _ in images:
                pass
            seconds = (time.process_time() - start) / arguments.count
            print(f"| {size} | {labels} | {1000 * seconds:.1f} | {1 / seconds:.0f} |")


def draw_sheet(images: CutoutGenerator) -> Image.Image:
    """Rows of images, each above a row of their masks in colours."""
    rows = -(-len(images) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIDE, 2 * rows * SIDE))
    for number, row in enumerate(images):
        x, y = number % COLUMNS * SIDE, number // COLUMNS * 2 * SIDE
        sheet.paste(row["image"].resize((SIDE, SIDE)), (x, y))
        masks = np.zeros((SIDE, SIDE, 3))
        for mask, colour in zip(row["masks"], np.resize(COLOURS, (len(row["masks"]), 3))):
            share = np.asarray(mask.resize((SIDE, SIDE)), dtype=np.float32)[..., None] / 255
            masks += share * (colour - masks)
        sheet.paste(Image.fromarray(masks.astype(np.uint8)), (x, y + SIDE))
    return sheet


if __name__ == "__main__":
    main()
