"""Load your own images and masks: paired folders, data sets with other column names, COCO instances."""

import json

import datasets
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from hq_sam_hf.data import custom, reading
from hq_sam_hf.data.custom import load_coco, load_named_columns, load_paired_folders
from hq_sam_hf.data.image_bytes import undecoded
from hq_sam_hf.data.parquet import export_parquet
from hq_sam_hf.data.reading import read_sample
from support.small_hqseg44k import HEIGHT, OBJECT, WIDTH, jpeg, png, write_folders

OTHER = np.zeros_like(OBJECT)
OTHER[5, :4] = True  # 4 pixels


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def areas(dataset) -> dict[str, list[float]]:
    """The area in pixels of each mask, by the name of the row."""
    samples = [read_sample(row) for row in undecoded(dataset)]
    return {sample.name: sample.masks.sum(axis=(1, 2)).tolist() for sample in samples}


class TestPairedFolders:
    @pytest.mark.parametrize("streaming", [False, True])
    def test_one_mask_per_image(self, tmp_path, streaming):
        write_folders(tmp_path / "cups", {"images/b.jpg": jpeg(), "images/a.png": png(), "images/notes.txt": b""})
        write_folders(tmp_path / "cups", {"masks/a.png": png(), "masks/b.png": png(OTHER, 1)})
        dataset = load_paired_folders(tmp_path / "cups/images", tmp_path / "cups/masks", streaming=streaming)
        assert list(dataset.features) == ["image", "mask", "set", "name"]
        assert areas(dataset) == {"a": [15], "b": [4]}
        assert {row["set"] for row in dataset} == {"cups"}

    def test_several_masks_per_image_are_in_a_folder(self, tmp_path):
        write_folders(tmp_path, {f"images/{name}.jpg": jpeg() for name in ("a", "a_1", "b")})
        masks = {
            "masks/a/2.png": png(OTHER),
            "masks/a/1.png": png(),
            "masks/a_1.png": png(OTHER),
            "masks/b/x.png": png(),
        }
        write_folders(tmp_path, masks)
        dataset = load_paired_folders(tmp_path / "images", tmp_path / "masks", set_name="own")
        assert list(dataset.features) == ["image", "masks", "set", "name"]
        assert areas(dataset) == {"a": [15, 4], "a_1": [4], "b": [15]}
        assert dataset[0]["masks"][0].size == (WIDTH, HEIGHT)
        assert set(dataset["set"]) == {"own"}

    def test_files_without_partner_are_logged(self, tmp_path, caplog):
        write_folders(tmp_path, {f"images/{name}.jpg": jpeg() for name in "abc"})
        write_folders(tmp_path, {"masks/c.png": png(), "masks/d/1.png": png(), "masks/a/empty.txt": b""})
        assert areas(load_paired_folders(tmp_path / "images", tmp_path / "masks")) == {"c": [15]}
        assert caplog.messages == ["2 images without mask, such as 'a'.", "1 masks without image, such as 'd'."]

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            (
                {"images/a.jpg": b"", "masks/b.png": b""},
                "No pairs: expected .*NAME.jpg .*found 1 images and",
            ),
            ({"images/a.jpg": b"", "images/a.png": b"", "masks/a.png": b""}, "several files named 'a'"),
            ({"images/a.jpg": b"", "masks/a.png": b"", "masks/a/1.png": b""}, "'a' has both a mask file and a folder"),
            ({"images/a.jpg": b""}, "masks' is not a folder"),
        ],
    )
    def test_ambiguous_or_missing_pairs_are_errors(self, tmp_path, files, message):
        write_folders(tmp_path, files)
        with pytest.raises(ValueError, match=message):
            load_paired_folders(tmp_path / "images", tmp_path / "masks")


class TestNamedColumns:
    @pytest.fixture
    def table(self):
        image = datasets.Image()
        features = datasets.Features(photo=image, cup=image, image=datasets.Value("string"), parts=[image])
        return datasets.Dataset.from_dict(
            {
                "photo": [{"bytes": jpeg(), "path": None}] * 2,
                "cup": [{"bytes": png(), "path": None}, {"bytes": png(OTHER, 1), "path": None}],
                "image": ["a title", "another"],
                "parts": [[{"bytes": png(), "path": None}, {"bytes": png(OTHER), "path": None}], []],
            },
            features=features,
        )

    @pytest.mark.parametrize("streaming", [False, True])
    def test_columns_are_renamed_and_rows_numbered(self, table, streaming):
        source = table.to_iterable_dataset() if streaming else table
        dataset = load_named_columns(source, "photo", "cup", set_name="mine")
        assert sorted(dataset.features) == ["image", "mask", "name", "set"]
        assert areas(dataset) == {"000000": [15], "000001": [4]}
        row = next(iter(dataset))
        assert row["set"] == "mine"
        assert dataset.features["image"].decode is not streaming
        assert row["image"] == {"bytes": jpeg(), "path": None} if streaming else row["image"].size == (WIDTH, HEIGHT)

    @pytest.mark.parametrize("streaming", [False, True])
    def test_a_column_with_lists_of_masks(self, table, streaming):
        source = table.to_iterable_dataset() if streaming else table
        dataset = load_named_columns(source, "photo", "parts")
        assert areas(dataset) == {"000000": [15, 4], "000001": []}

    @pytest.mark.parametrize("streaming", [False, True])
    def test_a_folder_of_images_with_metadata(self, tmp_path, streaming):
        lines = [json.dumps({"file_name": f"{n}.jpg", "mask_file_name": f"{n}_mask.png"}) for n in "ab"]
        files = {"train/metadata.jsonl": "\n".join(lines).encode()}
        for name, mask in (("a", OBJECT), ("b", OTHER)):
            files |= {f"train/{name}.jpg": jpeg(), f"train/{name}_mask.png": png(mask)}
        write_folders(tmp_path / "folder", files)
        dataset = load_named_columns(tmp_path / "folder", mask_column="mask", streaming=streaming)
        assert areas(dataset) == {"000000": [15], "000001": [4]}
        assert next(iter(dataset))["set"] == "folder"

    @pytest.mark.parametrize("streaming", [False, True])
    def test_an_export_keeps_the_names_of_sets_and_rows(self, table, tmp_path, streaming):
        export_parquet(load_named_columns(table, "photo", "parts", set_name="cups"), tmp_path / "out")
        dataset = load_named_columns(tmp_path / "out", mask_column="masks", streaming=streaming)
        assert areas(dataset) == {"000000": [15, 4], "000001": []}
        assert {row["set"] for row in dataset} == {"cups"}

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            (("scene", "cup"), "`image_column` is 'scene', but the data set has the columns photo, cup, image, parts"),
            (("photo", "mask"), "`mask_column` is 'mask', but the data set has the columns photo, cup, image, parts"),
            (("image", "cup"), r"column 'image' must hold images, got Value"),
            (("photo", "image"), r"column 'image' must hold images or lists .*cast_column\('image'"),
        ],
    )
    def test_errors_name_the_wrong_column(self, table, columns, message):
        with pytest.raises(ValueError, match=message):
            load_named_columns(table, *columns)


def write_coco(folder, images, annotations):
    """Write instances.json to `folder`, and an image file for each image."""
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}
    write_folders(folder, {"instances.json": json.dumps(content).encode()})
    for image in images:
        size = (image["width"], image["height"])
        write_folders(folder / "images", {image["file_name"]: jpeg(size=size)})
    return folder / "instances.json", folder / "images"


def instance(number, image, segmentation, **more):
    return {"id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "segmentation": segmentation, **more}


SMALL = {"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}
SQUARE = [1, 1, 4, 1, 4, 4, 1, 4]  # 3 x 3 pixels
FAR_SQUARE = [6, 4, 8, 4, 8, 6, 6, 6]  # 2 x 2 pixels


class TestCoco:
    @pytest.mark.parametrize("streaming", [False, True])
    def test_one_row_per_image_with_all_its_instances(self, tmp_path, streaming):
        images = [SMALL, {**SMALL, "id": 3, "file_name": "sub/b.jpg"}, {**SMALL, "id": 9, "file_name": "none.jpg"}]
        compressed = coco.encode(np.asfortranarray(OBJECT.astype(np.uint8)))["counts"].decode()
        annotations = [
            instance(5, 7, [SQUARE, FAR_SQUARE]),
            instance(2, 7, {"size": [HEIGHT, WIDTH], "counts": [0, 2, 46]}),
            instance(4, 3, {"size": [HEIGHT, WIDTH], "counts": compressed}),
            instance(6, 3, {"size": [HEIGHT, WIDTH], "counts": [0, 48]}, iscrowd=1),
        ]
        dataset = load_coco(*write_coco(tmp_path, images, annotations), set_name="cups", streaming=streaming)
        assert list(dataset.features) == ["image", "masks", "set", "name"]
        assert areas(dataset) == {"a": [2, 9 + 4], "sub/b": [15]}
        assert {row["set"] for row in dataset} == {"cups"}

    @pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools with NumPy 2
    def test_masks_equal_those_of_pycocotools(self, tmp_path):
        generator = np.random.default_rng(0)
        height, width = 53, 71
        annotations = []
        for i in range(300):
            corners = generator.random((generator.integers(3, 12), 2)) * [1.4 * width, 1.4 * height]
            corners -= [0.2 * width, 0.2 * height]  # some corners lie outside the image, on every side
            corners = np.round(corners * (1, 2, 100)[i % 3]) / (1, 2, 100)[i % 3]
            polygons = [corners.ravel().tolist(), corners[::-1].ravel().tolist()[:6]]
            noise = np.asfortranarray(generator.random((height, width)) < 0.3)
            rle = coco.encode(noise.astype(np.uint8))
            counts = np.diff(np.flatnonzero(np.diff(noise.ravel(order="F"), prepend=0, append=2)), prepend=0).tolist()
            annotations += [
                instance(3 * i, i, polygons),
                instance(3 * i + 1, i, {"size": [height, width], "counts": rle["counts"].decode()}),
                instance(3 * i + 2, i, {"size": [height, width], "counts": counts}),
            ]
        images = [{"id": i, "file_name": f"{i:03d}.jpg", "height": height, "width": width} for i in range(300)]
        paths = write_coco(tmp_path, images, annotations)
        reference = COCO(str(paths[0]))
        for i, row in enumerate(undecoded(load_coco(*paths))):
            masks = read_sample(row).masks
            expected = [reference.annToMask(annotation) for annotation in reference.loadAnns(range(3 * i, 3 * i + 3))]
            assert np.array_equal(masks, np.stack(expected))
            assert masks[1].any()
            assert np.array_equal(masks[1], masks[2])

    def test_loading_decodes_no_image_and_no_mask(self, tmp_path, monkeypatch):
        paths = write_coco(tmp_path, [SMALL], [instance(1, 7, [SQUARE])])
        (paths[1] / "a.jpg").write_bytes(b"not an image")
        monkeypatch.setattr(reading, "polygons_to_mask", lambda *_: pytest.fail("decoded"))
        dataset = load_coco(*paths)
        assert undecoded(dataset)[:]["masks"] == [[json.dumps({"size": [HEIGHT, WIDTH], "polygons": [SQUARE]})]]

    def test_instances_that_outline_nothing_are_left_out(self, tmp_path, caplog):
        annotations = [instance(1, 7, [[1, 1, 2, 2]]), instance(2, 7, []), instance(3, 7, None)]
        annotations.append(instance(4, 7, [[1, 1, 2, 2], SQUARE]))
        assert areas(load_coco(*write_coco(tmp_path, [SMALL], annotations))) == {"a": [9]}
        assert caplog.messages == ["3 instances without a usable segmentation, such as 1."]

    def test_a_listed_size_that_differs_from_the_image_file_is_an_error(self, tmp_path):
        paths = write_coco(tmp_path, [SMALL], [instance(1, 7, [SQUARE])])
        (paths[1] / "a.jpg").write_bytes(jpeg(size=(WIDTH, HEIGHT + 1)))
        [row] = undecoded(load_coco(*paths))
        with pytest.raises(ValueError, match=r"instances/a: image and mask .* \(7, 8\) and \(6, 8\)"):
            read_sample(row)

    @pytest.mark.parametrize(
        ("images", "annotations", "message"),
        [
            ([SMALL], [instance(1, 8, [SQUARE])], "Annotation 1 belongs to image 8, which `images` does not list"),
            ([SMALL], [], "has no instance with a segmentation"),
            ([SMALL], [{"id": 1}], "the annotation 1 lacks image_id"),
        ],
    )
    def test_inconsistent_annotations_are_errors(self, tmp_path, images, annotations, message):
        with pytest.raises(ValueError, match=message):
            load_coco(*write_coco(tmp_path, images, annotations))

    def test_missing_images_and_fields_are_errors(self, tmp_path):
        annotations, images = write_coco(tmp_path, [SMALL], [instance(1, 7, [SQUARE])])
        (images / "a.jpg").unlink()
        with pytest.raises(ValueError, match=r"1 of 1 images are missing, such as '.*a\.jpg'"):
            load_coco(annotations, images)
        annotations.write_text('{"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": []}')
        with pytest.raises(ValueError, match="the image 7 lacks height, width"):
            load_coco(annotations, images)

    @pytest.mark.parametrize("content", ["nonsense", "[]", '{"images": 3}', '{"images": []}'])
    def test_errors_name_a_file_that_is_not_coco(self, tmp_path, content):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(ValueError, match=r"x\.json' is not a COCO file"):
            load_coco(tmp_path / "x.json", tmp_path)


def test_data_sets_of_all_loaders_can_be_concatenated(tmp_path):
    write_folders(tmp_path, {"images/a.jpg": jpeg(), "masks/a.png": png()})
    folders = load_paired_folders(tmp_path / "images", tmp_path / "masks")
    table = datasets.Dataset.from_dict({"p": [Image.new("RGB", (8, 6))], "m": [Image.new("L", (8, 6))]})
    joined = datasets.concatenate_datasets([folders, load_named_columns(table, "p", "m")])
    assert areas(joined) == {"a": [15], "000000": [0]}


def test_workers_can_share_a_stream(tmp_path):
    write_folders(tmp_path, {f"images/{i:03d}.jpg": jpeg() for i in range(100)})
    write_folders(tmp_path, {f"masks/{i:03d}.png": png() for i in range(100)})
    stream = load_paired_folders(tmp_path / "images", tmp_path / "masks", streaming=True)
    assert stream.num_shards == custom.STREAMING_SHARDS
