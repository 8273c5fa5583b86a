"""Data sets in memory, and folders that `save_to_disk` wrote, as the source of a description."""

import json

import datasets
import numpy as np
import pyarrow
import pytest
from PIL import Image

from hq_sam_hf.data.custom import load_named_columns
from hq_sam_hf.data.factory import load_rows
from hq_sam_hf.data.reading import read_sample


def make_dataset(count: int = 4, value: int = 90) -> datasets.Dataset:
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[16:48, 16:48] = 255
    features = datasets.Features({"photo": datasets.Image(), "label": datasets.Image()})
    images = [Image.fromarray(np.full((64, 64, 3), value + i, dtype=np.uint8)) for i in range(count)]
    return datasets.Dataset.from_dict({"photo": images, "label": [Image.fromarray(mask)] * count}, features=features)


COLUMNS = {"kind": "columns", "image_column": "photo", "mask_column": "label"}


def first_value(rows) -> int:
    return int(read_sample(rows[0]).image[0, 0, 0])


def test_a_folder_of_save_to_disk_is_a_source(tmp_path):
    make_dataset().save_to_disk(tmp_path / "saved")
    rows = load_rows({**COLUMNS, "source": tmp_path / "saved"}, "train")
    assert len(rows) == 4
    sample = read_sample(rows[0])
    assert (sample.set, sample.name, sample.masks.sum()) == ("saved", "000000", 32 * 32)


def test_a_folder_of_save_to_disk_may_have_splits(tmp_path):
    splits = datasets.DatasetDict({"train": make_dataset(4, 90), "validation": make_dataset(2, 30)})
    splits.save_to_disk(tmp_path / "saved")
    source = {**COLUMNS, "source": str(tmp_path / "saved")}
    assert first_value(load_rows(source, "train")) == 90
    assert first_value(load_rows(source, "validation")) == 30
    assert len(load_rows({**source, "split": "validation"}, "train")) == 2
    with pytest.raises(ValueError, match="have the splits train, validation, got `split` 'test'. Choose one"):
        load_rows({**source, "split": "test"}, "train")


def test_data_sets_in_memory_are_sources():
    assert first_value(load_rows({**COLUMNS, "source": make_dataset()}, "train")) == 90
    splits = datasets.DatasetDict({"train": make_dataset(4, 90), "validation": make_dataset(2, 30)})
    assert first_value(load_rows({**COLUMNS, "source": splits}, "validation")) == 30


def test_the_loader_itself_takes_saved_folders_and_splits_in_memory(tmp_path):
    make_dataset().save_to_disk(tmp_path / "saved")
    names = {"image_column": "photo", "mask_column": "label"}
    assert first_value(load_named_columns(tmp_path / "saved", **names)) == 90
    assert len(list(load_named_columns(tmp_path / "saved", **names, streaming=True))) == 4
    splits = datasets.DatasetDict({"test": make_dataset(2, 30)})
    assert first_value(load_named_columns(splits, **names, split="test")) == 30


def test_a_saved_folder_names_no_files_outside_of_it(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "outside.png")
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    paths = [{"bytes": None, "path": str(tmp_path / "outside.png")}]
    data = datasets.Dataset.from_dict({"image": paths, "mask": paths}, features=features)
    table = data.data.table
    data.save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).unlink()
    state = json.loads((tmp_path / "saved" / "state.json").read_text())
    with pyarrow.OSFile(str(tmp_path / "saved" / state["_data_files"][0]["filename"]), "wb") as file:
        with pyarrow.RecordBatchStreamWriter(file, table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(ValueError, match=r"outside\.png"):
        load_rows({"kind": "columns", "source": str(tmp_path / "saved")}, "train")


def test_a_damaged_folder_of_save_to_disk_is_named(tmp_path):
    make_dataset().save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).unlink()
    with pytest.raises(ValueError, match="saved' is not a complete folder of `save_to_disk`"):
        load_rows({**COLUMNS, "source": str(tmp_path / "saved")}, "train")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([1, 2], "`source` must be a data set of `datasets`, a Hub repository or a folder, got list"),
        ("a data set in memory: Dataset of 4 rows", "which no file can hold. Give the data set in Python again"),
    ],
)
def test_another_source_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        load_rows({**COLUMNS, "source": source}, "train")
