"""Images of the hardest masks of an evaluation: prompt, ground truth and predictions side by side."""

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
from ..model.files import shortened_name, write_atomically
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor
from .dataset import EvaluationDataset, EvaluationImage
from .decoding import Prediction, predict
from .prompts import Prompt, parse_prompt
from .protocols import PROTOCOLS, EvaluationProtocol, PreparedImage
from .results import OUTPUT_TITLES, Evaluation

MARGIN = 0.15  # shown around the object, as a share of its longer side
HEIGHT = 360  # of a panel, in pixels
LONGEST_NAME = 180  # bytes of an image's set and name in a file name


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
    """Write PNGs of the masks with the lowest boundary IoU, worst first: FOLDER/01_SET_NAME_MASK.png, 02_...

    evaluation: results of the same model and data sets. Its prompts are made and decoded again.
    prompt, output: which records to rank; by default the first prompt (of clicks, the last click) and the last output.

    Raises ValueError if the evaluation has no such records.
    """
    settings = evaluation.settings
    plan = parse_prompt(prompt or settings["prompts"][0])
    output = output or settings["outputs"][-1]
    ranked = [
        record
        for record in evaluation.records
        if record["prompt"] == plan.name and record["output"] == output and record["trial"] == 0
    ]
    if not ranked:
        raise ValueError(
            f"The evaluation has no records of the prompt {plan.name!r} and the output {output!r}. Choose a prompt "
            "and an output that it was made with."
        )
    worst = sorted(ranked, key=lambda record: record["boundary_iou"])[:count]
    return save_cases(evaluation, worst, model, processor, datasets, folder)


def save_cases(
    evaluation: Evaluation,
    cases: Sequence[dict[str, Any]],
    model: HQSamModel,
    processor: HQSamProcessor,
    datasets: Any,
    folder: str | os.PathLike,
) -> list[Path]:
    """Write a PNG for each of some records of an evaluation, in their order: FOLDER/01_SET_NAME_MASK.png, 02_..."""
    settings = evaluation.settings
    protocol = PROTOCOLS[settings["protocol"]](processor.image_processor)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    was_training = model.training
    model.eval()
    try:
        for rank, record in enumerate(cases, start=1):
            prompt_trial = (parse_prompt(record["prompt"]), 0)
            dataset = EvaluationDataset(datasets, protocol, [prompt_trial], settings["seed"])
            sheet = _draw_case(evaluation, record, model, protocol, dataset)
            name = shortened_name(re.sub(r"[^\w.-]+", "_", f"{record['set']}_{record['name']}"), LONGEST_NAME)
            paths.append(target / f"{rank:02d}_{name}_{record['mask']}.png")
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
    dataset: EvaluationDataset,
) -> Image.Image:
    """Predict the mask of a record again and draw it."""
    settings, row = evaluation.settings, (record["dataset"], record["index"])
    outputs = settings["outputs"]
    image = dataset[dataset.rows.index(row)].image
    if image is None:
        raise ValueError(f"{record['name']} must have a mask, as when it was evaluated. Evaluate the data set again.")
    mask = [fields["mask"] for fields in image.mask_fields].index(record["mask"])
    predictions = predict(model, protocol, [image], dataset.prompt_trials, outputs, settings["multimask_output"])
    prediction = [one for one in predictions if one.mask == mask and one.prompt == record["prompt"]][-1]
    same_fields = ("dataset", "index", "mask", "prompt", "trial")
    metrics = {
        one["output"]: f"{OUTPUT_TITLES[one['output']]} {100 * one['iou']:.1f} / {100 * one['boundary_iou']:.1f}"
        for one in evaluation.records
        if all(one[key] == record[key] for key in same_fields)
    }
    pixels = read_sample(dataset.datasets[record["dataset"]][record["index"]]).image
    captions = [metrics[output] for output in outputs]
    return _sheet(pixels, image, prediction, outputs.index(record["output"]), captions)


def _sheet(
    pixels: np.ndarray, image: EvaluationImage, prediction: Prediction, output: int, captions: list[str]
) -> Image.Image:
    """Prompt, ground truth and predicted masks, cropped to the object.

    output: position of the output whose prompt is drawn. captions: of the predicted masks.
    """
    ground_truth = image.ground_truth[prediction.mask]
    top, left, bottom, right = object_window(ground_truth)
    # Enlarge small crops first, or outlines and prompts would cover the object.
    zoom = max(1, round(HEIGHT / (bottom - top)))
    prompt = _in_crop(prediction.prompts[output], image.prepared, np.array([left, top]), zoom)
    masks = np.stack([ground_truth, *prediction.masks.cpu().numpy()])[:, top:bottom, left:right]
    crop = pixels[top:bottom, left:right].repeat(zoom, 0).repeat(zoom, 1)
    masks = masks.repeat(zoom, 1).repeat(zoom, 2)
    boxes = [] if prompt.box is None else [prompt.box.tolist()]
    panels = [overlay(crop, masks[:0], boxes, prompt.points.tolist(), prompt.labels.tolist())]
    panels += [overlay(crop, mask[None]) for mask in masks]
    return side_by_side(panels, [prediction.prompt, "ground truth", *captions], HEIGHT)


def object_window(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of the object with a margin, inside the image."""
    x, y, width, height = mask_to_bbox(mask)
    margin = round(MARGIN * max(width, height)) + 8
    bottom, right = min(mask.shape[0], y + height + margin), min(mask.shape[1], x + width + margin)
    return max(0, y - margin), max(0, x - margin), bottom, right


def _in_crop(prompt: Prompt, prepared: PreparedImage, origin: np.ndarray, zoom: int) -> Prompt:
    """The prompt in pixels of the enlarged crop, whose upper left corner is `origin`, (x, y), in the image."""
    factor = prepared.prompt_scale * np.array(prepared.size)[::-1] / np.array(prepared.reshaped_size)[::-1]
    box = None if prompt.box is None else (prompt.box * np.tile(factor, 2) - np.tile(origin, 2)) * zoom
    return Prompt(box, (prompt.points * factor - origin) * zoom, prompt.labels)


__all__ = ["object_window", "save_cases", "save_worst_cases"]
