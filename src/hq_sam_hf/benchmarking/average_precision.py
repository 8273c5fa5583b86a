"""Average precision of predicted masks in images: COCO, LVIS, UVO, SGinW and custom COCO data.

Boundary AP is that of Cheng et al. (arXiv 2103.16562): the same counting, by the smaller one of mask IoU and boundary
IoU. The HQ-SAM paper's strict boundary AP has boundaries of 0.01 instead of 0.02 of the image diagonal.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ..masks.metrics import DILATION_RATIO
from .counting import (
    FREQUENCIES,
    Counts,
    EdgeOf,
    boundary_rle,
    coco_masks,
    count,
    mean_precision,
    recall_curve,
    region,
)

STRICT_RATIO = 0.01
# Suffixes of the metrics' names and the width of the boundaries, as a share of the image diagonal.
KINDS: dict[str, float | None] = {"": None, "_B": DILATION_RATIO, "_B_strict": STRICT_RATIO}
SIZES = ("s", "m", "l")


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision in per cent, None where the ground truth has nothing to find.

    metrics: AP, AP50, AP75, APs, APm, APl, for LVIS APr, APc, APf, and the same with the suffixes _B for boundary AP
        and _B_strict for the strict one.
    by_category: per category id, name, annotations (number of objects that are no crowd), AP and the suffixed ones.
    recall: per suffix the recall in per cent at the IoU thresholds 0.5, 0.55, ... 0.95.
    """

    metrics: dict[str, float | None]
    by_category: list[dict[str, Any]]
    recall: dict[str, list[float | None]]


def image_ap(
    ground_truth: Mapping[str, Any],
    predictions: Iterable[Mapping[str, Any]],
    max_dets: int = 100,
    use_categories: bool = True,
    federated: bool = False,
    kinds: Mapping[str, float | None] = KINDS,
) -> AveragePrecision:
    """Average precision of masks.

    ground_truth: COCO's images, annotations and categories. Crowd regions count by COCO's rules: predictions on them
        are neither right nor wrong.
    predictions: rows of one output, as in `predictions`: image_id, category_id, score, size and counts. Those of an
        image are together.
    max_dets: predictions that count, by their scores: per image and category, or per image if `federated`.
    use_categories: False compares all objects as one category, as UVO does.
    federated: by the rules of LVIS. Images have neg_category_ids and not_exhaustive_category_ids, categories have
        a frequency.
    kinds: which boundaries to measure, by the suffix of the metrics.

    Raises ValueError for predictions of unknown images or of another size than their image.
    """
    if max_dets < 1:
        raise ValueError(f"`max_dets` must be at least 1, got {max_dets}. COCO uses 100, LVIS 300.")
    images, categories = ground_truth["images"], ground_truth["categories"]
    if not use_categories:
        categories = [{"id": 1, "name": "object"}]
        # pycocotools ranks equal scores in this order.
        ground_truth = {**ground_truth, "annotations": sorted(ground_truth["annotations"], key=_category)}
        predictions = sorted(predictions, key=_category)
    sizes = {image["id"]: (int(image["height"]), int(image["width"])) for image in images}
    true = _true_regions(ground_truth, sizes, use_categories)
    if federated:
        predictions = _federated(predictions, true, images, max_dets)
    predicted = _predicted_regions(predictions, sizes, use_categories)
    if federated:  # the package `lvis` leaves empty masks out, so that an empty prediction is no wrong one
        true, predicted = ([one for one in regions if one["area"] > 0] for regions in (true, predicted))
    counts = {}
    for suffix, ratio in kinds.items():
        edge_of = None if ratio is None else _edge_of(ratio)
        counts[suffix] = count(true, predicted, categories, images, max_dets, edge_of, federated=federated)
    return summarise(counts, true, categories)


def _edge_of(ratio: float) -> EdgeOf:
    return lambda one: boundary_rle(one["segmentation"], ratio)


def _category(one: Mapping[str, Any]) -> int:
    return one["category_id"]


def _true_regions(
    ground_truth: Mapping[str, Any], sizes: Mapping[int, tuple[int, int]], use_categories: bool
) -> list[dict[str, Any]]:
    masks = coco_masks()
    regions = []
    # Numbered anew, because faster-coco-eval takes an object of the id 0 for one that was not found.
    for number, one in enumerate(ground_truth["annotations"], start=1):
        height, width = sizes[one["image_id"]]
        rle = masks.segmToRle(one["segmentation"], width, height)
        area = one["area"] if "area" in one else int(masks.area(rle))
        category = one["category_id"] if use_categories else 1
        regions.append(region(number, one["image_id"], category, rle, area, iscrowd=int(one.get("iscrowd") or 0)))
    return regions


def _predicted_regions(
    rows: Iterable[Mapping[str, Any]], sizes: Mapping[int, tuple[int, int]], use_categories: bool
) -> list[dict[str, Any]]:
    masks = coco_masks()
    regions = []
    for number, row in enumerate(rows, start=1):
        size = sizes.get(row["image_id"])
        if size is None or tuple(row["size"]) != size:
            expected = "is not in the ground truth" if size is None else f"has the (height, width) {size}"
            raise ValueError(
                f"A prediction must have the size of its image, got {tuple(row['size'])} for the image "
                f"{row['image_id']}, which {expected}. Evaluate with the annotations that the predictions were made "
                "for."
            )
        rle = {"size": list(size), "counts": row["counts"]}
        category = row["category_id"] if use_categories else 1
        regions.append(region(number, row["image_id"], category, rle, int(masks.area(rle)), score=row["score"]))
    return regions


def _federated(
    rows: Iterable[Mapping[str, Any]],
    true: Iterable[Mapping[str, Any]],
    images: Iterable[Mapping[str, Any]],
    max_dets: int,
) -> Iterator[Mapping[str, Any]]:
    """The rows that LVIS counts: the best of each image, of categories whose presence or absence in it is known.

    Equal scores keep their order. Few rows stay, so they are chosen before their masks are kept.
    """
    known = {(one["image_id"], one["category_id"]) for one in true}
    known |= {(image["id"], category) for image in images for category in image["neg_category_ids"]}
    for image_id, of_image in groupby(rows, key=lambda row: row["image_id"]):
        best = sorted(of_image, key=lambda row: -row["score"])[:max_dets]
        yield from (row for row in best if (image_id, row["category_id"]) in known)


def summarise(
    counts: Mapping[str, Counts], true: Sequence[Mapping[str, Any]], categories: Sequence[Mapping[str, Any]]
) -> AveragePrecision:
    """The metrics of counts by suffix. true: the regions of the ground truth."""
    metrics: dict[str, float | None] = {}
    names = {category["id"]: category.get("name", str(category["id"])) for category in categories}
    frequencies = {category["id"]: category.get("frequency") for category in categories}
    objects = dict.fromkeys(names, 0)
    for one in true:
        objects[one["category_id"]] = objects.get(one["category_id"], 0) + (not one["iscrowd"])
    ids = next(iter(counts.values())).category_ids
    by_category = [{"id": number, "name": names[number], "annotations": objects[number]} for number in ids]
    for suffix, of_kind in counts.items():
        metrics[f"AP{suffix}"] = mean_precision(of_kind)
        metrics |= {f"AP{round(100 * value)}{suffix}": mean_precision(of_kind, value) for value in (0.5, 0.75)}
        metrics |= {f"AP{name}{suffix}": mean_precision(of_kind, size=i) for i, name in enumerate(SIZES, start=1)}
        if any(frequencies.values()):
            for name in FREQUENCIES:
                own = [i for i, number in enumerate(ids) if frequencies[number] == name]
                metrics[f"AP{name}{suffix}"] = mean_precision(of_kind, categories=own)
        for i, row in enumerate(by_category):
            row[f"AP{suffix}"] = mean_precision(of_kind, categories=[i])
    return AveragePrecision(metrics, by_category, {suffix: recall_curve(one) for suffix, one in counts.items()})


__all__ = ["KINDS", "STRICT_RATIO", "AveragePrecision", "image_ap", "summarise"]
