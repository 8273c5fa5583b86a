"""Data sets of files whose names are not UTF-8, as older systems and archives make them."""

import json
import os
import sys

import datasets
import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.data.coco import load_coco
from hq_sam_hf.data.custom import load_paired_folders
from hq_sam_hf.data.parquet import export_parquet, find_shards, load_shards
from hq_sam_hf.data.reading import read_sample

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")

NAME = os.fsdecode(b"caf\xe9")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / os.fsdecode(b"d\xe9p\xf4t")
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for name in (NAME, "plain"):
        Image.fromarray(np.full((6, 8, 3), 7, np.uint8)).save(folder / "images" / f"{name}.png")
        Image.fromarray(np.eye(6, 8) > 0).save(folder / "masks" / f"{name}.png")
    return folder


def assert_readable(rows):
    assert sorted(rows["name"]) == ["caf\\xe9", "plain"]
    for row in rows:
        sample = read_sample(row)
        assert sample.image.shape == (6, 8, 3)
        assert sample.masks.sum() == 6


def test_paired_folders(photos, tmp_path):
    rows = load_paired_folders(photos / "images", photos / "masks")
    assert rows["set"] == ["d\\xe9p\\xf4t"] * 2
    assert_readable(rows)
    assert_readable(load_paired_folders(photos / "images", photos / "masks", set_name="own"))


def test_several_masks_for_each_image(photos):
    for name in (NAME, "plain"):
        (photos / "several" / name).mkdir(parents=True)
        (photos / "masks" / f"{name}.png").rename(photos / "several" / name / f"{NAME}.png")
    assert_readable(load_paired_folders(photos / "images", photos / "several"))


def test_coco_and_its_export(photos, tmp_path):
    images = [{"id": i, "file_name": f"{name}.png", "height": 6, "width": 8} for i, name in enumerate((NAME, "plain"))]
    mask = {"size": [6, 8], "counts": [0, *[1, 6] * 5, 1, 12]}
    found = [{"id": i, "image_id": i, "category_id": 1, "segmentation": mask, "iscrowd": 0} for i in range(2)]
    content = {"images": images, "annotations": found, "categories": [{"id": 1, "name": "object"}]}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    rows = load_coco(tmp_path / "coco.json", photos / "images")
    assert_readable(rows)
    export_parquet(rows, tmp_path / "out")
    assert_readable(load_shards(find_shards(tmp_path / "out", "train")["coco"], "train"))
