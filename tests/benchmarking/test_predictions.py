"""Predictions on the disk: what is written comes back, damaged files are named, and JSON is what pycocotools reads."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from hq_sam_hf.benchmarking.predictions import find_shards, make_row, read_predictions, save_results, write_shard
from hq_sam_hf.masks.rle import rle_to_mask


def square(side, size=(20, 30)):
    mask = np.zeros(size, dtype=bool)
    mask[5 : 5 + side, 10 : 10 + side] = True
    return mask


def row(side=4, image_id=7, output="sum", **other):
    return make_row(square(side), image_id, output, predicted_iou=0.75, score=0.5, category_id=3, **other)


def test_rows_come_back_in_the_order_of_the_shards(tmp_path):
    write_shard(tmp_path, 10, [row(image_id=3)])
    write_shard(tmp_path, 2, [row(image_id=1), row(image_id=2, output="hq", annotation_id=12)])
    write_shard(tmp_path, 0, [])
    rows = list(read_predictions(tmp_path))
    assert [one["image_id"] for one in rows] == [1, 2, 3]
    assert [one["annotation_id"] for one in rows] == [-1, 12, -1]
    assert rows[0] == row(image_id=1)
    assert [one["image_id"] for one in read_predictions(tmp_path, "hq")] == [2]


def test_a_row_holds_the_mask_and_its_box():
    one = row(side=4)
    assert np.array_equal(rle_to_mask({"size": one["size"], "counts": one["counts"]}), square(4))
    assert one["bbox"] == [10, 5, 4, 4]
    assert make_row(square(0), 1, "sam", 0.5, 0.5, 1)["bbox"] == [0, 0, 0, 0]


def test_equal_rows_give_equal_bytes(tmp_path):
    for folder in ("a", "b"):
        write_shard(tmp_path / folder, 0, [row(), row(side=5)])
    first, second = (find_shards(tmp_path / folder)[0].read_bytes() for folder in ("a", "b"))
    assert first == second


@pytest.mark.parametrize("content", [b"", b"PAR1 damaged"])
def test_a_damaged_shard_is_named_and_removing_it_helps(tmp_path, content):
    write_shard(tmp_path, 0, [row()])
    (tmp_path / "00001.parquet").write_bytes(content)
    with pytest.raises(ValueError, match="00001.parquet' is no shard of predictions .* Remove it"):
        list(read_predictions(tmp_path))
    (tmp_path / "00001.parquet").unlink()
    assert len(list(read_predictions(tmp_path))) == 1


def test_a_file_with_other_columns_is_no_shard(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"image_id": [1]}), tmp_path / "00000.parquet")
    with pytest.raises(ValueError, match="its columns are image_id"):
        list(read_predictions(tmp_path))


def test_a_folder_without_shards_is_named(tmp_path):
    (tmp_path / "notes.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match="holds no predictions"):
        list(read_predictions(tmp_path))


def test_pycocotools_reads_the_results(tmp_path):
    assert save_results(tmp_path / "results.json", [row(side=4, image_id=1), row(side=6, image_id=1)]) == 2
    dataset = {
        "images": [{"id": 1, "height": 20, "width": 30}],
        "annotations": [],
        "categories": [{"id": 3, "name": "square"}],
        "info": {},
    }
    (tmp_path / "annotations.json").write_text(json.dumps(dataset))
    results = COCO(str(tmp_path / "annotations.json")).loadRes(str(tmp_path / "results.json"))
    assert [results.annToMask(one).sum() for one in results.loadAnns(results.getAnnIds())] == [16, 36]


def test_results_without_a_mask_are_an_empty_list(tmp_path):
    assert save_results(tmp_path / "results.json", []) == 0
    assert json.loads((tmp_path / "results.json").read_text()) == []
