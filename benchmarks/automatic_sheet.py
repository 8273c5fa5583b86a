"""Draw the sheet of docs/automatic_masks.md: automatic masks of photos and of scenes that training did not use.

example: python benchmarks/automatic_sheet.py -o docs/automatic_masks.jpg
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hq_sam_hf import HQSamMaskGenerator, HQSamModel, HQSamProcessor, load_image
from hq_sam_hf.demo.session import AUTOMATIC_OPTIONS
from hq_sam_hf.masks.coco import label_map
from hq_sam_hf.masks.drawing import side_by_side, transparent_overlay
from hq_sam_hf.model.files import write_atomically
from hq_sam_hf.scenes import SceneGenerator
from hq_sam_hf.utils.embedded import EMBEDDED

PHOTOS = Path(__file__).parent.parent / "tests" / "photos" / "images"
SCENES, SEED = 2, 20261124  # generated images per split; training used the seeds 1 to 10
HEIGHT = 210  # of a panel, in pixels
GAP = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder of images")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .jpg file to write")
    arguments = parser.parse_args()
    model = HQSamModel.from_pretrained(arguments.model)
    generator = HQSamMaskGenerator(model, HQSamProcessor.from_pretrained(arguments.model), **AUTOMATIC_OPTIONS)
    pairs = []
    for name, image in load_images(arguments.photos, model.config.vision_config.image_size):
        records = generator.generate(image)
        print(f"{name}: {len(records)} masks")
        pairs.append(side_by_side([image, tinted(image, records)], [name, f"{len(records)} masks"], HEIGHT))
    canvas = sheet(pairs)
    write_atomically(arguments.output, lambda file: canvas.save(file, format="JPEG", quality=82, optimize=True))


def load_images(photos: Path, side: int) -> Iterator[tuple[str, Image.Image]]:
    for path in sorted(photos.iterdir()):
        yield path.stem, load_image(path)
    for split in ("validation", "held_out"):
        for number, row in enumerate(SceneGenerator(SCENES, SEED, side, split), start=1):
            yield f"generated, {split} {number}", row["image"]


def tinted(image: Image.Image, records: Sequence[dict]) -> Image.Image:
    """The image with its masks drawn over it, small masks over large ones."""
    labels = label_map(records, (image.height, image.width))
    tinted = transparent_overlay(np.asarray(labels)).convert("RGBA")
    return Image.alpha_composite(image.convert("RGBA"), tinted).convert("RGB")


def sheet(pairs: Sequence[Image.Image], width: int = 1600) -> Image.Image:
    """Arrange images of equal height from left to right, in as many rows as needed."""
    rows: list[list[Image.Image]] = [[]]
    for pair in pairs:
        if rows[-1] and sum(other.width + 3 * GAP for other in rows[-1]) + pair.width > width:
            rows.append([])
        rows[-1].append(pair)
    height = pairs[0].height + GAP
    canvas = Image.new("RGB", (width, height * len(rows) - GAP), "white")
    for number, row in enumerate(rows):
        x = 0
        for pair in row:
            canvas.paste(pair, (x, number * height))
            x += pair.width + 3 * GAP
    return canvas


if __name__ == "__main__":
    main()
