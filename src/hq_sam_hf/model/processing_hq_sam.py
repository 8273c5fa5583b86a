"""Processor: images and prompts to model inputs, and model outputs to masks of the images."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .configuration_composed import HQSamComposedConfig
from .configuration_hq_sam import HQSamConfig
from .folder_checks import check_processor_folder
from .image_processing_hq_sam import HQSamImageProcessor
from .image_reading import ImageLike, as_image_list
from .prompt_preparation import ground_truth_masks, prepare_prompts
from .weights import find_file

IGNORED_LABEL = -100


class HQSamProcessor(ProcessorMixin):
    """`HQSamImageProcessor` plus points, boxes, mask prompts and ground-truth masks, any number per image."""

    image_processor_type = HQSamImageProcessor
    model_type = HQSamConfig.model_type

    def __init__(self, image_processor: HQSamImageProcessor | None = None) -> None:
        super().__init__(self.image_processor_type() if image_processor is None else image_processor)

    @classmethod
    def from_config(cls, config: HQSamComposedConfig) -> Any:
        """Make the processor with the sizes of a model's configuration."""
        cls._check_family(config)
        return cls(cls.image_processor_type.from_sizes(config.vision_config.image_size, config.mask_size))

    @classmethod
    def _check_family(cls, config: HQSamComposedConfig) -> None:
        if config.model_type != cls.model_type:
            fitting = "HQSamProcessor" if config.model_type == HQSamConfig.model_type else "HQSam2Processor"
            raise ValueError(
                f"{cls.__name__} prepares images for models of the type {cls.model_type}, but the model is of the "
                f"type {config.model_type}. Use {fitting}, from the same place as the model."
            )

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, *args: Any, image_size: int | None = None, **kwargs: Any
    ) -> Any:
        """Load the processor from a folder, Hub repository or checkpoint file, like `HQSamModel.from_pretrained`.

        image_size: another model input size in pixels; pass the same to the model.
        """
        where = {name: kwargs.get(name) for name in ("revision", "token", "cache_dir")}
        file = find_file(pretrained_model_name_or_path, **where)
        if file is not None:
            # Imported here, because it imports transformers' models, and that import registers this module.
            from .checkpoint_format import derive_config, read_checkpoint

            processor: Any = cls.from_config(derive_config(read_checkpoint(file)))
        else:
            check_processor_folder(pretrained_model_name_or_path, kwargs.get("subfolder") or "")
            # transformers' own method loads the image processor by AutoImageProcessor, which before 5.20 does not
            # exist without torchvision.
            image_processor = cls.image_processor_type.from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
            processor = cls(image_processor)
        if image_size is not None:
            processor.image_processor.set_image_size(image_size)
        return processor

    def check_fit(self, config: HQSamComposedConfig) -> None:
        """Raise ValueError if the processor is for another kind of model or other sizes than a configuration's."""
        self._check_family(config)
        needed = config.vision_config.image_size, config.mask_size
        own = self.image_processor.image_size, self.image_processor.mask_side
        if needed != own:
            raise ValueError(
                f"`model` expects images of {needed[0]} x {needed[0]} pixels and masks of {needed[1]} x {needed[1]}, "
                f"`processor` makes {own[0]} and {own[1]}. Load both from the same place, with the same `image_size`."
            )

    @property
    def model_input_names(self) -> list[str]:
        prompts = ["input_points", "input_labels", "input_boxes", "input_masks", "labels", "prompt_counts"]
        return [*self.image_processor.model_input_names, *prompts]

    def __call__(
        self,
        images: ImageLike | Sequence[ImageLike] | None = None,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        input_masks: Any = None,
        segmentation_maps: Any = None,
        input_data_format: str | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Prepare B images with any number of prompts each.

        images: one image or a list of PIL images, NumPy arrays, torch tensors or paths. A string is the path of a
            file; `transformers.image_utils.load_image` reads URLs, data URIs and base64. `image_reading` states how
            images are read (alpha, orientation, 16 bit, array layout).
        input_points, input_labels, input_boxes: in pixels of the original images, one entry per image, as lists,
            tuples, arrays or tensors in any mix: points [image][object][point][x, y] or [image][point][x, y]; labels
            nested alike (1 on the object, 0 on the background; all 1 by default); boxes
            [image][object][x1, y1, x2, y2]. None as an image's entry: no prompt of this kind. An empty list, array or
            tensor: no object in this image, and no mask for it. A warning says if coordinates look normalised.
        input_masks: one entry per image, (h, w) or (objects, h, w). Float masks are logits of the model's mask size,
            such as `pred_masks` of an earlier call. Bool or integer masks have the size of the image and become logits
            from -10 to 10. One mask may be used for all objects of its image.
        segmentation_maps: ground-truth masks of the size of the image, one entry per image, (H, W) or
            (objects, H, W), 0/1 or 0..255; returned as `labels`.

        Returns, for P prompts of N points, model input size S and mask size m: pixel_values (B, 3, S, S) float32,
        original_sizes and reshaped_input_sizes (B, 2) int64 as (height, width); and of the following what was given:
        input_points (B, P, N, 2) float32, input_labels (B, P, N) int64, input_boxes (B, P, 4) float32, input_masks
        (B, P, m, m) float32, labels (B, P, S, S) int64 of 0 and 1. Points and boxes are in model input coordinates.
        Images or prompts with fewer entries are padded: point labels with -10, boxes and masks with NaN, ground truth
        with -100. With prompts there is also prompt_counts (B,) int64, the number of prompts without the padding.

        Raises ValueError or TypeError that names the argument.
        """
        if images is None:
            raise ValueError(
                "`images` must be given, because prompts are in pixels of their image. Pass the image, or its size to "
                "`prepare_prompts`."
            )
        images = as_image_list(images)
        features = self.image_processor.preprocess(images, input_data_format=input_data_format)
        sizes = [(height, width) for height, width in features["original_sizes"].tolist()]
        features.update(self.prepare_prompts(sizes, input_points, input_labels, input_boxes, input_masks))
        if segmentation_maps is not None:
            counts = features["prompt_counts"].tolist() if "prompt_counts" in features else [1] * len(sizes)
            features["labels"] = self._ground_truth_labels(segmentation_maps, sizes, counts)
        return features if return_tensors == "pt" else BatchFeature(dict(features), tensor_type=return_tensors)

    def prepare_prompts(
        self,
        original_sizes: Sequence[tuple[int, int]],
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        input_masks: Any = None,
    ) -> BatchFeature:
        """Prepare prompts for images of the given original sizes (height, width), without the images.

        This is for further prompts for an image that is encoded already. Arguments and results are those of a call of
        the processor.
        """
        return prepare_prompts(
            self.image_processor, original_sizes, input_points, input_labels, input_boxes, input_masks
        )

    def post_process_masks(
        self,
        masks: Any,
        original_sizes: Any,
        reshaped_input_sizes: Any = None,
        mask_threshold: float = 0.0,
        binarize: bool = True,
    ) -> list[Tensor]:
        """Resize the model's low-resolution masks to the original sizes.

        `post_process_masks(outputs, inputs)` takes the output of the model and the inputs that this processor made;
        padded prompts are removed. `post_process_masks(pred_masks, original_sizes, reshaped_input_sizes)`, as in
        transformers, takes only tensors and keeps all prompts.

        Returns one bool tensor (P, M, height, width) per image, or float32 logits with binarize=False.
        """
        counts = None
        if hasattr(masks, "pred_masks"):
            inputs = original_sizes
            try:
                original_sizes, reshaped_input_sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
                counts = inputs.get("prompt_counts")
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    "`post_process_masks(outputs, inputs)` needs the inputs that this processor returned, with "
                    f"original_sizes and reshaped_input_sizes, got a {type(inputs).__name__} without them."
                ) from error
            masks = masks.pred_masks
        if reshaped_input_sizes is None:
            raise ValueError(
                "`post_process_masks` takes (outputs, inputs) or (masks, original_sizes, reshaped_input_sizes)."
            )
        if counts is not None:
            if len(counts) != len(masks):
                raise ValueError(
                    f"`post_process_masks(outputs, inputs)` got outputs for {len(masks)} images and inputs for "
                    f"{len(counts)}. Pass the inputs that the outputs were made from."
                )
            masks = [mask[:count] for mask, count in zip(masks, counts.tolist())]
        return self.image_processor.post_process_masks(
            masks, original_sizes, reshaped_input_sizes, mask_threshold=mask_threshold, binarize=binarize
        )

    def _ground_truth_labels(
        self, segmentation_maps: Any, sizes: Sequence[tuple[int, int]], counts: Sequence[int]
    ) -> Tensor:
        """Ground-truth masks of all images in model input coordinates, padded: (B, P, S, S) int64."""
        side = self.image_processor.image_size
        labels = torch.full((len(sizes), max(*counts, 1), side, side), IGNORED_LABEL)
        for i, masks in enumerate(ground_truth_masks(segmentation_maps, sizes, counts)):
            for k, mask in enumerate(masks or []):
                labels[i, k] = self.image_processor.mask_to_model_input(mask)
        return labels


__all__ = ["HQSamProcessor"]
