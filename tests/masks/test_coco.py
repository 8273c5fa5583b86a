import contextlib
import io
import json
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from hq_sam_hf.masks.coco import coco_annotation, label_map, record_mask, save_coco, save_label_map
from hq_sam_hf.masks.cropped_mask import CroppedMask
from hq_sam_hf.masks.polygons import mask_to_polygons
from hq_sam_hf.masks.rle import mask_to_rle

SIZE = (20, 30)


def square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def all_forms(mask: np.ndarray) -> list:
    """The mask in every form that the segmentation of a record may have."""
    uncompressed = {"size": list(SIZE), "counts": CroppedMask.of(mask).run_lengths(SIZE)}
    return [mask, uncompressed, mask_to_rle(mask), mask_to_polygons(mask)]


def test_every_form_of_a_mask_is_read():
    for form in all_forms(square(3, 4, 7)):
        assert np.array_equal(record_mask({"segmentation": form}, SIZE), square(3, 4, 7))
    with pytest.raises(ValueError, match=r"\(height, width\) of its image, \(30, 20\), got \(20, 30\)"):
        record_mask({"segmentation": square(3, 4, 7)}, (30, 20))


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools with NumPy 2
def test_coco_files_can_be_read_by_pycocotools(tmp_path):
    masks = [square(3, 4, 7), square(0, 0, 20)]
    path = tmp_path / "coco.json"
    for first, second in zip(all_forms(masks[0]), all_forms(masks[1])):
        records = [
            {"segmentation": first, "predicted_iou": 0.5, "area": 49, "bbox": [4, 3, 6, 6]},
            {"segmentation": second, "label": "wall"},
        ]
        save_coco(path, [("a.jpg", SIZE, records), ("empty.jpg", SIZE, []), ("b.jpg", SIZE, records[1:])])
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(path)
        assert [image["file_name"] for image in coco.loadImgs([1, 2, 3])] == ["a.jpg", "empty.jpg", "b.jpg"]
        assert coco.getAnnIds(imgIds=2) == []
        a, wall, b = coco.loadAnns(coco.getAnnIds())
        assert (a["bbox"], a["area"], a["predicted_iou"], a["image_id"]) == ([4, 3, 7, 7], 49, 0.5, 1)
        assert b["image_id"] == 3
        assert [category["name"] for category in coco.loadCats([a["category_id"], wall["category_id"]])] == [
            "object",
            "wall",
        ]
        for annotation, mask in zip((a, wall, b), (*masks, masks[1])):
            assert np.array_equal(coco.annToMask(annotation).astype(bool), mask)


def test_a_coco_file_without_masks_has_a_category(tmp_path):
    save_coco(tmp_path / "coco.json", [], info={"model": "m"})
    content = json.loads((tmp_path / "coco.json").read_text())
    empty = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "object"}], "info": {"model": "m"}}
    assert content == empty


def test_a_label_map_draws_small_masks_over_large_ones(tmp_path):
    records = [
        {"segmentation": square(5, 5, 3)},
        {"segmentation": square(0, 0, 15)},
        {"segmentation": square(4, 4, 5)},
    ]
    labels = label_map(records, SIZE)
    assert labels.dtype == np.uint8
    assert (labels[6, 6], labels[4, 4], labels[0, 0], labels[19, 29]) == (1, 3, 2, 0)
    assert [(labels == i).sum() for i in (1, 2, 3)] == [9, 225 - 25, 25 - 9]
    save_label_map(tmp_path / "few.png", records, SIZE)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "few.png")), labels)


def test_a_label_map_of_more_than_255_masks_has_16_bits(tmp_path):
    records = [{"segmentation": square(i // 30, i % 30, 1)} for i in range(300)]
    save_label_map(tmp_path / "many.png", records, SIZE)
    labels = np.asarray(Image.open(tmp_path / "many.png"))
    assert labels.max() == 300
    assert labels[9, 29] == 300


def saved(path: Path, *images) -> dict:
    save_coco(path, images)
    return json.loads(path.read_text())


def test_records_may_hold_scalars_arrays_and_paths(tmp_path):
    record = {
        "segmentation": square(3, 4, 7),
        "predicted_iou": np.float32(0.5),
        "stability_score": torch.tensor(0.25),
        "point_coords": np.array([[1, 2]]),
        "crop_box": torch.tensor([0, 0, 30, 20]),
        "label": np.str_("cup"),
        "source": Path("photos") / "a.jpg",
        "good": np.bool_(True),
        "nested": {np.int64(3): [np.float64(0.5), None]},
        "undefined": float("nan"),
        "infinite": np.float32(np.inf),
    }
    size = (np.int64(20), np.int32(30))
    expected = {
        "predicted_iou": 0.5,
        "stability_score": 0.25,
        "point_coords": [[1, 2]],
        "crop_box": [0, 0, 30, 20],
        "label": "cup",
        "source": "photos/a.jpg",
        "good": True,
        "nested": {"3": [0.5, None]},
        "undefined": None,
        "infinite": None,
        "area": 49,
    }
    for entry in (
        record,
        coco_annotation(record, size),
        {**record, "iscrowd": np.int64(0), "bbox": None, "area": None},
    ):
        content = saved(tmp_path / "coco.json", (Path("photos") / "a.jpg", size, [entry]))
        (annotation,) = content["annotations"]
        assert annotation | expected == annotation
        assert content["images"] == [{"id": 1, "file_name": "photos/a.jpg", "height": 20, "width": 30}]
        assert content["categories"] == [{"id": 1, "name": "cup"}]
    content = saved(tmp_path / "coco.json", (PureWindowsPath("photos", "b.jpg"), size, []))
    assert content["images"][0]["file_name"] == "photos/b.jpg"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"segmentation": square(3, 4, 7), "thing": {"inner": object()}},
            r"record\['thing'\]\['inner'\] must be a number",
        ),
        ({"segmentation": square(3, 4, 7), "things": [1, {1, 2}]}, r"record\['things'\]\[1\].*got a set"),
        ({"segmentation": square(3, 4, 7), "label": ["cup"]}, "`label` must be text"),
        ({"segmentation": square(3, 4, 7), "iscrowd": "yes"}, "`iscrowd` must be 0 or 1, got 'yes'"),
        (
            {"segmentation": None, "area": 3},
            "must be a dict with a mask as `segmentation`, got a dict of .*segmentation.*Pass {'segmentation': mask}",
        ),
        ({"mask": square(3, 4, 7)}, "got a dict of .*mask"),
        (square(3, 4, 7), "got a ndarray"),
        ({"segmentation": {"counts": "06"}}, "`size` must be"),
        (
            {"segmentation": {**mask_to_rle(square(3, 4, 7)), "size": [30, 20]}},
            r"its image, \(20, 30\), got \(30, 20\)",
        ),
        (
            {"segmentation": {"size": [10**6, 10**6], "counts": [10**12]}},
            r"its image, \(20, 30\), got \(1000000, 1000000\)",
        ),
        ({"segmentation": [[1, 1, 5, float("nan"), 5, 5]]}, "must be pixels, got nan"),
        ({"segmentation": square(3, 4, 7).T.tolist()}, r"its image, \(20, 30\), got \(30, 20\)"),
    ],
)
def test_a_wrong_record_is_named_and_an_earlier_file_stays(record, message, tmp_path):
    path = tmp_path / "coco.json"
    path.write_text("earlier")
    ready = {"bbox": [0, 0, 1, 1], "area": 1, "iscrowd": 0}
    for one in (record, {**ready, **record} if isinstance(record, dict) else record):
        with pytest.raises(ValueError, match=message):
            save_coco(path, [("a.jpg", SIZE, [one])])
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("images", [[("a.jpg", SIZE)], [(3, SIZE, [])], [("a.jpg", (-1, 5), [])], ["a.jpg"], [None]])
def test_a_wrong_entry_of_an_image_is_named(images, tmp_path):
    with pytest.raises(ValueError, match=r"`images` must hold|A file name must be|`size` must be"):
        save_coco(tmp_path / "coco.json", images)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools with NumPy 2
def test_annotations_of_other_programs_are_saved_as_they_mean(tmp_path):
    mask = square(3, 4, 7)
    flat = mask_to_polygons(mask)[0]
    rle = mask_to_rle(mask)
    forms = [
        {"segmentation": mask * np.uint8(255), "bbox": [0, 0, 1, 1], "area": 12495},
        {"segmentation": {**rle, "counts": rle["counts"].encode()}, "bbox": [4, 3, 7, 7], "area": 49},
        {"segmentation": flat, "bbox": [4, 3, 7, 7], "area": 49},
        {"segmentation": [np.array(flat)], "bbox": [4, 3, 7, 7], "area": 49},
        {"segmentation": [np.array(flat).reshape(-1, 2)]},
        {"segmentation": mask.tolist()},
    ]
    records = [{**form, "iscrowd": crowd} for form in forms for crowd in (0, "1", True)]
    with contextlib.redirect_stdout(io.StringIO()):
        saved(tmp_path / "coco.json", ("a.jpg", SIZE, records))
        coco = COCO(tmp_path / "coco.json")
    for annotation, record in zip(coco.loadAnns(coco.getAnnIds()), records):
        assert np.array_equal(coco.annToMask(annotation).astype(bool), mask)
        assert annotation["area"] == 49
        assert annotation["iscrowd"] == int(record["iscrowd"])


def test_a_polygon_in_the_first_pixel_is_no_row_of_a_mask():
    pixel = np.zeros((1, 8), dtype=bool)
    pixel[0, 0] = True
    assert np.array_equal(record_mask({"segmentation": mask_to_polygons(pixel)}, (1, 8)), pixel)


def test_a_label_map_holds_up_to_65535_masks():
    records = [{"segmentation": [[0, 0, 1, 0, 1, 1]]}] * 65_536
    with pytest.raises(ValueError, match="up to 65,535 masks, got 65,536"):
        label_map(records, (1, 1))
    assert label_map((record for record in records[:2]), (1, 1)).shape == (1, 1)
