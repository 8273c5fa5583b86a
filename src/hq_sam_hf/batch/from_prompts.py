"""Objects of many pictures from a file of prompts: the work behind `hq-sam segment --prompts`."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..inference.loading import load_model
from ..inference.predictor import OBJECTS_AT_ONCE, HQSamPredictor
from ..masks.rle import mask_to_bbox, mask_to_rle
from ..model.image_reading import read_binary_mask
from .prompt_files import ObjectPrompt, read_prompts
from .runner import COCO_ONLY, Answer, Pictures, Report, Wanted, answer_pictures


def segment_many(
    prompts: str | os.PathLike,
    output: str | os.PathLike,
    model: str,
    device: str | None = None,
    dtype: str = "float32",
    image_size: int | None = None,
    wanted: Wanted = COCO_ONLY,
    multimask_output: bool = False,
    hq_token_only: bool = False,
) -> Report | None:
    """Write the masks of the objects that a file of prompts names, as `many_pictures` lays them out.

    Run it again to go on where it stopped, or to answer those pictures again whose prompts have changed. Gives the
    report, in the main process.
    """
    objects = read_prompts(prompts)
    root = Path(os.path.commonpath([image.parent for image in objects]))
    by_name = {image.relative_to(root).as_posix(): given for image, given in objects.items()}

    def prepare(own_device: str | None) -> Answer:
        predictor = HQSamPredictor(*load_model(model, device or own_device, dtype, image_size), max_images=1)

        def answer(image: Image.Image, name: str) -> Sequence[Mapping[str, Any]]:
            predictor.set_image(image)
            return list(_records(predictor, by_name[name], multimask_output, hq_token_only))

        return answer

    made_with = {"model": str(model), "dtype": dtype, "image_size": image_size}
    made_with |= {"multimask_output": multimask_output, "hq_token_only": hq_token_only}
    as_json = {name: [prompt.given() for prompt in given] for name, given in by_name.items()}
    return answer_pictures(Pictures(root, sorted(by_name)), output, made_with, prepare, wanted, as_json)


def _records(
    predictor: HQSamPredictor, prompts: Sequence[ObjectPrompt], multimask_output: bool, hq_token_only: bool
) -> Iterator[dict[str, Any]]:
    """A record per object. Neighbours with the same kinds of prompts are answered together."""
    for kinds, group in groupby(prompts, key=_kinds):
        alike = list(group)
        for start in range(0, len(alike), OBJECTS_AT_ONCE):
            part = alike[start : start + OBJECTS_AT_ONCE]
            points = [prompt.points or [] for prompt in part]
            labels = [prompt.labels or [1] * len(own) for prompt, own in zip(part, points)]
            masks, scores, _ = predictor.predict(
                points=points if "points" in kinds else None,
                labels=labels if "points" in kinds else None,
                boxes=[prompt.box for prompt in part] if "box" in kinds else None,
                mask=[read_binary_mask(prompt.mask, "mask") for prompt in part] if "mask" in kinds else None,
                multimask_output=multimask_output,
                hq_token_only=hq_token_only,
            )
            for prompt, candidates, values in zip(part, np.asarray(masks), np.asarray(scores)):
                yield _record(prompt, candidates[0], float(values[0]))


def _record(prompt: ObjectPrompt, mask: np.ndarray, score: float) -> dict[str, Any]:
    given = prompt.given()
    label = {} if prompt.label is None else {"label": given.pop("label")}
    size = {"bbox": mask_to_bbox(mask), "area": int(mask.sum())}
    return {"segmentation": mask_to_rle(mask), **size, "score": score, "prompt": given, **label}


def _kinds(prompt: ObjectPrompt) -> tuple[str, ...]:
    return tuple(name for name in ("box", "points", "mask") if getattr(prompt, name) is not None)


__all__ = ["segment_many"]
