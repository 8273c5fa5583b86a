"""Precision and recall of predicted regions, counted by faster-coco-eval.

A region is a mask of an image, or a tube: the masks of an object in all frames of a video, side by side as one mask.
Regions are dicts with the fields that faster-coco-eval reads; `region` makes them.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ..masks.metrics import boundary, boundary_width
from ..masks.rle import mask_to_rle, rle_to_mask

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the IoU, as COCO defines AP
MOST_PAIRS = 500_000  # of images and categories that are counted at once, which take about a kilobyte each
EdgeOf = Callable[[Mapping[str, Any]], Mapping[str, Any]]  # the boundary of a region
FREQUENCIES = ("r", "c", "f")  # LVIS: rare, common and frequent categories


@dataclass(frozen=True)
class Counts:
    """Precision and recall, -1 where a category has no ground truth of the size.

    precision: (10 IoU thresholds, 101 recalls, categories, sizes). recall: (10 IoU thresholds, categories, sizes).
    category_ids: of the categories. Sizes are all, small, medium, large.
    """

    precision: np.ndarray
    recall: np.ndarray
    category_ids: list[int]


def coco_masks() -> ModuleType:
    """The mask functions of faster-coco-eval. Raises ValueError if it is not installed."""
    try:
        from faster_coco_eval.core import mask
    except ImportError as error:
        raise ValueError('Benchmarks need faster-coco-eval: pip install "hq-sam-hf[benchmarks]".') from error
    return mask


def region(
    number: int, image_id: int, category_id: int, rle: Mapping[str, Any], area: float, **fields: Any
) -> dict[str, Any]:
    """A region of an image, or a tube of a video.

    number: from 1; regions of ground truth and of predictions are numbered separately.
    rle: mask with compressed counts. area: in pixels, by which the region counts as small, medium or large.
    fields: others, such as the score of a prediction and the iscrowd of ground truth.
    """
    one = {"id": number, "image_id": image_id, "category_id": category_id, "segmentation": rle, "area": area}
    return {"iscrowd": 0, **one, **fields}


def boundary_rle(rle: Mapping[str, Any], ratio: float) -> Mapping[str, Any]:
    """The boundary of a mask as an RLE: `masks.metrics.boundary`, computed by faster-coco-eval where it can."""
    height, width = rle["size"]
    distance = boundary_width(height, width, ratio)
    if 2 * distance >= min(height, width):  # faster-coco-eval leaves a hole in masks of such narrow images
        return mask_to_rle(boundary(rle_to_mask(rle, max_pixels=None), ratio))
    # faster-coco-eval rounds halves down where the original rounds to even, so it gets a ratio away from halves.
    return coco_masks().rleToBoundary(rle, (distance + 0.25) / np.hypot(height, width))


def count(
    ground_truth: Sequence[dict[str, Any]],
    predictions: Sequence[dict[str, Any]],
    categories: Sequence[Mapping[str, Any]],
    images: Sequence[Mapping[str, Any]],
    max_dets: int,
    edge_of: EdgeOf | None = None,
    size_limits: tuple[int, int] = (32, 96),
    federated: bool = False,
) -> Counts:
    """Match predictions with the ground truth by COCO's rules, or by LVIS's if `federated`.

    ground_truth, predictions: regions. For `federated` all predictions are of categories that their image is
        annotated for; faster-coco-eval would fail if an image had no other regions.
    categories: with id, and for `federated` frequency. images: or videos, with id; for `federated` with
        neg_category_ids and not_exhaustive_category_ids.
    max_dets: predictions that count, per image and category.
    edge_of: gives the boundary of a region, as an RLE. With it the IoU is the smaller one of mask IoU and boundary
        IoU, as in Boundary AP (Cheng et al., arXiv 2103.16562). It is called only where it can matter.
    size_limits: sides in pixels of the squares whose areas part small, medium and large.
    """
    category_ids = sorted(category["id"] for category in categories)
    by_id = {image["id"]: image for image in images}
    shape = (len(THRESHOLDS), 101, len(category_ids), 4)
    counts = Counts(-np.ones(shape), -np.ones((shape[0], *shape[2:])), category_ids)
    at_once = max(1, MOST_PAIRS // max(1, len(by_id)))
    for start in range(0, len(category_ids), at_once):
        chosen = set(category_ids[start : start + at_once])
        own = [[one for one in regions if one["category_id"] in chosen] for regions in (ground_truth, predictions)]
        # The others have nothing to count.
        used = [by_id[number] for number in sorted({one["image_id"] for regions in own for one in regions})]
        if not own[0]:
            continue
        part = [category for category in categories if category["id"] in chosen]
        evaluation = _evaluation(own[0], own[1], part, used, federated, edge_of)
        evaluation.params.maxDets = [max_dets]
        small, large = (float(side**2) for side in size_limits)
        evaluation.params.areaRng = [[0.0, 1e10], [0.0, small], [small, large], [large, 1e10]]
        evaluation.evaluate()
        evaluation.accumulate()
        counts.precision[:, :, start : start + at_once] = evaluation.eval["precision"][..., 0]
        counts.recall[:, start : start + at_once] = evaluation.eval["recall"][..., 0]
    return counts


def _evaluation(
    ground_truth: list[dict[str, Any]],
    predictions: list[dict[str, Any]],
    categories: list[Mapping[str, Any]],
    images: list[Mapping[str, Any]],
    federated: bool,
    edge_of: EdgeOf | None,
) -> Any:
    coco_masks()  # says what to install
    from faster_coco_eval import COCO, COCOeval_faster

    logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)

    class Evaluation(COCOeval_faster):
        """Counts by the smaller one of mask IoU and boundary IoU, if `edge_of` is given.

        faster-coco-eval has such a mode for images, whose boundaries may be a pixel narrower than the original's.
        """

        def computeIoU(self, imgId: int, catId: int) -> Any:  # noqa: N802, N803
            ious = super().computeIoU(imgId, catId)
            if edge_of is None or len(ious) == 0:
                return ious
            true, predicted = (
                one.get_instances([imgId], [catId], True)[0][0] for one in (self.gt_dataset, self.dt_dataset)
            )
            order = np.argsort([-one["score"] for one in predicted], kind="mergesort")[: self.params.maxDets[-1]]
            single = ~np.array([bool(one["iscrowd"]) for one in true])
            # Below the lowest threshold no IoU counts, so how small it is does not matter.
            near = (np.asarray(ious) >= THRESHOLDS[0]) & single
            rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
            if len(rows):
                edges = [edge_of(predicted[order[i]]) for i in rows], [edge_of(true[i]) for i in columns]
                of_edges = np.asarray(coco_masks().iou(*edges, [0] * len(columns)))
                ious[np.ix_(rows, columns)] = np.minimum(ious[np.ix_(rows, columns)], of_edges)
            return ious

    about = {"images": images, "categories": categories}
    both = [COCO({**about, "annotations": regions}) for regions in (ground_truth, predictions)]
    return Evaluation(*both, "segm", lvis_style=federated)


def mean_precision(
    counts: Counts, threshold: float | None = None, size: int = 0, categories: Sequence[int] | None = None
) -> float | None:
    """Average precision in per cent, None if there is nothing to find.

    threshold: of the IoU, by default the mean of all. size: 0 for all, 1 small, 2 medium, 3 large.
    categories: positions in `category_ids`, by default all.
    """
    chosen = slice(None) if threshold is None else np.flatnonzero(np.isclose(THRESHOLDS, threshold))
    values = counts.precision[chosen, :, :, size]
    values = values if categories is None else values[:, :, list(categories)]
    return _percent(values)


def recall_curve(counts: Counts) -> list[float | None]:
    """Recall in per cent at each of `THRESHOLDS`, the mean of the categories."""
    return [_percent(of_threshold) for of_threshold in counts.recall[:, :, 0]]


def _percent(values: np.ndarray) -> float | None:
    present = values[values > -1]
    return float(100 * present.mean()) if present.size else None


__all__ = [
    "FREQUENCIES",
    "THRESHOLDS",
    "Counts",
    "EdgeOf",
    "boundary_rle",
    "coco_masks",
    "count",
    "mean_precision",
    "recall_curve",
    "region",
]
