"""`label_batch`: the masks of a batch of images, which every engine calls, and the labeller that holds the models."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..inference.embeddings import AnyFeatures
from ..inference.loading import EMBEDDED_MODEL, AnyModel, ModelSpec, load_processor
from ..inference.mask_generator import HQSamMaskGenerator
from ..inference.text import DetectorSpec, ZeroShotDetector
from ..model.image_reading import DEFAULT_OPTIONS, ImageOptions
from ..model.processing_hq_sam import HQSamProcessor
from .examples import Example, ImageRecord
from .preparation import IMAGE_ERRORS, Preparation, PreparedImage, prepare_batch, reason
from .prompt_files import ObjectPrompt
from .prompted_masks import ObjectGroup, calls, decode_groups, object_groups

_OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)


@dataclass(frozen=True)
class LabellerSpec:
    """What to load for labelling, and how to predict. It can be pickled.

    detector: finds the objects of examples with text. None if there are none.
    generator_options: of `HQSamMaskGenerator`, for examples without prompts and text.
    multimask_output, hq_token_only: as in `HQSamPredictor.predict`; the best of three candidates is taken.
    image_options: how image files are read.
    embeds: whether the bytes of images go into the output.
    """

    model: ModelSpec = EMBEDDED_MODEL
    detector: DetectorSpec | None = None
    generator_options: Mapping[str, Any] | None = None
    multimask_output: bool = False
    hq_token_only: bool = False
    image_options: ImageOptions = DEFAULT_OPTIONS
    embeds: bool = False

    def as_options(self) -> dict[str, Any]:
        """What the masks depend on, as JSON values."""
        detector = {} if self.detector is None else self.detector.as_options()
        method = {"multimask_output": self.multimask_output, "hq_token_only": self.hq_token_only}
        return {
            **self.model.as_options(),
            **detector,
            **method,
            **(self.generator_options or {}),
            **self.image_options.as_options(),
        }

    def load_preparation(self) -> Preparation:
        """What prepares the images. It loads the processor alone, and no model."""
        return self._preparation(load_processor(self.model.name, self.model.image_size))

    def load(self, device: str | None = None) -> "Labeller":
        """Load the models. device: used where the specification of the model names none."""
        model, processor = self.model.load(device)
        detector = None if self.detector is None else self.detector.load(model.device)
        return Labeller(self, model, processor, self._preparation(processor), detector)

    def _preparation(self, processor: HQSamProcessor) -> Preparation:
        has_crops = (self.generator_options or {}).get("crop_n_layers", 0) > 0
        return Preparation(processor.image_processor, self.image_options, has_crops, self.embeds)


class Labeller:
    """The models, and what they are asked for. `LabellerSpec.load` makes it.

    seconds: time spent so far in "decode", "detector", "encoder" and "decoder".
    """

    def __init__(
        self,
        spec: LabellerSpec,
        model: AnyModel,
        processor: HQSamProcessor,
        preparation: Preparation,
        detector: ZeroShotDetector | None = None,
    ) -> None:
        processor.check_fit(model.config)
        self.spec, self.preparation, self.detector = spec, preparation, detector
        self.model, self.image_processor = model.eval(), processor.image_processor
        options = {"hq_token_only": spec.hq_token_only, **(spec.generator_options or {})}
        self.generator = HQSamMaskGenerator(model, processor, **{**options, "output_mode": "coco_rle"})
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @torch.inference_mode()
    def label(self, images: Sequence[PreparedImage]) -> list[ImageRecord]:
        """Label the images of a batch. An error that concerns one image becomes the `problem` of its record."""
        records = [
            ImageRecord(
                image.example.key,
                image.size,
                problem=image.problem,
                place=self.preparation.output_place(image.place),
            )
            for image in images
        ]
        work = [_Work(image, record) for image, record in zip(images, records) if record.problem is None]
        self.seconds["decode"] += sum(image.seconds for image in images)
        for one in work:
            with one.noted():
                self._find_prompts(one)
        encodable = [one for one in work if one.needs_features]
        _in_smaller_parts(self._label_encodable, encodable)
        return records

    def _find_prompts(self, one: "_Work") -> None:
        """What has to be done for each image alone: detect objects, search crops, and check prompts."""
        image, prompts = one.image, one.image.example.prompts
        if image.pixels is None:
            with self._timed("decode"):
                decoded = self.preparation.decode(image.place)
                self.preparation.resize(image, decoded)
                one.record.size = image.size
            if image.example.text is not None:
                prompts = self._detect(decoded, image.example.text)
            else:
                with self._timed("decoder"):
                    found = self.generator.generate(decoded, multimask_output=self.spec.multimask_output)
                    one.record.masks = [_with_coco_box(record) for record in found]
                return
        if prompts is None:
            one.is_automatic = True
            return
        with self._timed("decode"):
            one.groups = object_groups(
                0,
                image.size or (0, 0),
                prompts,
                self.image_processor,
                self.preparation.image_options.max_pixels,
                are_computed=image.example.text is not None,
            )
        one.prompts = prompts

    def _detect(self, decoded: Image.Image, text: Sequence[str]) -> list[ObjectPrompt]:
        if self.detector is None:
            raise ValueError("Text needs a detector. Name one, such as IDEA-Research/grounding-dino-tiny.")
        with self._timed("detector"):
            found = self.detector.detect(decoded, text)
        return [ObjectPrompt(box=list(one.box), label=one.label, score=one.score) for one in found]

    def _label_encodable(self, work: Sequence["_Work"]) -> None:
        """Encode images together, then decode the prompts of all of them together."""
        with self._timed("encoder"):
            pixels = [one.image.pixels for one in work if one.image.pixels is not None]
            pixel_values = torch.from_numpy(np.stack(pixels))
            features = self.model.get_image_features(pixel_values.to(self.model.device))
            self._wait()
        with self._timed("decoder"):
            self._decode_prompts(work, features)
            for i, one in enumerate(work):
                if one.is_automatic:
                    own = type(features)(**{name: value[i : i + 1] for name, value in features.items()})
                    with one.noted():
                        found = self.generator.generate_from_features(
                            own, one.image.size or (0, 0), self.spec.multimask_output
                        )
                        one.record.masks = [_with_coco_box(record) for record in found]

    def _decode_prompts(self, work: Sequence["_Work"], features: AnyFeatures) -> None:
        groups = [replace(group, image=i) for i, one in enumerate(work) for group in one.groups]
        found: list[dict[int, dict[str, Any]]] = [{} for _ in work]

        def decode(part: Sequence[ObjectGroup]) -> None:
            decoded = decode_groups(
                self.model, self.image_processor, features, part, self.spec.multimask_output, self.spec.hq_token_only
            )
            for group, records in decoded:
                found[group.image].update(zip(group.objects, records))

        for together in calls(groups):
            _in_smaller_parts(decode, together)
        for one, records in zip(work, found):
            if one.groups:
                one.record.masks = [{**records[i], **_described(prompt)} for i, prompt in enumerate(one.prompts)]

    def _wait(self) -> None:
        """Let a GPU finish, so that its time is counted where it was spent."""
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - started


@dataclass
class _Work:
    """An image of a batch on its way to its record."""

    image: PreparedImage
    record: ImageRecord
    prompts: Sequence[ObjectPrompt] = ()
    groups: Sequence[ObjectGroup] = ()
    is_automatic: bool = False

    @property
    def needs_features(self) -> bool:
        return self.record.problem is None and (self.is_automatic or bool(self.groups))

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note an error that concerns this image alone."""
        try:
            yield
        except (*IMAGE_ERRORS, *_OUT_OF_MEMORY) as error:
            self.record.problem, self.record.masks = reason(error), []


def label_prepared(images: Sequence[PreparedImage], labeller: Labeller) -> list[ImageRecord]:
    """Label images that `prepare_batch` has prepared, in this process or another one."""
    return labeller.label(images)


def label_batch(examples: Sequence[Example], labeller: Labeller) -> list[ImageRecord]:
    """Label the images of a batch: a record for each example, in the same order.

    The images are encoded together and the prompts of all images decoded together. What a batch gives depends on its
    examples, on the labeller and on the number of threads of PyTorch, and on nothing else.
    """
    return labeller.label(prepare_batch(examples, labeller.preparation))


def _in_smaller_parts(function: Callable[[Sequence[Any]], None], items: Sequence[Any]) -> None:
    """Call the function with all items; where memory runs out, with halves of them, down to single ones.

    An item that needs too much memory alone raises; an image notes it as its problem.
    """
    if not items:
        return
    try:
        function(items)
        return
    except _OUT_OF_MEMORY as error:
        if len(items) == 1:
            if not isinstance(items[0], _Work):
                raise
            with items[0].noted():
                raise error
            return
    half = len(items) // 2
    for part in (items[:half], items[half:]):
        _in_smaller_parts(function, part)


def _described(prompt: ObjectPrompt) -> dict[str, Any]:
    """What the record of an object says about its prompt."""
    given = prompt.as_dict()
    described: dict[str, Any] = {name: given.pop(name) for name in ("label", "score") if name in given}
    if isinstance(given.get("mask"), bytes) or str(given.get("mask", "")).lstrip().startswith("{"):
        given.pop("mask")  # the mask itself and not its name
    return {**described, "prompt": given}


def _with_coco_box(record: dict[str, Any]) -> dict[str, Any]:
    """An automatic mask with COCO's bbox, which is one pixel wider and higher than SAM's."""
    x, y, width, height = record["bbox"]
    return {**record, "bbox": [x, y, width + 1, height + 1] if record["area"] else [0, 0, 0, 0]}


__all__ = ["Labeller", "LabellerSpec", "label_batch", "label_prepared"]
