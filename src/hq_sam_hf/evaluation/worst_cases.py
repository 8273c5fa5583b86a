"""The masks an evaluation found hardest, as pictures: prompt, truth and the answers beside each other."""

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..data.reading import read_sample
from ..masks.drawing import overlay, side_by_side
from ..masks.rle import mask_to_bbox
from ..model.files import write_atomically
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor
from .dataset import EvaluationSamples, Picture
from .decoding import Answer, answer
from .prompts import Prompt, parse_prompt
from .protocols import PROTOCOLS, EvaluationProtocol, Framed
from .results import OUTPUT_TITLES, Evaluation

MARGIN = 0.15  # around the object, in parts of its longer side
HEIGHT = 360  # of a panel, in pixels


def save_worst_cases(
    evaluation: Evaluation,
    model: HQSamModel,
    processor: HQSamProcessor,
    datasets: Any,
    folder: str | os.PathLike,
    count: int = 8,
    prompt: str | None = None,
    output: str | None = None,
) -> list[Path]:
    """Write PNGs of the masks with the lowest boundary IoU: FOLDER/01_SET_NAME_MASK.png, 02_..., worst first.

    evaluation: of the same model and data sets, whose prompts are made and asked again. prompt, output: for which of
    them to rank, by default its first prompt, of clicks the last, and its last output.
    """
    settings = evaluation.settings
    plan = parse_prompt(prompt or settings["prompts"][0])
    output = output or settings["outputs"][-1]
    asked = [one for one in evaluation.records if one["prompt"] == plan.name and one["output"] == output]
    asked = [one for one in asked if one["trial"] == 0]
    if not asked:
        raise ValueError(f"The evaluation has no records of the prompt {plan.name!r} and the output {output!r}.")
    cases = sorted(asked, key=lambda one: one["boundary_iou"])[:count]
    return save_cases(evaluation, cases, model, processor, datasets, folder)


def save_cases(
    evaluation: Evaluation,
    cases: Sequence[dict[str, Any]],
    model: HQSamModel,
    processor: HQSamProcessor,
    datasets: Any,
    folder: str | os.PathLike,
) -> list[Path]:
    """Write a PNG for each of some records of an evaluation: FOLDER/01_SET_NAME_MASK.png, 02_..., in their order."""
    settings = evaluation.settings
    protocol = PROTOCOLS[settings["protocol"]](processor.image_processor)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    was_training = model.training
    model.eval()
    try:
        for rank, record in enumerate(cases, start=1):
            question = (parse_prompt(record["prompt"]), 0)
            samples = EvaluationSamples(datasets, protocol, [question], settings["seed"])
            sheet = _draw_case(evaluation, record, model, protocol, samples, record["output"])
            name = re.sub(r"[^\w.-]+", "_", f"{record['set']}_{record['name']}_{record['mask']}")
            paths.append(target / f"{rank:02d}_{name}.png")
            write_atomically(paths[-1], functools.partial(sheet.save, format="PNG"))
    finally:
        model.train(was_training)
    return paths


@torch.no_grad()
def _draw_case(
    evaluation: Evaluation,
    record: dict[str, Any],
    model: HQSamModel,
    protocol: EvaluationProtocol,
    samples: EvaluationSamples,
    output: str,
) -> Image.Image:
    """Ask about the mask of a record again and draw it."""
    settings = evaluation.settings
    outputs = settings["outputs"]
    row = record["dataset"], record["index"]
    picture = samples[samples.rows.index(row)].picture
    if picture is None:
        raise ValueError(f"{record['name']} has no mask any more. Evaluate the data set again.")
    place = [about["mask"] for about in picture.about].index(record["mask"])
    answers = answer(model, protocol, [picture], samples.questions, outputs, settings["multimask_output"])
    found = [one for one in answers if one.mask == place and one.prompt == record["prompt"]][-1]
    same = ("dataset", "index", "mask", "prompt", "trial")
    figures = {
        one["output"]: f"{OUTPUT_TITLES[one['output']]} {100 * one['iou']:.1f} / {100 * one['boundary_iou']:.1f}"
        for one in evaluation.records
        if all(one[key] == record[key] for key in same)
    }
    image = read_sample(samples.datasets[record["dataset"]][record["index"]]).image
    return _sheet(image, picture, place, found, outputs.index(output), [figures[one] for one in outputs])


def _sheet(
    image: np.ndarray, picture: Picture, place: int, found: Answer, shown: int, captions: list[str]
) -> Image.Image:
    """Prompt, truth and answers, cropped to the object. shown: the output whose prompt is drawn."""
    truth = picture.truths[place]
    top, left, bottom, right = _window(truth)
    # Small crops are enlarged first, or outlines and prompts would cover the object.
    zoom = max(1, round(HEIGHT / (bottom - top)))
    prompt = _in_picture(found.asked[shown], picture.framed, np.array([left, top]), zoom)
    masks = np.stack([truth, *found.masks.cpu().numpy()])[:, top:bottom, left:right]
    image, masks = image[top:bottom, left:right].repeat(zoom, 0).repeat(zoom, 1), masks.repeat(zoom, 1).repeat(zoom, 2)
    boxes = [] if prompt.box is None else [prompt.box.tolist()]
    panels = [overlay(image, masks[:0], boxes, prompt.points.tolist(), prompt.labels.tolist())]
    panels += [overlay(image, mask[None]) for mask in masks]
    return side_by_side(panels, [found.prompt, "truth", *captions], HEIGHT)


def _window(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of the object with a margin, inside the picture."""
    x, y, width, height = mask_to_bbox(mask)
    margin = round(MARGIN * max(width, height)) + 8
    bottom, right = min(mask.shape[0], y + height + margin), min(mask.shape[1], x + width + margin)
    return max(0, y - margin), max(0, x - margin), bottom, right


def _in_picture(prompt: Prompt, framed: Framed, origin: np.ndarray, zoom: int) -> Prompt:
    """The prompt in pixels of the enlarged picture, counted from `origin`, (x, y) in its own pixels."""
    factor = framed.scale * np.array(framed.size)[::-1] / np.array(framed.reshaped_size)[::-1]
    box = None if prompt.box is None else (prompt.box * np.tile(factor, 2) - np.tile(origin, 2)) * zoom
    return Prompt(box, (prompt.points * factor - origin) * zoom, prompt.labels)


__all__ = ["save_worst_cases"]
