"""Small objects with a transparent background, and photos, for tests of composed images."""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def write_objects(folder: Path, count: int = 8) -> Path:
    """`count` discs and squares of 40 pixels in different colours, on transparent images of 60 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = Image.new("RGBA", (60, 60))
        draw = ImageDraw.Draw(image)
        shape = draw.ellipse if number % 2 else draw.rectangle
        shape((10, 10, 49, 49), fill=(30 * number % 256, 200 - 20 * number, 80, 255))
        image.save(folder / f"thing_{number}.png")
    return folder


def write_photos(folder: Path, count: int = 2) -> Path:
    """`count` images of random colours, 160 x 120 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (120, 160, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"photo_{number}.png")
    return folder


def zip_folder(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.iterdir()):
            file.write(path, path.name)
    return archive


__all__ = ["write_objects", "write_photos", "zip_folder"]
