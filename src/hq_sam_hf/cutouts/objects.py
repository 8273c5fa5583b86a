"""Load the objects of a folder or a zip file: images with a transparent background."""

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ..model.image_files import open_upright
from .image_pyramid import ImagePyramid

SUFFIXES = (".png", ".webp", ".tif", ".tiff", ".gif", ".avif")
HELD_OUT_EVERY = 8  # one object in so many is held out of training
MIN_PIXELS = 64  # opaque pixels of an object after resizing
MIN_TRANSPARENT = 0.02  # share of an image's pixels that are transparent; less has no outline to learn from

ObjectSplit = Literal["train", "validation", "all"]


class CutoutObjects:
    """Objects with transparency, cropped to what is visible and reduced to a common largest side.

    The files are read when the first object is asked for. A copy in another process reads them again there.

    Args:
        sources: folders (searched with their subfolders) and zip files with PNG, WebP, TIFF, GIF or AVIF images.
        split: "train" leaves out one object in eight, in the order of their paths; "validation" has only those.
            "all" has all objects.
        side: largest side of a stored object in pixels. Larger ones are reduced.

    Raises FileNotFoundError if a source is missing or has no images, and ValueError for images that are unreadable or
    have no transparent background, when they are read.
    """

    def __init__(
        self, sources: str | Path | Sequence[str | Path], split: ObjectSplit = "train", side: int = 256
    ) -> None:
        if split not in ("train", "validation", "all"):
            raise ValueError(f'`split` must be "train", "validation" or "all", got {split!r}.')
        if side < 32:
            raise ValueError(f"`side` of the objects must be at least 32 pixels, got {side}.")
        self.side = side
        listed = [sources] if isinstance(sources, str | Path) else list(sources)
        found = [entry for source in listed for entry in _list_images(Path(source))]
        if not found:
            raise ValueError("`objects` must name at least one folder or zip file, got none.")
        if split == "validation":
            found = found[::HELD_OUT_EVERY]
        elif split == "train" and len(found) > 1:
            found = [entry for number, entry in enumerate(found) if number % HELD_OUT_EVERY]
        self.entries = found
        self._pyramids: list[ImagePyramid] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> ImagePyramid:
        if self._pyramids is None:
            self.load()
        assert self._pyramids is not None, "load() sets them"
        return self._pyramids[index]

    def name(self, index: int) -> str:
        """The file name of an object, without its suffix."""
        return Path(self.entries[index][1]).stem

    def load(self) -> None:
        """Read all objects now, for example before worker processes are started, which then share them."""
        self._pyramids = [
            ImagePyramid(_cut_out(data, f"{source}/{inside}", self.side))
            for source, inside, data in _read_images(self.entries)
        ]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_pyramids": None}


def _list_images(source: Path) -> list[tuple[Path, str]]:
    """(source, path within the source) of the images in a folder or a zip file, sorted by path."""
    if source.is_dir():
        names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    elif source.is_file() and zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    else:
        state = "is not a zip file" if source.is_file() else "does not exist"
        raise FileNotFoundError(
            f"`objects` must be folders or zip files with images that have a transparent background; {source} {state}."
        )
    chosen = sorted(name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith("__MACOSX/"))
    if not chosen:
        raise FileNotFoundError(f"{source} has no images of objects; expected files ending in {', '.join(SUFFIXES)}.")
    return [(source, name) for name in chosen]


def _read_images(entries: list[tuple[Path, str]]) -> Iterator[tuple[Path, str, bytes]]:
    archives: dict[Path, zipfile.ZipFile] = {}
    try:
        for source, inside in entries:
            if source.is_dir():
                yield source, inside, (source / inside).read_bytes()
                continue
            if source not in archives:
                archives[source] = zipfile.ZipFile(source)
            yield source, inside, archives[source].read(inside)
    finally:
        for archive in archives.values():
            archive.close()


def _cut_out(data: bytes, name: str, side: int) -> Image.Image:
    """An object as RGBA, cropped to what is visible, with a longer side of at most `side` pixels."""
    try:
        image = open_upright(io.BytesIO(data)).convert("RGBA")
    except ValueError as error:
        raise ValueError(f"{name} is not a readable image: {error}") from error
    alpha = np.asarray(image.getchannel("A"))
    if (alpha < 128).mean() < MIN_TRANSPARENT:
        raise ValueError(
            f"{name} has no transparent background. An object must be an image with an alpha channel that is 0 around "
            "the object; remove the file, or cut the object out first, for example with `hq-sam segment --cutout`."
        )
    box = image.getchannel("A").point([0 if value < 16 else 255 for value in range(256)]).getbbox()
    if box is not None:
        image = image.crop(box)
        ratio = side / max(image.size)
        if ratio < 1:
            size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
            image = image.resize(size, Image.Resampling.LANCZOS)
    visible = 0 if box is None else int((np.asarray(image.getchannel("A")) >= 128).sum())
    if visible < MIN_PIXELS:
        raise ValueError(f"{name} shows {visible} opaque pixels, fewer than {MIN_PIXELS}. Remove the file.")
    return image


__all__ = ["CutoutObjects", "ObjectSplit"]
