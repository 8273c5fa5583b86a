"""Masks of the objects of many images from a file of prompts, for `hq-sam segment --prompts`."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..inference.loading import EMBEDDED_MODEL, ModelSpec
from ..inference.predictor import OBJECTS_PER_CALL, HQSamPredictor
from ..masks.rle import mask_to_bbox, mask_to_rle
from ..model.image_reading import DEFAULT_OPTIONS, ImageOptions
from ..model.mask_reading import read_binary_mask
from .image_files import ImageFiles
from .output_folder import COCO_ONLY, ExtraOutputs
from .prompt_files import ObjectPrompt, read_prompts
from .runner import BatchRunner, ImageTask, RunSummary


def segment_many(
    prompts: str | os.PathLike,
    output: str | os.PathLike,
    model: ModelSpec = EMBEDDED_MODEL,
    extra_outputs: ExtraOutputs = COCO_ONLY,
    multimask_output: bool = False,
    hq_token_only: bool = False,
    image_options: ImageOptions = DEFAULT_OPTIONS,
    image_folder: str | os.PathLike | None = None,
) -> RunSummary | None:
    """Write the masks of the objects of a prompt file into a folder, which `output_folder` describes.

    prompts: a CSV or JSON file, which `prompt_files` describes.
    multimask_output, hq_token_only: as in `HQSamPredictor.predict`.
    image_options: how image files are read, as in `load_image`.
    image_folder: a folder that paths of the prompt file may lead to, besides that of the file.

    A run continues an earlier run with the same options, and predicts an image again if its prompts have changed.
    Returns a summary in the main process, None in others.
    """
    by_path = read_prompts(prompts, image_folder)
    root = Path(os.path.commonpath([path.parent for path in by_path]))
    by_name = {path.relative_to(root).as_posix(): objects for path, objects in by_path.items()}
    task = _PromptedMasks(Path(prompts), by_name, model, multimask_output, hq_token_only, image_options.max_pixels)
    return BatchRunner(task, ImageFiles(root, sorted(by_name), image_options), output, extra_outputs).run()


class _PromptedMasks(ImageTask):
    def __init__(
        self,
        prompt_file: Path,
        prompts_by_name: Mapping[str, Sequence[ObjectPrompt]],
        model: ModelSpec,
        multimask_output: bool,
        hq_token_only: bool,
        max_pixels: int | None,
    ) -> None:
        self.max_pixels = max_pixels
        self.prompt_file, self.prompts_by_name = prompt_file, prompts_by_name
        self.model = model
        self.mask_options: dict[str, Any] = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}

    def options(self) -> dict[str, Any]:
        return {**self.model.as_options(), **self.mask_options}

    def prompts(self, name: str) -> Any:
        return [prompt.as_dict() for prompt in self.prompts_by_name[name]]

    def inputs(self) -> Iterator[Path]:
        yield self.prompt_file
        for prompts in self.prompts_by_name.values():
            yield from (Path(prompt.mask) for prompt in prompts if prompt.mask is not None)

    def load(self, device: str | None) -> None:
        self.predictor = HQSamPredictor(*self.model.load(device), max_images=1)

    def predict(self, image: Image.Image, name: str) -> Sequence[Mapping[str, Any]]:
        self.predictor.set_image(image)
        return list(self._records(self.prompts_by_name[name]))

    def _records(self, prompts: Sequence[ObjectPrompt]) -> Iterator[dict[str, Any]]:
        """A record per object. Successive objects with the same kinds of prompts are predicted together."""
        for kinds, group in groupby(prompts, key=_kinds):
            objects = list(group)
            for start in range(0, len(objects), OBJECTS_PER_CALL):
                part = objects[start : start + OBJECTS_PER_CALL]
                points = [prompt.points or [] for prompt in part]
                labels = [prompt.labels or [1] * len(own) for prompt, own in zip(part, points)]
                masks, scores, _ = self.predictor.predict(
                    points=points if "points" in kinds else None,
                    labels=labels if "points" in kinds else None,
                    boxes=[prompt.box for prompt in part] if "box" in kinds else None,
                    mask=[self._mask(prompt) for prompt in part] if "mask" in kinds else None,
                    **self.mask_options,
                )
                for prompt, candidates, values in zip(part, np.asarray(masks), np.asarray(scores)):
                    yield _record(prompt, candidates[0], float(values[0]))

    def _mask(self, prompt: ObjectPrompt) -> np.ndarray:
        return read_binary_mask(prompt.mask, "mask", self.max_pixels)


def _record(prompt: ObjectPrompt, mask: np.ndarray, score: float) -> dict[str, Any]:
    given = prompt.as_dict()
    label = {} if prompt.label is None else {"label": given.pop("label")}
    size = {"bbox": mask_to_bbox(mask), "area": int(mask.sum())}
    return {"segmentation": mask_to_rle(mask), **size, "score": score, "prompt": given, **label}


def _kinds(prompt: ObjectPrompt) -> tuple[str, ...]:
    return tuple(name for name in ("box", "points", "mask") if getattr(prompt, name) is not None)


__all__ = ["segment_many"]
