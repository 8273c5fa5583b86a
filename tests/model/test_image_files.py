"""Which image files are opened: formats, size limit, number types and layouts that Pillow misreads."""

import logging
import re
import threading

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from hq_sam_hf import HQSamImageProcessor, load_image
from hq_sam_hf.model import image_files
from hq_sam_hf.model.image_files import describe_left_out, image_suffixes, open_upright
from hq_sam_hf.model.image_reading import ImageOptions
from support.images import require_writer

SIZE = (24, 16)


@pytest.fixture
def deep() -> np.ndarray:
    """Colours of 16 bit, uint16 (16, 24, 3)."""
    return np.random.default_rng(0).integers(0, 65536, (16, 24, 3), dtype=np.uint16)


@pytest.mark.parametrize(
    "suffix",
    [".jpg", ".jfif", ".gif", ".avif", ".webp", ".jp2", ".tif", ".bmp", ".ico", ".ppm", ".tga", ".qoi", ".apng"],
)
def test_every_format_that_pillow_opens_is_an_image(suffix, tmp_path):
    require_writer(suffix)
    assert suffix in image_suffixes()
    Image.new("RGB", (32, 32), (90, 90, 90)).save(tmp_path / f"image{suffix}")
    assert np.abs(np.asarray(load_image(tmp_path / f"image{suffix}")).astype(int) - 90).max() < 4


def test_formats_that_pillow_only_recognises_or_writes_are_none():
    assert not image_suffixes() & {".pdf", ".txt", ".json", ".mpg", ".h5", ".eps", ".wmf", ".palm", ""}


def test_heic_is_read_upright_where_its_plugin_is_installed(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    image_suffixes()
    exif = Image.Exif()
    exif[0x0112] = 6
    left = Image.new("RGB", (64, 48))
    left.paste((250, 250, 250), (0, 0, 64, 8))  # the first rows as stored; upright they are on the right
    pillow_heif.from_pillow(left).save(tmp_path / "image.heic", exif=exif.tobytes())
    assert {".heic", ".heif"} <= image_suffixes()
    image = np.asarray(load_image(tmp_path / "image.heic"))
    assert image.shape == (64, 48, 3)
    assert image[:, -6:].min() > 200
    assert image[:, :30].max() < 60


def test_without_its_plugin_heic_is_left_out_with_advice():
    assert "To read HEIC files, install pillow-heif." in describe_left_out(["a.HEIC", "b.txt"])
    assert describe_left_out(["b.txt"]) == "1 file is left out as no image that can be read: b.txt."


def test_more_pixels_than_the_limit_are_read_if_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses from twice as many on
    Image.new("L", SIZE).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match="has 384 pixels, and at most 200 are read") as error:
        load_image(tmp_path / "large.png")
    for text in ("load_image(path, max_pixels=384)", "--max-pixels 384", "max_pixels: 384"):
        assert text in str(error.value)
    assert load_image(tmp_path / "large.png", max_pixels=384).size == SIZE
    assert Image.MAX_IMAGE_PIXELS == 100
    assert ImageOptions(max_pixels=384).load(tmp_path / "large.png").size == SIZE
    for too_few in (383, 1):
        with pytest.raises(ValueError, match=f"at most {too_few} are read"):
            load_image(tmp_path / "large.png", max_pixels=too_few)


def test_a_real_image_of_200_megapixels(tmp_path):
    Image.new("1", (20_000, 10_000)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match=r"200,000,000 pixels, and at most 178,956,970.*max_pixels=200000000"):
        open_upright(tmp_path / "large.png")
    assert open_upright(tmp_path / "large.png", max_pixels=200_000_000).size == (20_000, 10_000)


def test_another_thread_keeps_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", SIZE).save(tmp_path / "large.png")
    outcomes = []

    def read(max_pixels):
        try:
            outcomes.append((max_pixels, open_upright(tmp_path / "large.png", max_pixels).size))
        except ValueError:
            outcomes.append((max_pixels, None))

    threads = [threading.Thread(target=read, args=(one,)) for one in [500, 10] * 20]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(outcomes)) == [(10, None), (500, SIZE)]
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("wrong", [0, -5, 1.5, "many", True])
def test_a_wrong_limit_is_refused(wrong):
    with pytest.raises(ValueError, match="`max_pixels` must be a whole number from 1 on"):
        ImageOptions(max_pixels=wrong)


def test_12_bits_in_a_file_of_16_are_stretched_by_a_chosen_range(tmp_path, monkeypatch):
    warnings = []
    logging.Logger.warning_once.cache_clear()
    monkeypatch.setattr("hq_sam_hf.model.image_reading.logger.warning", warnings.append)
    data = np.array([[0, 1000, 2048, 4095]], dtype=np.uint16)
    for suffix in (".tif", ".png"):
        Image.fromarray(data).save(tmp_path / f"deep{suffix}")
        assert np.asarray(load_image(tmp_path / f"deep{suffix}"))[0, :, 0].tolist() == [0, 4, 8, 16]
        stretched = load_image(tmp_path / f"deep{suffix}", value_range=(0, 4095))
        assert np.asarray(stretched)[0, :, 0].tolist() == [0, 62, 128, 255]
    assert len(warnings) == 1
    assert re.search(r"nearly black.*value_range=\(low, high\).*--value-range", warnings[0])
    assert np.asarray(load_image(data, value_range=(1000, 2048)))[0, :, 0].tolist() == [0, 0, 255, 255]


def test_percentiles_are_those_of_the_image(tmp_path):
    data = np.concatenate([np.arange(1000, 2001), [0, 65535]]).astype(np.uint16)[None]  # two outliers
    Image.fromarray(data).save(tmp_path / "deep.png")
    values = np.asarray(load_image(tmp_path / "deep.png", value_range="percentile"))[0, :, 0]
    assert values[-2:].tolist() == [0, 255]
    assert values[500] in (127, 128)
    assert (np.diff(values[:1001].astype(int)) >= 0).all()
    flat = load_image(np.full((4, 4), 7, np.uint16), value_range="percentile")
    assert np.asarray(flat).max() == 0


DATA = np.array([[-50.0, 0.0, 50.0, 150.0]])


@pytest.mark.parametrize(
    "kind", ["float32 file", "int32 file", "int16 file", "float64", "int64", "PIL F", "PIL I", "tensor", "bfloat16"]
)
def test_floats_and_integers_of_any_type_are_read_by_a_chosen_range(kind, tmp_path):
    name, _, where = kind.partition(" ")
    if where == "file":
        image = tmp_path / "image.tif"
        tifffile.imwrite(image, DATA.astype(name))
    elif name == "PIL":
        image = Image.fromarray(DATA.astype({"F": np.float32, "I": np.int32}[where]))
    elif name in ("tensor", "bfloat16"):
        image = torch.from_numpy(DATA).to(torch.bfloat16 if name == "bfloat16" else torch.int32)[None]
    else:
        image = DATA.astype(name)
    assert np.asarray(load_image(image, value_range=(-50, 150)))[0, :, 1].tolist() == [0, 64, 128, 255]
    with pytest.raises((ValueError, TypeError), match=r"value_range=\(low, high\)"):
        load_image(image)


def test_a_range_also_applies_to_8_bits_and_keeps_colours_apart_from_alpha():
    pixels = np.array([[[10, 60, 110, 3]]], dtype=np.uint8)
    for image in (pixels, Image.fromarray(pixels)):
        assert np.asarray(load_image(image, value_range=(10, 110))).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("wrong", [(5, 5), (9, 1), (0, float("inf")), (1,), (1, 2, 3), "auto", "12", 4095, ("a", "b")])
def test_a_wrong_range_is_refused(wrong):
    with pytest.raises(ValueError, match=r"`value_range` must be \(low, high\).*percentile"):
        ImageOptions(value_range=wrong)


def test_nan_is_refused_with_a_range_too():
    with pytest.raises(ValueError, match=r"finite.*nan_to_num"):
        load_image(np.array([[0, np.nan]]), value_range=(0, 1))


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("channels", [3, 4])
def test_planar_colours_of_16_bit_are_refused_where_pillow_misreads_them(deep, tile, channels, tmp_path):
    planes = np.concatenate([deep, deep[..., :1]], axis=2)[..., :channels].transpose(2, 0, 1)
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", tile=tile, **extra)
    with pytest.raises(ValueError, match=r"a\.tif.*channels one after the other, which Pillow misreads.*tifffile"):
        load_image(tmp_path / "a.tif")
    read = tifffile.imread(tmp_path / "a.tif")  # as the message says
    assert np.array_equal(np.asarray(load_image(read.transpose(1, 2, 0))), np.asarray(load_image(deep)))


def test_planar_files_that_pillow_reads_right_are_read(deep, tmp_path):
    high = (deep >> 8).astype(np.uint8)
    for name, data, compression in (("a", high, None), ("b", high, "zlib"), ("c", deep, "zlib")):
        path = tmp_path / f"{name}.tif"
        planes = data.transpose(2, 0, 1)
        tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", compression=compression)
        assert np.array_equal(np.asarray(load_image(path)), high)


def test_signed_8_bit_files_are_refused_because_pillow_reads_them_as_unsigned(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[-5, 5]], dtype=np.int8))
    with pytest.raises(ValueError, match="signed 8-bit"):
        load_image(tmp_path / "a.tif")
    read = tifffile.imread(tmp_path / "a.tif").astype(np.float32)  # as the message says
    assert np.asarray(load_image(read, value_range=(-5, 5)))[0, :, 0].tolist() == [0, 255]


def test_a_range_is_refused_for_colours_whose_lower_bits_pillow_drops(deep, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", deep // 16, photometric="rgb")
    with pytest.raises(ValueError, match="16 bits, of which Pillow reads the upper 8.*tifffile"):
        load_image(tmp_path / "a.tif", value_range=(0, 4095))
    read = load_image(tifffile.imread(tmp_path / "a.tif"), value_range=(0, 4095))  # as the message says
    assert np.abs(np.asarray(read).astype(int) - (deep >> 8)).max() <= 1


def test_the_processor_says_how_to_read_what_it_refuses(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", DATA.astype(np.float32))
    with pytest.raises(ValueError, match=r"mode 'F' has no defined value range.*load_image\(image, value_range"):
        HQSamImageProcessor().preprocess([tmp_path / "a.tif"])
    HQSamImageProcessor().preprocess([load_image(tmp_path / "a.tif", value_range=(-50, 150))])


def test_files_of_formats_without_decoder_are_none(monkeypatch):
    monkeypatch.setattr(image_files.features, "check", lambda name: False)
    image_suffixes.cache_clear()
    try:
        assert not image_suffixes() & {".avif", ".webp", ".jp2"}
        assert ".png" in image_suffixes()
    finally:
        image_suffixes.cache_clear()
