import numpy as np
import pytest

from hq_sam_hf.benchmarking.object_iou import mean_iou, object_records, recall_of_objects
from hq_sam_hf.benchmarking.parts import BenchmarkPart
from hq_sam_hf.masks import boundary_iou, mask_iou, mask_to_rle
from support.coco_objects import original_boundary, random_mask, row, shifted
from support.video_objects import track_rows

SIZE = (60, 90)


def square(x: int, y: int, side: int = 20) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[y : y + side, x : x + side] = True
    return mask


def part_of(*masks: np.ndarray, **fields: object) -> BenchmarkPart:
    """An image with objects of the category 1 and the ids 1, 2, ..."""
    annotations = [
        {"id": i, "image_id": 5, "category_id": 1, "segmentation": mask_to_rle(mask), **fields}
        for i, mask in enumerate(masks, start=1)
    ]
    truth = {"images": [{"id": 5}], "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}
    return BenchmarkPart("cups", [], truth)


def prompted(*masks: np.ndarray, **fields: object) -> list[dict]:
    """The rows of the outputs sam and hq for one prompt."""
    return [row(mask, 5, 1, 0.9, **{"output": name, **fields}) for name, mask in zip(("sam", "hq"), masks)]


def test_objects_have_the_iou_and_the_boundary_iou_of_their_prediction():
    """The metrics of the package `masks`, and the original's boundaries."""
    random = np.random.default_rng(0)
    masks = [random_mask(random, SIZE) for _ in range(5)]
    guesses = [shifted(mask, 2, -1) for mask in masks]
    rows = [one for i, (a, b) in enumerate(zip(guesses, masks), 1) for one in prompted(a, b, annotation_id=i)]
    records = list(object_records(part_of(*masks), rows))
    assert [one.annotation_id for one in records] == [1, 2, 3, 4, 5]
    for one, guess, mask in zip(records, guesses, masks):
        assert one.iou["sam"] == pytest.approx(float(mask_iou(guess, mask)), abs=1e-6)
        assert one.boundary_iou["sam"] == pytest.approx(float(boundary_iou(guess, mask)), abs=1e-6)
        edges = original_boundary(guess, 0.02), original_boundary(mask, 0.02)
        assert one.boundary_iou["sam"] == (edges[0] & edges[1]).sum() / (edges[0] | edges[1]).sum()
        assert one.iou["hq"] == one.boundary_iou["hq"] == 1
    means = [100 * np.mean([values["sam"] for values in own]) for own in _values(records)]
    assert mean_iou(records, "sam") == {"mIoU": means[0], "mBIoU": means[1]}


def _values(records):
    return [one.iou for one in records], [one.boundary_iou for one in records]


def test_a_detection_belongs_to_the_object_that_it_overlaps_most():
    part = part_of(square(0, 0), square(50, 30))
    rows = prompted(square(1, 0), square(2, 0)) + prompted(square(50, 30), square(50, 35))
    rows += prompted(square(0, 0, 5), square(0, 0, 5))
    by_output = [one for name in ("sam", "hq") for one in rows if one["output"] == name]
    for order in (rows, by_output):
        records = list(object_records(part, order))
        assert [(one.annotation_id, one.place) for one in records] == [(1, 0), (2, 1)]
        assert records[0].iou == {"sam": pytest.approx(19 / 21), "hq": pytest.approx(18 / 22)}
        assert records[1].iou["sam"] == 1


def test_a_detection_of_another_category_belongs_to_no_object_unless_categories_do_not_count():
    part, rows = part_of(square(0, 0)), prompted(square(0, 0), square(0, 0), category_id=2)
    assert list(object_records(part, rows)) == []
    assert len(list(object_records(part, rows, use_categories=False))) == 1


def test_a_detection_with_less_than_half_of_the_object_belongs_to_none():
    rows = prompted(square(0, 0, 14), square(0, 0, 14))  # 196 of 400 pixels
    assert list(object_records(part_of(square(0, 0)), rows)) == []
    rows = prompted(square(0, 0, 14), square(0, 0, 15))  # one output has 225
    assert len(list(object_records(part_of(square(0, 0)), rows))) == 1


def test_crowds_and_empty_objects_are_not_compared():
    rows = prompted(square(0, 0), square(0, 0), annotation_id=1)
    assert list(object_records(part_of(square(0, 0), iscrowd=1), rows)) == []
    assert list(object_records(part_of(np.zeros(SIZE, bool)), rows)) == []


def test_the_frames_of_a_video_have_their_own_masks():
    masks = [square(0, 0), None, square(10, 10)]
    one = {
        "id": 3,
        "video_id": 7,
        "category_id": 1,
        "segmentations": [m is not None and mask_to_rle(m) for m in masks],
    }
    video = {"id": 7, "file_names": ["a", "b", "c"], "height": 60, "width": 90}
    part = BenchmarkPart("v", [], {"videos": [video], "annotations": [one], "categories": [{"id": 1, "name": "cup"}]})
    rows = track_rows([square(0, 0), square(5, 5), square(10, 15)], 7, 1, 1, 1.0)
    records = list(object_records(part, rows))
    assert [(record.frame, record.iou["hq"]) for record in records] == [(0, 1), (2, pytest.approx(15 / 25))]


def test_recall_is_the_share_of_objects_that_reach_a_threshold():
    """IoU 1, 2/3 and 3/7: three, two and one of them reach 0.5, 0.55 ..."""
    part = part_of(*[square(20, 20)] * 3)
    guesses = [square(20, 20), square(20, 24), square(20, 28)]
    rows = [one for i, mask in enumerate(guesses, 1) for one in prompted(mask, mask, annotation_id=i)]
    curve = recall_of_objects(list(object_records(part, rows)), "hq")
    assert curve[""] == pytest.approx([200 / 3] * 4 + [100 / 3] * 6)
    assert curve["_B"] == pytest.approx([100 / 3] * 10)
    assert recall_of_objects([], "hq") == {"": [None] * 10, "_B": [None] * 10}
    assert mean_iou([], "hq") == {"mIoU": None, "mBIoU": None}


def test_an_empty_prediction_has_an_iou_of_0():
    rows = prompted(np.zeros(SIZE, bool), square(0, 0), annotation_id=1)
    (record,) = object_records(part_of(square(0, 0)), rows)
    assert (record.iou["sam"], record.boundary_iou["sam"]) == (0, 0)
