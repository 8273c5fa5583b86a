"""What the embedded checkpoint must reach on pictures that training did not see; a break anywhere must show here.

Gates lie a quarter of a point to two points below what was measured: rounding does not trip them, and a wrong number
does.
"""

from typing import Any

from hq_sam_hf import HQSamModel, HQSamProcessor
from hq_sam_hf.evaluation.evaluator import evaluate
from hq_sam_hf.scenes import SceneGenerator

SEED = 777  # neither of training, 1 to 10, nor of the published figures
SPLITS = ("validation", "held_out")


def pictures(count: int) -> dict[str, SceneGenerator]:
    return {split: SceneGenerator(count, SEED, 256, split) for split in SPLITS}


def measure(
    model: HQSamModel, processor: HQSamProcessor, count: int, prompts: tuple[str, ...], **options: Any
) -> dict:
    """{"box/hq": (mIoU, mBIoU), "box/hq/thin": ...}: means over both splits, and over masks of the sets."""
    result = evaluate(model, processor, pictures(count), prompts, batch_size=8, **options)
    means = result.means(["prompt", "output"])
    figures = {f"{prompt}/{output}": (one["miou"], one["mbiou"]) for (prompt, output), one in means.items()}
    for (prompt, output, group), one in result.means(["prompt", "output", "set"]).items():
        figures[f"{prompt}/{output}/{group}"] = (one["miou"], one["mbiou"])
    return figures


def failures(figures: dict[str, tuple[float, float]], gates: dict[str, tuple[float, float]]) -> list[str]:
    """The gates that are not reached, as text."""
    return [
        f"{name}: {figures[name][0]:.1f} / {figures[name][1]:.1f}, at least {low[0]} / {low[1]}"
        for name, low in gates.items()
        if figures[name][0] < low[0] or figures[name][1] < low[1]
    ]


# Least mIoU and mBIoU on 20 pictures of each split.
BOX = {"box/hq": (72.3, 67.6), "box/sum": (70.6, 65.2), "box/hq/thin": (64.9, 61.9)}
CLICKS = {"clicks-1/hq": (66.7, 61.9), "clicks-3/hq": (70.3, 64.5)}
ONE_POINT = {"centre/sum": (64.3, 58.4)}
