"""Text prompts: a zero-shot detector of transformers finds boxes, HQ-SAM predicts their masks."""

import inspect
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..masks.nms import box_nms
from ..masks.rle import mask_to_bbox
from ..model.compatibility import without_capturing_hooks
from ..model.image_reading import ImageLike, read_image
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor
from .loading import HUB_OPTIONS, check_source, load_model, split_options, usable_device
from .predictor import OBJECTS_PER_CALL, HQSamPredictor


@dataclass(frozen=True)
class Detection:
    """An object that a detector found. box: (x1, y1, x2, y2) in pixels of the image."""

    label: str
    score: float
    box: tuple[float, float, float, float]


class ZeroShotDetector:
    """Finds boxes of objects by text, with any model of `AutoModelForZeroShotObjectDetection`.

    model, processor: a detector such as IDEA-Research/grounding-dino-tiny, google/owlvit-base-patch32 or
        google/owlv2-base-patch16-ensemble. `from_pretrained` loads both.
    box_threshold: drop boxes with a lower score. None for the default of the processor.
    text_threshold: Grounding DINO only: words with a lower score do not count for the label. None for the default of
        the processor.
    nms_threshold: of boxes with the same label and a larger IoU, keep the one with the best score.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        box_threshold: float | None = None,
        text_threshold: float | None = None,
        nms_threshold: float = 0.5,
    ) -> None:
        known = inspect.signature(processor.post_process_grounded_object_detection).parameters
        if text_threshold is not None and "text_threshold" not in known:
            raise ValueError(
                f"`text_threshold` has no effect with a {type(processor).__name__}, which scores whole labels. Omit "
                "it, or set `box_threshold`."
            )
        for name, value in (("box", box_threshold), ("text", text_threshold), ("nms", nms_threshold)):
            if value is not None and not 0 <= value <= 1:  # also catches NaN
                raise ValueError(f"`{name}_threshold` must be from 0 to 1, got {value!r}.")
        thresholds = {"threshold": box_threshold, "text_threshold": text_threshold}
        self.thresholds = {name: value for name, value in thresholds.items() if value is not None}
        self.model = model.eval()
        self.processor = processor
        self.nms_threshold = nms_threshold

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled or copied: all, except hooks of transformers that cannot be pickled."""
        return {**vars(self), "model": without_capturing_hooks(self.model)}

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike, device: str | torch.device | None = None, **options: Any
    ) -> "ZeroShotDetector":
        """Load a detector from a folder or Hub repository.

        device: None for a GPU where there is one, else the CPU.
        options: those of the class, and options of the Hub such as `revision` and `token`.
        """
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        own, loading = split_options(cls, options, HUB_OPTIONS)
        check_source("detector", name)
        device = usable_device(device)
        model = AutoModelForZeroShotObjectDetection.from_pretrained(name, **loading)
        return cls(model.to(device), AutoProcessor.from_pretrained(name, **loading), **own)

    @torch.no_grad()
    def detect(self, image: ImageLike, text: str | Sequence[str]) -> list[Detection]:
        """Find objects in an image, the best score first. Boxes are clipped to the image.

        image: whatever HQ-SAM's processor takes: a path, PIL image, array or tensor.
        text: labels as a list or as "dog. leash."

        Raises ValueError for text without labels and for text that is too long for the detector.
        """
        labels = split_labels(text)
        pixels = read_image(image)
        size = (pixels.shape[0], pixels.shape[1])
        self._check_length(labels)
        inputs = self.processor(images=Image.fromarray(pixels), text=[labels], return_tensors="pt")
        outputs = self.model(**inputs.to(self.model.device))
        (found,) = self.processor.post_process_grounded_object_detection(
            outputs, target_sizes=[size], text_labels=[labels], **self.thresholds
        )
        boxes = found["boxes"].float().cpu().numpy().reshape(-1, 4).clip(0, [size[1], size[0], size[1], size[0]])
        scores = found["scores"].float().cpu().numpy()
        named = [_nearest_label(phrase, labels) for phrase in found["text_labels"]]
        whole = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
        keep: list[int] = []
        for label in dict.fromkeys(named):
            same = np.array([i for i in whole if named[i] == label], dtype=np.int64)
            keep.extend(same[box_nms(boxes[same], scores[same], self.nms_threshold)].tolist())
        keep.sort(key=lambda i: -scores[i])
        return [Detection(named[i], float(scores[i]), tuple(boxes[i].tolist())) for i in keep]

    def _check_length(self, labels: Sequence[str]) -> None:
        """Raise ValueError for text that the detector would truncate or fail on."""
        tokenizer = self.processor.tokenizer
        joint_limit = getattr(self.model.config, "max_text_len", None)  # Grounding DINO reads all labels as one text
        if joint_limit:
            texts, limit = [". ".join(labels) + "."], joint_limit
        else:
            texts, limit = list(labels), tokenizer.model_max_length
        longest = max(len(ids) for ids in tokenizer(texts)["input_ids"])
        if longest > limit:
            raise ValueError(
                f"`text` is too long for the detector: it has {longest} tokens, at most {limit} are possible. Use "
                "fewer words."
            )


@dataclass(frozen=True)
class DetectorSpec:
    """Which detector to load, and its thresholds; None for the defaults of `ZeroShotDetector`.

    name: folder or Hub repository.
    """

    name: str | os.PathLike
    box_threshold: float | None = None
    text_threshold: float | None = None
    nms_threshold: float | None = None

    def load(self, device: str | torch.device | None = None) -> ZeroShotDetector:
        return ZeroShotDetector.from_pretrained(self.name, device, **self._thresholds())

    def as_options(self) -> dict[str, Any]:
        """The name and those thresholds that are given, as JSON values."""
        return {"detector": str(self.name), **self._thresholds()}

    def _thresholds(self) -> dict[str, float]:
        thresholds = {name: value for name, value in asdict(self).items() if name != "name"}
        return {name: value for name, value in thresholds.items() if value is not None}


class HQSamTextPredictor:
    """Predicts masks of the objects in an image that text names.

    model, processor: those of HQ-SAM, as loaded by their `from_pretrained`.
    detector: finds the boxes that are HQ-SAM's prompts.
    """

    def __init__(self, model: HQSamModel, processor: HQSamProcessor, detector: ZeroShotDetector) -> None:
        self.predictor = HQSamPredictor(model, processor, max_images=1)
        self.detector = detector

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike | None = None,
        *,
        detector: str | os.PathLike | ZeroShotDetector,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        image_size: int | None = None,
        **options: Any,
    ) -> "HQSamTextPredictor":
        """Load HQ-SAM and a detector and make a text predictor of them.

        name: folder, Hub repository or checkpoint file of an HQ-SAM; None for the small checkpoint inside the package.
        detector: folder or Hub repository of a detector, which is loaded onto the same device with its default
            thresholds; or a `ZeroShotDetector`.
        device: None for a GPU where there is one, else the CPU.
        dtype: of HQ-SAM: torch.float32, torch.bfloat16 or torch.float16, or its name; None for the dtype in the
            configuration.
        image_size: side of HQ-SAM's square input in pixels; None for the size in the configuration.
        options: options of `HQSamModel.from_pretrained` such as `revision` and `token`.
        """
        _, loading = split_options(cls, options)
        model, processor = load_model(name, device, dtype, image_size, **loading)
        if not isinstance(detector, ZeroShotDetector):
            detector = ZeroShotDetector.from_pretrained(detector, model.device)
        return cls(model, processor, detector)

    def predict(
        self, image: ImageLike, text: str | Sequence[str], multimask_output: bool = False, hq_token_only: bool = False
    ) -> list[dict[str, Any]]:
        """Find and segment the objects of an image of H x W pixels, the detector's best score first.

        text: labels as a list or as "dog. leash."
        multimask_output, hq_token_only: as in `HQSamPredictor.predict`. The best of three candidates is taken.

        Returns a record per object, or an empty list if the detector finds none:
            label          the label of the detector
            score          the score of the detector
            box            [x1, y1, x2, y2] of the detector
            segmentation   bool array (H, W)
            area           pixels of the mask
            bbox           [x, y, width, height] of the mask
            predicted_iou  SAM's estimate of the IoU of its own mask
        """
        pixels = read_image(image)
        detections = self.detector.detect(pixels, text)
        if not detections:
            return []
        self.predictor.set_image(pixels)
        records = []
        for start in range(0, len(detections), OBJECTS_PER_CALL):
            part = detections[start : start + OBJECTS_PER_CALL]
            masks, ious, _ = self.predictor.predict(
                boxes=[detection.box for detection in part],
                multimask_output=multimask_output,
                hq_token_only=hq_token_only,
            )
            for detection, mask, iou in zip(part, np.asarray(masks)[:, 0], np.asarray(ious)[:, 0]):
                found = {"label": detection.label, "score": detection.score, "box": list(detection.box)}
                mask = mask.copy()  # a view would keep the masks of all candidates
                size = {"area": int(mask.sum()), "bbox": mask_to_bbox(mask)}
                records.append({**found, "segmentation": mask, **size, "predicted_iou": float(iou)})
        return records


def split_labels(text: str | Sequence[str]) -> list[str]:
    """The labels of "dog. leash." or of a list, without surrounding spaces or duplicates."""
    parts = text.split(".") if isinstance(text, str) else list(text) if isinstance(text, Iterable) else [text]
    labels = list(dict.fromkeys(part.strip() for part in parts if isinstance(part, str) and part.strip()))
    if not labels or not all(isinstance(part, str) for part in parts):
        raise ValueError(f'`text` must name objects, such as ["dog", "leash"] or "dog. leash.", got {text!r}.')
    dotted = [label for label in labels if "." in label]
    if dotted:
        raise ValueError(f"A label must not contain a full stop, which separates labels, got {dotted[0]!r}.")
    return labels


def _nearest_label(phrase: str, labels: Sequence[str]) -> str:
    """The label that shares the most words with a phrase; if none does, the label that contains most parts of words.

    A phrase of Grounding DINO holds the words and parts of words with a high score, possibly of several labels and
    with punctuation. A phrase that matches no label gets the label "object".
    """
    words = re.findall(r"[\w-]+", re.sub(r"\[\w+\]", " ", phrase.lower()))
    for match in (lambda word, label: word in label.lower().split(), lambda word, label: word in label.lower()):
        shared = [sum(match(word, label) for word in words) for label in labels]
        if any(shared):
            return labels[int(np.argmax(shared))]
    return "object"


__all__ = ["Detection", "DetectorSpec", "HQSamTextPredictor", "ZeroShotDetector", "split_labels"]
