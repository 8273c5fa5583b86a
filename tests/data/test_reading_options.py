"""How images and masks are read where somebody chose: label maps, values to ignore, stored pixels, value ranges."""

import io
import json

import datasets
import numpy as np
import pytest
from PIL import Image, ImageOps

from hq_sam_hf.cli import main
from hq_sam_hf.data import ReadingOptions, load_coco, load_named_columns, load_paired_folders, read_sample, undecoded
from hq_sam_hf.data.factory import load_rows
from hq_sam_hf.data.parquet import export_parquet
from hq_sam_hf.data.reading import transpose_mask
from support.images import require_writer

HEIGHT, WIDTH = 6, 8
OBJECT = np.zeros((HEIGHT, WIDTH), dtype=bool)
OBJECT[1:4, 1:4] = True
MAP = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
MAP[1:4, 1:4], MAP[4:, 4:], MAP[0, :] = 7, 150, 255


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def encoded(array: np.ndarray, file_format: str = "PNG", orientation: int | None = None) -> bytes:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, file_format, exif=exif)
    return buffer.getvalue()


def write(folder, **files: bytes):
    """Write files, whose names have __ for / and end in _png, _jpg and so on."""
    for name, content in files.items():
        stem, _, suffix = name.replace("__", "/").rpartition("_")
        path = folder / f"{stem}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def grey(shape=(HEIGHT, WIDTH)) -> np.ndarray:
    return np.full(shape, 90, dtype=np.uint8)


def samples(dataset) -> list:
    return [read_sample(row) for row in undecoded(dataset)]


class TestLabelMaps:
    @pytest.fixture
    def folders(self, tmp_path):
        write(tmp_path, images__a_png=encoded(grey()), masks__a_png=encoded(MAP))
        return {"images": tmp_path / "images", "masks": tmp_path / "masks"}

    def test_without_a_choice_they_are_refused_and_the_message_says_what_to_choose(self, folders, capsys):
        with pytest.raises(ValueError, match="own/a|instance map") as error:
            samples(load_paired_folders(**folders))
        for text in ("mask_type: instances", "mask_type: classes", "ignore_index: 255", "mask_type: soft"):
            assert text in str(error.value)
        assert (
            main(["data", "check", f"{{kind: folders, images: {folders['images']}, masks: {folders['masks']}}}"]) == 1
        )
        assert "instance map" in capsys.readouterr().out

    @pytest.mark.parametrize("mask_type", ["instances", "classes"])
    @pytest.mark.parametrize("streaming", [False, True])
    def test_each_number_but_0_becomes_a_mask(self, folders, mask_type, streaming):
        [sample] = samples(load_paired_folders(**folders, mask_type=mask_type, streaming=streaming))
        assert [mask.sum() for mask in sample.masks] == [9, 8, 8]
        [sample] = samples(load_paired_folders(**folders, mask_type=mask_type, ignore_index=255))
        assert np.array_equal(sample.masks, np.stack([MAP == 7, MAP == 150]).astype(np.float32))

    def test_maps_of_16_bit_palettes_and_colours(self, tmp_path):
        palette = Image.fromarray(MAP)
        palette.putpalette([value // 3 for value in range(768)])
        colours = np.stack([MAP, MAP // 2, MAP * 0], axis=2)
        for image in (Image.fromarray(MAP.astype(np.uint16) * 200), palette, Image.fromarray(colours)):
            row = {"image": Image.fromarray(grey()), "mask": image, "set": "s", "name": "n"}
            sample = read_sample({**row, "reading_options": ReadingOptions(mask_type="instances").as_text()})
            assert [mask.sum() for mask in sample.masks] == [9, 8, 8]

    def test_a_value_to_ignore_leaves_one_object(self, tmp_path):
        ones = np.where(MAP == 255, 255, OBJECT).astype(np.uint8)
        write(tmp_path, images__a_png=encoded(grey()), masks__a_png=encoded(ones))
        folders = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
        with pytest.raises(ValueError, match="ignore_index: 255"):
            samples(load_paired_folders(**folders))
        [sample] = samples(load_paired_folders(**folders, ignore_index=255))
        assert np.array_equal(sample.masks[0], OBJECT)

    def test_something_else_than_a_map_is_refused(self):
        image = Image.fromarray(np.arange(6000, dtype=np.int32).reshape(60, 100))
        row = {"image": Image.new("RGB", (100, 60)), "mask": image, "set": "s", "name": "n"}
        with pytest.raises(ValueError, match=r"s/n: .*at most 5,000 numbers, got 5,999"):
            read_sample({**row, "reading_options": '{"mask_type": "classes"}'})

    def test_columns_and_exports_keep_the_choice(self, tmp_path):
        image = datasets.Image()
        features = datasets.Features(photo=image, map=image)
        columns = {"photo": [{"bytes": encoded(grey()), "path": None}], "map": [{"bytes": encoded(MAP), "path": None}]}
        table = datasets.Dataset.from_dict(columns, features=features)
        loaded = load_named_columns(table, "photo", "map", mask_type="instances", ignore_index=255)
        stream = load_named_columns(
            table.to_iterable_dataset(), "photo", "map", mask_type="instances", ignore_index=255
        )
        export_parquet(loaded, tmp_path / "out")
        again = load_named_columns(tmp_path / "out")
        other = load_named_columns(tmp_path / "out", mask_type="classes")
        for dataset, count in ((loaded, 2), (stream, 2), (again, 2), (other, 3)):
            assert [len(sample.masks) for sample in samples(dataset)] == [count]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mask_type": "panoptic"},
            "`mask_type` must be one of binary, soft, alpha, instances, classes, got 'panoptic'",
        ),
        ({"ignore_index": "255"}, "`ignore_index` must be a whole number"),
        ({"mask_pixels": "raw"}, "`mask_pixels` must be one of upright, stored, got 'raw'"),
        ({"value_range": "auto"}, "`value_range` must be"),
        ({"max_pixels": 0}, "`max_pixels` must be"),
        ({"mask_typ": "soft"}, "do not fit their kind: there is no option 'mask_typ'; .*mask_type"),
    ],
)
def test_wrong_options_are_refused_when_data_are_loaded(options, message, tmp_path):
    write(tmp_path, images__a_png=encoded(grey()), masks__a_png=encoded(MAP))
    data = {"kind": "folders", "images": str(tmp_path / "images"), "masks": str(tmp_path / "masks"), **options}
    with pytest.raises(ValueError, match=message):
        load_rows(data, "train")


def test_options_are_text_that_reads_back():
    assert ReadingOptions().as_text() is None
    options = ReadingOptions(max_pixels=9, value_range=(0, 4095), mask_type="soft", mask_pixels="stored")
    assert ReadingOptions.from_text(options.as_text()) == options
    image = Image.new("L", (3, 3))
    with pytest.raises(ValueError, match=r"^s/n: cannot read the column `reading_options`"):
        read_sample({"image": image, "mask": image, "set": "s", "name": "n", "reading_options": "x"})


def test_a_description_reads_deep_and_large_images(tmp_path, monkeypatch):
    deep = np.array([[0, 2048, 4095]], dtype=np.uint16)
    write(tmp_path, images__a_png=encoded(deep), masks__a_png=encoded(np.array([[0, 255, 0]], np.uint8)))
    data = {"kind": "folders", "images": str(tmp_path / "images"), "masks": str(tmp_path / "masks")}
    rows = load_rows({**data, "value_range": [0, 4095]}, "train")
    assert read_sample(rows[0]).image[0, :, 0].tolist() == [0, 128, 255]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    with pytest.raises(ValueError, match="max_pixels: 3"):
        read_sample(load_rows(data, "train")[0])
    assert read_sample(load_rows({**data, "max_pixels": 3}, "train")[0]).masks.sum() == 1


class TestRotatedImages:
    """Images whose EXIF tag rotates them, annotated in the upright image or in the pixels as they are stored."""

    def write_coco(self, folder, orientation, stored_size=(HEIGHT, WIDTH)):
        """An image file with its object bright, and a COCO file of the object in stored pixels."""
        height, width = stored_size
        pixels = np.zeros((height, width, 3), dtype=np.uint8)
        pixels[1:4, 1:3] = 200
        instance = {"id": 1, "image_id": 1, "iscrowd": 0, "segmentation": [[1, 1, 3, 1, 3, 4, 1, 4]]}
        image = {"id": 1, "file_name": "a.png", "height": height, "width": width}
        content = json.dumps({"images": [image], "annotations": [instance]}).encode()
        write(folder, instances_json=content, images__a_png=encoded(pixels, "PNG", orientation))
        return folder / "instances.json", folder / "images"

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["coco", "folders", "columns"])
    def test_masks_of_stored_pixels_follow_the_image(self, orientation, kind, tmp_path):
        annotations, images = self.write_coco(tmp_path, orientation)
        if kind == "coco":
            dataset = load_coco(annotations, images, mask_pixels="stored")
        else:
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[1:4, 1:3] = 255
            write(tmp_path, masks__a_png=encoded(mask))
            dataset = load_paired_folders(images, tmp_path / "masks", mask_pixels="stored")
            if kind == "columns":
                table = dataset.remove_columns(["reading_options"])
                dataset = load_named_columns(table, mask_pixels="stored")
        [sample] = samples(dataset)
        assert sample.orientation == orientation
        assert np.array_equal(sample.masks[0] > 0, sample.image[..., 0] > 100)

    def test_masks_turn_as_pillow_turns_images(self):
        pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
        for orientation in range(1, 9):
            turned = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(pixels, "PNG", orientation))))
            assert np.array_equal(transpose_mask(pixels, orientation), np.asarray(turned))

    def test_a_mask_file_with_its_own_orientation_is_turned_once(self, tmp_path):
        _, images = self.write_coco(tmp_path, 3)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[1:4, 1:3] = 255
        write(tmp_path, masks__a_png=encoded(mask, "PNG", 3))
        for mask_pixels in ("upright", "stored"):
            [sample] = samples(load_paired_folders(images, tmp_path / "masks", mask_pixels=mask_pixels))
            assert np.array_equal(sample.masks[0] > 0, sample.image[..., 0] > 100)

    @pytest.mark.parametrize(
        ("orientation", "size"), [(2, (6, 8)), (3, (6, 8)), (4, (6, 8)), (6, (8, 8)), (8, (8, 8))]
    )
    def test_check_names_rotated_files_and_the_share_of_masks_elsewhere(self, orientation, size, tmp_path, capsys):
        annotations, images = self.write_coco(tmp_path, orientation, size)
        source = f"kind: coco, annotations: {annotations}, images: {images}"
        assert main(["data", "check", f"{{{source}}}"]) == 1
        printed = capsys.readouterr().out
        assert "1 image is rotated by the EXIF tag: a. 1 of 1 masks (100 %) would lie elsewhere" in printed
        assert "add `mask_pixels: upright` or `mask_pixels: stored`" in printed
        for mask_pixels in ("upright", "stored"):
            assert main(["data", "check", f"{{{source}, mask_pixels: {mask_pixels}}}"]) == 0
            assert "note: 1 image is rotated by the EXIF tag: a. 1 of 1 " in (printed := capsys.readouterr().out)
            assert f"Masks are read as made for the {mask_pixels} pixels." in printed

    def test_other_sizes_say_which_pixels_the_masks_may_be_of(self, tmp_path, capsys):
        annotations, images = self.write_coco(tmp_path, 6)
        source = f"kind: coco, annotations: {annotations}, images: {images}"
        assert main(["data", "check", f"{{{source}}}"]) == 1
        assert "as they are stored, add `mask_pixels: stored` to the description" in capsys.readouterr().out
        assert main(["data", "check", f"{{{source}, mask_pixels: stored}}"]) == 0

    def test_masks_that_are_the_same_either_way_are_no_problem(self, tmp_path, capsys):
        write(tmp_path, images__a_png=encoded(grey(), "PNG", 3), masks__a_png=encoded(grey() * 0 + 255))
        source = f"{{kind: folders, images: {tmp_path / 'images'}, masks: {tmp_path / 'masks'}}}"
        assert main(["data", "check", source]) == 0
        assert "0 of 1 masks (0 %) would lie elsewhere" in capsys.readouterr().out

    def test_decoded_rows_have_lost_the_tag_and_are_refused(self, tmp_path):
        dataset = load_coco(*self.write_coco(tmp_path, 3), mask_pixels="stored")
        with pytest.raises(ValueError, match=r"undecoded\(dataset\)"):
            read_sample(dataset[0])


def test_options_of_mask_images_are_refused_for_polygons(tmp_path):
    instance = {"id": 1, "image_id": 1, "iscrowd": 0, "segmentation": [[1, 1, 3, 1, 3, 4, 1, 4]]}
    content = {"images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}], "annotations": [instance]}
    write(tmp_path, c_json=json.dumps(content).encode(), images__a_png=encoded(grey()))
    for options in ({"mask_type": "instances"}, {"ignore_index": 0}):
        with pytest.raises(ValueError, match="is for mask images, and these masks are polygons"):
            load_coco(tmp_path / "c.json", tmp_path / "images", **options)


class TestFilesThatAreNoImages:
    @pytest.mark.parametrize("suffix", ["gif", "avif", "jfif", "jp2", "ppm"])
    def test_every_format_that_pillow_opens_is_paired(self, suffix, tmp_path):
        require_writer(f".{suffix}")
        for name in "ab":
            Image.fromarray(grey((32, 32))).save(write(tmp_path, images__none_txt=b"") / "images" / f"{name}.{suffix}")
        write(tmp_path, masks__a_png=encoded(grey((32, 32)) * 0 + 255))
        Image.fromarray(grey((32, 32)) * 0 + 255).save(tmp_path / "masks" / "b.gif")
        found = samples(load_paired_folders(tmp_path / "images", tmp_path / "masks"))
        assert [sample.masks.mean() for sample in found] == [1, 1]

    def test_others_are_named_and_are_notes_of_check(self, tmp_path, caplog, capsys):
        write(tmp_path, images__a_png=encoded(grey()), images__b_docx=b"", masks__a__1_png=encoded(grey() * 0 + 255))
        write(tmp_path, masks__a__x_npy=b"", masks__c_json=b"")
        load_paired_folders(tmp_path / "images", tmp_path / "masks")
        [message] = caplog.messages
        assert message.startswith("3 files are left out as no image that can be read: ")
        for name in ("b.docx", "x.npy", "c.json"):
            assert name in message
        source = f"{{kind: folders, images: {tmp_path / 'images'}, masks: {tmp_path / 'masks'}}}"
        assert main(["data", "check", source]) == 0
        assert "note: 3 files are left out" in capsys.readouterr().out


def test_check_counts_a_mask_without_foreground_as_empty(tmp_path, capsys):
    soft = np.zeros((HEIGHT, WIDTH), np.uint8)
    soft[1:4, 1:4] = 120  # below the threshold of training and evaluation
    write(
        tmp_path,
        images__a_png=encoded(grey()),
        masks__a_png=encoded(np.where(soft, 120, OBJECT[::-1] * 128).astype(np.uint8)),
    )
    source = f"kind: folders, images: {tmp_path / 'images'}, masks: {tmp_path / 'masks'}"
    assert main(["data", "check", f"{{{source}, mask_type: soft}}"]) == 1
    assert "own/a: the mask is empty" in capsys.readouterr().out.replace(tmp_path.name, "own")
