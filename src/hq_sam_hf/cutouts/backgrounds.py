"""Backgrounds of composed images: crops of photos, or generated textures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ..model.image_reading import load_image
from ..scenes.background import random_background
from .image_pyramid import ImagePyramid

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
SHORTER_SIDE = 1024  # of a stored photo in pixels
SMALLEST_CROP = 0.15  # side of a crop, as a share of the photo's shorter side


class Backgrounds:
    """Photos that crops are taken from. Without photos, backgrounds are generated.

    folders: folders with photos, searched with their subfolders. Each folder is chosen equally often. No object in
        them gets a mask, so use photos of surroundings. The files are read when the first crop is asked for.

    Raises FileNotFoundError if a folder is missing or has no photos, and ValueError for an unreadable one, when it is
    read.
    """

    def __init__(self, folders: str | Path | Sequence[str | Path] | None = None) -> None:
        listed = [] if folders is None else [folders] if isinstance(folders, str | Path) else list(folders)
        self.folders = [_list_photos(Path(folder)) for folder in listed]
        self._pyramids: list[list[ImagePyramid]] | None = None

    @property
    def has_photos(self) -> bool:
        return bool(self.folders)

    def load(self) -> None:
        """Read all photos now, for example before worker processes are started, which then share them."""
        self._pyramids = [[ImagePyramid(_read_photo(file)) for file in files] for files in self.folders]

    def crop(self, rng: np.random.Generator, height: int, width: int) -> Image.Image:
        """A random part of a random photo, RGB, of the given size. Without photos, a generated background."""
        if not self.has_photos:
            return Image.fromarray(random_background(rng, height, width, rich=True).clip(0, 255).astype(np.uint8))
        if self._pyramids is None:
            self.load()
        assert self._pyramids is not None, "load() sets them"
        photos = self._pyramids[rng.integers(len(self._pyramids))]
        pyramid = photos[rng.integers(len(photos))]
        # The crop has the aspect ratio of the result; `full` is the largest one.
        full = min(pyramid.size[0] / width, pyramid.size[1] / height)
        ratio = full * rng.uniform(SMALLEST_CROP, 1)
        x = rng.uniform(0, pyramid.size[0] - ratio * width)
        y = rng.uniform(0, pyramid.size[1] - ratio * height)
        level, scale = pyramid.level(1 / ratio)
        box = (x * scale, y * scale, (x + ratio * width) * scale, (y + ratio * height) * scale)
        box = (box[0], box[1], min(box[2], level.width), min(box[3], level.height))
        crop = level.resize((width, height), Image.Resampling.BILINEAR, box=box)
        return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_pyramids": None}


def soft_focus(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Blur an image as surroundings that are out of focus."""
    share = float(np.exp(rng.uniform(np.log(0.002), np.log(0.02))))  # of the longer side
    return image.filter(ImageFilter.GaussianBlur(max(image.size) * share))


def _list_photos(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"`backgrounds` must be folders with photos; {folder} is not a folder.")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"{folder} has no photos; expected files ending in {', '.join(SUFFIXES)}.")
    return files


def _read_photo(file: Path) -> Image.Image:
    try:
        photo = load_image(file)
    except ValueError as error:
        raise ValueError(f"{file} is not a readable photo: {error}") from error
    ratio = SHORTER_SIDE / min(photo.size)
    if ratio < 1:
        photo = photo.resize((round(photo.width * ratio), round(photo.height * ratio)), Image.Resampling.LANCZOS)
    return photo


__all__ = ["Backgrounds", "soft_focus"]
