"""Configuration of HQ-SAM 2 as a whole, of its Hiera image encoder and of its mask decoder."""

import math
from itertools import accumulate
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

from .configuration_checks import FieldChecks, require
from .configuration_composed import HQSamComposedConfig
from .configuration_hq_sam import HQSamPromptEncoderConfig
from .presets import SAM2_PRESETS

STAGES = 4

# Fields of transformers' Sam2VisionConfig that are fixed or derived here.
_STORED_BY_TRANSFORMERS = (
    "backbone_channel_list",
    "backbone_feature_sizes",
    "fpn_kernel_size",
    "fpn_stride",
    "fpn_padding",
    "hidden_act",
    "layer_norm_eps",
    "initializer_range",
)

# Model types of transformers whose config.json describes the image part of a SAM 2.
TRANSFORMERS_MODEL_TYPES = ("sam2", "sam2_video")


@strict
class HQSam2BackboneConfig(PreTrainedConfig):
    """The Hiera of SAM 2, with the fields of `transformers.Sam2HieraDetConfig`. The default is Hiera-T.

    hidden_size, embed_dim_per_stage: channels of the patch embeddings and of the four stages. They double per stage.
    num_attention_heads_per_stage, blocks_per_stage, window_size_per_stage: of the four stages. The side of a window is
        in cells of the grid before the stage's pooling.
    global_attention_blocks: blocks with global attention.
    window_positional_embedding_background_size: (height, width) of the positional embedding that is interpolated to
        the image; a second one is repeated in every window of the first stage.
    image_size: side of the square model input in pixels, or [side, side].
    """

    model_type = "hq_sam2_hiera"
    base_config_key = "backbone_config"

    # Not inherited from transformers' class: its module may be half imported when this one is, because it imports the
    # auto classes, with which this configuration is registered.
    hidden_size: int = 96
    num_attention_heads: int = 1
    num_channels: int = 3
    image_size: int | list[int] | tuple[int, ...] = 1024
    patch_kernel_size: int | list[int] | tuple[int, ...] = (7, 7)
    patch_stride: int | list[int] | tuple[int, ...] = (4, 4)
    patch_padding: int | list[int] | tuple[int, ...] = (3, 3)
    query_stride: int | list[int] | tuple[int, ...] = (2, 2)
    window_positional_embedding_background_size: list[int] | tuple[int, ...] = (7, 7)
    num_query_pool_stages: int = STAGES - 1
    blocks_per_stage: list[int] | tuple[int, ...] = (1, 2, 7, 2)
    embed_dim_per_stage: list[int] | tuple[int, ...] = (96, 192, 384, 768)
    num_attention_heads_per_stage: list[int] | tuple[int, ...] = (1, 2, 4, 8)
    window_size_per_stage: list[int] | tuple[int, ...] = (8, 4, 14, 7)
    global_attention_blocks: list[int] | tuple[int, ...] = (5, 7, 9)
    mlp_ratio: float = 4.0
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        for name, field in list(vars(self).items()):  # lists, as in config.json
            setattr(self, name, list(field) if isinstance(field, tuple) else field)
        super().__post_init__(**kwargs)
        check = FieldChecks(self, "vision_config.backbone_config")
        check.positive_integers("hidden_size", "num_channels")
        sides = [self.image_size] if isinstance(self.image_size, int) else list(self.image_size or [])
        check.require(len(set(sides)) == 1 and len(sides) <= 2, "image_size", "one number or two equal ones")
        self.image_size = [sides[0], sides[0]]
        for name, expected in (("patch_stride", 4), ("query_stride", 2)):
            value: Any = getattr(self, name)
            values = [value] if isinstance(value, int) else list(value)
            check.require(set(values) == {expected}, name, f"{expected} in both directions")
            setattr(self, name, [expected, expected])
        check.require(self.num_query_pool_stages == STAGES - 1, "num_query_pool_stages", f"{STAGES - 1}")
        for field in (
            "blocks_per_stage",
            "embed_dim_per_stage",
            "num_attention_heads_per_stage",
            "window_size_per_stage",
        ):
            values = list(getattr(self, field))
            positive = all(type(number) is int and number > 0 for number in values)
            check.require(len(values) == STAGES and positive, field, "four positive integers")
        self._check_stages(check)
        multiple = self.size_multiple
        rule = f"a positive multiple of {multiple}"
        check.require(type(sides[0]) is int and sides[0] > 0 and sides[0] % multiple == 0, "image_size", rule)
        check.positive("mlp_ratio")
        check.norm_eps()
        check.activation()

    def _check_stages(self, check: FieldChecks) -> None:
        channels, heads = list(self.embed_dim_per_stage), list(self.num_attention_heads_per_stage)
        first = f"hidden_size ({self.hidden_size}) in the first entry"
        check.require(channels[0] == self.hidden_size, "embed_dim_per_stage", first)
        divides = all(width % number == 0 for width, number in zip(channels, heads))
        check.require(divides, "num_attention_heads_per_stage", f"divisors of embed_dim_per_stage ({channels})")
        even = all(side % 2 == 0 for side in self.window_size_per_stage[:-1])
        check.require(even, "window_size_per_stage", "even but in the last entry, because windows are pooled by 2")
        blocks, depth = list(self.global_attention_blocks), sum(self.blocks_per_stage)
        rising = all(type(block) is int for block in blocks) and blocks == sorted(set(blocks))
        in_range = rising and all(0 <= block < depth for block in blocks)
        check.require(in_range, "global_attention_blocks", f"a rising list of block numbers from 0 to {depth - 1}")
        firsts = list(accumulate(self.blocks_per_stage))[:-1]
        among = f"without the first blocks of the later stages ({firsts}), which pool their windows"
        check.require(not set(blocks) & set(firsts), "global_attention_blocks", among)
        sides = self.window_positional_embedding_background_size
        two = len(sides) == 2 and all(type(side) is int and side > 0 for side in sides)
        check.require(two, "window_positional_embedding_background_size", "two positive integers")

    @property
    def size_multiple(self) -> int:
        """What the model input size must be a multiple of.

        The last stage has one cell per 32 pixels, and the grid of the first, with one cell per 4 pixels, is divided
        into whole windows by the positional embedding.
        """
        return 4 * math.lcm(8, self.window_size_per_stage[0])


@strict
class HQSam2VisionConfig(PreTrainedConfig):
    """SAM 2's image encoder: Hiera and a feature pyramid, with fields of transformers' Sam2VisionConfig.

    backbone_config: a config object of Hiera, its dict, or None for Hiera-T.
    fpn_hidden_size: channels of the feature maps.
    fpn_top_down_levels: the stages, 0 to 3, to whose features the upsampled features of the next stage are added.
    """

    model_type = "hq_sam2_vision_model"
    base_config_key = "vision_config"
    sub_configs: ClassVar[dict] = {"backbone_config": HQSam2BackboneConfig}

    backbone_config: Any = None
    fpn_hidden_size: int = 256
    fpn_top_down_levels: list[int] | tuple[int, ...] = (2, 3)

    def __post_init__(self, **kwargs: Any) -> None:
        value = self.backbone_config
        if not isinstance(value, HQSam2BackboneConfig):
            value = value.to_dict() if isinstance(value, PreTrainedConfig) else value
            expected = "a HQSam2BackboneConfig, a dict or None"
            require(value is None or isinstance(value, dict), "vision_config.backbone_config", expected, value)
            fields = {name: field for name, field in (value or {}).items() if name != "model_type"}
            self.backbone_config = HQSam2BackboneConfig(**fields)
        check = FieldChecks(self, "vision_config")
        check.positive_integers("fpn_hidden_size")
        # The positional encoding of points has as many channels, in two halves.
        check.require(self.fpn_hidden_size % 2 == 0, "fpn_hidden_size", "even")
        levels = list(self.fpn_top_down_levels)
        known = all(type(level) is int and 0 <= level < STAGES for level in levels)
        check.require(known, "fpn_top_down_levels", f"a list of numbers from 0 to {STAGES - 1}")
        for name in _STORED_BY_TRANSFORMERS:
            kwargs.pop(name, None)
        levels_kept = kwargs.pop("num_feature_levels", STAGES - 1)
        require(levels_kept == STAGES - 1, "vision_config.num_feature_levels", f"{STAGES - 1}", levels_kept)
        super().__post_init__(**kwargs)

    @property
    def image_size(self) -> int:
        """Side of the square model input, in pixels."""
        return self.backbone_config.image_size[0]

    @property
    def patch_size(self) -> int:
        """Pixels per cell of the image embeddings, which are those of the third stage."""
        return 16

    @property
    def num_channels(self) -> int:
        return self.backbone_config.num_channels

    @property
    def output_channels(self) -> int:
        """Channels of the image embeddings."""
        return self.fpn_hidden_size

    @property
    def num_pos_feats(self) -> int:
        """Half the width of the positional encoding of points and boxes."""
        return self.fpn_hidden_size // 2

    @property
    def scale(self) -> float:
        """Standard deviation of the random positional matrix, read by transformers' layers; 1 in the original."""
        return 1.0


@strict
class HQSam2MaskDecoderConfig(PreTrainedConfig):
    """SAM 2's two-way transformer and heads, plus the HQ head; fields as in `transformers.Sam2MaskDecoderConfig`.

    dynamic_multimask_via_stability: for a single mask in evaluation mode, take the best of SAM's candidates in place
        of SAM's single mask, where the latter is not stable.
    dynamic_multimask_stability_delta, dynamic_multimask_stability_thresh: a mask is stable if at least a share
        `thresh` of its pixels remains when the threshold of its logits is raised from -delta to delta.
    """

    model_type = "hq_sam2_mask_decoder"
    base_config_key = "mask_decoder_config"

    hidden_size: int = 256
    mlp_dim: int = 2048
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    attention_downsample_rate: int = 2
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    layer_norm_eps: float = 1e-5
    dynamic_multimask_via_stability: bool = True
    dynamic_multimask_stability_delta: float = 0.05
    dynamic_multimask_stability_thresh: float = 0.98

    def __post_init__(self, **kwargs: Any) -> None:
        check = FieldChecks(self, "mask_decoder_config")
        check.mask_decoder()
        delta, share = "dynamic_multimask_stability_delta", "dynamic_multimask_stability_thresh"
        check.require(getattr(self, delta) >= 0, delta, "0 or more")
        check.require(0 <= getattr(self, share) <= 1, share, "in [0, 1]")
        kwargs.pop("hidden_act", None)  # stored by transformers, which does not use it either
        super().__post_init__(**kwargs)


@strict
class HQSam2Config(HQSamComposedConfig):
    """The configuration of an `HQSam2Model`. The default is Hiera-T at 1024 pixels.

    vision_config, prompt_encoder_config, mask_decoder_config: a config object, its dict, or None for the defaults.

    Raises ValueError, naming the field, if the three disagree in image size, patch size or channels.
    """

    model_type = "hq_sam2"
    sub_configs = {
        "vision_config": HQSam2VisionConfig,
        "prompt_encoder_config": HQSamPromptEncoderConfig,
        "mask_decoder_config": HQSam2MaskDecoderConfig,
    }

    vision_configs = {"hq_sam2_vision_model": HQSam2VisionConfig, "sam2_vision_model": HQSam2VisionConfig}

    @classmethod
    def from_preset(cls, name: str, image_size: int = 1024) -> "HQSam2Config":
        """The configuration of a published image encoder.

        name: "hiera_tiny", "hiera_small", "hiera_base_plus" or "hiera_large". The image parts of SAM 2.0 and SAM 2.1
            have the same configuration; they differ in their weights.
        image_size: side of the square model input in pixels, a multiple of 32. The published weights use 1024.
        """
        if name not in SAM2_PRESETS:
            raise ValueError(f"`name` must be one of {', '.join(SAM2_PRESETS)}, got {name!r}.")
        return cls(
            vision_config={"backbone_config": {**SAM2_PRESETS[name], "image_size": image_size}},
            prompt_encoder_config={"image_size": image_size},
        )

    @classmethod
    def _from_transformers(cls, stored: dict[str, Any]) -> dict[str, Any]:
        """The fields of a config.json. For transformers' Sam2Model or Sam2VideoModel, those of the image part."""
        if stored.get("model_type") not in TRANSFORMERS_MODEL_TYPES:
            return stored
        fields = cls._sections_without_model_type(stored)
        fields["prompt_encoder_config"].pop("scale", None)  # 1, as in the original
        general = ("dtype", "torch_dtype", "transformers_version", "transformers_weights", "quantization_config")
        return {name: fields[name] for name in (*cls.sub_configs, *general) if name in fields}

    def transformers_sections(self) -> dict[str, Any]:
        """The three sections as arguments of transformers' Sam2Config."""
        stored = self.to_dict()
        sections = {name: {k: v for k, v in stored[name].items() if k != "model_type"} for name in self.sub_configs}
        vision, backbone = sections["vision_config"], self.vision_config.backbone_config
        vision["backbone_config"]["model_type"] = "sam2_hiera_det_model"
        vision["fpn_top_down_levels"] = list(vision["fpn_top_down_levels"])
        vision["backbone_channel_list"] = backbone.embed_dim_per_stage[::-1]
        grid = self.vision_config.image_size // 4
        vision["backbone_feature_sizes"] = [[grid // 2**level] * 2 for level in range(STAGES - 1)]
        del sections["mask_decoder_config"]["layer_norm_eps"]  # 1e-5 there too, and not a field
        return sections


__all__ = ["HQSam2BackboneConfig", "HQSam2Config", "HQSam2MaskDecoderConfig", "HQSam2VisionConfig"]
