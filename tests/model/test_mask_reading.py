"""Which pixels of a mask file are the object; labels, values to ignore and hidden alpha are never taken for one."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from hq_sam_hf import HQSamProcessor
from hq_sam_hf.masks.rle import foreground
from hq_sam_hf.model.mask_reading import FOREGROUND, label_values, mask_values, read_binary_mask
from hq_sam_hf.scenes import SceneGenerator

HEIGHT, WIDTH = 60, 80
OBJECT = np.zeros((HEIGHT, WIDTH), dtype=bool)
OBJECT[10:40, 20:60] = True
IGNORED = np.zeros_like(OBJECT)
IGNORED[38:44, 15:65] = True
ONES = OBJECT.astype(np.uint8)


def instances(count: int = 200) -> np.ndarray:
    """A map of blocks of 4 x 5 pixels with the numbers 1 to count - 1, on background 0."""
    numbers = np.arange(HEIGHT // 4 * (WIDTH // 5)).reshape(HEIGHT // 4, WIDTH // 5)
    return np.kron(np.where(numbers < count, numbers, 0), np.ones((4, 5), int))


def bands(*values: int) -> np.ndarray:
    """A map of vertical bands of equal width."""
    return np.repeat(values, -(-WIDTH // len(values)))[:WIDTH][None].repeat(HEIGHT, axis=0)


def antialiased(width: int = 10) -> Image.Image:
    """A disc and a line with soft edges."""
    large = Image.new("L", (WIDTH * 8, HEIGHT * 8))
    draw = ImageDraw.Draw(large)
    draw.ellipse((100, 100, 500, 400), fill=255)
    draw.line((0, 0, 640, 480), fill=255, width=width)
    return large.resize((WIDTH, HEIGHT), Image.Resampling.BOX)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def with_alpha(colours: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([colours, alpha.astype(np.uint8) * 255]))


def white(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.full((height, width, 3), 255, dtype=np.uint8)


NOT_ONE_MASK = {
    "0, 1 and 255 to ignore": np.where(IGNORED, 255, ONES).astype(np.uint8),
    "1 and 255 to ignore": np.where(IGNORED, 255, 1).astype(np.uint8),
    "classes and 255 to ignore": bands(0, 7, 11, 19, 255).astype(np.uint8),
    "200 instances": instances().astype(np.uint8),
    "200 instances, no two neighbours the same": (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 201).astype(
        np.uint8
    ),
    "class map of 0..150": bands(0, 3, 150, 12).astype(np.uint8),
    "class map with background 255": bands(255, 40, 90, 140).astype(np.uint8),
    "trimap": np.where(IGNORED, 128, ONES * 255).astype(np.uint8),
    "ids of 16 bit": (instances() * 300).astype(np.uint16),
    "one id of 16 bit": (OBJECT * 40001).astype(np.uint16),
    "neighbouring ids of 16 bit": (OBJECT * 40001 + IGNORED).astype(np.uint16),
    "ids of 8 bit in 16": instances().astype(np.uint16),
    "ids of 32 bit": (instances() * 300).astype(np.int32),
}


@pytest.mark.parametrize("case", NOT_ONE_MASK)
def test_label_maps_and_values_to_ignore_are_refused_in_files_and_arrays(case, tmp_path):
    values = NOT_ONE_MASK[case]
    image = Image.fromarray(values)
    image.save(tmp_path / "map.tif")
    for kind in (values, image, tmp_path / "map.tif"):
        with pytest.raises(ValueError, match=r"`mask`.* must hold 0/1 or 0\.\.255, got values from .*instance map"):
            read_binary_mask(kind, "mask")


ONE_MASK = {
    "0 and 128": (ONES * 128, OBJECT),
    "0 and 200": (ONES * 200, OBJECT),
    "alpha of white": (with_alpha(white(), OBJECT), OBJECT),
    "alpha of black": (with_alpha(white() * 0, OBJECT), OBJECT),
    "alpha of grey": (Image.fromarray(np.dstack([ONES * 0 + 90, ONES * 255])), OBJECT),
    "the same in colours and alpha": (with_alpha(white() * ONES[..., None], OBJECT), OBJECT),
    "opaque": (with_alpha(white() * ONES[..., None], OBJECT | True), OBJECT),
    "16 bit, shifted by 8 bits": (OBJECT.astype(np.uint16) * 255 * 256, OBJECT),
}


@pytest.mark.parametrize("case", ONE_MASK)
def test_one_object_is_read_however_it_is_stored(case, tmp_path):
    stored, expected = ONE_MASK[case]
    image = stored if isinstance(stored, Image.Image) else Image.fromarray(stored)
    image.save(tmp_path / "mask.png")
    assert np.array_equal(read_binary_mask(tmp_path / "mask.png", "mask"), expected)
    assert np.array_equal(mask_values(image), expected.astype(np.float32))


def test_the_transparent_colour_of_a_palette_is_its_alpha(tmp_path):
    image = Image.fromarray(ONES).convert("P")
    image.putdata(ONES.ravel().tolist())
    image.putpalette([255] * 6 + [0] * 762)  # both colours are white
    image.save(tmp_path / "mask.png", transparency=0)
    assert np.array_equal(read_binary_mask(tmp_path / "mask.png", "mask"), OBJECT)


def test_an_alpha_that_contradicts_the_colours_is_refused_and_can_be_chosen():
    ink = with_alpha(np.where(OBJECT[..., None], 0, white()).astype(np.uint8), OBJECT)  # black on transparent white
    with pytest.raises(ValueError, match="one thing by its colours and another by its alpha.*getchannel"):
        mask_values(ink)
    assert np.array_equal(mask_values(ink.getchannel("A")) > 0, OBJECT)
    assert np.array_equal(mask_values(ink, mask_type="alpha") > 0, OBJECT)
    with pytest.raises(ValueError, match="no alpha"):
        mask_values(ink.convert("RGB"), mask_type="alpha")


SOFT = {
    "antialiased": antialiased(),
    "thin": antialiased(width=3),
    "blurred": antialiased().filter(ImageFilter.GaussianBlur(5)),
    "enlarged without interpolation": antialiased().resize((WIDTH * 4, HEIGHT * 4), Image.Resampling.NEAREST),
    **{f"JPEG {quality}": jpeg(antialiased(), quality) for quality in (30, 75, 95)},
    **{f"RGB JPEG {quality}": jpeg(antialiased().convert("RGB"), quality) for quality in (30, 75, 95)},
    "16 bit": Image.fromarray(np.asarray(antialiased()).astype(np.uint16) * 257),
}


@pytest.mark.parametrize("case", SOFT)
def test_soft_edges_and_lossy_compression_are_no_labels(case):
    image = SOFT[case]
    values = mask_values(image)
    assert np.array_equal(values > FOREGROUND, foreground(values))
    assert 0.2 < values.mean() < 0.5
    if image.mode == "L":
        assert np.array_equal(values, np.asarray(image).astype(np.float32) / np.float32(255))
        assert np.array_equal(read_binary_mask(image, "mask"), np.asarray(image) > 128)


def test_the_threshold_is_that_of_training_and_evaluation():
    from hq_sam_hf.masks import rle

    assert rle.FOREGROUND == FOREGROUND == np.float32(128 / 255)


def test_a_value_to_ignore_is_background_of_grey_palette_and_colours():
    grey = Image.fromarray(np.where(IGNORED, 255, ONES).astype(np.uint8))
    palette = grey.copy()
    palette.putpalette([0, 0, 0, 128, 0, 0] + [0] * 759 + [224, 224, 192])  # as in Pascal VOC
    assert palette.mode == "P"
    for image in (grey, palette, grey.convert("RGB")):
        expected = (OBJECT & ~IGNORED).astype(np.float32)
        assert np.array_equal(mask_values(image, ignore_index=255), expected)
    with pytest.raises(ValueError, match="got several"):
        mask_values(palette)


def test_all_values_can_be_taken_as_soft():
    trimap = NOT_ONE_MASK["trimap"]
    assert np.array_equal(mask_values(Image.fromarray(trimap), mask_type="soft"), trimap / np.float32(255))


def test_label_values_are_palette_indices_numbers_or_codes_of_colours():
    numbers = np.array([[0, 1, 7]], dtype=np.uint8)
    palette = Image.fromarray(numbers)
    palette.putpalette([9] * 768)
    colours = np.array([[[0, 0, 0], [1, 2, 3], [5, 0, 0]]], dtype=np.uint8)
    for image, expected in [
        (palette, [[0, 1, 7]]),
        (Image.fromarray(numbers.astype(np.uint16) * 5000), [[0, 5000, 35000]]),
        (Image.fromarray(numbers).convert("RGB"), [[0, 1, 7]]),
        (Image.fromarray(colours), [[0, 1 + 2 * 256 + 3 * 65536, 5]]),
        (Image.fromarray(numbers.astype(np.float32)), [[0, 1, 7]]),
    ]:
        assert label_values(image).tolist() == expected
    with pytest.raises(ValueError, match="whole numbers"):
        label_values(Image.fromarray(numbers.astype(np.float32) / 2))


def test_an_empty_mask_prompt_is_refused_in_every_form(tmp_path):
    processor = HQSamProcessor()
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(ONES * 0).save(tmp_path / "empty.png")
    for empty in (OBJECT & False, ONES * 0, tmp_path / "empty.png", Image.new("1", (WIDTH, HEIGHT))):
        with pytest.raises(ValueError, match="`input_masks` of image 0 is empty"):
            processor(image, input_masks=[empty])
    with pytest.raises(ValueError, match="holds empty masks, number 1"):
        processor(image, input_masks=[np.stack([OBJECT, OBJECT & False])])
    with_mask_in_alpha = with_alpha(white(), OBJECT)
    by_alpha = processor(image, input_masks=[with_mask_in_alpha])["input_masks"]
    assert (by_alpha == processor(image, input_masks=[OBJECT])["input_masks"]).all()


def test_edges_of_thin_objects_are_no_labels():
    """Generated scenes have masks with soft edges of few pixels, some of which fill 2 x 2 pixels with one value."""
    scenes = SceneGenerator(40, size=64, seed=3)
    soft = 0
    for mask in (mask for i in range(len(scenes)) for mask in scenes[i]["masks"]):
        values = np.asarray(mask)
        soft += len(np.unique(values)) > 2
        assert np.array_equal(mask_values(mask), values / np.float32(255))
    assert soft > 20
