"""Objects that text names in many pictures: the work behind `hq-sam segment FOLDER --text`."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from ..inference.loading import load_model
from ..inference.text import HQSamTextPredictor, ZeroShotDetector, split_labels
from .runner import COCO_ONLY, Answer, Report, Wanted, answer_pictures, find_pictures


def segment_by_text(
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    model: str,
    text: str,
    detector: str,
    device: str | None = None,
    dtype: str = "float32",
    image_size: int | None = None,
    wanted: Wanted = COCO_ONLY,
    multimask_output: bool = False,
    hq_token_only: bool = False,
    **thresholds: float,
) -> Report | None:
    """Write the masks of the objects that a detector finds in pictures, as `many_pictures` lays them out.

    sources: files, folders and patterns. model, detector: folders, Hub repositories or, of the model, a file.
    text: labels as "dog. leash." thresholds: of `ZeroShotDetector`.
    A picture in which nothing is found is done, without masks. Run it again to go on where it stopped. Gives the
    report, in the main process.
    """
    labels = split_labels(text)
    made_with = {"model": str(model), "detector": str(detector), "text": labels, "dtype": dtype, **thresholds}
    made_with |= {"image_size": image_size, "multimask_output": multimask_output, "hq_token_only": hq_token_only}

    def prepare(own_device: str | None) -> Answer:
        hq_sam, processor = load_model(model, device or own_device, dtype, image_size)
        finder = ZeroShotDetector.from_pretrained(detector, hq_sam.device, **thresholds)
        predictor = HQSamTextPredictor(hq_sam, processor, finder)

        def answer(image: Image.Image, _: str) -> Sequence[Mapping[str, Any]]:
            return predictor.predict(image, labels, multimask_output, hq_token_only)

        return answer

    return answer_pictures(find_pictures(sources, leave_out=output), output, made_with, prepare, wanted)


__all__ = ["segment_by_text"]
