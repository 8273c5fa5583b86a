"""Configuration of HQ-SAM: vision encoder, prompt encoder and mask decoder."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

# Labels of point prompts: SAM's, and -10 for padding as in transformers.
NEGATIVE, POSITIVE, NOT_A_POINT, PADDING = 0, 1, -1, -10

# Encoder sizes of the published checkpoints (segment_anything/build_sam.py of the original repository).
PRESETS: dict[str, dict[str, Any]] = {
    "vit_b": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "global_attn_indexes": [2, 5, 8, 11],
    },
    "vit_l": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "global_attn_indexes": [5, 11, 17, 23],
    },
    "vit_h": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "global_attn_indexes": [7, 15, 23, 31],
    },
    "vit_tiny": {"model_type": "hq_sam_tiny_vit"},
}


def _require(holds: bool, field: str, expected: str, got: object) -> None:
    if not holds:
        raise ValueError(f"`{field}` must be {expected}, got {got!r}. Correct it in config.json or the call.")


def _require_positive(config: PreTrainedConfig, section: str, *fields: str) -> None:
    for field in fields:
        value = getattr(config, field)
        _require(type(value) is int and value > 0, f"{section}.{field}", "a positive integer", value)


def _require_norm_eps(config: PreTrainedConfig, section: str) -> None:
    eps = config.layer_norm_eps
    _require(0 < eps < 1, f"{section}.layer_norm_eps", "a small positive number such as 1e-6", eps)


def _require_activation(config: PreTrainedConfig, section: str) -> None:
    from transformers.activations import ACT2FN

    activation = config.hidden_act
    _require(activation in ACT2FN, f"{section}.hidden_act", "an activation known to transformers", activation)


@strict
class HQSamVisionConfig(PreTrainedConfig):
    """SAM's ViT encoder; the fields are those of `transformers.SamVisionConfig`.

    hidden_size, num_hidden_layers, num_attention_heads: width, blocks and heads of the ViT.
    image_size, patch_size: side of the square input and of a patch, in pixels.
    window_size: side of an attention window, in patches; blocks named in global_attn_indexes attend globally, and the
        output of the first of them is the early feature that the HQ head reads.
    output_channels: channels of the image embedding after the neck.
    num_pos_feats: half the width of the positional code of points and boxes.
    mlp_dim: inner width of a block's MLP, by default mlp_ratio * hidden_size.
    """

    model_type = "hq_sam_vision_model"
    base_config_key = "vision_config"

    hidden_size: int = 768
    output_channels: int = 256
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 1024
    patch_size: int = 16
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    attention_dropout: float | int = 0.0
    qkv_bias: bool = True
    mlp_ratio: float | int = 4.0
    use_abs_pos: bool = True
    use_rel_pos: bool = True
    window_size: int = 14
    global_attn_indexes: list[int] | tuple[int, ...] = (2, 5, 8, 11)
    num_pos_feats: int = 128
    mlp_dim: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        section = "vision_config"
        _require_positive(self, section, "hidden_size", "num_hidden_layers", "num_attention_heads", "num_channels")
        _require_positive(self, section, "image_size", "patch_size", "output_channels", "num_pos_feats")
        _require(
            self.hidden_size % self.num_attention_heads == 0,
            f"{section}.num_attention_heads",
            f"a divisor of hidden_size ({self.hidden_size})",
            self.num_attention_heads,
        )
        _require(
            self.image_size % self.patch_size == 0,
            f"{section}.image_size",
            f"a multiple of patch_size ({self.patch_size})",
            self.image_size,
        )
        _require(self.window_size > 0, f"{section}.window_size", "a positive integer", self.window_size)
        indexes = list(self.global_attn_indexes)
        _require(
            len(indexes) > 0
            and indexes == sorted(set(indexes))
            and 0 <= indexes[0] <= indexes[-1] < self.num_hidden_layers,
            f"{section}.global_attn_indexes",
            f"a rising list of block numbers from 0 to {self.num_hidden_layers - 1} with at least one entry",
            indexes,
        )
        _require(self.mlp_ratio > 0, f"{section}.mlp_ratio", "positive", self.mlp_ratio)
        _require(self.mlp_dim is None or self.mlp_dim > 0, f"{section}.mlp_dim", "positive or null", self.mlp_dim)
        _require(0 <= self.attention_dropout < 1, f"{section}.attention_dropout", "in [0, 1)", self.attention_dropout)
        _require_norm_eps(self, section)
        _require_activation(self, section)
        if self.mlp_dim is None:
            self.mlp_dim = int(self.hidden_size * self.mlp_ratio)
        kwargs.pop("scale", None)  # stored by transformers, derived here
        super().__post_init__(**kwargs)

    @property
    def scale(self) -> float:
        """Spread of the random positional matrix, which transformers' layers ask for; 1 in the original."""
        return 1.0

    @property
    def early_channels(self) -> int:
        """Channels of the early feature that the HQ head reads."""
        return self.hidden_size


@strict
class HQSamTinyViTConfig(PreTrainedConfig):
    """The TinyViT encoder of Light HQ-SAM and MobileSAM; the defaults are those of the published weights.

    image_size: side of the square input, in pixels, a multiple of 16.
    embed_dims, depths: channels and blocks of the four stages; the first stage is convolutional.
    num_attention_heads, window_sizes: of the other three stages; the first entry is not used. A window's side is in
        cells of its stage's grid.
    mlp_ratio, mbconv_expand_ratio: inner width of an MLP and of a convolution block, in widths of its stage.
    output_channels: channels of the image embedding after the neck.
    num_pos_feats: half the width of the positional code of points and boxes.
    num_classes: of the unused classifier that published weights carry; 0 for none.
    """

    model_type = "hq_sam_tiny_vit"
    base_config_key = "vision_config"

    image_size: int = 1024
    num_channels: int = 3
    embed_dims: list[int] | tuple[int, ...] = (64, 128, 160, 320)
    depths: list[int] | tuple[int, ...] = (2, 2, 6, 2)
    num_attention_heads: list[int] | tuple[int, ...] = (2, 4, 5, 10)
    window_sizes: list[int] | tuple[int, ...] = (7, 7, 14, 7)
    mlp_ratio: float | int = 4.0
    mbconv_expand_ratio: float | int = 4.0
    output_channels: int = 256
    num_pos_feats: int = 128
    num_classes: int = 1000

    def __post_init__(self, **kwargs: Any) -> None:
        section = "vision_config"
        _require_positive(self, section, "image_size", "num_channels", "output_channels", "num_pos_feats")
        multiple = f"a multiple of {self.patch_size}"
        _require(self.image_size % self.patch_size == 0, f"{section}.image_size", multiple, self.image_size)
        for field in ("embed_dims", "depths", "num_attention_heads", "window_sizes"):
            value = list(getattr(self, field))
            positive = all(type(number) is int and number > 0 for number in value)
            _require(len(value) == 4 and positive, f"{section}.{field}", "four positive integers", value)
        for dim, heads in list(zip(self.embed_dims, self.num_attention_heads))[1:]:
            divisors = f"divisors of embed_dims ({list(self.embed_dims)})"
            _require(dim % heads == 0, f"{section}.num_attention_heads", divisors, list(self.num_attention_heads))
        _require(self.embed_dims[0] % 2 == 0, f"{section}.embed_dims", "even in its first entry", self.embed_dims[0])
        _require(self.mlp_ratio > 0, f"{section}.mlp_ratio", "positive", self.mlp_ratio)
        _require(self.mbconv_expand_ratio > 0, f"{section}.mbconv_expand_ratio", "positive", self.mbconv_expand_ratio)
        _require(self.num_classes >= 0, f"{section}.num_classes", "0 or more", self.num_classes)
        super().__post_init__(**kwargs)

    @property
    def patch_size(self) -> int:
        """Pixels per cell of the embedding grid, set by the four strides of two."""
        return 16

    @property
    def hidden_size(self) -> int:
        """Channels that enter the neck."""
        return self.embed_dims[-1]

    @property
    def scale(self) -> float:
        """As in `HQSamVisionConfig`."""
        return 1.0

    @property
    def early_channels(self) -> int:
        """Channels of the early feature that the HQ head reads: what enters the third stage."""
        return self.embed_dims[2]


# By model_type; the ViT's configurations in transformers have the same fields.
VISION_CONFIGS: dict[str, Any] = {
    "hq_sam_vision_model": HQSamVisionConfig,
    "hq_sam_tiny_vit": HQSamTinyViTConfig,
    "sam_hq_vision_model": HQSamVisionConfig,
    "sam_vision_model": HQSamVisionConfig,
}


@strict
class HQSamPromptEncoderConfig(PreTrainedConfig):
    """SAM's prompt encoder; the fields are those of `transformers.SamPromptEncoderConfig`.

    hidden_size: width of a prompt token, equal to the channels of the image embedding.
    image_size, patch_size: those of the vision encoder.
    mask_input_channels: channels inside the mask-prompt branch, a multiple of 4.
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
        section = "prompt_encoder_config"
        _require_positive(self, section, "hidden_size", "image_size", "patch_size", "mask_input_channels")
        _require(
            self.mask_input_channels % 4 == 0,
            f"{section}.mask_input_channels",
            "a multiple of 4",
            self.mask_input_channels,
        )
        _require(self.num_point_embeddings == 4, f"{section}.num_point_embeddings", "4", self.num_point_embeddings)
        _require_norm_eps(self, section)
        _require_activation(self, section)
        kwargs.pop("image_embedding_size", None)  # stored by transformers, derived here
        super().__post_init__(**kwargs)

    @property
    def image_embedding_size(self) -> int:
        """Side of the embedding grid."""
        return self.image_size // self.patch_size


@strict
class HQSamMaskDecoderConfig(PreTrainedConfig):
    """SAM's two-way transformer and heads, plus the HQ head; fields as in `transformers.SamHQMaskDecoderConfig`.

    vit_dim: channels of the early encoder feature read by the HQ head (768, 1024, 1280 for ViT-B, L, H).
    layer_norm_eps: 1e-5, the value of the original weights; `transformers` uses 1e-6 and is off by 5e-5 in the logits.
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
        section = "mask_decoder_config"
        _require_positive(
            self, section, "hidden_size", "mlp_dim", "num_hidden_layers", "num_attention_heads", "vit_dim"
        )
        _require_positive(self, section, "attention_downsample_rate", "num_multimask_outputs", "iou_head_hidden_dim")
        _require(self.iou_head_depth >= 2, f"{section}.iou_head_depth", "at least 2", self.iou_head_depth)
        _require(self.hidden_size % 8 == 0, f"{section}.hidden_size", "a multiple of 8", self.hidden_size)
        step = self.attention_downsample_rate * self.num_attention_heads
        _require(
            self.hidden_size % step == 0,
            f"{section}.num_attention_heads",
            f"such that attention_downsample_rate * num_attention_heads ({step}) divides hidden_size "
            f"({self.hidden_size})",
            self.num_attention_heads,
        )
        _require_norm_eps(self, section)
        _require_activation(self, section)
        super().__post_init__(**kwargs)


@strict
class HQSamConfig(PreTrainedConfig):
    """Everything that shapes an `HQSamModel`. Without arguments: ViT-B at 1024 pixels.

    vision_config, prompt_encoder_config, mask_decoder_config: a config object, its dict, or None for the defaults. A
    vision_config of model_type "hq_sam_tiny_vit" is Light HQ-SAM's encoder.
    The three must agree in image size, patch size and widths; a disagreement is refused by name.
    """

    model_type = "hq_sam"
    sub_configs = {
        "vision_config": HQSamVisionConfig,
        "prompt_encoder_config": HQSamPromptEncoderConfig,
        "mask_decoder_config": HQSamMaskDecoderConfig,
    }

    # Set by `auto_registration`: the auto classes learn of model and processor when a configuration is made.
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
        _require(value is None or isinstance(value, dict), name, expected, value)
        fields = dict(value or {})
        if name == "vision_config":
            model_type = fields.pop("model_type", None) or HQSamVisionConfig.model_type
            expected = f"one of {', '.join(VISION_CONFIGS)}"
            _require(model_type in VISION_CONFIGS, "vision_config.model_type", expected, model_type)
            config_class = VISION_CONFIGS[model_type]
        return config_class(**fields)

    def transformers_sections(self, plain: bool = False) -> dict[str, Any]:
        """The sections as arguments of transformers' SamHQConfig or, if plain, SamConfig, which have no TinyViT."""
        stored = self.to_dict()
        sections = {name: {k: v for k, v in stored[name].items() if k != "model_type"} for name in self.sub_configs}
        vision = sections["vision_config"]
        vision["mlp_ratio"] = float(vision["mlp_ratio"])  # transformers takes no integer here
        if plain:
            del sections["mask_decoder_config"]["vit_dim"]
        return sections

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read config.json; that of transformers' SamHQModel or SamModel is mended to the original's model."""
        stored, unused = super().get_config_dict(*args, **kwargs)
        if stored.get("model_type") in ("sam", "sam_hq"):
            plain = stored["model_type"] == "sam"
            stored = {name: value for name, value in stored.items() if name not in ("model_type", "architectures")}
            for name in cls.sub_configs:
                section = stored.get(name) or {}
                stored[name] = {key: value for key, value in section.items() if key != "model_type"}
            decoder = stored["mask_decoder_config"]
            decoder.pop("layer_norm_eps", None)  # 1e-6 there; the weights were trained with 1e-5
            if plain:  # the HQ head to come reads this encoder
                decoder["vit_dim"] = HQSamVisionConfig(**stored["vision_config"]).early_channels
        return stored, unused

    def _check_agreement(self) -> None:
        vision, prompt, decoder = self.vision_config, self.prompt_encoder_config, self.mask_decoder_config
        for field in ("image_size", "patch_size"):
            expected, got = getattr(vision, field), getattr(prompt, field)
            _require(got == expected, f"prompt_encoder_config.{field}", f"vision_config.{field} ({expected})", got)
        width = vision.output_channels
        for section, config in (("prompt_encoder_config", prompt), ("mask_decoder_config", decoder)):
            expected_width = f"vision_config.output_channels ({width})"
            _require(config.hidden_size == width, f"{section}.hidden_size", expected_width, config.hidden_size)
        _require(
            2 * vision.num_pos_feats == width,
            "vision_config.num_pos_feats",
            f"half of vision_config.output_channels ({width})",
            vision.num_pos_feats,
        )
        early = f"the channels of the early feature of vision_config ({vision.early_channels})"
        _require(decoder.vit_dim == vision.early_channels, "mask_decoder_config.vit_dim", early, decoder.vit_dim)

    @classmethod
    def from_preset(cls, name: str, image_size: int = 1024) -> "HQSamConfig":
        """The configuration of a published backbone: "vit_b", "vit_l", "vit_h" or "vit_tiny".

        image_size: side of the square input in pixels, a multiple of 16; the published weights use 1024.
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
