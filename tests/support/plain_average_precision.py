"""Average precision as its definition says, in plain loops; slow, and independent of the package's counting."""

from collections.abc import Callable
from typing import Any

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10).tolist()


def plain_average_precision(
    truth: list[dict[str, Any]],
    predicted: list[dict[str, Any]],
    iou_of: Callable[[dict[str, Any], dict[str, Any]], float],
    areas: tuple[float, float] = (0, 1e10),
    most: int = 100,
    thresholds: list[float] = THRESHOLDS,
) -> float:
    """AP in per cent, the mean of the categories that have ground truth.

    truth, predicted: objects with place (image or video), category, area, and crowd or score.
    """
    of_categories = []
    for category in sorted({one["category"] for one in truth}):
        own = [[one for one in objects if one["category"] == category] for objects in (truth, predicted)]
        of_categories += [of_one_category(*own, iou_of, areas, most, threshold) for threshold in thresholds]
    present = [one for one in of_categories if one is not None]
    return 100 * float(np.mean(present)) if present else -1


def of_one_category(truth, predicted, iou_of, areas, most, threshold):
    """AP at one threshold in [0, 1]; None without ground truth."""
    hits: list[tuple[float, bool]] = []  # score and whether it is right, without ignored predictions
    total = 0
    for place in sorted({one["place"] for one in [*truth, *predicted]}):
        true = [one for one in truth if one["place"] == place]
        ignored = [bool(one["crowd"]) or not areas[0] <= one["area"] <= areas[1] for one in true]
        total += ignored.count(False)
        taken: set[int] = set()
        here = sorted((one for one in predicted if one["place"] == place), key=lambda one: -one["score"])[:most]
        for guess in here:
            match = best_match(guess, true, ignored, taken, iou_of, threshold)
            if match is None:
                is_outside = not areas[0] <= guess["area"] <= areas[1]
                hits += [] if is_outside or guess.get("unsure") else [(guess["score"], False)]
                continue
            taken.add(match)
            hits += [] if ignored[match] else [(guess["score"], True)]
    if not total:
        return None
    hits.sort(key=lambda hit: -hit[0])
    right = np.cumsum([hit[1] for hit in hits]) if hits else np.zeros(0)
    recall = right / total
    precision = right / np.arange(1, len(hits) + 1)
    best_after = np.maximum.accumulate(precision[::-1])[::-1]
    levels = np.linspace(0, 1, 101)
    at = np.searchsorted(recall, levels, side="left")
    return float(np.mean([best_after[i] if i < len(best_after) else 0.0 for i in at]))


def best_match(guess, true, ignored, taken, iou_of, threshold):
    """The position of the object with the largest IoU. Real objects come before ignored ones."""
    for of_ignored in (False, True):
        best, value = None, min(threshold, 1 - 1e-10)
        for i, one in enumerate(true):
            if ignored[i] != of_ignored or (i in taken and not one["crowd"]):
                continue
            iou = iou_of(guess, one)
            if iou >= value:
                best, value = i, iou
        if best is not None:
            return best
    return None
