"""Objects named by text: a zero-shot detector of transformers gives boxes, HQ-SAM their masks."""

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..masks.nms import box_nms
from ..masks.rle import mask_to_bbox
from ..model.image_reading import ImageLike, read_image
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor
from .loading import check_source
from .predictor import OBJECTS_AT_ONCE, HQSamPredictor


@dataclass(frozen=True)
class Detection:
    """An object that a detector found: what it was asked for as, how sure it is, and (x1, y1, x2, y2) in pixels."""

    label: str
    score: float
    box: tuple[float, float, float, float]


class ZeroShotDetector:
    """Boxes of objects that text names, from any `AutoModelForZeroShotObjectDetection`.

    model, processor: such as IDEA-Research/grounding-dino-tiny, google/owlvit-base-patch32 or
        google/owlv2-base-patch16-ensemble; `from_pretrained` loads both.
    box_threshold: boxes with a lower score are dropped; by default the processor's own, which fits its model.
    text_threshold: of Grounding DINO, words with a lower score do not make the label; by default its own.
    nms_threshold: of boxes with the same label and a larger IoU the best scored stays.
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
                f"`text_threshold` means nothing to a {type(processor).__name__}, which scores whole labels. Leave it "
                "out, or set `box_threshold`."
            )
        for name, value in (("box", box_threshold), ("text", text_threshold), ("nms", nms_threshold)):
            if value is not None and not 0 <= value <= 1:  # also catches NaN
                raise ValueError(f"`{name}_threshold` must be from 0 to 1, got {value!r}.")
        thresholds = {"threshold": box_threshold, "text_threshold": text_threshold}
        self.thresholds = {name: value for name, value in thresholds.items() if value is not None}
        self.model = model.eval()
        self.processor = processor
        self.nms_threshold = nms_threshold

    @classmethod
    def from_pretrained(
        cls, name: str, device: str | torch.device | None = None, **options: Any
    ) -> "ZeroShotDetector":
        """Load a detector from a folder or Hub repository; options as of the class."""
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        check_source("detector", name)
        model = AutoModelForZeroShotObjectDetection.from_pretrained(name)
        return cls(model.to(device or "cpu"), AutoProcessor.from_pretrained(name), **options)

    @torch.no_grad()
    def detect(self, image: ImageLike, text: str | Sequence[str]) -> list[Detection]:
        """Find objects in a picture of any kind that HQ-SAM's processor takes, best score first.

        text: labels, as a list or as "dog. leash." Boxes are cut at the picture's edges.
        """
        labels = split_labels(text)
        picture = read_image(image)
        size = (picture.shape[0], picture.shape[1])
        self._check_length(labels)
        inputs = self.processor(images=Image.fromarray(picture), text=[labels], return_tensors="pt")
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
        """Refuse text that the detector would cut, or fail on."""
        tokenizer = self.processor.tokenizer
        whole = getattr(self.model.config, "max_text_len", None)  # Grounding DINO reads all labels as one text
        texts, limit = ([". ".join(labels) + "."], whole) if whole else (labels, tokenizer.model_max_length)
        longest = max(len(ids) for ids in tokenizer(texts)["input_ids"])
        if longest > limit:
            raise ValueError(
                f"`text` is too long for the detector: {longest} tokens, at most {limit}. Use fewer words."
            )


class HQSamTextPredictor:
    """Masks of the objects in a picture that text names.

    model, processor: HQ-SAM's, as loaded by `from_pretrained`. detector: finds the boxes.
    """

    def __init__(self, model: HQSamModel, processor: HQSamProcessor, detector: ZeroShotDetector) -> None:
        self.predictor = HQSamPredictor(model, processor, max_images=1)
        self.detector = detector

    def predict(
        self, image: ImageLike, text: str | Sequence[str], multimask_output: bool = False, hq_token_only: bool = False
    ) -> list[dict[str, Any]]:
        """Find and segment objects of a picture of H x W pixels, the detector's best first; an empty list for none.

        text: labels, as a list or as "dog. leash." multimask_output, hq_token_only: as of `HQSamPredictor.predict`; of
        three candidates the best is taken.

        Returns a record per object: label, score of the detector, box [x1, y1, x2, y2] of the detector, segmentation
        (bool array (H, W)), area, bbox [x, y, width, height] of the mask, predicted_iou of SAM.
        """
        picture = read_image(image)
        detections = self.detector.detect(picture, text)
        if not detections:
            return []
        self.predictor.set_image(picture)
        records = []
        for start in range(0, len(detections), OBJECTS_AT_ONCE):
            part = detections[start : start + OBJECTS_AT_ONCE]
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
    """The labels of "dog. leash." or of a list, without spaces around them and each once."""
    parts = text.split(".") if isinstance(text, str) else list(text)
    labels = list(dict.fromkeys(part.strip() for part in parts if isinstance(part, str) and part.strip()))
    if not labels or not all(isinstance(part, str) for part in parts):
        raise ValueError(f'`text` must name objects, as ["dog", "leash"] or "dog. leash.", got {text!r}.')
    dotted = [label for label in labels if "." in label]
    if dotted:
        raise ValueError(f"A label must not contain a full stop, which separates labels, got {dotted[0]!r}.")
    return labels


def _nearest_label(phrase: str, labels: Sequence[str]) -> str:
    """The label that shares most words with a phrase, or else contains a part of one of its words.

    Grounding DINO gives back those of the words and parts of words it was given that it is sure of, also of several
    labels, with its punctuation; none of them are an "object".
    """
    words = re.findall(r"[\w-]+", re.sub(r"\[\w+\]", " ", phrase.lower()))
    for match in (lambda word, label: word in label.lower().split(), lambda word, label: word in label.lower()):
        shared = [sum(match(word, label) for word in words) for label in labels]
        if any(shared):
            return labels[int(np.argmax(shared))]
    return "object"


__all__ = ["Detection", "HQSamTextPredictor", "ZeroShotDetector", "split_labels"]
