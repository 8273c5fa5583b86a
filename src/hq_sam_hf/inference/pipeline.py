"""The pipeline class for `transformers.pipeline("mask-generation")`: automatic masks with HQ-SAM.

`registration` makes it the class of this task, so that `pipeline("mask-generation", model=...)` works for HQ-SAM as
for other models. `pipeline(..., pipeline_class=HQSamMaskGenerationPipeline)` chooses it explicitly. Unlike the stock
pipeline it does not need torchvision.
"""

import base64
import inspect
import os
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from transformers.pipelines.mask_generation import MaskGenerationPipeline

# Options of transformers' pipeline and the options of `HQSamMaskGenerator` that they set. The stock pipeline removes
# duplicates once, over all crops, and so has one threshold for it.
_STOCK_OPTIONS = {
    "points_per_crop": ("points_per_side",),
    "crops_n_layers": ("crop_n_layers",),
    "crops_nms_thresh": ("box_nms_thresh", "crop_nms_thresh"),
}


class HQSamMaskGenerationPipeline(MaskGenerationPipeline):
    """`HQSamMaskGenerator` with the interface of transformers' pipelines.

    Takes the options of both, when it is created or called, such as hq_token_only=True. Other options raise TypeError.

    Returns per image a dict with N masks, best first:
        masks            list of N bool arrays (H, W)
        scores           tensor (N,), SAM's estimate of the IoU
        rle_mask         with output_rle_mask=True: list of N uncompressed COCO run-length encodings
        bounding_boxes   with output_bboxes_mask=True: tensor (N, 4), x1, y1, x2, y2 in pixels

    Created for a model other than HQ-SAM and HQ-SAM 2, it is transformers' stock pipeline.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        is_unpickled = not args and not kwargs  # pickle and copy make the object first and fill it afterwards
        model_type = getattr(getattr(kwargs.get("model"), "config", None), "model_type", None)
        if is_unpickled or model_type in ("hq_sam", "hq_sam2"):
            return super().__new__(cls)
        return MaskGenerationPipeline(*args, **kwargs)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        from .mask_generator import HQSamMaskGenerator

        known = inspect.signature(HQSamMaskGenerator).parameters.keys() - {"model", "processor", "output_mode"}
        preprocess, forward, postprocess = {}, {}, {}
        for name, value in kwargs.items():
            if name in ("output_rle_mask", "output_bboxes_mask"):
                postprocess[name] = value
            elif name == "timeout":
                preprocess[name] = value
            elif name in known or name in _STOCK_OPTIONS or name == "multimask_output":
                forward.update(dict.fromkeys(_STOCK_OPTIONS.get(name, (name,)), value))
            elif name != "mask_threshold" or value != 0:  # a stock option; HQ-SAM always thresholds logits at 0
                raise TypeError(
                    f"The mask generation pipeline of HQ-SAM has no option `{name}`. It takes "
                    f"{', '.join(sorted({*known, *_STOCK_OPTIONS}))}, output_rle_mask and output_bboxes_mask."
                )
        return preprocess, forward, postprocess

    def __call__(self, image: Any, *args: Any, **kwargs: Any) -> Any:
        """Generate masks of an image, or of each image of a list.

        image: a path, URL, data URI or base64 text, as `transformers.image_utils.load_image` takes them, a PIL image,
            an array or a tensor.
        """
        if kwargs.get("batch_size") not in (None, 1):
            raise ValueError(
                f"`batch_size` must be 1, got {kwargs['batch_size']}: images are processed one at a time. Set "
                "`points_per_batch` to decode more points at once."
            )
        return super().__call__(image, *args, **kwargs)

    def preprocess(self, image: Any, timeout: float | None = None) -> Iterator[dict[str, Any]]:
        if isinstance(image, str) and not os.path.isfile(image):
            image = _read_text(image, timeout)
        yield {"image": os.fspath(image) if isinstance(image, os.PathLike) else image, "is_last": True}

    def _forward(self, model_inputs: dict[str, Any], multimask_output: bool = True, **options: Any) -> dict[str, Any]:
        from ..model.checkpoint_format import family_of
        from ..model.families import processor_class_of
        from .mask_generator import HQSamMaskGenerator

        processor = processor_class_of(family_of(self.model.config))(self.image_processor)
        generator = HQSamMaskGenerator(self.model, processor, output_mode="uncompressed_rle", **options)
        records = generator.generate(model_inputs["image"], multimask_output=multimask_output)
        return {"records": records, "is_last": model_inputs["is_last"]}

    def postprocess(
        self, model_outputs: list[dict[str, Any]], output_rle_mask: bool = False, output_bboxes_mask: bool = False
    ) -> dict[str, Any]:
        import torch

        from ..masks.rle import rle_to_mask

        records = [record for outputs in model_outputs for record in outputs["records"]]
        encodings = [record["segmentation"] for record in records]
        result: dict[str, Any] = {
            "masks": [rle_to_mask(rle, max_pixels=None) for rle in encodings],
            "scores": torch.tensor([record["predicted_iou"] for record in records]),
        }
        if output_rle_mask:
            result["rle_mask"] = encodings
        if output_bboxes_mask:
            boxes = torch.tensor([record["bbox"] for record in records]).reshape(-1, 4)
            result["bounding_boxes"] = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
        return result


def _read_text(text: str, timeout: float | None) -> Any:
    """The image of a URL, a data URI or base64 text. The content is read like that of a file."""
    from transformers.image_utils import load_image

    from ..model.image_files import open_upright
    from ..model.image_reading import shortened

    if text.startswith(("http://", "https://")):
        return load_image(text, timeout=timeout)
    try:
        encoded = text.split(",", 1)[1] if text.startswith("data:image/") else text
        return open_upright(BytesIO(base64.decodebytes(encoded.encode())))
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"A string must be the path of an image file, a URL that starts with http:// or https://, a data URI that "
            f"starts with data:image/, or an image in base64, got {shortened(text)} ({error}). Correct the path, or "
            "pass a PIL image."
        ) from error


__all__ = ["HQSamMaskGenerationPipeline"]
