"""Every kind of source gives its images under their keys, with the columns that may hold prompts."""

import io
import json
import shutil
import tarfile
import zipfile

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from hq_sam_hf.labelling import SourceOptions, open_source
from hq_sam_hf.labelling.preparation import with_content
from support.labelling import write_images


@pytest.fixture
def folder(tmp_path):
    """A folder with three images, one in a subfolder, and a text file."""
    images = write_images(tmp_path / "images", 3)
    (images / "more").mkdir()
    (images / "2.png").rename(images / "more" / "2.png")
    (images / "notes.txt").write_text("notes")
    return images


KEYS = ["0.png", "1.png", "more/2.png"]


def content(row):
    """The bytes of the image of a row."""
    return with_content(row.place).content


def assert_images(source, folder, names=KEYS):
    """The rows of a source hold these images, also when they are read in parts."""
    rows = [*source.read(range(0, 2)), *source.read(range(2, len(source)))]
    assert [content(row) for row in rows] == [(folder / name).read_bytes() for name in names]
    assert [row.key for row in rows] == list(source.keys())
    assert len(source) == len(names)
    return rows


def test_a_folder_and_its_subfolders(folder):
    source = open_source([folder])
    assert [row.key for row in assert_images(source, folder)] == KEYS
    assert [str(file) for file in source.left_out] == [str(folder / "notes.txt")]
    assert source.has_addresses


def test_files_and_patterns(folder):
    source = open_source([folder / "0.png", str(folder / "more" / "*.png")])
    assert [row.key for row in source.read(range(2))] == ["0.png", "more/2.png"]


def test_the_output_is_no_source(folder):
    assert list(open_source([folder], output=folder / "more").keys()) == KEYS[:2]


def test_the_shards_of_an_output_are_no_source(tables, folder):
    (tables / "out" / "data").mkdir(parents=True)
    shutil.copy(tables / "a.parquet", tables / "out" / "data" / "train-00000-of-00001.parquet")
    assert len(open_source([tables])) == 4
    assert_images(open_source([tables], output=tables / "out"), folder)


@pytest.mark.parametrize("suffix", ["", "/", "/*.png", "/**/*.png"])
def test_a_folder_by_url(folder, suffix):
    source = open_source([f"file://{folder}{suffix}"])
    names = {"/*.png": KEYS[:2]}.get(suffix, KEYS)
    assert [row.key for row in assert_images(source, folder, names)] == names
    assert source.files() == []


def test_members_of_an_archive_by_url(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for name in KEYS:
            archive.write(folder / name, name)
    rows = assert_images(open_source([f"zip://*.png::file://{tmp_path}/images.zip"]), folder, KEYS[:2])
    assert [row.key for row in rows] == KEYS[:2]


def parquet_rows(folder):
    return [
        {"image": {"bytes": (folder / name).read_bytes(), "path": name}, "boxes": [[1.0, 2.0, 30.0, 20.0]]}
        for name in KEYS
    ]


@pytest.fixture
def tables(folder, tmp_path):
    """Two Parquet files with the three images, the second with two row groups."""
    table = pyarrow.Table.from_pylist(parquet_rows(folder))
    (tmp_path / "tables").mkdir()
    pyarrow.parquet.write_table(table.slice(0, 1), tmp_path / "tables" / "a.parquet")
    pyarrow.parquet.write_table(table.slice(1), tmp_path / "tables" / "b.parquet", row_group_size=1)
    return tmp_path / "tables"


@pytest.mark.parametrize("form", ["{}", "{}/*.parquet", "file://{}", "file://{}/*.parquet"])
def test_parquet_files(tables, folder, form):
    source = open_source([form.format(tables)])
    rows = assert_images(source, folder)
    assert [row.key for row in rows] == KEYS  # the paths of the images
    assert rows[2].columns == {"boxes": [[1.0, 2.0, 30.0, 20.0]]}
    assert source.columns == ["boxes"]
    assert not source.has_addresses


def test_columns_with_other_names(folder, tmp_path):
    rows = [{"scan": row["image"]["bytes"], "number": i} for i, row in enumerate(parquet_rows(folder))]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    with pytest.raises(
        ValueError, match="columns are scan, number. Name the one with the images with `--image-column`"
    ):
        open_source([tmp_path / "a.parquet"])
    assert list(open_source([tmp_path / "a.parquet"], SourceOptions(image_column="scan")).keys())[2] == "row-000000002"
    source = open_source([tmp_path / "a.parquet"], SourceOptions(image_column="scan", key_column="number"))
    assert [row.key for row in assert_images(source, folder)] == ["0", "1", "2"]
    with pytest.raises(ValueError, match="has no column 'nummer'. Its columns are scan, number"):
        open_source([tmp_path / "a.parquet"], SourceOptions(image_column="scan", key_column="nummer"))


def test_a_row_without_an_image_is_a_problem_of_that_row(folder, tmp_path):
    rows = [*parquet_rows(folder), {"image": None, "boxes": []}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = open_source([tmp_path / "a.parquet"]).read(range(4))
    assert [row.problem is None for row in found] == [True, True, True, False]
    assert "holds no image" in found[3].problem


def test_parquet_files_with_different_columns_are_refused(tables):
    pyarrow.parquet.write_table(pyarrow.table({"image": [b"x"]}), tables / "c.parquet")
    with pytest.raises(ValueError, match="Label them in separate runs"):
        open_source([tables])


@pytest.mark.parametrize("kept", [0, 50])
def test_an_incomplete_parquet_file_is_named(tables, kept):
    whole = (tables / "b.parquet").read_bytes()
    (tables / "b.parquet").write_bytes(whole[:kept])
    with pytest.raises(ValueError, match="b.parquet' is not a complete Parquet file"):
        open_source([tables])


def add_member(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def archive(folder, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for i, name in enumerate(KEYS):
            add_member(archive, f"shard/{i}.json", json.dumps({"boxes": [[i, 2, 30, 20]]}).encode())
            add_member(archive, f"shard/{i}.png", (folder / name).read_bytes())
            add_member(archive, f"shard/{i}.txt", b"a cup\n")
    return tmp_path / "a.tar"


@pytest.mark.parametrize("form", ["{}/a.tar", "{}/*.tar", "file://{}/a.tar", "file://{}/*.tar"])
def test_webdataset_archives(archive, folder, form):
    source = open_source([form.format(archive.parent)])
    rows = assert_images(source, folder)
    assert [row.key for row in rows] == ["shard/0", "shard/1", "shard/2"]
    assert rows[2].columns == {"boxes": [[2, 2, 30, 20]], "txt": "a cup"}
    assert source.columns == ["boxes", "txt"]


def test_a_sample_that_comes_twice_is_two_rows_with_one_key(archive, folder):
    with tarfile.open(archive, "a") as file:
        add_member(file, "shard/1.png", (folder / "0.png").read_bytes())
    source = open_source([archive])
    assert list(source.keys()) == ["shard/0", "shard/1", "shard/2", "shard/1"]
    assert content(source.read(range(3, 4))[0]) == (folder / "0.png").read_bytes()


def test_wrong_json_in_an_archive_is_a_problem_of_that_row(archive, folder):
    with tarfile.open(archive, "a") as file:
        add_member(file, "shard/9.json", b"{")
        add_member(file, "shard/9.png", (folder / "0.png").read_bytes())
    assert "is not a JSON object" in open_source([archive]).read(range(3, 4))[0].problem


@pytest.mark.parametrize("kept", [0, 1000, 3000])
def test_an_incomplete_archive_is_named(archive, kept):
    archive.write_bytes(archive.read_bytes()[:kept])
    with pytest.raises(ValueError, match="a.tar.*(not a complete|not complete|has no images)"):
        open_source([archive])


def coco_file(folder, path, **changes):
    images = [{"id": 10 + i, "file_name": name, "height": 40 + i, "width": 60} for i, name in enumerate(KEYS)]
    annotations = [
        {"id": 1, "image_id": 10, "bbox": [5, 6, 30, 20], "category_id": 2},
        {"id": 2, "image_id": 12, "bbox": [1, 2, 3, 4], "category_id": 1},
        {"id": 3, "image_id": 12, "bbox": [1, 2, 3, 4], "category_id": 1, "iscrowd": 1},
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 2, "name": "cup"}]}
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_the_images_and_boxes_of_a_coco_file(folder, tmp_path):
    source = open_source([coco_file(folder, tmp_path / "a.json")], SourceOptions(image_folder=folder))
    rows = assert_images(source, folder)
    assert [row.key for row in rows] == KEYS
    assert rows[0].columns == {"boxes": [[5, 6, 35, 26]], "labels": ["cup"], "image_id": 10}
    assert rows[1].columns["boxes"] == []
    assert rows[2].columns["labels"] == [None]
    assert list(open_source([coco_file(folder, folder / "a.json")]).keys()) == KEYS  # beside its images


def test_a_coco_file_and_its_images_by_url(folder, tmp_path):
    beside, elsewhere = coco_file(folder, folder / "a.json"), coco_file(folder, tmp_path / "a.json")
    for place, images in (
        (f"file://{beside}", None),
        (f"file://{elsewhere}", f"file://{folder}"),
        (elsewhere, folder),
    ):
        source = open_source([place], SourceOptions(image_folder=images))
        rows = assert_images(source, folder)
        assert [row.key for row in rows] == KEYS
        assert rows[0].columns["labels"] == ["cup"]
    for name in ("../secret.png", "/etc/passwd", "s3://other/secret.png"):
        images = [{"id": 1, "file_name": name, "height": 4, "width": 4}]
        wrong = coco_file(folder, folder / "b.json", images=images, annotations=[])
        with pytest.raises(ValueError, match="leads out of .*Name the images relative to it"):
            open_source([f"file://{wrong}"])


def test_a_coco_file_may_not_lead_out_of_its_folder(folder, tmp_path):
    images = [{"id": 1, "file_name": "../secret.png", "height": 4, "width": 4}]
    with pytest.raises(ValueError, match="leads out of the folder"):
        open_source([coco_file(folder, folder / "a.json", images=images, annotations=[])])


def test_a_json_file_that_is_not_coco_is_named(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ValueError, match="is not a COCO file"):
        open_source([tmp_path / "a.json"])


def test_a_folder_of_save_to_disk(folder, tmp_path):
    rows = [{"image": str(folder / name), "name": f"image {i}"} for i, name in enumerate(KEYS)]
    dataset = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    dataset.save_to_disk(tmp_path / "saved")
    source = open_source([tmp_path / "saved"])
    assert [row.key for row in assert_images(source, folder)] == ["image 0", "image 1", "image 2"]
    assert source.columns == ["name"]
    assert not source.has_addresses  # save_to_disk stores the bytes


def test_a_folder_of_images_with_metadata(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    lines = [json.dumps({"file_name": name, "caption": f"cup {i}"}) for i, name in enumerate(KEYS)]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    source = open_source([folder])
    rows = source.read(range(3))
    assert sorted(row.columns["caption"] for row in rows) == ["cup 0", "cup 1", "cup 2"]
    assert {content(row) for row in rows} == {(folder / name).read_bytes() for name in KEYS}


@pytest.fixture
def table_of_paths(folder, tmp_path):
    """A table beside its images, whose last row names a file elsewhere."""
    (tmp_path / "secret.png").write_bytes((folder / "0.png").read_bytes())
    paths = ["0.png", str(folder / "1.png"), "../secret.png"]
    pyarrow.parquet.write_table(pyarrow.table({"image": paths, "id": ["a", "b", "c"]}), folder / "paths.parquet")
    return folder / "paths.parquet"


def test_a_table_may_not_have_any_file_of_the_machine_read(table_of_paths, folder, tmp_path):
    rows = open_source([table_of_paths]).read(range(3))
    assert [content(row) for row in rows[:2]] == [(folder / name).read_bytes() for name in KEYS[:2]]
    assert "leads out of the folder" in rows[2].problem
    assert rows[2].place.address is None
    moved = tmp_path / "elsewhere" / "paths.parquet"
    moved.parent.mkdir()
    table_of_paths.rename(moved)
    rows = open_source([moved]).read(range(3))
    assert [row.problem is None for row in rows] == [True, False, False]  # the first name is a file beside the table
    assert "--image-folder" in rows[1].problem
    rows = open_source([moved], SourceOptions(image_folder=folder)).read(range(3))
    assert [row.problem is None for row in rows] == [True, True, False]


def test_a_data_set_of_paths_without_images_is_not_read(table_of_paths, tmp_path):
    datasets.Dataset.from_dict({"image": [str(tmp_path / "secret.png")]}).save_to_disk(tmp_path / "saved")
    (row,) = open_source([tmp_path / "saved"]).read(range(1))
    assert "leads out of the folder" in row.problem


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/folder/x.png", "names no image"),
        ("file:///missing/folder", "names no image|cannot be listed"),
        ("nosuch://bucket/images", "cannot be listed.*Correct the URL"),
    ],
)
def test_a_source_that_is_not_there_is_named(name, message):
    with pytest.raises(ValueError, match=message):
        open_source([name])


def test_a_data_set_that_cannot_be_loaded_is_named():
    with pytest.raises(ValueError, match="'nosuch/data-set' cannot be loaded .* Correct the name or the split"):
        open_source(["nosuch/data-set"])  # no test may use the network


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(ValueError, match="names no image"):
        open_source([tmp_path])
    with pytest.raises(ValueError, match="names no image, no .parquet and no .tar file"):
        open_source([f"file://{tmp_path}"])


def test_a_read_of_the_network_is_tried_again(folder, monkeypatch):
    from hq_sam_hf.labelling import addresses

    failures = [TimeoutError("slow"), ConnectionResetError("reset")]
    whole = addresses.open_address

    def unreliable(address):
        if failures:
            raise failures.pop()
        return whole(address)

    monkeypatch.setattr(addresses, "open_address", unreliable)
    monkeypatch.setattr(addresses, "PAUSE", 0.0)
    assert addresses.read_address(f"file://{folder}/0.png") == (folder / "0.png").read_bytes()
    failures += [TimeoutError("slow")] * 3
    with pytest.raises(OSError, match="cannot read 'file://.*TimeoutError: slow"):
        addresses.read_address(f"file://{folder}/0.png")


def test_sources_can_be_sent_to_other_processes(tables, archive, folder, tmp_path):
    import pickle

    coco = coco_file(folder, folder / "a.json")
    shutil.copytree(folder, tmp_path / "plain", ignore=shutil.ignore_patterns("*.json"))
    for name in (tmp_path / "plain", tables, archive, coco):
        source = open_source([name])
        again = pickle.loads(pickle.dumps(source))
        assert [content(row) for row in again.read(range(3))] == [content(row) for row in source.read(range(3))]
        assert np.array_equal(list(again.keys()), list(source.keys()))
