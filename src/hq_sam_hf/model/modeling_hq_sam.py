"""HQ-SAM as a `PreTrainedModel`: image encoder, prompt encoder and mask decoder, in that order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from .configuration_hq_sam import HQSamConfig, HQSamTinyViTConfig
from .key_mapping import POSITIONAL_MATRIX_COPY
from .losses import mask_loss
from .modeling_input_checks import check_prompts, describe, has_shape
from .modeling_mask_decoder import HQSamMaskDecoder
from .modeling_pretrained import HQSamPreTrainedModel
from .modeling_prompt_encoder import HQSamPositionalEmbedding, HQSamPromptEncoder
from .modeling_prompt_parts import decode_in_parts, prompts_at_once
from .modeling_tiny_vit import HQSamTinyViTEncoder
from .modeling_vision_encoder import HQSamVisionEncoder


@dataclass
class HQSamImageFeatures(ModelOutput):
    """All that the decoder needs of B images: enough to answer any number of prompts.

    image_embeddings (B, C, h, w); hq_features (B, C / 8, 4h, 4w), the fused early and final features;
    image_projections (B, 3, h * w, C / rate): keys, values and queries of the decoder's first attention. They may be
    left out; each call then computes them anew.
    """

    image_embeddings: Tensor = None  # type: ignore[assignment]  # ModelOutput asks for None defaults
    hq_features: Tensor = None  # type: ignore[assignment]
    image_projections: Tensor | None = None


@dataclass
class HQSamOutput(ModelOutput):
    """Answers to P prompts on each of B images, M masks each.

    loss: with `labels`, the mean over all labelled masks.
    pred_masks (B, P, M, 4h, 4w): mask logits on the low-resolution grid of the model's square, padded frame;
        `HQSamProcessor.post_process_masks` maps them to the pictures. They may be fed back as `input_masks`.
    iou_scores (B, P, M): SAM's estimate of the IoU of its own mask.
    vision_hidden_states: with `output_hidden_states`, those of the encoder, (B, h, w, D) each.
    """

    loss: Tensor | None = None
    pred_masks: Tensor = None  # type: ignore[assignment]
    iou_scores: Tensor = None  # type: ignore[assignment]
    vision_hidden_states: tuple[Tensor, ...] | None = None


class HQSamModel(HQSamPreTrainedModel):
    """HQ-SAM: an image encoder (ViT or TinyViT), SAM's prompt encoder, and SAM's mask decoder with the HQ head.

    `HQSamProcessor` makes the inputs of `forward` from images and prompts, and masks from its outputs.
    """

    # transformers' checkpoints may hold a copy of the positional matrix, which this model stores once.
    _keys_to_ignore_on_load_unexpected = [f"^{re.escape(POSITIONAL_MATRIX_COPY)}$"]

    def __init__(self, config: HQSamConfig) -> None:
        super().__init__(config)
        # transformers' modules ask their own sub-config, which no PreTrainedModel inside would set.
        for section in (config.vision_config, config.mask_decoder_config):
            section._attn_implementation = config._attn_implementation
        self.shared_image_embedding = HQSamPositionalEmbedding(config.vision_config.num_pos_feats)
        # Not isinstance: code loaded from the Hub may hold the classes twice, once for the configuration's own module.
        is_tiny_vit = config.vision_config.model_type == HQSamTinyViTConfig.model_type
        self.vision_encoder = (HQSamTinyViTEncoder if is_tiny_vit else HQSamVisionEncoder)(config.vision_config)
        self.prompt_encoder = HQSamPromptEncoder(config)
        self.mask_decoder = HQSamMaskDecoder(config.mask_decoder_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.vision_encoder.patch_embed

    def resize_image(self, image_size: int) -> None:
        """Change the side of the square model input, in pixels, and interpolate the positional embeddings, in place.

        Absolute positions are interpolated bicubically, the relative ones of global attention linearly. The current
        size changes nothing. Raises ValueError if image_size is not a multiple of the patch size.
        """
        vision, prompt = self.config.vision_config, self.config.prompt_encoder_config
        if type(image_size) is not int or image_size <= 0 or image_size % vision.patch_size:
            raise ValueError(f"`image_size` must be a positive multiple of {vision.patch_size}, got {image_size!r}.")
        if image_size == vision.image_size:
            return
        grid = image_size // vision.patch_size
        vision.image_size = prompt.image_size = image_size
        self.prompt_encoder.input_image_size = image_size
        self.prompt_encoder.image_embedding_size = (grid, grid)
        self.vision_encoder.resize_image(image_size)

    def get_image_wide_positional_embeddings(self) -> Tensor:
        """The positional code (1, C, h, w) of the embedding grid, in float32."""
        return self.shared_image_embedding.grid(self.prompt_encoder.image_embedding_size[0])

    def image_positions(self) -> Tensor:
        """The positional code of the embedding grid by cell, (h * w, C)."""
        return self.shared_image_embedding.cells(self.prompt_encoder.image_embedding_size[0], self.dtype)

    def get_image_embeddings(self, pixel_values: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Encode pixel_values (B, 3, S, S) for later calls, in the form of transformers' SamHQModel.

        Returns image_embeddings (B, C, h, w) and intermediate_embeddings, one (B, h, w, D) per global-attention block.
        Pass both back to `forward`. Gradients flow; use `torch.no_grad()` where none are wanted.
        """
        encoded = self.vision_encoder(self._check_pixels(pixel_values))
        return encoded.last_hidden_state, encoded.intermediate_embeddings

    def get_image_features(self, pixel_values: Tensor) -> HQSamImageFeatures:
        """Encode pixel_values (B, 3, S, S) to the compact cache that `forward` takes as `image_features`."""
        features = self._fuse(*self.get_image_embeddings(pixel_values))
        features.image_projections = self.project_images(features)
        return features

    def project_images(self, features: HQSamImageFeatures) -> Tensor:
        """The `image_projections` of features, computed where they are left out; for calls without a mask prompt."""
        if features.image_projections is not None:
            return features.image_projections
        no_mask = self.prompt_encoder.no_mask_embed.weight[..., None, None]
        return self.mask_decoder.project_image(features.image_embeddings + no_mask, self.image_positions())

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_points: Tensor | None = None,
        input_labels: Tensor | None = None,
        input_boxes: Tensor | None = None,
        input_masks: Tensor | None = None,
        image_embeddings: Tensor | None = None,
        intermediate_embeddings: Sequence[Tensor] | Tensor | None = None,
        image_features: HQSamImageFeatures | None = None,
        multimask_output: bool = True,
        hq_token_only: bool = False,
        sam_only: bool = False,
        min_iou_score: float | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool = False,
        return_dict: bool | None = None,
        original_sizes: Tensor | None = None,
        reshaped_input_sizes: Tensor | None = None,
        prompt_counts: Tensor | None = None,
    ) -> HQSamOutput | tuple:
        """Predict masks for P prompts on each of B images; each prompt asks for one object.

        The images come as exactly one of: pixel_values (B, 3, S, S); image_embeddings together with
        intermediate_embeddings; image_features. Prompts are in pixels of the model's S x S frame, as the processor
        makes them; all kinds may be combined, and without any there is one unprompted mask per image.

            input_points (B, P, N, 2) as (x, y); input_labels (B, P, N): 1 object, 0 background, -1 not a point,
                -10 absent; by default all 1
            input_boxes (B, P, 4) as (x1, y1, x2, y2); NaN where a prompt has none
            input_masks (B, P or 1, 4h, 4w) logits, as `pred_masks` of an earlier call; NaN where a prompt has none
            labels (B, P, H, W) in [0, 1], negative where a prompt has none: also compute the loss. It trains the HQ
                mask alone, as the paper does, so it implies hq_token_only

        multimask_output: SAM's three candidates, each plus the HQ mask, best score first, so that [:, :, 0] is what
            the original returns. False: SAM's single mask plus the HQ mask.
        hq_token_only: the HQ mask alone; one mask and one score per prompt.
        sam_only: SAM's masks and scores alone, as from a plain SAM with these weights, which has no HQ token. Then
            intermediate_embeddings are not needed, and `labels` train SAM's masks, of which there must be one.
        min_iou_score: make only masks with a higher score; the logits of the others are -inf, which is an empty mask.
            That saves most of the work for prompts none of whose masks passes.
        original_sizes, reshaped_input_sizes, prompt_counts: accepted, so that `model(**inputs)` works, and not used.

        Raises ValueError for inputs that are missing, of the wrong shape or at odds with each other.
        """
        if sam_only and hq_token_only:
            raise ValueError("`sam_only` and `hq_token_only` exclude each other; pass at most one of them.")
        if sam_only and labels is not None and multimask_output:
            raise ValueError("`labels` with `sam_only` need multimask_output=False: one mask per prompt is trained.")
        features, hidden_states = self._image_features(
            pixel_values, image_embeddings, intermediate_embeddings, image_features, sam_only, output_hidden_states
        )
        batch = features.image_embeddings.shape[0]
        num_prompts = check_prompts(batch, input_points, input_labels, input_boxes, input_masks, self.config.mask_size)
        if input_points is not None and input_labels is None:
            input_labels = torch.ones_like(input_points[..., 0], dtype=torch.long)

        masks, scores = self._decode(
            features,
            (input_points, input_labels, input_boxes, input_masks),
            num_prompts,
            multimask_output=multimask_output,
            hq_token_only=hq_token_only or (labels is not None and not sam_only),
            sam_only=sam_only,
            min_iou_score=min_iou_score,
        )
        loss = None if labels is None else _labelled_loss(masks, labels)
        output = HQSamOutput(loss=loss, pred_masks=masks, iou_scores=scores, vision_hidden_states=hidden_states)
        return output.to_tuple() if return_dict is False else output

    def _decode(
        self,
        features: HQSamImageFeatures,
        prompts: Sequence[Tensor | None],
        num_prompts: int,
        sam_only: bool,
        **options: Any,
    ) -> tuple[Tensor, Tensor]:
        """Masks and scores of checked prompts; for inference in parts, for gradients and in a traced graph at once."""
        positions = self.image_positions()
        projections = self.project_images(features) if prompts[3] is None else None
        # In the order in which the decoder reads it, by position; the shape stays.
        embeddings = features.image_embeddings.contiguous(memory_format=torch.channels_last)

        def decode(images: slice, part: slice, count: int) -> tuple[Tensor, Tensor]:
            points, labels, boxes, masks = (
                None if each is None else each[images, part] if each.shape[1] > 1 else each[images] for each in prompts
            )
            sparse, absent, dense = self.prompt_encoder(self.shared_image_embedding, points, labels, boxes, masks)
            return self.mask_decoder(
                image_embeddings=embeddings[images],
                image_positions=positions,
                hq_features=None if sam_only else features.hq_features[images],
                sparse_prompt_embeddings=sparse,
                absent_prompt_tokens=absent,
                dense_prompt_embeddings=dense,
                num_prompts=count,
                image_projections=None if projections is None else projections[images],
                **options,
            )

        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return decode(slice(None), slice(None), num_prompts)
        points, _, boxes, _ = prompts
        num_tokens = 2 + self.mask_decoder.num_mask_tokens
        num_tokens += (0 if points is None else points.shape[2] + 1) + (0 if boxes is None else 2)
        at_once = prompts_at_once(self.config.mask_decoder_config, embeddings, num_tokens)
        return decode_in_parts(decode, embeddings.shape[0], num_prompts, at_once)

    def _image_features(
        self,
        pixel_values: Tensor | None,
        image_embeddings: Tensor | None,
        intermediate_embeddings: Sequence[Tensor] | Tensor | None,
        image_features: HQSamImageFeatures | None,
        sam_only: bool,
        output_hidden_states: bool,
    ) -> tuple[HQSamImageFeatures, tuple[Tensor, ...] | None]:
        given = [pixel_values is not None, image_embeddings is not None, image_features is not None]
        if sum(given) != 1:
            names = ("pixel_values", "image_embeddings", "image_features")
            got = " and ".join(name for name, there in zip(names, given) if there) or "none of them"
            raise ValueError(f"Exactly one of `{'`, `'.join(names)}` must be given, got {got}.")
        if image_embeddings is None and intermediate_embeddings is not None:
            raise ValueError("`intermediate_embeddings` goes with `image_embeddings`; pass both or neither.")
        if image_features is not None:
            return self._check_features(image_features), None
        if image_embeddings is not None and sam_only:
            embeddings = self._check_embeddings("image_embeddings", image_embeddings)
            return HQSamImageFeatures(image_embeddings=embeddings), None
        if image_embeddings is not None:
            return self._fuse(image_embeddings, intermediate_embeddings), None
        encoded = self.vision_encoder(self._check_pixels(pixel_values), output_hidden_states=output_hidden_states)
        if sam_only:
            return HQSamImageFeatures(image_embeddings=encoded.last_hidden_state), encoded.hidden_states
        return self._fuse(encoded.last_hidden_state, encoded.intermediate_embeddings), encoded.hidden_states

    def _check_pixels(self, pixel_values: Tensor | None) -> Tensor:
        config = self.config.vision_config
        expected = (config.num_channels, config.image_size, config.image_size)
        if not isinstance(pixel_values, Tensor) or pixel_values.ndim != 4 or pixel_values.shape[1:] != expected:
            raise ValueError(
                f"`pixel_values` must have shape (images, {', '.join(map(str, expected))}), "
                f"got {describe(pixel_values)}. Prepare pictures with the processor of this model."
            )
        return pixel_values.to(self.dtype)

    def _fuse(
        self, image_embeddings: Tensor, intermediate_embeddings: Sequence[Tensor] | Tensor | None
    ) -> HQSamImageFeatures:
        image_embeddings = self._check_embeddings("image_embeddings", image_embeddings)
        if intermediate_embeddings is None or len(intermediate_embeddings) == 0:
            raise ValueError(
                "`image_embeddings` needs `intermediate_embeddings`: without the early feature the HQ mask is wrong. "
                "Pass both results of `get_image_embeddings`, or use `get_image_features`."
            )
        early, size = intermediate_embeddings[0], self.prompt_encoder.image_embedding_size
        expected = (image_embeddings.shape[0], *size, self.config.mask_decoder_config.vit_dim)
        if not isinstance(early, Tensor) or early.shape != expected:
            raise ValueError(
                f"`intermediate_embeddings[0]` must have shape {expected} (images, height, width, channels), "
                f"got {describe(early)}. It must come from the same call as `image_embeddings`."
            )
        hq_features = self.mask_decoder.fuse_hq_features(image_embeddings, early.to(self.dtype))
        return HQSamImageFeatures(image_embeddings=image_embeddings, hq_features=hq_features)

    def _check_embeddings(self, name: str, embeddings: Tensor) -> Tensor:
        expected = (self.config.vision_config.output_channels, *self.prompt_encoder.image_embedding_size)
        if not isinstance(embeddings, Tensor) or embeddings.ndim != 4 or embeddings.shape[1:] != expected:
            raise ValueError(
                f"`{name}` must have shape (images, {', '.join(map(str, expected))}), got {describe(embeddings)}."
            )
        return embeddings.to(self.dtype)

    def _check_features(self, features: HQSamImageFeatures) -> HQSamImageFeatures:
        hq_features = getattr(features, "hq_features", None)
        embeddings = getattr(features, "image_embeddings", None)
        if hq_features is None or embeddings is None:
            lacking = "hq_features" if hq_features is None else "image_embeddings"
            raise ValueError(
                "`image_features` must hold image_embeddings and hq_features, as `get_image_features` returns them, "
                f"got {type(features).__name__} without {lacking}."
            )
        embeddings = self._check_embeddings("image_features.image_embeddings", embeddings)
        decoder, size = self.config.mask_decoder_config, self.config.mask_size
        inner = decoder.hidden_size // decoder.attention_downsample_rate
        expected = {
            "hq_features": (embeddings.shape[0], decoder.hidden_size // 8, size, size),
            "image_projections": (embeddings.shape[0], 3, size * size // 16, inner),
        }
        checked: dict[str, Any] = {}
        for name, shape in expected.items():
            value = getattr(features, name, None)
            if value is not None and not has_shape(value, shape):
                raise ValueError(
                    f"`image_features.{name}` must have shape {shape} to go with its image_embeddings, "
                    f"got {describe(value)}."
                )
            checked[name] = None if value is None else value.to(self.dtype)
        return HQSamImageFeatures(image_embeddings=embeddings, **checked)


def _labelled_loss(masks: Tensor, labels: Tensor) -> Tensor:
    if not isinstance(labels, Tensor) or labels.ndim != 4 or labels.shape[:2] != masks.shape[:2]:
        raise ValueError(
            f"`labels` must have shape ({masks.shape[0]}, {masks.shape[1]}, height, width): one mask per prompt, "
            f"got {describe(labels)}."
        )
    labels = labels.flatten(0, 1)
    labelled = (labels >= 0).flatten(1).all(dim=1)
    if not labelled.any():
        raise ValueError("`labels` are negative throughout: no prompt has a mask to learn from.")
    return mask_loss(masks.flatten(0, 1)[labelled], labels[labelled][:, None].to(masks.dtype))[0]


__all__ = ["HQSamImageFeatures", "HQSamModel", "HQSamOutput", "HQSamPreTrainedModel"]
