"""Prompts of SGinW: boxes of Grounding DINO for every class of a data set, as the original's script finds them.

All class names are one caption, "a . b . c .". The score of a query for a class is the mean probability of the
class's tokens. The 100 pairs of query and class with the highest scores are kept, without NMS.
"""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..inference.text import ZeroShotDetector
from .parts import BenchmarkImage, BenchmarkPart
from .prompt_sources import ObjectPrompt, PromptSource


class ClassDetectorPrompts(PromptSource):
    """The best pairs of query and class. Boxes are not clipped to the image.

    detector: a Grounding DINO. max_dets: pairs to keep per image.

    Raises ValueError for another detector, and for class names that are too long for it.
    """

    uses_model = True

    def __init__(self, part: BenchmarkPart, detector: ZeroShotDetector, max_dets: int) -> None:
        limit = getattr(detector.model.config, "max_text_len", None)
        if not limit:
            raise ValueError(
                f"SGinW needs a detector that reads all classes as one text, such as "
                f"IDEA-Research/grounding-dino-base; a {type(detector.model).__name__} does not."
            )
        self.detector, self.max_dets = detector, max_dets
        self.category_ids = list(part.category_names)
        names = list(part.category_names.values())
        self.caption = " . ".join(names) + " ."
        self.token_shares = _token_shares(detector.processor.tokenizer, self.caption, names, limit)

    @torch.no_grad()
    def prompts(self, image: BenchmarkImage, pixels: np.ndarray) -> list[ObjectPrompt]:
        model = self.detector.model
        inputs = self.detector.processor(images=Image.fromarray(pixels), text=self.caption, return_tensors="pt")
        outputs = model(**inputs.to(model.device))
        boxes, scores, classes = best_pairs(
            outputs.logits[0].float().cpu(), outputs.pred_boxes[0].float().cpu(), self.token_shares, self.max_dets
        )
        height, width = pixels.shape[:2]
        corners = boxes.double().numpy() * [width, height, width, height]
        return [
            ObjectPrompt(self.category_ids[number], box, score=score)
            for box, score, number in zip(corners, scores.tolist(), classes.tolist())
        ]


def best_pairs(logits: Tensor, boxes: Tensor, token_shares: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of query and class with the highest scores.

    logits: (Q, T) of queries and tokens. boxes: (Q, 4) as centre, width and height, from 0 to 1.
    token_shares: (C, T), the share of each token in each class.

    Returns boxes (K, 4) as x1, y1, x2, y2 from 0 to 1, scores (K,) and classes (K,), the best first.
    """
    scores = logits.sigmoid() @ token_shares.T
    best, places = scores.flatten().topk(min(most, scores.numel()))
    queries, classes = places // scores.shape[1], places % scores.shape[1]
    centre, size = boxes[queries].split(2, dim=1)
    return torch.cat([centre - size / 2, centre + size / 2], dim=1), best, classes


def _token_shares(tokenizer: Any, caption: str, names: list[str], limit: int) -> Tensor:
    """The share of each token of the caption in each class: (classes, limit), every row adds up to 1."""
    spans = tokenizer(caption, return_offsets_mapping=True)["offset_mapping"]
    if len(spans) > limit:
        raise ValueError(
            f"The class names of the data set have {len(spans)} tokens, and the detector reads {limit}. Use a "
            "detector with a longer text."
        )
    shares, start = torch.zeros(len(names), limit), 0
    for row, name in zip(shares, names):
        end = start + len(name)
        for token, (first, last) in enumerate(spans):
            row[token] = float(first < end and last > start and last > first)
        start = end + len(" . ")
    return shares / (shares.sum(dim=1, keepdim=True) + 1e-6)  # the original's guard against a name without tokens


__all__ = ["ClassDetectorPrompts", "best_pairs"]
