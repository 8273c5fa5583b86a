"""Load your own images and masks: paired folders, data sets with other column names."""

import json

import datasets
import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.data import custom
from hq_sam_hf.data.custom import load_named_columns, load_paired_folders
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

    @pytest.mark.parametrize("folder", ["masks", "images"])
    def test_names_of_masks_may_end_with_a_suffix_also_beside_the_images(self, tmp_path, folder, caplog):
        write_folders(tmp_path, {"images/a.png": png(), "images/b_mask_1.jpg": jpeg()})
        write_folders(tmp_path, {f"{folder}/a_mask.png": png(OTHER), f"{folder}/b_mask_1_mask.png": png()})
        dataset = load_paired_folders(tmp_path / "images", tmp_path / folder, mask_suffix="_mask")
        assert areas(dataset) == {"a": [4], "b_mask_1": [15]}
        assert not caplog.records

    def test_folders_inside_are_read_if_asked(self, tmp_path):
        write_folders(tmp_path, {f"images/{name}.jpg": jpeg() for name in ("top", "one/a", "two/a", "two/.old/a")})
        masks = {"masks/top.png": png(), "masks/one/a.png": png(OTHER), "masks/two/a/1.png": png()}
        write_folders(tmp_path, {**masks, "masks/two/a/2.png": png(OTHER)})
        dataset = load_paired_folders(tmp_path / "images", tmp_path / "masks", nested=True)
        assert areas(dataset) == {"top": [15], "one/a": [4], "two/a": [15, 4]}

    def test_nested_masks_may_have_a_suffix(self, tmp_path):
        write_folders(tmp_path, {"all/day/a.jpg": jpeg(), "all/day/a-gt.png": png(), "all/b.jpg": jpeg()})
        write_folders(tmp_path, {"all/b-gt.png": png(OTHER)})
        dataset = load_paired_folders(tmp_path / "all", tmp_path / "all", nested=True, mask_suffix="-gt")
        assert areas(dataset) == {"day/a": [15], "b": [4]}

    def test_a_mask_and_a_folder_of_masks_for_one_nested_image_are_refused(self, tmp_path):
        write_folders(tmp_path, {"images/day/a.jpg": jpeg(), "masks/day/a.png": png(), "masks/day/a/1.png": png()})
        with pytest.raises(ValueError, match="'day/a' has both a mask file and a folder of masks"):
            load_paired_folders(tmp_path / "images", tmp_path / "masks", nested=True)

    def test_following_the_advice_finds_the_pairs(self, tmp_path):
        write_folders(tmp_path, {"images/day/a.jpg": jpeg(), "masks/day/a_m.png": png()})
        with pytest.raises(ValueError, match="pass `mask_suffix`; .* pass `nested: true`"):
            load_paired_folders(tmp_path / "images", tmp_path / "masks")
        dataset = load_paired_folders(tmp_path / "images", tmp_path / "masks", nested=True, mask_suffix="_m")
        assert areas(dataset) == {"day/a": [15]}

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
