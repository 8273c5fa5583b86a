"""Masks as pictures for people: overlays and cut-outs."""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from .rle import mask_to_bbox

# Colours told apart by most eyes (Okabe and Ito's palette without black and yellow).
COLOURS = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0))
OPACITY = 0.5


def overlay(
    image: np.ndarray,
    masks: Iterable[np.ndarray],
    boxes: Sequence[Sequence[float]] = (),
    points: Sequence[Sequence[float]] = (),
    labels: Sequence[int] = (),
) -> Image.Image:
    """Lay bool masks (H, W) over an RGB image (H, W, 3), each tinted and outlined in its own colour.

    boxes (x1, y1, x2, y2) are drawn as frames; points (x, y) as dots, green where their label is 1 and red where 0.
    """
    line = max(2, round(max(image.shape[:2]) / 400))
    canvas = image.astype(np.float32)
    for i, mask in enumerate(masks):
        colour = np.array(COLOURS[i % len(COLOURS)], dtype=np.float32)
        left, top, width, height = mask_to_bbox(mask)
        window = np.s_[max(top - 1, 0) : top + height + 1, max(left - 1, 0) : left + width + 1]
        part, inside = canvas[window], mask[window]
        part[inside] = (1 - OPACITY) * part[inside] + OPACITY * colour
        part[_outline(inside, line)] = 255
    picture = Image.fromarray(canvas.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for i, box in enumerate(boxes):
        draw.rectangle(tuple(box), outline=COLOURS[i % len(COLOURS)], width=line)
    for (x, y), label in zip(points, labels):
        radius = 3 * line
        fill = (0, 200, 0) if label == 1 else (220, 0, 0)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline="white", width=line)
    return picture


def _outline(mask: np.ndarray, thickness: int) -> np.ndarray:
    """The pixels of a mask that lie within `thickness` steps of its outside; the picture's edge is not outside."""
    inner = mask
    for _ in range(thickness):
        padded = np.pad(inner, 1, mode="edge")
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def transparent_overlay(labels: np.ndarray, colours: Sequence[tuple[int, int, int]] = COLOURS) -> Image.Image:
    """Masks as a picture to lay over another: tinted, outlined in white, transparent elsewhere.

    labels (H, W): 0 outside all masks and i on the i-th, as of `mask_files.label_map`; or one mask of bool.
    Gives a picture with a palette, a few kilobytes as PNG.
    """
    outline = np.zeros(labels.shape, dtype=bool)
    for distance in (1, 2):  # two pixels wide
        for one, other in ((np.s_[distance:], np.s_[:-distance]), (np.s_[:, distance:], np.s_[:, :-distance])):
            differ = labels[one] != labels[other]
            outline[one] |= differ
            outline[other] |= differ
    numbers = np.arange(int(labels.max(initial=0)) + 1)
    colour_of = np.where(numbers > 0, (numbers - 1) % len(colours) + 1, 0).astype(np.uint8)
    indices = colour_of[labels.view(np.uint8) if labels.dtype == bool else labels]
    indices[outline & (indices > 0)] = len(colours) + 1
    picture = Image.fromarray(indices, mode="P")
    picture.putpalette([0, 0, 0, *(value for colour in colours for value in colour), 255, 255, 255])
    picture.info["transparency"] = bytes([0] + [round(255 * OPACITY)] * len(colours) + [255])
    return picture


def side_by_side(pictures: Sequence[Image.Image], captions: Sequence[str], height: int = 360) -> Image.Image:
    """Pictures in a row, each brought to the same height and with its caption above."""
    band, gap = 18, 4
    scaled = [picture.resize((max(1, round(picture.width * height / picture.height)), height)) for picture in pictures]
    width = sum(picture.width for picture in scaled) + gap * (len(scaled) - 1)
    sheet = Image.new("RGB", (width, height + band), "white")
    draw = ImageDraw.Draw(sheet)
    x = 0
    for picture, caption in zip(scaled, captions):
        draw.text((x + 2, 2), caption, fill="black")
        sheet.paste(picture, (x, band))
        x += picture.width + gap
    return sheet


def cutout(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """What of the RGB image (H, W, 3) lies inside the bool mask (H, W), as RGBA; outside it is transparent and black.

    Were the background's colours kept, any program could show them again, and the file would be as large as the photo.
    """
    alpha = mask.astype(np.uint8) * 255
    picture = np.dstack([image, alpha])
    picture[~mask] = 0
    return Image.fromarray(picture)


__all__ = ["cutout", "overlay", "side_by_side", "transparent_overlay"]
