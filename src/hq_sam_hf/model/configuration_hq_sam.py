"""Configuration of HQ-SAM as a whole, of its prompt encoder and of its mask decoder."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

from .configuration_checks import FieldChecks, check_stored, plain_errors, require
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
        check.positive_integers("hidden_size", "mlp_dim", "num_hidden_layers", "num_attention_heads", "vit_dim")
        check.positive_integers("attention_downsample_rate", "num_multimask_outputs", "iou_head_hidden_dim")
        check.require(self.iou_head_depth >= 2, "iou_head_depth", "at least 2")
        check.require(self.hidden_size % 8 == 0, "hidden_size", "a multiple of 8")
        step = self.attention_downsample_rate * self.num_attention_heads
        expected = (
            f"such that attention_downsample_rate * num_attention_heads ({step}) divides hidden_size "
            f"({self.hidden_size})"
        )
        check.require(self.hidden_size % step == 0, "num_attention_heads", expected)
        check.norm_eps()
        check.activation()
        super().__post_init__(**kwargs)


@strict
class HQSamConfig(PreTrainedConfig):
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

    # Called when a configuration is created, if set. The package's `registration` sets it, to register the model with
    # transformers' auto classes no earlier than needed.
    before_first_use: ClassVar[Any] = None

    vision_config: Any = None
    prompt_encoder_config: Any = None
    mask_decoder_config: Any = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.before_first_use is not None:
            self.before_first_use()
        for name in self.sub_configs:
            setattr(self, name, self._section(name, getattr(self, name)))
        self._check_agreement()
        super().__post_init__(**kwargs)

    def _section(self, name: str, value: Any) -> PreTrainedConfig:
        config_class: Any = self.sub_configs[name]
        if isinstance(value, config_class | HQSamTinyViTConfig):
            return value
        if isinstance(value, PreTrainedConfig):
            value = value.to_dict()
        expected = f"a {config_class.__name__}, a dict or None"
        require(value is None or isinstance(value, dict), name, expected, value)
        fields = dict(value or {})
        if name == "vision_config":
            model_type = fields.pop("model_type", None) or HQSamVisionConfig.model_type
            expected = f"one of {', '.join(VISION_CONFIGS)}"
            require(model_type in VISION_CONFIGS, "vision_config.model_type", expected, model_type)
            config_class = VISION_CONFIGS[model_type]
        return config_class(**fields)

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
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read config.json. One of transformers' SamHQModel or SamModel is corrected to match the original's model."""
        try:
            stored, unused = super().get_config_dict(*args, **kwargs)
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"The config.json of {str(args[0])!r} is not a JSON object ({error}). Download it again."
            ) from error
        check_stored(stored, cls.sub_configs)
        if stored.get("model_type") in ("sam", "sam_hq"):
            plain = stored["model_type"] == "sam"
            stored = {name: value for name, value in stored.items() if name not in ("model_type", "architectures")}
            for name in cls.sub_configs:
                section = stored.get(name) or {}
                stored[name] = {key: value for key, value in section.items() if key != "model_type"}
            decoder = stored["mask_decoder_config"]
            decoder.pop("layer_norm_eps", None)  # 1e-6, but the weights were trained with 1e-5
            if plain:  # the channels for an HQ head that will be added
                decoder["vit_dim"] = HQSamVisionConfig(**stored["vision_config"]).early_channels
        return stored, unused

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make a configuration of the fields of a config.json. Raises ValueError, naming the field, for wrong ones."""
        check_stored(config_dict, cls.sub_configs)
        with plain_errors():
            return super().from_dict(config_dict, **kwargs)

    def _check_agreement(self) -> None:
        vision, prompt, decoder = self.vision_config, self.prompt_encoder_config, self.mask_decoder_config
        for field in ("image_size", "patch_size"):
            expected, got = getattr(vision, field), getattr(prompt, field)
            require(got == expected, f"prompt_encoder_config.{field}", f"vision_config.{field} ({expected})", got)
        width = vision.output_channels
        for section, config in (("prompt_encoder_config", prompt), ("mask_decoder_config", decoder)):
            expected_width = f"vision_config.output_channels ({width})"
            require(config.hidden_size == width, f"{section}.hidden_size", expected_width, config.hidden_size)
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

    @property
    def mask_size(self) -> int:
        """Side of the square low-resolution mask grid: four cells per patch (256 at 1024 pixels with patch 16)."""
        return 4 * (self.vision_config.image_size // self.vision_config.patch_size)


__all__ = [
    "HQSamConfig",
    "HQSamMaskDecoderConfig",
    "HQSamPromptEncoderConfig",
    "HQSamTinyViTConfig",
    "HQSamVisionConfig",
]
