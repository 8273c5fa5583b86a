"""HQ-SAM 2 as a `PreTrainedModel`: image encoder, prompt encoder and mask decoder, in that order."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from .configuration_hq_sam2 import HQSam2Config
from .key_mapping import POSITIONAL_MATRIX_COPY
from .key_mapping_sam2 import VIDEO_PREFIXES
from .modeling_decoder_parts import MaskSource
from .modeling_fast_decoder_sam2 import decode_fast_sam2
from .modeling_hiera import HQSam2VisionEncoder
from .modeling_hq_sam2_mask_decoder import HQSam2MaskDecoder
from .modeling_hq_sam2_prompt_encoder import HQSam2PromptEncoder
from .modeling_input_checks import (
    check_feature,
    check_feature_maps,
    check_has_features,
    check_image_source,
    check_pixels,
)
from .modeling_prompt_encoder import HQSamPositionalEmbedding
from .modeling_prompted import HQSamPromptedModel
from .trainer_labels import only_labels

# The original's image predictor limits the logits that it returns to this, in both directions. They are what a further
# call gets as a mask prompt.
MASK_PROMPT_LIMIT = 32.0

HIGH_RES_FEATURES = ("high_res_features_0", "high_res_features_1")


@dataclass
class HQSam2ImageFeatures(ModelOutput):
    """Everything the decoder needs of B images, for any number of prompts.

    image_embeddings (B, C, h, w): with the embedding for "no memory" added, as SAM 2 does for images.
    high_res_features_0 (B, C / 8, 4h, 4w), high_res_features_1 (B, C / 4, 2h, 2w): the finer feature maps, projected
        by the decoder's `conv_s0` and `conv_s1`.
    image_projections (B, 3, h * w, C / rate): keys, values and queries of the decoder's first attention to the image.
        They are optional; without them, each call computes them again.
    """

    image_embeddings: Tensor = None  # type: ignore[assignment]  # ModelOutput requires None as default
    high_res_features_0: Tensor = None  # type: ignore[assignment]
    high_res_features_1: Tensor = None  # type: ignore[assignment]
    image_projections: Tensor | None = None


@dataclass
class HQSam2Output(ModelOutput):
    """Predictions for P prompts on each of B images, M masks each.

    loss: with `labels`, the mean over all labelled masks.
    pred_masks (B, P, M, 4h, 4w): mask logits at low resolution, in model input coordinates, padding included.
        `HQSam2Processor.post_process_masks` maps them to the images. They can be passed back as `input_masks`.
    iou_scores (B, P, M): SAM's estimate of the IoU of its own mask.
    object_score_logits (B, P, 1): logits of whether there is an object. SAM 2 uses them for videos only.
    vision_hidden_states: with `output_hidden_states`, those of the encoder, each (B, h, w, D).
    """

    loss: Tensor | None = None
    pred_masks: Tensor = None  # type: ignore[assignment]
    iou_scores: Tensor = None  # type: ignore[assignment]
    object_score_logits: Tensor = None  # type: ignore[assignment]
    vision_hidden_states: tuple[Tensor, ...] | None = None


class HQSam2Model(HQSamPromptedModel):
    """HQ-SAM 2: SAM 2's image encoder (Hiera), prompt encoder, and mask decoder with the HQ head.

    `HQSam2Processor` makes the inputs of `forward` from images and prompts, and masks from its outputs.
    """

    config: HQSam2Config
    config_class = HQSam2Config
    base_model_prefix = "hq_sam2"
    _no_split_modules = ["HQSam2HieraBlock"]
    fast_path_memory_format = torch.channels_last
    # transformers' checkpoints may hold a copy of the positional matrix, which this model stores once, and the weights
    # of the video part.
    _keys_to_ignore_on_load_unexpected = [
        f"^{re.escape(POSITIONAL_MATRIX_COPY)}$",
        *(f"^{re.escape(prefix)}" for prefix in VIDEO_PREFIXES),
    ]

    def __init__(self, config: HQSam2Config) -> None:
        super().__init__(config)
        # The blocks read it from their own sub-config. transformers sets it only for sub-models that are
        # PreTrainedModels themselves.
        config.vision_config.backbone_config._attn_implementation = config._attn_implementation
        width = config.vision_config.output_channels
        self.shared_image_embedding = HQSamPositionalEmbedding(config.vision_config.num_pos_feats)
        self.vision_encoder = HQSam2VisionEncoder(config.vision_config)
        self.prompt_encoder = HQSam2PromptEncoder(config)
        self.mask_decoder = HQSam2MaskDecoder(config.mask_decoder_config)
        self.no_memory_embedding = nn.Parameter(torch.zeros(1, 1, width))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if module is self:
            nn.init.trunc_normal_(self.no_memory_embedding, std=0.02)  # as in the original
        else:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        return self.vision_encoder.backbone.patch_embed

    def _size_multiple(self) -> int:
        return self.config.vision_config.backbone_config.size_multiple

    def get_image_embeddings(self, pixel_values: Tensor) -> list[Tensor]:
        """Encode pixel_values (B, 3, S, S) for later calls, in the form of transformers' Sam2Model.

        Returns the projected finer feature maps and the image embeddings: (B, C / 8, 4h, 4w), (B, C / 4, 2h, 2w) and
        (B, C, h, w). Pass the list to `forward`. Gradients flow through them; use `torch.inference_mode()` where none
        are needed.
        """
        return self._encode(pixel_values, output_hidden_states=False)[0]

    def get_image_features(self, pixel_values: Tensor) -> HQSam2ImageFeatures:
        """Encode pixel_values (B, 3, S, S) to the compact cache that `forward` takes as `image_features`."""
        fine, middle, embeddings = self.get_image_embeddings(pixel_values)
        # The decoder reads them position by position, so the channels come last in memory.
        features = HQSam2ImageFeatures(
            image_embeddings=embeddings.contiguous(memory_format=torch.channels_last),
            high_res_features_0=fine.contiguous(memory_format=torch.channels_last),
            high_res_features_1=middle.contiguous(memory_format=torch.channels_last),
        )
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
        image_embeddings: Sequence[Tensor] | None = None,
        image_features: HQSam2ImageFeatures | None = None,
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
    ) -> HQSam2Output | tuple:
        """Predict masks for P prompts on each of B images. Each prompt asks for one object.

        Give the images as exactly one of: pixel_values (B, 3, S, S); image_embeddings, the list that
        `get_image_embeddings` returns; image_features. Prompts are in model input coordinates, pixels of the S x S
        model input, as the processor returns them. All kinds can be combined. Without prompts, each image gets one
        unprompted mask.

            input_points (B, P, N, 2) as (x, y); input_labels (B, P, N): 1 object, 0 background, -1 not a point,
                -10 padding; by default all 1
            input_boxes (B, P, 4) as (x1, y1, x2, y2); NaN for prompts without a box
            input_masks (B, P or 1, 4h, 4w) logits, as `pred_masks` of an earlier call; NaN for prompts without a mask.
                They are limited to -32 to 32, as the original's predictor does between two calls
            labels (B, P, H, W) ground truth in [0, 1], negative throughout for prompts without one: also compute the
                loss. It trains the HQ mask alone, as in the paper of HQ-SAM, so it implies hq_token_only. In training
                mode the loss is read at random points; in eval mode at points that are the same for every call

        multimask_output: SAM's three candidates, each plus the HQ mask, best score first; the original has them in the
            order of its tokens. False: SAM's single mask plus the HQ mask. In eval mode, SAM's single mask is its best
            candidate if the mask of its first token is not stable (`HQSam2MaskDecoderConfig`).
        hq_token_only: the HQ mask alone, with one mask and one score per prompt.
        sam_only: SAM's masks and scores alone, as a plain SAM 2 with these weights predicts them without an HQ token.
            `labels` train SAM's mask and require multimask_output=False.
        min_iou_score: set the logits of masks whose score is not higher to -inf, an empty mask.
        original_sizes, reshaped_input_sizes, prompt_counts: not used; accepted so that `model(**inputs)` works.

        Raises ValueError for inputs that are missing, of the wrong shape or contradictory.
        """
        mask_source = MaskSource.from_flags(hq_token_only or (labels is not None and not sam_only), sam_only)
        if sam_only and labels is not None and multimask_output:
            raise ValueError("`labels` with `sam_only` need multimask_output=False: one mask per prompt is trained.")
        features, hidden_states = self._image_features(
            pixel_values, image_embeddings, image_features, output_hidden_states
        )
        if isinstance(input_masks, Tensor):
            input_masks = input_masks.clamp(-MASK_PROMPT_LIMIT, MASK_PROMPT_LIMIT)  # NaN stays NaN
        prompts = (input_points, input_labels, input_boxes, input_masks)
        loss, (masks, scores, object_scores) = self._predict(
            features, prompts, multimask_output, mask_source, min_iou_score, labels
        )
        output = HQSam2Output(
            loss=loss,
            pred_masks=masks,
            iou_scores=scores,
            object_score_logits=object_scores,
            vision_hidden_states=hidden_states,
        )
        return output.to_tuple() if return_dict is False else output

    def _decoder_features(self, features: HQSam2ImageFeatures, mask_source: MaskSource) -> dict[str, Tensor | None]:
        return {name: getattr(features, name) for name in HIGH_RES_FEATURES}

    def _fast_decoder(self, image_projections: Tensor | None) -> Callable[..., tuple[Tensor, ...]]:
        return partial(decode_fast_sam2, self.mask_decoder, image_projections)

    def _encode(
        self, pixel_values: object, output_hidden_states: bool
    ) -> tuple[list[Tensor], tuple[Tensor, ...] | None]:
        pixels = check_pixels(pixel_values, self.config.vision_config).to(self.dtype)
        encoded = self.vision_encoder(pixels, output_hidden_states=output_hidden_states)
        fine, middle, coarse = encoded.feature_maps
        embeddings = coarse + self.no_memory_embedding.mT[..., None]
        return [self.mask_decoder.conv_s0(fine), self.mask_decoder.conv_s1(middle), embeddings], encoded.hidden_states

    def _image_features(
        self,
        pixel_values: Tensor | None,
        image_embeddings: Sequence[Tensor] | None,
        image_features: HQSam2ImageFeatures | None,
        output_hidden_states: bool,
    ) -> tuple[HQSam2ImageFeatures, tuple[Tensor, ...] | None]:
        """Checked features of the images, given in one of three forms, and the encoder's hidden states on request."""
        check_image_source(pixel_values, image_embeddings, None, image_features)
        if image_features is not None:
            check_has_features(image_features, ("image_embeddings", *HIGH_RES_FEATURES))
            return self._check_features(image_features), None
        hidden_states = None
        if image_embeddings is None:
            image_embeddings, hidden_states = self._encode(pixel_values, output_hidden_states)
        fine, middle, embeddings = check_feature_maps(image_embeddings)
        features = HQSam2ImageFeatures(
            image_embeddings=embeddings, high_res_features_0=fine, high_res_features_1=middle
        )
        return self._check_features(features), hidden_states

    def _check_features(self, features: HQSam2ImageFeatures) -> HQSam2ImageFeatures:
        embeddings = self._check_embeddings("image_features.image_embeddings", features.image_embeddings)
        decoder, size = self.config.mask_decoder_config, self.config.mask_size
        batch, width, rate = embeddings.shape[0], decoder.hidden_size, decoder.attention_downsample_rate
        shapes: dict[str, tuple[int, ...]] = {
            "high_res_features_0": (batch, width // 8, size, size),
            "high_res_features_1": (batch, width // 4, size // 2, size // 2),
            "image_projections": (batch, 3, size * size // 16, width // rate),
        }
        checked = {name: check_feature(name, getattr(features, name, None), shape) for name, shape in shapes.items()}
        checked = {name: None if value is None else value.to(self.dtype) for name, value in checked.items()}
        return HQSam2ImageFeatures(image_embeddings=embeddings, **checked)  # type: ignore[arg-type]


__all__ = ["HQSam2ImageFeatures", "HQSam2Model", "HQSam2Output"]
