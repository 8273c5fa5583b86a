"""Detections as COCO results: the best boxes of each image, read without holding the file in memory."""

import json

import numpy as np
import pytest

from hq_sam_hf.benchmarking import json_lists
from hq_sam_hf.benchmarking.detections import read_detections
from hq_sam_hf.masks.rle import mask_to_rle

ENTRY = {"image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 40], "score": 0.5}


def write(path, entries):
    path.write_text(json.dumps(entries) if not isinstance(entries, str) else entries)
    return path


def read(path, max_dets=100, categories=(3, 4)):
    return read_detections(path, [7, 8, 9], categories, max_dets)


def test_the_best_boxes_of_each_image_are_kept_in_the_order_of_their_scores(tmp_path):
    scores = {7: [0.1, 0.9, 0.5], 9: [0.3], 8: [0.2, 0.2]}
    entries = [
        {**ENTRY, "image_id": image, "score": score, "bbox": [image, place, 30, 40]}
        for image, of_image in scores.items()
        for place, score in enumerate(of_image)
    ]
    found = read(write(tmp_path / "found.json", entries), max_dets=2)
    assert found.scores[found.of_image(7)].tolist() == [0.9, 0.5]
    assert found.boxes[found.of_image(7)].tolist() == [[7, 1, 37, 41], [7, 2, 37, 42]]
    assert found.boxes[found.of_image(8)][:, 1].tolist() == [0, 1]  # equal scores keep their order
    assert found.scores[found.of_image(9)].tolist() == [0.3]
    assert found.left_out == 1
    assert found.boxes[found.of_image(1)].shape == (0, 4)


def test_categories_do_not_count_where_the_benchmark_has_none(tmp_path):
    path = write(tmp_path / "found.json", [{**ENTRY, "category_id": 77}])
    assert read(path, categories=None).category_ids.tolist() == [1]
    with pytest.raises(ValueError, match=r"found.json': entry 0 is no detection: the category 77 is not among"):
        read(path)


def test_an_entry_may_have_a_mask_in_place_of_a_box(tmp_path):
    mask = np.zeros((60, 80), bool)
    mask[5:9, 10:20] = True
    entry = {name: value for name, value in ENTRY.items() if name != "bbox"} | {"segmentation": mask_to_rle(mask)}
    assert read(write(tmp_path / "found.json", [entry])).boxes.tolist() == [[10, 5, 20, 9]]


def test_a_list_is_read_in_chunks_that_split_its_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lists, "_CHUNK", 7)
    entries = [{**ENTRY, "score": number / 50} for number in range(50)]
    for indent in (None, 2):
        path = write(tmp_path / "found.json", json.dumps(entries, indent=indent))
        assert list(json_lists.read_json_list(path, "entries")) == entries
    assert len(read(path).scores) == 50


def test_a_file_without_a_detection_is_empty(tmp_path):
    assert len(read(write(tmp_path / "found.json", [])).scores) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"annotations": []}, "must be a JSON list with detections as COCO results .*: it does not start with"),
        ("[" + json.dumps(ENTRY)[:20], "entry 0 is incomplete or damaged"),
        (json.dumps([ENTRY])[:-1], "entry 1 is incomplete or damaged"),
        ([[1, 2]], "entry 0 is a list"),
        ([ENTRY, {**ENTRY, "score": None}], "entry 1 is no detection: it lacks score"),
        ([{"image_id": 7, "category_id": 3, "score": 1}], "it lacks bbox"),
        ([{**ENTRY, "bbox": [1, 2, 3]}], r"bbox must be \[x, y, width, height\], got \[1, 2, 3\]"),
        ([{**ENTRY, "bbox": [1, 2, -3, 4]}], r"bbox must be \[x, y, width, height\]"),
        (
            [{**ENTRY, "bbox": [0.1, 0.2, 0.3, 0.4]}],
            "all boxes lie between 0 and 1. COCO results have boxes in pixels",
        ),
        ([{**ENTRY, "image_id": 6}], "has boxes of 1 images that the annotations do not list, such as 6"),
        ([{**ENTRY, "image_id": "a"}], "ids must be whole numbers, got 'a' and 3"),
    ],
)
def test_wrong_files_are_named_with_what_belongs_there(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read(write(tmp_path / "found.json", content))
    assert "found.json" in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="found.json' does not exist. Name a file with detections"):
        read(tmp_path / "found.json")
