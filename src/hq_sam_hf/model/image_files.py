"""Open image files: which formats, up to which size, upright."""

import functools
import os
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError, features

# Formats that Pillow only recognises, or that are drawn by another program.
_NOT_READ = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Formats whose plugin is always there, and whose decoder is not.
_DECODERS = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}

_PLANAR, _BITS, _SAMPLE_FORMAT, _SIGNED = 284, 258, 339, 2  # tags of TIFF
NAMED = 10  # files that a message names
_HEIC, _HEIC_ADVICE = (".heic", ".heif"), "To read HEIC files, install pillow-heif"
_limit_lock = threading.Lock()


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of the image files that can be read here, such as ".jpg". HEIC needs pillow-heif."""
    _register_heif()
    Image.init()
    missing = {name for name, feature in _DECODERS.items() if not features.check(feature)}
    readable = Image.OPEN.keys() - _NOT_READ - missing
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readable)


def describe_left_out(files: Sequence[str]) -> str:
    """A sentence that counts and names files that are left out since they are no images."""
    names = ", ".join(files[:NAMED]) + (", ..." if len(files) > NAMED else "")
    advice = f" {_HEIC_ADVICE}." if any(file.lower().endswith(_HEIC) for file in files) else ""
    verb = "files are" if len(files) > 1 else "file is"
    return f"{len(files)} {verb} left out as no image that can be read: {names}.{advice}"


@functools.cache
def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()


def open_upright(
    file: str | os.PathLike | BinaryIO, max_pixels: int | None = None, all_bits: bool = False
) -> Image.Image:
    """Decode the first frame of an image file, rotated by its EXIF tag, in the file's own mode.

    max_pixels: the most pixels to decode; by default Pillow's limit, 178,956,970.
    all_bits: refuse files of which Pillow drops bits, such as colours of 16 bit.

    Raises ValueError if the file is not an image, is incomplete, is too large or would be misread.
    """
    return open_with_orientation(file, max_pixels, all_bits)[0]


def open_with_orientation(
    file: str | os.PathLike | BinaryIO, max_pixels: int | None = None, all_bits: bool = False
) -> tuple[Image.Image, int]:
    """Like `open_upright`, with the EXIF orientation that the file had, 1 to 8."""
    try:
        with warnings.catch_warnings():
            # Pillow warns from its size limit on and refuses from twice the limit on. Images in between are fine.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with _open(file, max_pixels) as image:
                _check_layout(image, all_bits)
                image.load()
                orientation = image_orientation(image)
                ImageOps.exif_transpose(image, in_place=True)
                return image, orientation
    except UnidentifiedImageError as error:
        is_heic = isinstance(file, str | os.PathLike) and os.fspath(file).lower().endswith(_HEIC)
        advice = f". {_HEIC_ADVICE}" if is_heic else ""
        raise ValueError(f"not an image file, or a format that Pillow does not support{advice}") from error
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\((\d+) pixels\)", str(error))
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) if max_pixels is None else max_pixels
        raise _too_large(int(pixels[1]) if pixels else 0, limit) from error
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(str(error)) from error


def image_orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image, 1 to 8; 1 is upright."""
    orientation = image.getexif().get(0x0112, 1)
    return orientation if orientation in range(2, 9) else 1


def _open(file: str | os.PathLike | BinaryIO, max_pixels: int | None) -> Image.Image:
    _register_heif()
    if max_pixels is None:
        return Image.open(file)
    with _pillow_limit(max_pixels):
        image = Image.open(file)
    if image.width * image.height > max_pixels:
        image.close()
        raise _too_large(image.width * image.height, max_pixels)
    return image


@contextmanager
def _pillow_limit(max_pixels: int) -> Iterator[None]:
    """Let Pillow open images of so many pixels. It has one limit for the whole process."""
    with _limit_lock:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None if before is None else max(before, max_pixels)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _too_large(pixels: int, limit: int) -> ValueError:
    return ValueError(
        f"it has {pixels:,} pixels, and at most {limit:,} are read, because a small file may claim any size. If you "
        f"trust it, raise the limit: `load_image(path, max_pixels={pixels})`, `--max-pixels {pixels}` on the command "
        f"line, or `max_pixels: {pixels}` in a description of data"
    )


def _check_layout(image: Image.Image, all_bits: bool) -> None:
    """Raise ValueError for files that Pillow misreads and, with all_bits, for those of which it drops bits."""
    tags = getattr(image, "tag_v2", {})
    bits, formats = (_as_tuple(tags.get(tag, default)) for tag, default in ((_BITS, 8), (_SAMPLE_FORMAT, 1)))
    is_raw = any(codec == "raw" for codec, *_ in getattr(image, "tile", None) or [])
    if tags.get(_PLANAR, 1) == 2 and len(bits) > 1 and set(bits) != {8} and is_raw:
        raise ValueError(
            f"a TIFF of {max(bits)} bits that stores its channels one after the other, which Pillow misreads. Read it "
            "with another library, such as tifffile, and pass the array, or save it with interleaved channels"
        )
    if _SIGNED in formats and 8 in bits:
        raise ValueError(
            "a TIFF of signed 8-bit numbers, which Pillow reads as unsigned. Read it with another library, such as "
            "tifffile, and pass the array as float or int32 with a `value_range`"
        )
    if (
        all_bits
        and len(image.getbands()) > 1
        and any("16" in _raw_mode(one) for one in getattr(image, "tile", None) or [])
    ):
        raise ValueError(
            "its colours have 16 bits, of which Pillow reads the upper 8, so `value_range` cannot be applied to them. "
            "Read it with another library, such as tifffile, and pass the array to `load_image` with `value_range`"
        )


def _as_tuple(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def _raw_mode(tile: Any) -> str:
    mode = _as_tuple(tile[3])[0] if len(tile) > 3 and tile[3] else ""
    return mode if isinstance(mode, str) else ""


__all__ = ["describe_left_out", "image_orientation", "image_suffixes", "open_upright", "open_with_orientation"]
