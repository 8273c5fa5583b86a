"""Files that the rows of a table name are read only from its own folder."""

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from hq_sam_hf.data import load_hqseg44k, load_named_columns, undecoded
from hq_sam_hf.data.factory import load_rows
from hq_sam_hf.data.prepare import export_data
from support.small_hqseg44k import jpeg, png, write_folders

IMAGE = datasets.Image()


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write_table(file, path, is_list=False):
    """A table with an image in its own bytes, and a mask, or a list of masks, in a file."""
    mask = {"bytes": None, "path": str(path)}
    columns = {"image": {"bytes": jpeg(), "path": None}, "mask": [mask] if is_list else mask, "set": "s", "name": "n"}
    text = datasets.Value("string")
    features = datasets.Features({"image": IMAGE, "mask": [IMAGE] if is_list else IMAGE, "set": text, "name": text})
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([columns], schema=features.arrow_schema), file)


@pytest.mark.parametrize("is_list", [False, True])
@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "{root}/table/../secret.png", "{root}/secret.png", "secret.png", "zip://a.png::{root}/secret.zip"],
)
def test_files_outside_of_the_folder_are_refused(tmp_path, path, is_list):
    write_folders(tmp_path, {"secret.png": png()})
    write_table(tmp_path / "table/train-00000-of-00001.parquet", path.format(root=tmp_path), is_list)
    with pytest.raises(ValueError, match="A file in the column 'mask', .*leads out of the folder.*save_to_disk"):
        load_named_columns(tmp_path / "table")
    stream = load_named_columns(tmp_path / "table", streaming=True)
    with pytest.raises(ValueError, match="leads out of the folder"):
        next(iter(stream))
    with pytest.raises(ValueError, match="leads out of the folder"):
        export_data({"kind": "columns", "source": str(tmp_path / "table")}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("streaming", [False, True])
def test_files_inside_the_folder_are_read(tmp_path, streaming):
    write_folders(tmp_path, {"table/masks/a.png": png()})
    write_table(tmp_path / "table/train-00000-of-00001.parquet", tmp_path / "table/masks/a.png")
    [row] = undecoded(load_named_columns(tmp_path / "table", streaming=streaming))
    assert row["mask"]["path"] == str(tmp_path / "table/masks/a.png")


@pytest.mark.parametrize("streaming", [False, True])
def test_files_in_the_folder_that_the_caller_names_are_read(tmp_path, streaming):
    write_folders(tmp_path, {"masks/a.png": png(), "secret.png": png()})
    write_table(tmp_path / "table/train-00000-of-00001.parquet", tmp_path / "masks/a.png")
    named = load_named_columns(tmp_path / "table", streaming=streaming, image_folder=tmp_path / "masks")
    [row] = undecoded(named)
    assert row["mask"]["path"] == str(tmp_path / "masks/a.png")
    write_table(tmp_path / "other/train-00000-of-00001.parquet", tmp_path / "secret.png")
    with pytest.raises(ValueError, match="leads out of the folder.* as `image_folder`"):
        list(load_named_columns(tmp_path / "other", streaming=streaming, image_folder=tmp_path / "masks"))


def test_the_shards_of_an_export_are_checked_too(tmp_path):
    write_table(tmp_path / "root/validation/dis-00000-of-00001.parquet", "/etc/passwd")
    with pytest.raises(ValueError, match="'/etc/passwd', leads out of the folder"):
        load_hqseg44k(tmp_path / "root", "validation", sets=["dis"])


def test_a_data_set_in_python_may_name_any_file_and_save_to_disk_stores_it(tmp_path):
    write_folders(tmp_path, {"a.jpg": jpeg(), "a.png": png()})
    features = datasets.Features(image=IMAGE, mask=IMAGE)
    columns = {"image": [str(tmp_path / "a.jpg")], "mask": [str(tmp_path / "a.png")]}
    table = datasets.Dataset.from_dict(columns, features=features)
    assert len(load_named_columns(table)) == 1
    table.save_to_disk(tmp_path / "saved")
    assert len(load_rows({"kind": "columns", "source": str(tmp_path / "saved")}, "train")) == 1
