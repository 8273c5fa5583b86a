"""HQ-SAM in `transformers.pipeline("mask-generation", model=...)`: automatic masks without torchvision."""

import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers.pipelines.mask_generation import MaskGenerationPipeline

# Options of transformers' pipeline, and what they are called here. It suppresses duplicates once, over all crops.
_STOCK_NAMES = {
    "points_per_crop": ("points_per_side",),
    "crops_n_layers": ("crop_n_layers",),
    "crops_nms_thresh": ("box_nms_thresh", "crop_nms_thresh"),
}


class HQSamMaskGenerationPipeline(MaskGenerationPipeline):
    """`HQSamMaskGenerator` behind transformers' interface.

    Takes the options of both, when it is made or called, such as hq_token_only=True; others are an error. Gives per
    picture masks, bool arrays (H, W), and scores, best first; with output_rle_mask=True also rle_mask, and with
    output_bboxes_mask=True bounding_boxes (N, 4).

    transformers' registry holds this class for its task. For models other than HQ-SAM it makes the stock pipeline.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if getattr(getattr(kwargs.get("model"), "config", None), "model_type", None) == "hq_sam":
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
            elif name in known or name in _STOCK_NAMES or name == "multimask_output":
                forward.update(dict.fromkeys(_STOCK_NAMES.get(name, (name,)), value))
            elif name != "mask_threshold" or value != 0:  # the stock option has one value that means the same
                raise TypeError(
                    f"The mask generation pipeline of HQ-SAM does not know `{name}`; it takes "
                    f"{', '.join(sorted({*known, *_STOCK_NAMES}))}, output_rle_mask and output_bboxes_mask."
                )
        return preprocess, forward, postprocess

    def __call__(self, image: Any, *args: Any, **kwargs: Any) -> Any:
        """Masks of a picture or of each of a list; pictures are paths, addresses, PIL images or arrays."""
        if kwargs.get("batch_size") not in (None, 1):
            raise ValueError("Pictures are answered one at a time; `points_per_batch` says how many points at once.")
        return super().__call__(image, *args, **kwargs)

    def preprocess(self, image: Any, timeout: float | None = None) -> Iterator[dict[str, Any]]:
        if isinstance(image, str) and not Path(image).is_file():
            from transformers.image_utils import load_image

            image = load_image(image, timeout=timeout)  # an address, or base64
        yield {"image": os.fspath(image) if isinstance(image, Path) else image, "is_last": True}

    def _forward(self, model_inputs: dict[str, Any], multimask_output: bool = True, **options: Any) -> dict[str, Any]:
        from ..model.processing_hq_sam import HQSamProcessor
        from .mask_generator import HQSamMaskGenerator

        processor = HQSamProcessor(self.image_processor)
        generator = HQSamMaskGenerator(self.model, processor, output_mode="uncompressed_rle", **options)
        records = generator.generate(model_inputs["image"], multimask_output=multimask_output)
        return {"records": records, "is_last": model_inputs["is_last"]}

    def postprocess(
        self, model_outputs: list[dict[str, Any]], output_rle_mask: bool = False, output_bboxes_mask: bool = False
    ) -> dict[str, Any]:
        import torch

        from ..masks.rle import rle_to_mask

        records = [record for outputs in model_outputs for record in outputs["records"]]
        runs = [record["segmentation"] for record in records]
        result: dict[str, Any] = {
            "masks": [rle_to_mask(rle) for rle in runs],
            "scores": torch.tensor([record["predicted_iou"] for record in records]),
        }
        if output_rle_mask:
            result["rle_mask"] = runs
        if output_bboxes_mask:
            boxes = torch.tensor([record["bbox"] for record in records]).reshape(-1, 4)
            result["bounding_boxes"] = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
        return result


__all__ = ["HQSamMaskGenerationPipeline"]
