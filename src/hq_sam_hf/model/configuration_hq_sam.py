"""Configuration of HQ-SAM as a whole, of its prompt encoder and of its mask decoder."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

from .configuration_checks import FieldChecks, require
from .configuration_composed import HQSamComposedConfig
from .configuration_vision import VISION_CONFIGS, HQSamTinyViTConfig, HQSamVisionConfig
from .presets import PRESETS

# Labels of points: those of SAM, and -10 for padding as in transformers.
NEGATIVE, POSITIVE, NOT_A_POINT, PADDING = 0, 1, -1, -10


@strict
class HQSamPromptEncoderConfig(PreTrainedConfig):
    """SAM's prompt encoder, with the fields of `transformers.SamPromptEncoderConfig`.

    hidden_size: width of a prompt token, equal to the channels of the image embeddings.
    image_size, patch_size: those of the image encoder.
    mask_input_channels: channels inside the branch for mask prompts, a multiple of 4.
    num_point_embeddings: 4 (negative point, positive point, two box corners).
    """

    model_type = "hq_sam_prompt_encoder"
    base_config_key = "prompt_encoder_config"

    hidden_size: int = 256
    image_size: int = 1024
    patch_size: int = 16
    mask_input_channels: int = 16
    num_point_embeddings: int = 4
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6

    def __post_init__(self, **kwargs: Any) -> None:
        check = FieldChecks(self, "prompt_encoder_config")
        check.positive_integers("hidden_size", "image_size", "patch_size", "mask_input_channels")
        check.require(self.mask_input_channels % 4 == 0, "mask_input_channels", "a multiple of 4")
        check.require(self.num_point_embeddings == 4, "num_point_embeddings", "4")
        check.norm_eps()
        check.activation()
        kwargs.pop("image_embedding_size", None)  # stored by transformers, derived here
        super().__post_init__(**kwargs)

    @property
    def image_embedding_size(self) -> int:
        """Side of the embedding grid."""
        return self.image_size // self.patch_size


@strict
class HQSamMaskDecoderConfig(PreTrainedConfig):
    """SAM's two-way transformer and heads, plus the HQ head; fields as in `transformers.SamHQMaskDecoderConfig`.

    vit_dim: channels of the early feature (768, 1024, 1280 for ViT-B, L, H).
    layer_norm_eps: 1e-5, with which the original weights were trained. transformers uses 1e-6, which changes the
        logits by up to 5e-5.
    """

    model_type = "hq_sam_mask_decoder"
    base_config_key = "mask_decoder_config"

    hidden_size: int = 256
    hidden_act: str = "relu"
    mlp_dim: int = 2048
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    attention_downsample_rate: int = 2
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    layer_norm_eps: float = 1e-5
    vit_dim: int = 768

    def __post_init__(self, **kwargs: Any) -> None:
        check = FieldChecks(self, "mask_decoder_config")
        check.mask_decoder()
        check.positive_integers("vit_dim")
        check.activation()
        super().__post_init__(**kwargs)


@strict
class HQSamConfig(HQSamComposedConfig):
    """The configuration of an `HQSamModel`. The default is ViT-B at 1024 pixels.

    vision_config, prompt_encoder_config, mask_decoder_config: a config object, its dict, or None for the defaults. A
        vision_config of model_type "hq_sam_tiny_vit" is the image encoder of Light HQ-SAM.

    Raises ValueError, naming the field, if the three disagree in image size, patch size or channels.
    """

    model_type = "hq_sam"
    sub_configs = {
        "vision_config": HQSamVisionConfig,
        "prompt_encoder_config": HQSamPromptEncoderConfig,
        "mask_decoder_config": HQSamMaskDecoderConfig,
    }

    vision_configs = VISION_CONFIGS

    def transformers_sections(self, plain: bool = False) -> dict[str, Any]:
        """The three sections as arguments of transformers' SamHQConfig or, if plain, of its SamConfig.

        transformers has no TinyViT, so the image encoder must be a ViT.
        """
        stored = self.to_dict()
        sections = {name: {k: v for k, v in stored[name].items() if k != "model_type"} for name in self.sub_configs}
        vision = sections["vision_config"]
        vision["mlp_ratio"] = float(vision["mlp_ratio"])  # transformers refuses an integer
        if plain:
            del sections["mask_decoder_config"]["vit_dim"]
        return sections

    @classmethod
    def _from_transformers(cls, stored: dict[str, Any]) -> dict[str, Any]:
        """The fields of a config.json of transformers' SamHQModel or SamModel as the original's model needs them."""
        if stored.get("model_type") not in ("sam", "sam_hq"):
            return stored
        fields = cls._sections_without_model_type(stored)
        decoder = fields["mask_decoder_config"]
        decoder.pop("layer_norm_eps", None)  # 1e-6, but the weights were trained with 1e-5
        if stored["model_type"] == "sam":  # the channels for an HQ head that will be added
            decoder["vit_dim"] = HQSamVisionConfig(**fields["vision_config"]).early_channels
        return fields

    def _check_agreement(self) -> None:
        super()._check_agreement()
        vision, decoder = self.vision_config, self.mask_decoder_config
        width = vision.output_channels
        require(
            2 * vision.num_pos_feats == width,
            "vision_config.num_pos_feats",
            f"half of vision_config.output_channels ({width})",
            vision.num_pos_feats,
        )
        expected = f"the channels of the early feature of vision_config ({vision.early_channels})"
        require(decoder.vit_dim == vision.early_channels, "mask_decoder_config.vit_dim", expected, decoder.vit_dim)

    @classmethod
    def from_preset(cls, name: str, image_size: int = 1024) -> "HQSamConfig":
        """The configuration of a published image encoder: "vit_b", "vit_l", "vit_h" or "vit_tiny".

        image_size: side of the square model input in pixels, a multiple of 16. The published weights use 1024.
        """
        if name not in PRESETS:
            raise ValueError(f"`name` must be one of {', '.join(PRESETS)}, got {name!r}.")
        fields = {**PRESETS[name], "image_size": image_size}
        vision = VISION_CONFIGS[fields.pop("model_type", HQSamVisionConfig.model_type)](**fields)
        return cls(
            vision_config=vision,
            prompt_encoder_config={"image_size": image_size},
            mask_decoder_config={"vit_dim": vision.early_channels},
        )


__all__ = [
    "HQSamConfig",
    "HQSamMaskDecoderConfig",
    "HQSamPromptEncoderConfig",
    "HQSamTinyViTConfig",
    "HQSamVisionConfig",
]
