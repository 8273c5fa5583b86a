"""The part of the models of HQ-SAM and HQ-SAM 2 that is the same: from image features and prompts to masks."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .losses import mask_loss, same_points
from .modeling_decoder_parts import MaskSource
from .modeling_fast_decoder import can_use_fast_path, decode_fast, project_image
from .modeling_input_checks import check_image_embeddings, check_labels, check_prompts
from .modeling_pretrained import HQSamPreTrainedModel
from .modeling_prompt_parts import decode_in_parts, prompts_at_once
from .tensor_types import rows_of


class HQSamPromptedModel(HQSamPreTrainedModel):
    """A model with `shared_image_embedding`, `prompt_encoder` and `mask_decoder`.

    A subclass encodes images to features, which have `image_embeddings` (B, C, h, w) and perhaps `image_projections`,
    and says in `_decoder_features` what else its mask decoder needs of them.
    """

    # Of the decoder's features on the fast path.
    fast_path_memory_format = torch.contiguous_format

    def resize_image(self, image_size: int) -> None:
        """Change the side of the square model input, in pixels, in place.

        The positional embeddings are interpolated, absolute ones bicubically, the relative ones of global attention
        linearly. The current size changes nothing. Raises ValueError for a size that the image encoder cannot have.
        """
        vision, prompt = self.config.vision_config, self.config.prompt_encoder_config
        multiple = self._size_multiple()
        if type(image_size) is not int or image_size <= 0 or image_size % multiple:
            raise ValueError(f"`image_size` must be a positive multiple of {multiple}, got {image_size!r}.")
        if image_size == vision.image_size:
            return
        grid = image_size // vision.patch_size
        prompt.image_size = image_size
        self.prompt_encoder.input_image_size = image_size
        self.prompt_encoder.image_embedding_size = (grid, grid)
        self.vision_encoder.resize_image(image_size)

    def _size_multiple(self) -> int:
        return self.config.vision_config.patch_size

    def get_image_wide_positional_embeddings(self) -> Tensor:
        """Positional codes of the embedding grid, (1, C, h, w), in float32."""
        return self.shared_image_embedding.grid(self.prompt_encoder.image_embedding_size[0])

    def image_positions(self) -> Tensor:
        """Positional codes of the embedding grid, (h * w, C), in the dtype of the model."""
        return self.shared_image_embedding.cells(self.prompt_encoder.image_embedding_size[0], self.dtype)

    def project_images(self, features: Any) -> Tensor:
        """The `image_projections` of features, computed if they are None. They serve calls without a mask prompt."""
        if features.image_projections is not None:
            return features.image_projections
        no_mask = rows_of(self.prompt_encoder.no_mask_embed)[..., None, None]
        return project_image(self.mask_decoder, features.image_embeddings + no_mask, self.image_positions())

    def _decoder_features(self, features: Any, mask_source: MaskSource) -> dict[str, Tensor | None]:
        """Arguments of the mask decoder that come from the features, each with B images first."""
        raise NotImplementedError

    def _fast_decoder(self, image_projections: Tensor | None) -> Callable[..., tuple[Tensor, ...]]:
        """What stands in for the mask decoder on the fast path."""
        return partial(decode_fast, self.mask_decoder, image_projections)

    def _predict(
        self,
        features: Any,
        prompts: Sequence[Tensor | None],
        multimask_output: bool,
        mask_source: MaskSource,
        min_iou_score: float | None,
        labels: Tensor | None,
    ) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """The loss, if there are labels, and what the mask decoder returns.

        prompts: points, labels, boxes and masks.
        """
        batch, (points, point_labels, boxes, masks) = features.image_embeddings.shape[0], prompts
        num_prompts = check_prompts(batch, points, point_labels, boxes, masks, self.config.mask_size)
        if points is not None and point_labels is None:
            point_labels = torch.ones_like(points[..., 0], dtype=torch.long)
        prompts = (points, point_labels, boxes, masks)
        decoded = self._decode(features, prompts, num_prompts, multimask_output, mask_source, min_iou_score)
        loss = None if labels is None else _labelled_loss(decoded[0], labels, self.training)
        return loss, decoded

    def _decode(
        self,
        features: Any,
        prompts: Sequence[Tensor | None],
        num_prompts: int,
        multimask_output: bool,
        mask_source: MaskSource,
        min_iou_score: float | None,
    ) -> tuple[Tensor, ...]:
        """What the mask decoder returns for checked prompts: points, labels, boxes and masks.

        For inference they are decoded in parts; for gradients and in a traced graph all at once.
        """
        positions = self.image_positions()
        # The decoder reads the embeddings position by position, so the channels come last in memory.
        embeddings = features.image_embeddings.contiguous(memory_format=torch.channels_last)
        of_images = self._decoder_features(features, mask_source)
        use_fast_path = can_use_fast_path(
            self.mask_decoder, *self.prompt_encoder.parameters(), embeddings, *of_images.values(), *prompts
        )
        projections = self.project_images(features) if use_fast_path and prompts[3] is None else None
        if use_fast_path:  # one memory format, so that masks with and without a cache are equal
            of_images = {
                name: None if each is None else each.contiguous(memory_format=self.fast_path_memory_format)
                for name, each in of_images.items()
            }

        def decode(images: slice, part: slice, count: int) -> tuple[Tensor, ...]:
            points, labels, boxes, masks = (
                None if each is None else each[images, part] if each.shape[1] > 1 else each[images] for each in prompts
            )
            tokens, padding_mask, dense = self.prompt_encoder(
                self.shared_image_embedding, points, labels, boxes, masks
            )
            own_projections = None if projections is None else projections[images]
            decoder = self._fast_decoder(own_projections) if use_fast_path else self.mask_decoder
            return decoder(
                image_embeddings=embeddings[images],
                image_positions=positions,
                **{name: None if each is None else each[images] for name, each in of_images.items()},
                prompt_tokens=tokens,
                prompt_padding_mask=padding_mask,
                dense_prompt_embeddings=dense,
                num_prompts=count,
                multimask_output=multimask_output,
                mask_source=mask_source,
                min_iou_score=min_iou_score,
            )

        if not use_fast_path and (torch.is_grad_enabled() or torch.compiler.is_compiling()):
            return decode(slice(None), slice(None), num_prompts)
        points, _, boxes, _ = prompts
        num_tokens = sum(each.num_embeddings for each in self.mask_decoder.output_embeddings(with_hq_token=True))
        num_tokens += (0 if points is None else points.shape[2] + 1) + (0 if boxes is None else 2)
        at_once = prompts_at_once(self.config.mask_decoder_config, embeddings, num_tokens, use_fast_path)
        return decode_in_parts(decode, embeddings.shape[0], num_prompts, at_once)

    def _check_embeddings(self, name: str, embeddings: Tensor) -> Tensor:
        shape = (self.config.vision_config.output_channels, *self.prompt_encoder.image_embedding_size)
        return check_image_embeddings(name, embeddings, shape).to(self.dtype)


def _labelled_loss(masks: Tensor, labels: Tensor, is_training: bool) -> Tensor:
    """The loss of masks (B, P, 1, 4h, 4w) whose labels (B, P, H, W) are not negative."""
    labelled = check_labels(labels, masks.shape[:2])
    if not labelled.any():
        raise ValueError("`labels` are negative throughout: no prompt has a mask to learn from.")
    masks, ground_truth = masks[labelled], labels[labelled][:, None].to(masks.dtype)
    return mask_loss(masks, ground_truth, None if is_training else same_points(len(masks)))[0]


__all__ = ["HQSamPromptedModel"]
