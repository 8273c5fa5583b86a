"""Prompts from columns and from files: what each row becomes, and what is refused."""

import json

import pyarrow.parquet
import pytest

from hq_sam_hf.labelling import ColumnPrompts, FilePrompts, ImagePlace, ObjectPrompt, SourceRow, open_source
from hq_sam_hf.labelling.detections import read_prompt_file
from hq_sam_hf.labelling.prompt_sources import TextPrompts
from support.labelling import write_images


def row(**columns):
    return SourceRow("a.png", ImagePlace("/images/a.png"), columns)


def prompts_of(source, **columns):
    return source.example(row(**columns)).prompts


def test_columns_of_one_row_describe_the_same_objects():
    source = ColumnPrompts(boxes="boxes", points="clicks", point_labels="signs", labels="names")
    found = prompts_of(
        source,
        boxes=[[1, 2, 30, 40], [5, 6, 7, 8]],
        clicks=[[[10, 20], [0, 0]], [[6, 7]]],
        signs=[[1, 0], [1]],
        names=["cup", None],
    )
    assert found == [
        ObjectPrompt([1.0, 2.0, 30.0, 40.0], [[10.0, 20.0], [0.0, 0.0]], [1, 0], None, "cup"),
        ObjectPrompt([5.0, 6.0, 7.0, 8.0], [[6.0, 7.0]], [1], None, None),
    ]


def test_boxes_as_width_and_height_in_a_field_inside_of_a_column():
    source = ColumnPrompts(boxes="objects.bbox", box_format="xywh", labels="objects.category")
    together = {"bbox": [[1, 2, 30, 40]], "category": [7]}
    assert prompts_of(source, objects=together) == [ObjectPrompt([1.0, 2.0, 31.0, 42.0], label="7")]
    one_by_one = [{"bbox": [1, 2, 30, 40], "category": 7}]
    assert prompts_of(source, objects=one_by_one) == prompts_of(source, objects=together)


def test_one_label_for_all_objects():
    source = ColumnPrompts(boxes="boxes", labels="kind")
    assert [one.label for one in prompts_of(source, boxes=[[1, 2, 3, 4]] * 2, kind="cup")] == ["cup", "cup"]


def test_masks_as_images_and_as_text():
    source = ColumnPrompts(masks="masks")
    found = prompts_of(source, masks=[{"bytes": b"png", "path": None}, '{"size": [1, 1], "counts": [0, 1]}'])
    assert [one.mask for one in found] == [b"png", '{"size": [1, 1], "counts": [0, 1]}']


def test_an_image_mask_of_a_table_names_no_file():
    with pytest.raises(ValueError, match="a mask of a row must hold its bytes or be a COCO segmentation"):
        prompts_of(ColumnPrompts(masks="masks"), masks=[{"bytes": None, "path": "/etc/passwd"}])
    with pytest.raises(ValueError, match="a mask of a row must hold its bytes or be a COCO segmentation"):
        prompts_of(ColumnPrompts(masks="masks"), masks=["/etc/passwd"])


@pytest.mark.parametrize("value", [None, []])
def test_a_row_without_a_value_has_no_objects(value):
    assert prompts_of(ColumnPrompts(boxes="boxes"), boxes=value) == []
    example = ColumnPrompts(text="caption").example(row(caption=value))
    assert (example.prompts, example.text) == ([], None)


def test_text_of_each_row_and_of_all():
    assert ColumnPrompts(text="caption").example(row(caption="cup. red spoon.")).text == ["cup", "red spoon"]
    assert TextPrompts(["cup"]).example(row()).text == ["cup"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"boxes": [[1, 2, 3]]}, "`box` must be 4 numbers"),
        ({"boxes": [[1, 2, 3, float("nan")]]}, "`box` must be 4 numbers"),
        ({"boxes": 7}, "the column 'boxes' must hold a list, got 7"),
        ({"boxes": [[1, 2, 3, 4]], "labels": ["a", "b"]}, "describe the same objects, got 1 of box, 2 of label"),
        ({"boxes": [None], "labels": ["a"]}, "an object has no prompt"),
    ],
)
def test_malformed_rows_are_explained(columns, message):
    source = ColumnPrompts(boxes="boxes", labels="labels" if "labels" in columns else None)
    with pytest.raises(ValueError, match=message):
        source.example(row(**columns))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Name a column with boxes, points, masks or text"),
        ({"boxes": "b", "box_format": "cxcywh"}, "`box_format` must be one of xyxy, xywh"),
        ({"boxes": "b", "text": "t"}, "A column with text excludes"),
        ({"boxes": "b", "point_labels": "p"}, "needs one with points"),
    ],
)
def test_contradictory_columns_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ColumnPrompts(**options)


def test_a_missing_column_is_named_with_those_that_are_there():
    with pytest.raises(ValueError, match="no column 'objects'. Its columns are boxes, id"):
        ColumnPrompts(boxes="objects.bbox").check(["boxes", "id"])


@pytest.fixture
def source(tmp_path):
    return open_source([write_images(tmp_path / "images", 3)])


def write(tmp_path, rows, name="found.json"):
    (tmp_path / name).write_text(json.dumps(rows))
    return tmp_path / name


DETECTIONS = [
    {"file_name": "0.png", "bbox": [1, 2, 30, 20], "score": 0.9, "category_id": 3},
    {"file_name": "0.png", "bbox": [1, 2, 30, 20], "score": 0.2, "category_id": 3},
    {"file_name": "2.png", "box": [1, 2, 31, 22], "label": "cup"},
]


def test_a_file_of_a_detector(source, tmp_path):
    prompts = read_prompt_file(write(tmp_path, DETECTIONS), source, min_score=0.5, categories={3: "spoon"})
    found = [prompts.example(one).prompts for one in source.read(range(3))]
    assert found[0] == [ObjectPrompt([1.0, 2.0, 31.0, 22.0], label="spoon", score=0.9)]
    assert found[1] == []
    assert found[2] == [ObjectPrompt([1.0, 2.0, 31.0, 22.0], label="cup")]


def test_results_of_a_coco_file_name_images_by_id(source, tmp_path):
    images = [{"id": 5 + i, "file_name": f"{i}.png", "height": 40 + i, "width": 60} for i in range(3)]
    coco = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cup"}]}
    coco_source = open_source([write(tmp_path / "images", coco, "coco.json")])
    results = write(tmp_path, [{"image_id": 6, "bbox": [1, 2, 3, 4], "category_id": 1, "score": 0.5}])
    prompts = read_prompt_file(results, coco_source)
    found = [prompts.example(one).prompts for one in coco_source.read(range(3))]
    assert [len(one) for one in found] == [0, 1, 0]
    assert found[1][0].label == "cup"


def test_results_name_the_rows_of_a_table_by_their_ids(tmp_path):
    rows = [{"image": b"x", "image_id": 7 + i} for i in range(2)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    table = open_source([tmp_path / "a.parquet"])
    results = write(tmp_path, [{"image_id": 8, "bbox": [1, 2, 3, 4], "score": 0.5}])
    prompts = read_prompt_file(results, table)
    assert [len(prompts.example(one).prompts) for one in table.read(range(2))] == [0, 1]


def test_a_prompt_file_of_the_package(source, tmp_path):
    rows = [{"image": "images/1.png", "points": [[3, 4]]}]
    prompts = read_prompt_file(write(tmp_path, rows), source)
    assert [len(prompts.example(one).prompts) for one in source.read(range(3))] == [0, 1, 0]


def test_images_that_the_source_does_not_have_are_named(source, tmp_path, caplog):
    rows = [*DETECTIONS, {"file_name": "other.png", "bbox": [1, 2, 3, 4]}]
    read_prompt_file(write(tmp_path, rows), source)
    assert "1 images of" in caplog.text
    assert "other.png" in caplog.text
    with pytest.raises(ValueError, match="names no image of the source: it names 'other.png', .* such as '0.png'"):
        read_prompt_file(write(tmp_path, rows[-1:]), source)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"bbox": [1, 2, 3, 4]}], "detection 1: it names no image. Give one of image_id"),
        ([{"image_id": 1, "bbox": [1, 2, 3]}], "detection 1: `bbox` must be x, y, width, height"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": "high"}], "`score` must be a number"),
        ([{"image_id": 1, "segmentation": []}], "`box` must be x1, y1, x2, y2"),
        ({"annotations": []}, "must be a list of objects"),
        ([], "holds no prompts"),
    ],
)
def test_a_wrong_file_is_explained(source, tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        read_prompt_file(write(tmp_path, rows), source)


def test_a_missing_file_is_named(source, tmp_path):
    with pytest.raises(ValueError, match="is not a file. Correct the path"):
        read_prompt_file(tmp_path / "missing.json", source)


def test_other_prompts_are_other_options():
    one, other = ColumnPrompts(boxes="a"), ColumnPrompts(boxes="b")
    assert one.as_options() != other.as_options()
    assert FilePrompts({}, "1").as_options() != FilePrompts({}, "2").as_options()
    assert FilePrompts({}, "1", 0.5).as_options() != FilePrompts({}, "1", 0.3).as_options()
