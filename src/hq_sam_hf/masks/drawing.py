"""Draw masks for people to look at: overlays, cut-outs, and images side by side."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..model.image_reading import read_image
from .binary import as_array, as_binary_mask
from .rle import mask_to_bbox

# Okabe and Ito's palette without black and yellow: colours that people with colour blindness can tell apart.
COLOURS = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0))
OPACITY = 0.5


def overlay(
    image: Any,
    masks: Iterable[Any],
    boxes: Sequence[Sequence[float]] = (),
    points: Sequence[Sequence[float]] = (),
    labels: Sequence[int] = (),
) -> Image.Image:
    """Draw masks and prompts on an image; returns an RGB image of the same size.

    image: any image that the processor reads, such as RGB uint8 (height, width, 3).
    masks: (height, width) each, see `binary`; tinted in a colour of their own with a white outline.
    boxes: (x1, y1, x2, y2) in pixels of the image, drawn as rectangles.
    points, labels: (x, y) in pixels of the image, drawn as dots, green for the label 1 and red for 0. Without labels
        all are 1.
    """
    if len(labels) not in (0, len(points)):
        raise ValueError(
            f"`labels` must hold one label per point, got {len(labels)} labels for {len(points)} points. Pass 1 for "
            "points on the object and 0 for points on the background."
        )
    pixels_of_image = read_image(image)
    line = max(2, round(max(pixels_of_image.shape[:2]) / 400))
    canvas = pixels_of_image.astype(np.float32)
    for i, one in enumerate(masks):
        mask = as_binary_mask(one, f"masks[{i}]", canvas.shape[:2])
        colour = np.array(COLOURS[i % len(COLOURS)], dtype=np.float32)
        left, top, width, height = mask_to_bbox(mask)
        crop = np.s_[max(top - 1, 0) : top + height + 1, max(left - 1, 0) : left + width + 1]
        pixels, inside = canvas[crop], mask[crop]
        pixels[inside] = (1 - OPACITY) * pixels[inside] + OPACITY * colour
        pixels[_outline(inside, line)] = 255
    drawn = Image.fromarray(canvas.astype(np.uint8))
    draw = ImageDraw.Draw(drawn)
    for i, box in enumerate(boxes):
        draw.rectangle(tuple(box), outline=COLOURS[i % len(COLOURS)], width=line)
    for (x, y), label in zip(points, labels if len(labels) else [1] * len(points)):
        radius = 3 * line
        fill = (0, 200, 0) if label == 1 else (220, 0, 0)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline="white", width=line)
    return drawn


def _outline(mask: np.ndarray, thickness: int) -> np.ndarray:
    """The pixels of a bool mask (height, width) within `thickness` steps of the background.

    Pixels beyond the edge of the array do not count as background.
    """
    inner = mask
    for _ in range(thickness):
        padded = np.pad(inner, 1, mode="edge")
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def transparent_overlay(labels: Any, colours: Sequence[tuple[int, int, int]] = COLOURS) -> Image.Image:
    """Draw masks as a transparent image to lay over another: tinted, with a white outline, transparent elsewhere.

    labels: integers (height, width), 0 outside all masks and i on the i-th mask, as made by `coco.label_map`; or one
        mask, see `binary`. Labels of 0 and 255 only are one mask.
    colours: RGB 0..255, used in turn for the masks.

    Returns a palette image (mode P) of the same size, which takes a few kilobytes as PNG.
    """
    labels = _as_labels(labels)
    outline = np.zeros(labels.shape, dtype=bool)
    for distance in (1, 2):  # an outline of two pixels
        for one, other in ((np.s_[distance:], np.s_[:-distance]), (np.s_[:, distance:], np.s_[:, :-distance])):
            differ = labels[one] != labels[other]
            outline[one] |= differ
            outline[other] |= differ
    numbers = np.arange(int(labels.max(initial=0)) + 1)
    colour_of = np.where(numbers > 0, (numbers - 1) % len(colours) + 1, 0).astype(np.uint8)
    indices = colour_of[labels]
    indices[outline & (indices > 0)] = len(colours) + 1
    drawn = Image.fromarray(indices, mode="P")
    drawn.putpalette([0, 0, 0, *(value for colour in colours for value in colour), 255, 255, 255])
    drawn.info["transparency"] = bytes([0] + [round(255 * OPACITY)] * len(colours) + [255])
    return drawn


def _as_labels(labels: Any) -> np.ndarray:
    """Labels as integers from 0 on, (height, width)."""
    array = as_array(labels, "labels")
    is_label_map = array.dtype.kind in "ui" and array.ndim == 2 and array.min(initial=0) >= 0
    if is_label_map and not np.isin(array, (0, 255)).all():
        return array
    return as_binary_mask(labels, "labels").astype(np.uint8)


def side_by_side(images: Sequence[Image.Image], captions: Sequence[str], height: int = 360) -> Image.Image:
    """Put images in a row, each resized to the same height in pixels, with its caption above it."""
    if not len(images) or len(images) != len(captions):
        raise ValueError(
            f"`images` must have at least one image and `captions` one text per image, got {len(images)} images and "
            f"{len(captions)} captions. Pass an empty text for an image without caption."
        )
    caption_height, gap = 18, 4
    resized = [image.resize((max(1, round(image.width * height / image.height)), height)) for image in images]
    width = sum(image.width for image in resized) + gap * (len(resized) - 1)
    row = Image.new("RGB", (width, height + caption_height), "white")
    draw = ImageDraw.Draw(row)
    x = 0
    for image, caption in zip(resized, captions):
        draw.text((x + 2, 2), caption, fill="black")
        row.paste(image, (x, caption_height))
        x += image.width + gap
    return row


def cutout(image: Any, mask: Any) -> Image.Image:
    """Cut the object out of an image: RGBA of the same size, transparent and black outside the mask.

    The background is made black because any program could show hidden colours again, and they make the file as large
    as that of the whole image.

    image: any image that the processor reads, such as RGB uint8 (height, width, 3).
    mask: (height, width), see `binary`.
    """
    pixels = read_image(image)
    mask = as_binary_mask(mask, size=pixels.shape[:2])
    pixels = np.dstack([pixels, mask.astype(np.uint8) * 255])
    pixels[~mask] = 0
    return Image.fromarray(pixels)


__all__ = ["cutout", "overlay", "side_by_side", "transparent_overlay"]
