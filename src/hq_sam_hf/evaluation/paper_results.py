"""Published results of SAM and HQ-SAM on the four validation sets of HQSeg-44K, to compare with measured ones."""

from dataclasses import dataclass

# The sets with their numbers of images. Every image has one mask.
SET_SIZES = {"dis": 470, "coift": 280, "hrsod": 287, "thin": 500}
FOUR_SETS = tuple(SET_SIZES)
AVERAGE = "average"

PAPER = "HQ-SAM paper (arXiv 2306.01567)"
FSANET = "FSANet paper, Table II; averages: HQ-SAM paper, Table 10"

# mIoU/mBIoU in per cent for ground-truth boxes, in the order of FOUR_SETS and then their average.
_BOX = {
    ("vit_b", "sam"): ("53.6/45.1 87.9/81.3 86.1/76.9 54.1/44.8 70.6/62.3", FSANET),
    ("vit_b", "hq"): ("76.3/68.3 93.1/88.0 91.2/84.1 84.5/73.4 86.3/78.1", FSANET),
    ("vit_l", "sam"): ("62.0/52.8 92.1/86.5 90.2/83.1 73.6/61.8 79.5/71.1", f"{PAPER}, Table 2"),
    ("vit_l", "hq"): ("78.6/70.4 94.8/90.1 93.6/86.9 89.5/79.9 89.1/81.8", f"{PAPER}, Table 2"),
    ("vit_h", "sam"): ("57.1/49.3 90.8/85.6 87.0/80.1 68.4/58.3 75.6/68.3", FSANET),
    ("vit_h", "hq"): ("79.2/71.4 95.0/90.3 92.1/84.7 89.2/79.6 89.3/81.5", FSANET),
    ("vit_tiny", "sam"): ("- - - - 69.0/58.8", f"{PAPER}, Table 10 (MobileSAM)"),
    ("vit_tiny", "hq"): ("- - - - 81.4/71.6", f"{PAPER}, Table 10 (Light HQ-SAM)"),
}

# ViT-L with noisy boxes: the average of the four sets.
_NOISY_BOX = {
    ("box-noise-0.2", "sam"): "65.7/57.1",
    ("box-noise-0.2", "hq"): "82.8/73.4",
    ("box-noise-0.4", "sam"): "46.4/39.8",
    ("box-noise-0.4", "hq"): "69.9/60.3",
}

# ViT-L with points. The paper plots only mBIoU.
_POINT_PROMPTS = ("centre", "points-3", "points-5", "points-5+5", "points-10", "points-10+5")
_POINTS = {
    ("coift", "sam"): "61.8 81.3 83.9 83.6 86.3 86.4",
    ("coift", "hq"): "62.8 83.5 86.5 86.7 88.6 88.4",
    ("dis", "sam"): "17.9 50.4 55.3 55.1 56.8 59.6",
    ("dis", "hq"): "18.1 58.3 66.0 66.2 69.3 70.0",
}


@dataclass(frozen=True)
class PaperResult:
    """mIoU and mBIoU in per cent, None if not published. source: paper and table."""

    miou: float | None
    mbiou: float | None
    source: str


def is_whole_set(set_name: str, images: float, masks: float) -> bool:
    """Whether the evaluated images can be the whole published set, by its name and size.

    At most 1 % of the images may be missing, because some files may be unreadable.
    """
    size = SET_SIZES.get(set_name)
    return size is not None and images == masks and 0.99 * size <= images <= size


def paper_result(backbone: str | None, set_name: str, prompt: str, output: str) -> PaperResult | None:
    """The published result, or None if there is none.

    backbone: "vit_b", "vit_l", "vit_h" or "vit_tiny". set_name: one of `FOUR_SETS`, or "average" of all four.
    prompt: a name as in `evaluation.prompts`.
    output: "sam" is compared with SAM, and both "hq" and "sum" with HQ-SAM: the paper says that it adds the logits of
        SAM and HQ, while its evaluation code uses the HQ mask alone.
    """
    model = "sam" if output == "sam" else "hq"
    if prompt == "box" and (backbone, model) in _BOX:
        text, source = _BOX[backbone, model]  # type: ignore[index]  # a missing backbone is not in the table
        by_set = dict(zip((*FOUR_SETS, AVERAGE), text.split()))
        return _parse(by_set.get(set_name, "-"), source)
    if backbone == "vit_l" and set_name == AVERAGE:
        return _parse(_NOISY_BOX.get((prompt, model), "-"), f"{PAPER}, box noise")
    if backbone == "vit_l" and prompt in _POINT_PROMPTS and (set_name, model) in _POINTS:
        mbiou = _POINTS[set_name, model].split()[_POINT_PROMPTS.index(prompt)]
        return PaperResult(None, float(mbiou), f"{PAPER}, figure of point prompts")
    return None


def _parse(text: str, source: str) -> PaperResult | None:
    if text == "-":
        return None
    miou, mbiou = text.split("/")
    return PaperResult(float(miou), float(mbiou), source)


__all__ = ["AVERAGE", "FOUR_SETS", "SET_SIZES", "PaperResult", "is_whole_set", "paper_result"]
