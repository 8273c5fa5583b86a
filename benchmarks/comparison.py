"""Draw the comparison image of the README: an image with a box, SAM's mask and HQ-SAM's mask, for a few objects.

example: python benchmarks/comparison.py -o docs/comparison.jpg
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from hq_sam_hf import HQSamModel, HQSamProcessor
from hq_sam_hf.masks.drawing import overlay
from hq_sam_hf.masks.metrics import boundary_iou, mask_iou
from hq_sam_hf.masks.rle import mask_extent
from hq_sam_hf.scenes import SceneGenerator
from hq_sam_hf.utils.embedded import EMBEDDED

PHOTOS = Path(__file__).parent.parent / "tests" / "photos"
SIDE = 240  # of a panel, in pixels
LINE = 22  # height of a caption
MARGIN = 0.25  # of the object's longer side, shown around its box
COLOUR = np.array([0, 140, 255], dtype=np.float32)
OUTPUTS = {"SAM": {"sam_only": True}, "HQ-SAM": {"hq_token_only": True}}


@dataclass
class Example:
    """image: RGB uint8 (H, W, 3); ground_truth: bool (H, W)."""

    name: str
    image: np.ndarray
    ground_truth: np.ndarray


def photo_example(name: str, photo: str, thing: str) -> Example:
    image = np.asarray(Image.open(PHOTOS / "images" / f"{photo}.jpg").convert("RGB"))
    mask = np.asarray(Image.open(PHOTOS / "masks" / photo / f"{thing}.png")) > 127
    return Example(f"{name}, in a photo", image, mask)


def scene_example(index: int, mask: int) -> Example:
    """An object of a generated scene, of a family that the embedded checkpoint was not trained on."""
    row = SceneGenerator(index + 1, seed=7, split="held_out")[index]
    return Example(f"{row['families'][mask]}, drawn", np.asarray(row["image"]), np.asarray(row["masks"][mask]) > 127)


def box_of(mask: np.ndarray) -> list[float]:
    """The box (x1, y1, x2, y2) of a mask; its last column and row are inside."""
    left, top, right, bottom = mask_extent(mask)
    return [float(left), float(top), float(right - 1), float(bottom - 1)]


def column(example: Example, model: HQSamModel, processor: HQSamProcessor) -> list[tuple[str, Image.Image]]:
    """The captions and panels of an example, from top to bottom."""
    box = box_of(example.ground_truth)
    inputs = processor(example.image, input_boxes=[[box]])
    panels = [(example.name, panel(example, box))]
    for title, options in OUTPUTS.items():
        with torch.inference_mode():
            outputs = model(**inputs, multimask_output=False, **options)
        mask = processor.post_process_masks(outputs, inputs)[0][0, 0].numpy()
        iou, boundary = (100 * float(metric(mask, example.ground_truth)) for metric in (mask_iou, boundary_iou))
        panels.append((f"{title}: IoU {iou:.0f}, boundary IoU {boundary:.0f}", panel(example, box, mask)))
    return panels


def panel(example: Example, box: list[float], mask: np.ndarray | None = None) -> Image.Image:
    """A square around a box, moved inside the image and enlarged to SIDE, with the mask or else the box on it."""
    x1, y1, x2, y2 = box
    height, width = example.ground_truth.shape
    side = min((1 + 2 * MARGIN) * max(x2 - x1, y2 - y1), height, width)
    left = min(max((x1 + x2 - side) / 2, 0), width - side)
    top = min(max((y1 + y2 - side) / 2, 0), height - side)
    window = (left, top, left + side, top + side)
    image = Image.fromarray(example.image).resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=window)
    if mask is None:
        enlarged_box = [SIDE / side * (value - start) for value, start in zip(box, (left, top, left, top))]
        return overlay(np.asarray(image), [], [enlarged_box])
    enlarged = Image.fromarray(mask).resize((SIDE, SIDE), Image.Resampling.NEAREST, box=window)
    tinted = np.asarray(image).astype(np.float32)
    tinted[np.asarray(enlarged)] = 0.3 * tinted[np.asarray(enlarged)] + 0.7 * COLOUR
    return Image.fromarray(tinted.astype(np.uint8))


def draw(columns: list[list[tuple[str, Image.Image]]]) -> Image.Image:
    gap = 8
    size = (len(columns) * (SIDE + gap) - gap, (1 + len(OUTPUTS)) * (SIDE + LINE))
    canvas = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for i, panels in enumerate(columns):
        for j, (caption, panel) in enumerate(panels):
            x, y = i * (SIDE + gap), j * (SIDE + LINE)
            pen.text((x + 2, y + 3), caption, fill="black", font=font)
            canvas.paste(panel, (x, y + LINE))
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=EMBEDDED, help="by default the small checkpoint inside the package")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    model = HQSamModel.from_pretrained(arguments.model)
    processor = HQSamProcessor.from_pretrained(arguments.model)
    examples = [
        photo_example("coin", "coins", "third_row"),
        photo_example("name tag", "hopper", "name_tag"),
        scene_example(24, 0),
        scene_example(28, 0),
    ]
    draw([column(example, model, processor) for example in examples]).save(arguments.output, quality=88)


if __name__ == "__main__":
    main()
