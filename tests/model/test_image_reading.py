"""How images and masks of every kind are read, and the errors for those that cannot be read."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from hq_sam_hf import HQSamImageProcessor, load_image
from hq_sam_hf.model.image_reading import read_image
from hq_sam_hf.model.mask_reading import read_binary_mask


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)


def test_an_rgb_image_of_every_kind_is_read_the_same(rgb, tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(rgb).save(path)
    chw = rgb.transpose(2, 0, 1)
    kinds = [
        Image.fromarray(rgb),
        path,
        str(path),
        torch.from_numpy(chw.copy()),
        rgb.astype(np.float64) / 255,
        (rgb / 255).astype(np.float32),
        rgb.astype(np.uint16) * 257,
        rgb[::-1][::-1],
    ]
    for kind in kinds:
        assert np.array_equal(read_image(kind), rgb)
    assert np.array_equal(read_image(chw, "channels_first"), rgb)
    assert np.array_equal(read_image(torch.from_numpy(rgb), "channels_last"), rgb)


def test_alpha_is_dropped_and_colours_are_kept(rgb):
    alpha = np.zeros((24, 36, 1), dtype=np.uint8)  # fully transparent
    rgba = np.concatenate([rgb, alpha], axis=2)
    assert np.array_equal(read_image(rgba), rgb)
    assert np.array_equal(read_image(Image.fromarray(rgba)), rgb)
    grey = rgb[:, :, :1]
    la = np.concatenate([grey, alpha], axis=2)
    assert np.array_equal(read_image(la), np.repeat(grey, 3, axis=2))
    assert np.array_equal(read_image(Image.fromarray(la)), np.repeat(grey, 3, axis=2))


def test_grey_becomes_three_equal_channels(rgb):
    grey = rgb[:, :, 0]
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    for kind in (grey, grey[:, :, None], Image.fromarray(grey), torch.from_numpy(grey.copy())):
        assert np.array_equal(read_image(kind), expected)
    black_and_white = grey > 127
    for kind in (black_and_white, Image.fromarray(black_and_white)):
        assert np.array_equal(read_image(kind)[:, :, 0], black_and_white * 255)


def test_16_bit_values_are_scaled_from_the_full_range():
    deep = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    expected = [0, 0, 1, 1, 128, 255]
    assert read_image(deep)[0, :, 0].tolist() == expected
    assert read_image(Image.fromarray(deep))[0, :, 0].tolist() == expected
    assert Image.fromarray(deep).mode == "I;16"


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "HSV", "RGBX", "PA", "La", "RGBa"])
def test_other_pil_modes_are_converted_by_pillow(rgb, mode):
    image = {"La": lambda i: i.convert("LA"), "RGBa": lambda i: i.convert("RGBA"), "PA": lambda i: i.convert("P")}.get(
        mode, lambda i: i
    )(Image.fromarray(rgb)).convert(mode)
    expected = image.convert({"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}.get(mode, mode)).convert("RGB")
    assert np.array_equal(read_image(image), np.asarray(expected))


def oriented_png(rgb, orientation, tmp_path):
    """The path of a PNG file whose EXIF tag asks for a rotation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "oriented.png"
    Image.fromarray(rgb).save(path, exif=exif)
    return path


def test_the_exif_orientation_is_applied_to_files_but_not_to_pil_images(rgb, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr("hq_sam_hf.model.image_reading.logger.warning", warnings.append)
    path = oriented_png(rgb, 6, tmp_path)  # 6: rotate by 90 degrees clockwise
    upright = np.rot90(rgb, -1)
    assert np.array_equal(read_image(path), upright)
    assert np.array_equal(np.asarray(load_image(path)), upright)
    with Image.open(path) as image:
        assert np.array_equal(read_image(image), rgb)
    assert len(warnings) == 1
    assert "not applied" in warnings[0]


def test_the_first_frame_of_an_animation_is_read(rgb, tmp_path):
    path = tmp_path / "frames.gif"
    frames = [Image.fromarray(np.full((5, 7), value, dtype=np.uint8)) for value in (40, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert read_image(path).shape == (5, 7, 3)
    assert (read_image(path) == 40).all()


def test_a_binary_mask_of_every_kind_is_read_the_same(tmp_path):
    mask = np.eye(6, dtype=bool)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    kinds = [mask, mask.astype(np.uint8), mask * np.uint8(255), mask.astype(float), torch.from_numpy(mask), mask * 200]
    for kind in [*kinds, Image.fromarray(mask), tmp_path / "mask.png"]:
        assert np.array_equal(read_binary_mask(kind, "input_masks"), mask)
    for values in ([0, 3, 7], [-1, 1], [0, 300], [float("nan"), 1.0]):
        with pytest.raises(ValueError, match="`input_masks` must hold 0/1 or 0..255"):
            read_binary_mask(np.array([values]), "input_masks")


def png_bytes(rgb) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format="PNG")
    return buffer.getvalue()


def png_with_size(width: int, height: int) -> bytes:
    """A tiny PNG with a huge size in its header."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


BAD_FILES = {
    "zero bytes": lambda rgb: b"",
    "text": lambda rgb: b"not an image at all",
    "truncated": lambda rgb: png_bytes(rgb)[:200],
    "bomb": lambda rgb: png_with_size(60000, 60000),
    "header only": lambda rgb: b"\x89PNG\r\n\x1a\n",
    "svg": lambda rgb: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "jpeg cut in the header": lambda rgb: b"\xff\xd8\xff\xe0\x00\x10JFIF",
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_errors_about_damaged_files_name_the_file(case, rgb, tmp_path):
    path = tmp_path / "bad.png"
    path.write_bytes(BAD_FILES[case](rgb))
    with pytest.raises(ValueError, match=r"`images`: cannot read .*bad\.png"):
        read_image(path)


BAD_IMAGES = {
    "missing file": (lambda rgb, tmp: tmp / "nothing.png", ValueError, "which is not a file"),
    "folder": (lambda rgb, tmp: tmp, ValueError, "which is not a file"),
    "URL": (lambda rgb, tmp: "https://example.org/a.png", ValueError, "Download the image first"),
    "empty string": (lambda rgb, tmp: "", ValueError, "which is not a file"),
    "None": (lambda rgb, tmp: None, TypeError, "got a NoneType"),
    "number": (lambda rgb, tmp: 7, TypeError, "got a int"),
    "bytes": (lambda rgb, tmp: b"\x89PNG", TypeError, "got a bytes"),
    "PIL mode F": (lambda rgb, tmp: Image.new("F", (4, 4)), ValueError, "mode 'F' has no defined value range"),
    "PIL mode I": (lambda rgb, tmp: Image.new("I", (4, 4)), ValueError, "mode 'I' has no defined value range"),
    "PIL of size 0": (lambda rgb, tmp: Image.new("RGB", (0, 4)), ValueError, "must not be empty"),
    "floats to 255": (lambda rgb, tmp: rgb.astype(np.float32), ValueError, r"must lie in \[0, 1\].*Cast 0..255"),
    "negative floats": (lambda rgb, tmp: rgb / -255.0, ValueError, r"must lie in \[0, 1\]"),
    "NaN": (lambda rgb, tmp: np.full((4, 4, 3), np.nan), ValueError, r"must lie in \[0, 1\]"),
    "int64": (lambda rgb, tmp: rgb.astype(np.int64), TypeError, "must be bool, uint8, uint16 or float"),
    "int64 tensor": (lambda rgb, tmp: torch.zeros(3, 4, 4, dtype=torch.long), TypeError, "got int64"),
    "complex": (lambda rgb, tmp: rgb.astype(complex), TypeError, "got complex128"),
    "strings": (lambda rgb, tmp: np.array([["a", "b"]]), TypeError, "got <U1"),
    "CHW array without input_data_format": (
        lambda rgb, tmp: rgb.transpose(2, 0, 1),
        ValueError,
        "got 36 in an array read as channels_last",
    ),
    "HWC tensor without input_data_format": (
        lambda rgb, tmp: torch.from_numpy(rgb),
        ValueError,
        "got 24 in an array read as channels_first",
    ),
    "five channels": (lambda rgb, tmp: np.zeros((4, 4, 5), np.uint8), ValueError, "must have 1 to 4 channels"),
    "one dimension": (lambda rgb, tmp: np.zeros(4, np.uint8), ValueError, "must have 2 or 3 dimensions"),
    "no dimension": (lambda rgb, tmp: np.array(4, np.uint8), ValueError, "must have 2 or 3 dimensions"),
    "no pixels": (lambda rgb, tmp: np.zeros((0, 4, 3), np.uint8), ValueError, "must not be empty"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_errors_about_images_name_the_argument(case, rgb, tmp_path):
    make, error, message = BAD_IMAGES[case]
    with pytest.raises(error, match=f"`images`.*{message}|{message}"):
        HQSamImageProcessor().preprocess([make(rgb, tmp_path)])


def test_a_truncated_pil_image_raises(rgb):
    image = Image.open(io.BytesIO(png_bytes(rgb)[:200]))
    with pytest.raises(ValueError, match="`images`: cannot decode the PIL image"):
        read_image(image)
