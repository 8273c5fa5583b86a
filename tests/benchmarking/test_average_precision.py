import contextlib
import copy
import io
import logging
import sys

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hq_sam_hf.benchmarking import counting
from hq_sam_hf.benchmarking.average_precision import image_ap
from hq_sam_hf.benchmarking.counting import boundary_rle
from hq_sam_hf.masks import mask_to_rle, rle_to_mask
from hq_sam_hf.masks.rle import counts_to_list
from support.coco_objects import coco_objects, original_boundary, random_mask, row
from support.plain_average_precision import plain_average_precision

RATIOS = {"": None, "_B": 0.02, "_B_strict": 0.01}
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class BoundaryEval(COCOeval):
    """pycocotools, by the smaller one of mask IoU and boundary IoU."""

    ratio = 0.02

    def computeIoU(self, imgId, catId):  # noqa: N802, N803
        ious = super().computeIoU(imgId, catId)
        if len(ious) == 0:
            return ious
        true, predicted = self._gts[imgId, catId], self._dts[imgId, catId]
        order = np.argsort([-one["score"] for one in predicted], kind="mergesort")[: self.params.maxDets[-1]]
        edges = [
            [
                coco_mask.encode(
                    np.asfortranarray(original_boundary(rle_to_mask(one["segmentation"]), self.ratio), np.uint8)
                )
                for one in objects
            ]
            for objects in ([predicted[i] for i in order], true)
        ]
        of_edges = coco_mask.iou(*edges, [0] * len(true))
        single = [i for i, one in enumerate(true) if not one["iscrowd"]]
        ious[:, single] = np.minimum(ious[:, single], of_edges[:, single])
        return ious


def by_pycocotools(truth, rows, ratio=None, use_categories=True, max_dets=100):
    """The six values of COCO's AP in per cent, and AP per category."""
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = copy.deepcopy(truth)
        gt.createIndex()
        keys = ("image_id", "category_id", "score")
        found = gt.loadRes(
            [
                {
                    **{key: one[key] for key in keys},
                    "segmentation": {"size": one["size"], "counts": one["counts"].encode()},
                }
                for one in rows
            ]
        )
        evaluation = (BoundaryEval if ratio else COCOeval)(gt, found, "segm")
        evaluation.ratio = ratio
        evaluation.params.useCats = int(use_categories)
        evaluation.params.maxDets = [max_dets]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]
    chosen = [precision[..., 0], precision[0, ..., 0], precision[5, ..., 0], *(precision[..., i] for i in (1, 2, 3))]
    mean = lambda values: 100 * values[values > -1].mean()  # noqa: E731
    return dict(zip(NAMES, map(mean, chosen))), [mean(precision[:, :, i, 0]) for i in range(precision.shape[2])]


def by_lvis(truth, rows, monkeypatch, max_dets=300):
    """The results of the package `lvis`."""
    monkeypatch.setattr(np, "float", float, raising=False)  # a name that NumPy has dropped and lvis uses
    from lvis import LVIS, LVISEval, LVISResults

    gt = LVIS.__new__(LVIS)
    gt.logger = logging.getLogger("lvis")
    gt.dataset = copy.deepcopy(truth)
    gt._create_index()
    found = [{key: one[key] for key in ("image_id", "category_id", "score")} for one in rows]
    for one, given in zip(found, rows):
        one["segmentation"] = {"size": given["size"], "counts": given["counts"].encode()}
    evaluation = LVISEval(gt, LVISResults(gt, found, max_dets))
    evaluation.run()
    return {name: 100 * value for name, value in evaluation.get_results().items() if name.startswith("AP")}


def plain_objects(truth, rows):
    """The objects of the plain definition, with masks."""
    true = [
        {
            "place": one["image_id"],
            "category": one["category_id"],
            "area": one["area"],
            "crowd": one["iscrowd"],
            "mask": rle_to_mask(one["segmentation"]),
        }
        for one in truth["annotations"]
    ]
    predicted = [
        {"place": one["image_id"], "category": one["category_id"], "score": one["score"], "mask": rle_to_mask(one)}
        for one in rows
    ]
    for one in predicted:
        one["area"] = int(one["mask"].sum())
    return true, predicted


def plain_iou(ratio=None):
    known = {}

    def overlap(first, second, crowd=False):
        both = int((first & second).sum())
        whole = int(first.sum()) if crowd else int((first | second).sum())
        return both / whole if whole else 0.0

    def iou(guess, one):
        key = id(guess), id(one)
        if key not in known:
            value = overlap(guess["mask"], one["mask"], one["crowd"])
            if ratio and value and not one["crowd"]:
                edges = (original_boundary(each["mask"], ratio) for each in (guess, one))
                value = min(value, overlap(*edges))
            known[key] = value
        return known[key]

    return iou


@pytest.fixture(scope="module")
def small():
    return coco_objects(images=30)


@pytest.mark.parametrize("suffix", RATIOS)
def test_average_precision_equals_pycocotools(small, suffix):
    truth, rows = small
    expected, of_categories = by_pycocotools(truth, rows, RATIOS[suffix])
    result = image_ap(truth, rows, kinds={suffix: RATIOS[suffix]})
    assert {name: result.metrics[name + suffix] for name in NAMES} == pytest.approx(expected, abs=1e-9)
    assert [one[f"AP{suffix}"] for one in result.by_category] == pytest.approx(of_categories, abs=1e-9)


@pytest.mark.parametrize("suffix", RATIOS)
def test_average_precision_equals_its_definition(small, suffix):
    truth, rows = small
    result = image_ap(truth, rows, kinds={suffix: RATIOS[suffix]}).metrics
    objects, iou = plain_objects(truth, rows), plain_iou(RATIOS[suffix])
    assert result[f"AP{suffix}"] == pytest.approx(plain_average_precision(*objects, iou), abs=1e-9)
    assert result[f"APm{suffix}"] == pytest.approx(
        plain_average_precision(*objects, iou, areas=(32**2, 96**2)), abs=1e-9
    )


@pytest.mark.slow
@pytest.mark.parametrize("suffix", RATIOS)
def test_average_precision_of_200_images_equals_pycocotools_and_the_definition(suffix):
    truth, rows = coco_objects(images=200, seed=1)
    expected, of_categories = by_pycocotools(truth, rows, RATIOS[suffix])
    result = image_ap(truth, rows, kinds={suffix: RATIOS[suffix]})
    assert {name: result.metrics[name + suffix] for name in NAMES} == pytest.approx(expected, abs=1e-9)
    assert [one[f"AP{suffix}"] for one in result.by_category] == pytest.approx(of_categories, abs=1e-9)
    plain = plain_average_precision(*plain_objects(truth, rows), plain_iou(RATIOS[suffix]))
    assert result.metrics[f"AP{suffix}"] == pytest.approx(plain, abs=1e-9)


def test_objects_are_compared_as_one_category_if_asked(small):
    truth, rows = small
    expected, _ = by_pycocotools(truth, rows, use_categories=False)
    result = image_ap(truth, rows, use_categories=False, kinds={"": None})
    assert {name: result.metrics[name] for name in NAMES} == pytest.approx(expected, abs=1e-9)
    assert [one["name"] for one in result.by_category] == ["object"]


def test_only_the_best_scored_predictions_count(small):
    truth, rows = small
    expected, _ = by_pycocotools(truth, rows, max_dets=2)
    result = image_ap(truth, rows, max_dets=2, kinds={"": None})
    assert {name: result.metrics[name] for name in NAMES} == pytest.approx(expected, abs=1e-9)
    assert result.metrics["AP"] != image_ap(truth, rows, kinds={"": None}).metrics["AP"]


@pytest.mark.parametrize("max_dets", [300, 4])
def test_lvis_groups_equal_the_package_lvis(small, max_dets, monkeypatch):
    truth, rows = small
    truth = {**truth, "annotations": [{**one, "iscrowd": 0} for one in truth["annotations"]]}  # LVIS has no crowds
    expected = by_lvis(truth, rows, monkeypatch, max_dets)
    result = image_ap(truth, rows, max_dets, federated=True, kinds={"": None}).metrics
    assert {name: result[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert set(expected) == {*NAMES, "APr", "APc", "APf"}


def test_lvis_groups_equal_the_definition(small):
    """Predictions count in categories that the image is annotated for, and only if right where it is not complete."""
    truth, rows = small
    truth = {**truth, "annotations": [{**one, "iscrowd": 0} for one in truth["annotations"]]}
    true, predicted = plain_objects(truth, rows)
    annotated = {(one["place"], one["category"]) for one in true}
    absent, incomplete = (
        {(image["id"], category) for image in truth["images"] for category in image[f"{kind}_category_ids"]}
        for kind in ("neg", "not_exhaustive")
    )
    counted = [one for one in predicted if (one["place"], one["category"]) in annotated | absent and one["area"]]
    for one in counted:
        one["unsure"] = (one["place"], one["category"]) in incomplete
    result = image_ap(truth, rows, 300, federated=True).metrics
    for suffix, ratio in RATIOS.items():
        expected = plain_average_precision(true, counted, plain_iou(ratio), most=300)
        assert result[f"AP{suffix}"] == pytest.approx(expected, abs=1e-9)


def test_categories_may_be_counted_in_parts(small, monkeypatch):
    truth, rows = small
    whole = image_ap(truth, rows, federated=True)
    monkeypatch.setattr(counting, "MOST_PAIRS", 40)  # 30 images, so one category at a time
    assert image_ap(truth, rows, federated=True) == whole


def square(x: int, y: int, side: int, size: tuple[int, int] = (100, 100)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[y : y + side, x : x + side] = True
    return mask


def truth_of(*masks: np.ndarray, **fields: object) -> dict:
    annotations = [
        {
            "id": i,
            "image_id": 1,
            "category_id": 1,
            "segmentation": mask_to_rle(mask),
            "area": int(mask.sum()),
            **fields,
        }
        for i, mask in enumerate(masks)
    ]
    image = {"id": 1, "height": 100, "width": 100}
    return {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}


def test_one_of_two_objects_found_exactly_has_a_precision_of_51_percent():
    """Precision is 1 up to a recall of 0.5: at 51 of the 101 recalls."""
    truth = truth_of(square(10, 10, 20), square(60, 60, 20))
    result = image_ap(truth, [row(square(10, 10, 20), 1, 1, 0.5)])
    assert result.metrics["AP"] == result.metrics["AP_B"] == pytest.approx(100 * 51 / 101)
    assert result.metrics["APs"] == pytest.approx(100 * 51 / 101)
    assert result.metrics["APl"] is None
    assert result.recall[""] == [50.0] * 10
    assert result.by_category[0]["annotations"] == 2


def test_a_mask_with_a_wrong_edge_loses_more_boundary_ap_than_ap():
    """30 x 30 pixels inside 36 x 36 are an IoU of 0.69: right at 0.5, 0.55, 0.6 and 0.65. Their boundaries, 3 wide,
    have no pixel in common."""
    truth = truth_of(square(10, 10, 36))
    result = image_ap(truth, [row(square(13, 13, 30), 1, 1, 0.5)]).metrics
    assert result["AP"] == pytest.approx(40)
    assert result["AP_B"] == 0


def test_a_prediction_on_a_crowd_is_neither_right_nor_wrong():
    truth = truth_of(square(10, 10, 20), square(50, 50, 40))
    truth["annotations"][1]["iscrowd"] = 1
    rows = [row(square(60, 60, 10), 1, 1, 0.9), row(square(10, 10, 20), 1, 1, 0.5)]
    assert image_ap(truth, rows).metrics["AP"] == 100
    truth["annotations"][1]["iscrowd"] = 0
    assert image_ap(truth, rows).metrics["AP"] < 50


def test_the_size_of_an_object_is_the_area_in_its_annotation():
    truth = truth_of(square(10, 10, 20))
    truth["annotations"][0]["area"] = 50**2
    found = [row(square(10, 10, 20), 1, 1, 0.5)]
    result = image_ap(truth, found).metrics
    assert (result["APs"], result["APm"]) == (None, 100)
    del truth["annotations"][0]["area"]
    assert image_ap(truth, found).metrics["APs"] == 100


def test_polygons_and_uncompressed_runs_are_ground_truth_too():
    truth = truth_of(square(10, 10, 20), square(60, 60, 20))
    truth["annotations"][0]["segmentation"] = [[10, 10, 30, 10, 30, 30, 10, 30]]
    truth["annotations"][1]["segmentation"]["counts"] = counts_to_list(
        truth["annotations"][1]["segmentation"]["counts"]
    )
    rows = [row(square(10, 10, 20), 1, 1, 0.5), row(square(60, 60, 20), 1, 1, 0.4)]
    assert image_ap(truth, rows).metrics["AP"] == 100


def test_nothing_predicted_is_0_and_nothing_to_find_is_nothing():
    assert image_ap(truth_of(square(10, 10, 20)), []).metrics["AP"] == 0
    nothing = image_ap(truth_of(), [row(square(10, 10, 20), 1, 1, 0.5)])
    assert nothing.metrics["AP"] is None
    assert nothing.recall[""] == [None] * 10


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (row(square(1, 1, 5), 2, 1, 0.5), "image 2, which is not in the ground truth. Evaluate with the annotations"),
        (row(square(1, 1, 5, (50, 60)), 1, 1, 0.5), r"got \(50, 60\) for the image 1, which has .* \(100, 100\)"),
    ],
)
def test_predictions_of_other_images_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        image_ap(truth_of(square(1, 1, 5)), [wrong])


def test_a_wrong_number_of_detections_is_refused():
    with pytest.raises(ValueError, match="`max_dets` must be at least 1, got 0. COCO uses 100, LVIS 300"):
        image_ap(truth_of(square(1, 1, 5)), [], max_dets=0)


def test_the_ground_truth_stays_as_it_was(small):
    truth, rows = small
    before = copy.deepcopy((truth, rows))
    image_ap(truth, rows)
    assert (truth, rows) == before


@pytest.mark.parametrize("size", [(450, 600), (150, 200), (97, 131), (12, 300), (1, 36), (3, 4)])
@pytest.mark.parametrize("ratio", [0.02, 0.01])
def test_boundaries_equal_the_originals(size, ratio):
    """1 % of the diagonal of (450, 600) is 7.5 pixels; (12, 300) and (1, 36) are narrower than two boundaries."""
    random = np.random.default_rng(0)
    for mask in (random_mask(random, size), np.ones(size, dtype=bool), np.zeros(size, dtype=bool)):
        edge = rle_to_mask(boundary_rle(mask_to_rle(mask), ratio))
        assert np.array_equal(edge, original_boundary(mask, ratio))


def test_a_missing_package_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval.core", None)
    with pytest.raises(ValueError, match=r'pip install "hq-sam-hf\[benchmarks\]"'):
        image_ap(truth_of(square(1, 1, 5)), [])
