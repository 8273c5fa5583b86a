"""HQ-SAM as a `PreTrainedModel`: image encoder, prompt encoder and mask decoder, in that order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers.utils import ModelOutput

from .configuration_hq_sam import HQSamConfig, HQSamTinyViTConfig
from .key_mapping import POSITIONAL_MATRIX_COPY
from .modeling_fast_decoder import can_use_fast_path, fuse_hq_features_fast
from .modeling_input_checks import (
    check_early_embeddings,
    check_feature,
    check_has_features,
    check_image_source,
    check_pixels,
)
from .modeling_mask_decoder import HQSamMaskDecoder, MaskSource
from .modeling_pretrained import HQSamPreTrainedModel
from .modeling_prompt_encoder import HQSamPositionalEmbedding, HQSamPromptEncoder
from .modeling_prompted import HQSamPromptedModel
from .modeling_tiny_vit import HQSamTinyViTEncoder
from .modeling_vision_encoder import HQSamVisionEncoder
from .trainer_labels import only_labels


@dataclass
class HQSamImageFeatures(ModelOutput):
    """Everything the decoder needs of B images, for any number of prompts.

    image_embeddings (B, C, h, w)
    hq_features (B, C / 8, 4h, 4w): the fused early and final features
    image_projections (B, 3, h * w, C / rate): keys, values and queries of the decoder's first attention to the image.
        They are optional; without them, each call computes them again.
    """

    image_embeddings: Tensor = None  # type: ignore[assignment]  # ModelOutput requires None as default
    hq_features: Tensor = None  # type: ignore[assignment]
    image_projections: Tensor | None = None


@dataclass
class HQSamOutput(ModelOutput):
    """Predictions for P prompts on each of B images, M masks each.

    loss: with `labels`, the mean over all labelled masks.
    pred_masks (B, P, M, 4h, 4w): mask logits at low resolution, in model input coordinates, padding included.
        `HQSamProcessor.post_process_masks` maps them to the images. They can be passed back as `input_masks`.
    iou_scores (B, P, M): SAM's estimate of the IoU of its own mask.
    vision_hidden_states: with `output_hidden_states`, those of the encoder, each (B, h, w, D).
    """

    loss: Tensor | None = None
    pred_masks: Tensor = None  # type: ignore[assignment]
    iou_scores: Tensor = None  # type: ignore[assignment]
    vision_hidden_states: tuple[Tensor, ...] | None = None


class HQSamModel(HQSamPromptedModel):
    """HQ-SAM: an image encoder (ViT or TinyViT), SAM's prompt encoder, and SAM's mask decoder with the HQ head.

    `HQSamProcessor` makes the inputs of `forward` from images and prompts, and masks from its outputs.
    """

    # transformers' checkpoints may hold a copy of the positional matrix, which this model stores once.
    _keys_to_ignore_on_load_unexpected = [f"^{re.escape(POSITIONAL_MATRIX_COPY)}$"]

    def __init__(self, config: HQSamConfig) -> None:
        super().__init__(config)
        # The encoder reads it from its own sub-config. transformers sets it only for sub-models that are
        # PreTrainedModels themselves.
        config.vision_config._attn_implementation = config._attn_implementation
        self.shared_image_embedding = HQSamPositionalEmbedding(config.vision_config.num_pos_feats)
        # Not isinstance: code loaded from the Hub may hold the classes twice, once for the configuration's own module.
        is_tiny_vit = config.vision_config.model_type == HQSamTinyViTConfig.model_type
        self.vision_encoder = (HQSamTinyViTEncoder if is_tiny_vit else HQSamVisionEncoder)(config.vision_config)
        self.prompt_encoder = HQSamPromptEncoder(config)
        self.mask_decoder = HQSamMaskDecoder(config.mask_decoder_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.vision_encoder.patch_embed

    def get_image_embeddings(self, pixel_values: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Encode pixel_values (B, 3, S, S) for later calls, in the form of transformers' SamHQModel.

        Returns image_embeddings (B, C, h, w) and intermediate_embeddings, one (B, h, w, D) per global-attention block.
        Pass both to `forward`. Gradients flow through them; use `torch.inference_mode()` where none are needed.
        """
        encoded = self.vision_encoder(check_pixels(pixel_values, self.config.vision_config).to(self.dtype))
        return encoded.last_hidden_state, encoded.intermediate_embeddings

    def get_image_features(self, pixel_values: Tensor) -> HQSamImageFeatures:
        """Encode pixel_values (B, 3, S, S) to the compact cache that `forward` takes as `image_features`."""
        features = self._fuse(*self.get_image_embeddings(pixel_values))
        # Contiguous, as safetensors requires of tensors to save.
        features.hq_features = features.hq_features.contiguous()
        features.image_projections = self.project_images(features)
        return features

    @only_labels("labels")
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
        """Predict masks for P prompts on each of B images. Each prompt asks for one object.

        Give the images as exactly one of: pixel_values (B, 3, S, S); image_embeddings with intermediate_embeddings;
        image_features. Prompts are in model input coordinates, pixels of the S x S model input, as the processor
        returns them. All kinds can be combined. Without prompts, each image gets one unprompted mask.

            input_points (B, P, N, 2) as (x, y); input_labels (B, P, N): 1 object, 0 background, -1 not a point,
                -10 padding; by default all 1
            input_boxes (B, P, 4) as (x1, y1, x2, y2); NaN for prompts without a box
            input_masks (B, P or 1, 4h, 4w) logits, as `pred_masks` of an earlier call; NaN for prompts without a mask
            labels (B, P, H, W) ground truth in [0, 1], negative throughout for prompts without one: also compute the
                loss. It trains the HQ mask alone, as in the paper, so it implies hq_token_only. In training mode the
                loss is read at random points; in eval mode at points that are the same for every call and batch

        multimask_output: SAM's three candidates, each plus the HQ mask, best score first; [:, :, 0] is what the
            original returns. False: SAM's single mask plus the HQ mask.
        hq_token_only: the HQ mask alone, with one mask and one score per prompt.
        sam_only: SAM's masks and scores alone, as a plain SAM with these weights predicts them without an HQ token.
            intermediate_embeddings are not needed then. `labels` train SAM's mask and require multimask_output=False.
        min_iou_score: set the logits of masks whose score is not higher to -inf, an empty mask. For inference they are
            not computed, which saves most of the work for prompts without a passing mask.
        original_sizes, reshaped_input_sizes, prompt_counts: not used; accepted so that `model(**inputs)` works.

        Raises ValueError for inputs that are missing, of the wrong shape or contradictory.
        """
        mask_source = MaskSource.from_flags(hq_token_only or (labels is not None and not sam_only), sam_only)
        if sam_only and labels is not None and multimask_output:
            raise ValueError("`labels` with `sam_only` need multimask_output=False: one mask per prompt is trained.")
        features, hidden_states = self._image_features(
            pixel_values, image_embeddings, intermediate_embeddings, image_features, mask_source, output_hidden_states
        )
        prompts = (input_points, input_labels, input_boxes, input_masks)
        loss, (masks, scores) = self._predict(features, prompts, multimask_output, mask_source, min_iou_score, labels)
        output = HQSamOutput(loss=loss, pred_masks=masks, iou_scores=scores, vision_hidden_states=hidden_states)
        return output.to_tuple() if return_dict is False else output

    def _decoder_features(self, features: HQSamImageFeatures, mask_source: MaskSource) -> dict[str, Tensor | None]:
        return {"hq_features": None if mask_source is MaskSource.SAM_ONLY else features.hq_features}

    def _image_features(
        self,
        pixel_values: Tensor | None,
        image_embeddings: Tensor | None,
        intermediate_embeddings: Sequence[Tensor] | Tensor | None,
        image_features: HQSamImageFeatures | None,
        mask_source: MaskSource,
        output_hidden_states: bool,
    ) -> tuple[HQSamImageFeatures, tuple[Tensor, ...] | None]:
        """Checked features of the images, given in one of three forms, and the encoder's hidden states on request."""
        check_image_source(pixel_values, image_embeddings, intermediate_embeddings, image_features)
        if image_features is not None:
            return self._check_features(image_features), None
        hidden_states = None
        if image_embeddings is None:
            pixels = check_pixels(pixel_values, self.config.vision_config).to(self.dtype)
            encoded = self.vision_encoder(pixels, output_hidden_states=output_hidden_states)
            image_embeddings, intermediate_embeddings = encoded.last_hidden_state, encoded.intermediate_embeddings
            hidden_states = encoded.hidden_states
        if mask_source is MaskSource.SAM_ONLY:
            embeddings = self._check_embeddings("image_embeddings", image_embeddings)
            return HQSamImageFeatures(image_embeddings=embeddings), hidden_states
        return self._fuse(image_embeddings, intermediate_embeddings), hidden_states

    def _fuse(
        self, image_embeddings: Tensor, intermediate_embeddings: Sequence[Tensor] | Tensor | None
    ) -> HQSamImageFeatures:
        image_embeddings = self._check_embeddings("image_embeddings", image_embeddings)
        early_shape = (
            image_embeddings.shape[0],
            *self.prompt_encoder.image_embedding_size,
            self.config.mask_decoder_config.vit_dim,
        )
        early = check_early_embeddings(intermediate_embeddings, early_shape).to(self.dtype)
        if can_use_fast_path(self.mask_decoder, image_embeddings, early):
            hq_features = fuse_hq_features_fast(self.mask_decoder, image_embeddings, early)
        else:
            hq_features = self.mask_decoder.fuse_hq_features(image_embeddings, early)
        return HQSamImageFeatures(image_embeddings=image_embeddings, hq_features=hq_features)

    def _check_features(self, features: HQSamImageFeatures) -> HQSamImageFeatures:
        check_has_features(features, ("image_embeddings", "hq_features"))
        embeddings = self._check_embeddings("image_features.image_embeddings", features.image_embeddings)
        decoder, size = self.config.mask_decoder_config, self.config.mask_size
        inner = decoder.hidden_size // decoder.attention_downsample_rate
        shapes = {
            "hq_features": (embeddings.shape[0], decoder.hidden_size // 8, size, size),
            "image_projections": (embeddings.shape[0], 3, size * size // 16, inner),
        }
        checked = {name: check_feature(name, getattr(features, name, None), shape) for name, shape in shapes.items()}
        checked = {name: None if value is None else value.to(self.dtype) for name, value in checked.items()}
        return HQSamImageFeatures(image_embeddings=embeddings, **checked)  # type: ignore[arg-type]


__all__ = ["HQSamImageFeatures", "HQSamModel", "HQSamOutput", "HQSamPreTrainedModel"]
