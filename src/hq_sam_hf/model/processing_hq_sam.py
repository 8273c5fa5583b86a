"""Processor: images and prompts to model inputs, and model outputs to masks of the images."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .configuration_hq_sam import HQSamConfig
from .image_processing_hq_sam import HQSamImageProcessor
from .image_reading import ImageLike, as_image_list, read_binary_mask
from .prompt_batching import PromptArrays, pad_points, pad_prompts, parse_boxes, parse_points
from .weights import find_file

IGNORED_LABEL = -100


class HQSamProcessor(ProcessorMixin):
    """`HQSamImageProcessor` plus points, boxes, mask prompts and ground-truth masks, any number per image."""

    def __init__(self, image_processor: HQSamImageProcessor | None = None) -> None:
        super().__init__(HQSamImageProcessor() if image_processor is None else image_processor)

    @classmethod
    def from_config(cls, config: HQSamConfig) -> "HQSamProcessor":
        """Make the processor with the sizes of a model's configuration."""
        size, mask_size = config.vision_config.image_size, config.mask_size
        return cls(HQSamImageProcessor(size={"longest_edge": size}, mask_size={"longest_edge": mask_size}))

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
            # transformers' own method loads the image processor by AutoImageProcessor, which before 5.20 does not
            # exist without torchvision.
            processor = cls(HQSamImageProcessor.from_pretrained(pretrained_model_name_or_path, *args, **kwargs))
        if image_size is not None:
            processor.image_processor.set_image_size(image_size)
        return processor

    def check_fit(self, config: HQSamConfig) -> None:
        """Raise ValueError if the sizes differ from those of a model's configuration."""
        needed = config.vision_config.image_size, config.mask_size
        own = self.image_processor.image_size, self.image_processor.mask_size["longest_edge"]
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

        images: one image or a list of PIL images, NumPy arrays, torch tensors or paths. `image_reading` states how
            they are read (alpha, orientation, 16 bit, array layout).
        input_points, input_labels, input_boxes: in pixels of the original images, one entry per image, as lists,
            tuples, arrays or tensors in any mix: points [image][object][point][x, y] or [image][point][x, y]; labels
            nested alike (1 on the object, 0 on the background; all 1 by default); boxes
            [image][object][x1, y1, x2, y2]. None as an image's entry: no prompt of this kind. An empty list: no object
            in this image, and no mask for it.
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
            raise ValueError("`images` must be given, because prompts are in pixels of their image.")
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
        points = parse_points(input_points, input_labels, original_sizes)
        boxes = parse_boxes(input_boxes, original_sizes)
        masks = self._parse_masks(input_masks, original_sizes)
        counts = [_count_prompts(i, *prompts) for i, prompts in enumerate(zip(points, boxes, masks))]
        num_prompts = max(*counts, 1)
        scales = [self._scale(size) for size in original_sizes]

        prompts = BatchFeature()
        if input_points is not None:
            for image, scale in zip(points, scales):
                image.points = None if image.points is None else [xy * scale for xy in image.points]
            prompts["input_points"], prompts["input_labels"] = pad_points(points, num_prompts)
        if input_boxes is not None and any(entry is not None for entry in boxes):
            scaled = [None if entry is None else entry * np.tile(scale, 2) for entry, scale in zip(boxes, scales)]
            prompts["input_boxes"] = pad_prompts(scaled, num_prompts)
        if any(entry is not None for entry in masks):
            shared = [
                entry.expand(count, -1, -1) if entry is not None and len(entry) == 1 else entry
                for entry, count in zip(masks, counts)
            ]
            prompts["input_masks"] = pad_prompts(shared, num_prompts)
        if any(prompt is not None for prompt in (input_points, input_boxes, input_masks)):
            prompts["prompt_counts"] = torch.tensor(counts)
        return prompts

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
            masks = [mask[:count] for mask, count in zip(masks, counts.tolist(), strict=True)]
        return self.image_processor.post_process_masks(
            masks, original_sizes, reshaped_input_sizes, mask_threshold=mask_threshold, binarize=binarize
        )

    def _scale(self, original_size: tuple[int, int]) -> np.ndarray:
        """(x, y) scale from image to model-input pixels."""
        height, width = self.image_processor.reshaped_size(original_size)
        return np.array([width / original_size[1], height / original_size[0]])

    def _parse_masks(self, input_masks: Any, sizes: Sequence[tuple[int, int]]) -> list[Tensor | None]:
        if input_masks is None:
            return [None] * len(sizes)
        entries = _per_image("input_masks", input_masks, len(sizes))
        return [
            None if entry is None else self._mask_logits(entry, size, i)
            for i, (entry, size) in enumerate(zip(entries, sizes))
        ]

    def _mask_logits(self, entry: Any, size: tuple[int, int], image: int) -> Tensor:
        """The mask prompts of one image as logits (P, m, m)."""
        side = self.image_processor.mask_size["longest_edge"]
        stack = _stack("input_masks", entry, image)
        if stack.dtype.kind != "f":
            masks = _full_size_masks("input_masks", stack, size, image)
            return torch.stack([self.image_processor.mask_to_logits(mask) for mask in masks])
        if stack.shape[1:] != (side, side):
            raise ValueError(
                f"`input_masks` of floats must be logits of the mask size {side} x {side}, image {image} has "
                f"{stack.shape[1:]}. To pass a mask of the image's size, use bool or uint8."
            )
        if not np.isfinite(stack).all():
            raise ValueError(f"`input_masks` must be finite, those of image {image} contain NaN or infinity.")
        return torch.from_numpy(stack.astype(np.float32))

    def _ground_truth_labels(
        self, segmentation_maps: Any, sizes: Sequence[tuple[int, int]], counts: Sequence[int]
    ) -> Tensor:
        """Ground-truth masks of all images in model input coordinates, padded: (B, P, S, S) int64."""
        entries = _per_image("segmentation_maps", segmentation_maps, len(sizes))
        side = self.image_processor.image_size
        labels = torch.full((len(sizes), max(*counts, 1), side, side), IGNORED_LABEL)
        for i, (entry, size, count) in enumerate(zip(entries, sizes, counts)):
            if entry is None:
                continue
            masks = _full_size_masks("segmentation_maps", _stack("segmentation_maps", entry, i), size, i)
            if len(masks) != count:
                raise ValueError(
                    f"`segmentation_maps` must contain one mask per prompt, image {i} has {len(masks)} masks for "
                    f"{count} prompts."
                )
            for k, mask in enumerate(masks):
                labels[i, k] = self.image_processor.mask_to_model_input(mask)
        return labels


def _per_image(name: str, value: Any, num_images: int) -> list:
    """Masks as a list with one entry per image."""
    if isinstance(value, np.ndarray | Tensor) and value.ndim == 2 and num_images == 1:
        value = [value]
    if not isinstance(value, list | tuple | np.ndarray | Tensor):
        value = [value]
    if len(value) != num_images:
        raise ValueError(
            f"`{name}` must have one entry per image, got {len(value)} entries for {num_images} image(s)."
        )
    return list(value)


def _stack(name: str, entry: Any, image: int) -> np.ndarray:
    """The masks of one image as one array (masks, height, width), with their dtype kept."""
    if isinstance(entry, list | tuple):
        arrays = [_stack(name, mask, image) for mask in entry]
        if not arrays or len({array.shape[1:] for array in arrays}) > 1:
            raise ValueError(f"`{name}` of image {image} must be one or more masks, all of the same size.")
        return np.concatenate(arrays)
    if isinstance(entry, np.ndarray | Tensor):
        array = np.asarray(
            entry.detach().cpu().float() if isinstance(entry, Tensor) and entry.is_floating_point() else entry
        )
    else:
        array = read_binary_mask(entry, name)  # a PIL image or a path
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(
            f"`{name}` must have shape (height, width) or (masks, height, width) per image, image {image} has "
            f"{array.shape}."
        )
    return array


def _full_size_masks(name: str, stack: np.ndarray, size: tuple[int, int], image: int) -> list[np.ndarray]:
    """Bool masks (height, width), checked to have the size of their image."""
    if stack.shape[1:] != size:
        raise ValueError(
            f"`{name}` must have the size of their image, {size[0]} x {size[1]} (height x width) for image {image}, "
            f"got {stack.shape[1]} x {stack.shape[2]}."
        )
    return [read_binary_mask(mask, name) for mask in stack]


def _count_prompts(image: int, points: PromptArrays, boxes: np.ndarray | None, masks: Tensor | None) -> int:
    """The number of objects that the prompts of an image ask for; 1 without prompts, for its unprompted mask."""
    counts = {
        name: len(entry)
        for name, entry in (("input_points", points.points), ("input_boxes", boxes), ("input_masks", masks))
        if entry is not None
    }
    if len(counts) > 1 and counts.get("input_masks") == 1:  # one mask may be used for all objects
        counts.pop("input_masks")
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{count} in `{name}`" for name, count in counts.items())
        raise ValueError(
            f"All kinds of prompts must have the same number of objects, image {image} has {listing}. For an image "
            "without prompts of a kind, use None."
        )
    return next(iter(counts.values()), 1)


__all__ = ["HQSamProcessor"]
