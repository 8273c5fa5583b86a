import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from hq_sam_hf.masks.coco import label_map, record_mask, save_coco, save_label_map
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
