"""Read rows as arrays; the same mask gives the same array in whatever format it was saved."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.data.reading import read_sample
from hq_sam_hf.masks.rle import mask_to_rle
from support.small_hqseg44k import HEIGHT, OBJECT, WIDTH, encode, jpeg, png


def row(image=None, **columns):
    columns = columns or {"mask": stored(png())}
    return {"image": image or stored(jpeg()), "set": "dis", "name": "a", **columns}


def stored(content: bytes, path: str | None = None) -> dict:
    return {"bytes": content, "path": path}


def palette(indices: np.ndarray, colours: list[int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8)).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette(colours + [0] * (768 - len(colours)))
    return image


def coloured(colour: tuple[int, ...], background: tuple[int, ...] = (0, 0, 0, 255)) -> Image.Image:
    pixels = np.empty((HEIGHT, WIDTH, len(colour)), dtype=np.uint8)
    pixels[:] = background[: len(colour)]
    pixels[OBJECT] = colour
    return Image.fromarray(pixels)


GREY = OBJECT.astype(np.uint8)
SAME_MASK = {
    "0 and 255": Image.fromarray(GREY * 255),
    "0 and 1": Image.fromarray(GREY),
    "1 bit": Image.fromarray(OBJECT),
    "palette of black and white": palette(GREY, [0, 0, 0, 255, 255, 255]),
    "palette with white first": palette(1 - GREY, [255, 255, 255, 0, 0, 0]),
    "palette of black and dark red": palette(GREY, [0, 0, 0, 128, 0, 0]),
    "palette index 15 of a class": palette(GREY * 15, [0, 0, 0] + [9, 9, 9] * 14 + [192, 128, 128]),
    "grey ramp palette, 0 and 1": palette(GREY, [v for i in range(256) for v in (i, i, i)]),
    "RGB white": coloured((255, 255, 255)),
    "RGB 0 and 1": coloured((1, 1, 1)),
    "RGB red": coloured((255, 0, 0)),
    "RGB nearly white on nearly black": coloured((255, 250, 224), (0, 3, 32)),
    "RGBA red": coloured((255, 0, 0, 255)),
    "RGBA white": coloured((255, 255, 255, 255)),
    "RGBA transparent background": coloured((255, 255, 255, 255), (0, 0, 0, 0)),
    "grey and alpha": Image.fromarray(np.dstack([GREY * 255, np.full_like(GREY, 255)])),
    "16 bit, full range": Image.fromarray(GREY.astype(np.uint16) * 65535),
    "16 bit, 0 and 1": Image.fromarray(GREY.astype(np.uint16)),
    "32 bit": Image.fromarray(GREY.astype(np.int32) * 255),
    "float": Image.fromarray(GREY.astype(np.float32)),
}


@pytest.mark.parametrize("kind", SAME_MASK)
@pytest.mark.parametrize("decoded", [True, False])
def test_a_mask_is_the_same_in_every_format(kind, decoded):
    image = SAME_MASK[kind]
    mask = image if decoded else stored(encode(image, "TIFF" if image.mode in "FI" else "PNG"))
    sample = read_sample(row(mask=mask))
    assert sample.masks.shape == (1, HEIGHT, WIDTH)
    assert sample.masks.dtype == np.float32
    assert np.array_equal(sample.masks[0], OBJECT.astype(np.float32))


def test_soft_values_stay_soft():
    soft = OBJECT.astype(np.uint8) * 255
    soft[0, 0], soft[0, 1] = 51, 128
    mask = read_sample(row(mask=Image.fromarray(soft))).masks[0]
    assert mask[0, 0] == pytest.approx(0.2)
    assert mask[0, 1] == pytest.approx(128 / 255)
    assert mask.sum() == pytest.approx(15 + 0.2 + 128 / 255)


def test_an_empty_mask_is_not_an_error():
    for empty in (png(np.zeros_like(OBJECT)), encode(Image.new("1", (WIDTH, HEIGHT)), "PNG")):
        assert read_sample(row(mask=stored(empty))).masks.sum() == 0


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (Image.fromarray(GREY * 7), r"0/1 or 0\.\.255, got values from 0 to 7.*instance map"),
        (Image.fromarray(GREY.astype(np.int32) * 300), r"got values from 0 to 300"),
        (Image.fromarray(GREY.astype(np.int32) - 1), r"got values from -1 to 0"),
        (Image.fromarray(np.where(OBJECT, np.nan, 1).astype(np.float32)), "got values from nan"),
        (palette(GREY + OBJECT[::-1], [0, 0, 0, 128, 0, 0, 0, 128, 0]), "black and one other colour, got several"),
        (coloured((255, 255, 222), (0, 0, 1)), "black and one other colour, got several"),
    ],
)
def test_a_mask_that_fits_no_rule_is_an_error(mask, message):
    with pytest.raises(ValueError, match=f"^dis/a: cannot read the mask: .*{message}"):
        read_sample(row(mask=mask))


def test_images_are_read_like_the_processor_does():
    grey = read_sample(row(stored(jpeg(90, mode="L")))).image
    assert grey.dtype == np.uint8
    assert np.array_equal(grey, np.full((HEIGHT, WIDTH, 3), 90))
    deep = Image.fromarray(np.full((HEIGHT, WIDTH), 257 * 40, dtype=np.uint16))
    assert np.array_equal(read_sample(row(stored(encode(deep, "PNG")))).image, np.full((HEIGHT, WIDTH, 3), 40))
    transparent = Image.new("RGBA", (WIDTH, HEIGHT), (10, 20, 30, 0))
    assert read_sample(row(transparent)).image[0, 0].tolist() == [10, 20, 30]


def test_the_exif_orientation_is_applied():
    pixels = np.zeros((WIDTH, HEIGHT, 3), dtype=np.uint8)
    pixels[0] = 200  # the first row as stored; orientation 6 makes it the last column
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    image = read_sample(row(stored(buffer.getvalue()))).image
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert (image[:, -1] == 200).all()
    assert image.sum() == 200 * 3 * HEIGHT


def test_arrays_are_writable_and_names_are_kept():
    sample = read_sample(row())
    assert sample.image.flags.writeable
    assert sample.masks.flags.writeable
    assert (sample.set, sample.name) == ("dis", "a")


def test_rows_with_several_masks_and_with_none():
    other = np.zeros_like(OBJECT)
    other[5, 7] = True
    masks = read_sample(row(masks=[stored(png()), stored(png(other))])).masks
    assert [mask.sum() for mask in masks] == [15, 1]
    assert read_sample(row(masks=[])).masks.shape == (0, HEIGHT, WIDTH)


def test_coco_segmentations_are_read_as_masks():
    # The square from (1, 1) to (4, 4) covers 3 x 3 pixels; of the runs, 7 background, 2 object, 39 background.
    polygon = json.dumps({"size": [HEIGHT, WIDTH], "polygons": [[1, 1, 4, 1, 4, 4, 1, 4]]})
    runs = json.dumps({"size": [HEIGHT, WIDTH], "counts": [7, 2, 39]})
    compressed = json.dumps(mask_to_rle(OBJECT))
    masks = read_sample(row(masks=[polygon, runs, compressed])).masks
    square = np.zeros_like(OBJECT)
    square[1:4, 1:4] = True
    assert np.array_equal(masks[0], square)
    assert np.argwhere(masks[1]).tolist() == [[1, 1], [2, 1]]  # column by column
    assert np.array_equal(masks[2], OBJECT)


def test_different_sizes_of_image_and_mask_are_an_error():
    small = stored(png(np.ones((3, 4), dtype=bool)))
    with pytest.raises(ValueError, match=r"dis/a: image and mask .* \(height, width\) \(6, 8\) and \(3, 4\).*Export"):
        read_sample(row(mask=small))
    text = json.dumps({"size": [3, 4], "counts": [12]})
    with pytest.raises(ValueError, match=r"dis/a: image and mask .* \(6, 8\) and \(3, 4\)"):
        read_sample(row(masks=[text]))


@pytest.mark.parametrize("content", [b"", b"not an image", jpeg()[:200], b"\xff\xd8"])
def test_the_error_names_a_corrupt_file(content):
    with pytest.raises(ValueError, match=r"^dis/a: cannot read the image 'x/a\.jpg': "):
        read_sample(row(stored(content, "x/a.jpg")))


def test_the_error_names_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"^dis/a: cannot read the mask '.*gone\.png': "):
        read_sample(row(mask={"bytes": None, "path": str(tmp_path / "gone.png")}))


@pytest.mark.parametrize(
    "text", ["nonsense", "[]", "{}", '{"size": [6, 8], "counts": "!"}', '{"size": [6], "counts": []}', '"word"']
)
def test_the_error_names_the_item_of_a_broken_segmentation(text):
    with pytest.raises(ValueError, match="^dis/a: cannot read the mask: "):
        read_sample(row(masks=[text]))


@pytest.mark.parametrize("columns", [{"label": 3}, {"mask": None}, {"mask": stored(png()), "masks": []}])
def test_a_row_needs_exactly_one_mask_column(columns):
    with pytest.raises(ValueError, match="dis/a: a row must have `image` and one of `mask`, `masks`"):
        read_sample(row(**columns))
