"""Images of a benchmark as model inputs with their prompts, and predictions as rows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.prompt_simulation import box_noise, mask_to_box
from ..data.reading import read_sample
from ..evaluation.dataset import PromptedImage, PromptTrial
from ..evaluation.decoding import Prediction
from ..evaluation.prompts import Prompt, PromptPlan
from ..evaluation.protocols import EvaluationProtocol, PreparedImage
from ..model.image_processing_hq_sam import HQSamImageProcessor
from .parts import BenchmarkImage
from .predictions import PredictionRow, make_row
from .prompt_sources import ObjectPrompt, PromptSource

TRIAL: PromptTrial = (PromptPlan("given", "box"), 0)  # the prompts come from the benchmark, not from a plan


@dataclass(frozen=True)
class PreparedBenchmarkImage:
    """An image with its prompts. prompted: the model input; None without prompts."""

    image: BenchmarkImage
    objects: list[ObjectPrompt]
    prompted: PromptedImage | None


@dataclass(frozen=True)
class Preparation:
    """How the images of a part become model inputs.

    part: its name. noise: scale of the noise of boxes, 0 for none. It depends on the seed, the image and the place of
    the prompt.
    """

    part: str
    source: PromptSource
    protocol: EvaluationProtocol
    image_processor: HQSamImageProcessor
    noise: float = 0.0
    seed: int = 0

    def __call__(self, image: BenchmarkImage) -> PreparedBenchmarkImage:
        """Read an image and its prompts. Raises ValueError, with the image's name, for files that cannot be read."""
        row = {"image": {"bytes": None, "path": image.file}, "masks": [], "set": self.part, "name": image.name}
        sample = read_sample(row)
        size = sample.image.shape[:2]
        if image.size is not None and size != tuple(image.size):
            turned = " after its EXIF rotation" if sample.orientation > 1 else ""
            raise ValueError(
                f"{image.name}: the file has the (height, width) {size}{turned}, and the annotations were made for "
                f"{tuple(image.size)}. Use the images of the benchmark's own release."
            )
        objects = self.source.prompts(image, sample.image)
        if not objects:
            return PreparedBenchmarkImage(image, objects, None)
        regions = [one.region for one in objects if one.region is not None]
        masks = np.stack(regions).astype(np.float32) if regions else np.zeros((0, *size), np.float32)
        prepared = self.protocol.prepare(sample.image, masks)
        of_regions = iter(prepared.prompt_masks)
        prompts = [
            self._prompt(one, image, place, prepared, next(of_regions) if one.region is not None else None)
            for place, one in enumerate(objects)
        ]
        return PreparedBenchmarkImage(image, objects, PromptedImage(image.name, prepared, {TRIAL: prompts}))

    def _prompt(
        self,
        one: ObjectPrompt,
        image: BenchmarkImage,
        place: int,
        prepared: PreparedImage,
        prompt_mask: np.ndarray | None,
    ) -> Prompt:
        """The prompt of an object in pixels of the protocol's prompt masks, which `prompt_mask` is one of."""
        if one.coarse is not None:
            return Prompt(mask_logits=self.image_processor.mask_to_logits(one.coarse))
        frame = prepared.prompt_masks.shape[1:]
        box = None if prompt_mask is None else mask_to_box(prompt_mask)
        if box is None:  # a box of a file, or a region too thin for the model input size
            of_image = one.box if one.region is None else mask_to_box(one.region)
            box = np.asarray(of_image) * np.tile(np.array(frame[::-1]) / prepared.size[::-1], 2)
        if self.noise > 0:
            key = (abs(image.id), max(one.annotation_id, 0), place)
            rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
            box = box_noise(box, self.noise, frame, rng)
        return Prompt(box=box)


def prediction_rows(
    prepared: Sequence[PreparedBenchmarkImage],
    predictions: Iterable[Prediction],
    outputs: Sequence[str],
    is_exclusive: bool = False,
) -> Iterator[PredictionRow]:
    """The rows of a batch of images that have prompts, in the order of images, prompts and outputs.

    is_exclusive: a pixel belongs to one object only, the one with the highest predicted IoU, as DAVIS requires.
    """
    if not is_exclusive:
        for one in predictions:
            yield from _rows(prepared[one.image], one.mask, outputs, one.masks, one.scores)
        return
    of_images: dict[int, list[Prediction]] = {}
    for one in predictions:
        of_images.setdefault(one.image, []).append(one)
    for number, found in sorted(of_images.items()):
        for place, masks in enumerate(without_overlap(found)):
            yield from _rows(prepared[number], found[place].mask, outputs, masks, found[place].scores)


def without_overlap(found: Sequence[Prediction]) -> Tensor:
    """The masks (objects, outputs, H, W) of an image's objects, each pixel with the best scored of its objects."""
    masks = torch.stack([one.masks for one in found])
    scores = torch.tensor([one.scores for one in found], device=masks.device)
    weights = torch.where(masks, scores[..., None, None], -torch.inf)
    best = weights.argmax(dim=0, keepdim=True)  # the first of equal scores
    numbers = torch.arange(len(found), device=masks.device)[:, None, None, None]
    return masks & (best == numbers)


def _rows(
    prepared: PreparedBenchmarkImage, place: int, outputs: Sequence[str], masks: Tensor, scores: Sequence[float]
) -> Iterator[PredictionRow]:
    image, one = prepared.image, prepared.objects[place]
    for output, mask, predicted_iou in zip(outputs, masks.cpu().numpy(), scores):
        yield make_row(
            mask,
            image.id,
            output,
            predicted_iou,
            predicted_iou if one.score is None else one.score,
            one.category_id,
            one.annotation_id,
            image.video_id,
            image.frame,
            one.track_id,
        )


__all__ = ["TRIAL", "Preparation", "PreparedBenchmarkImage", "prediction_rows", "without_overlap"]
