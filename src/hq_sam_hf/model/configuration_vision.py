"""Configurations of the two image encoders: SAM's ViT and the TinyViT of Light HQ-SAM."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

from .configuration_checks import FieldChecks


@strict
class HQSamVisionConfig(PreTrainedConfig):
    """SAM's ViT image encoder, with the fields of `transformers.SamVisionConfig`.

    hidden_size, num_hidden_layers, num_attention_heads: channels, blocks and attention heads of the ViT.
    image_size, patch_size: sides of the square model input and of a patch, in pixels.
    window_size: side of an attention window, in patches.
    global_attn_indexes: blocks with global attention. The HQ head uses the output of the first of them, the early
        feature.
    output_channels: channels of the image embeddings, after the neck.
    num_pos_feats: half the width of the positional encoding of points and boxes.
    mlp_dim: hidden width of a block's MLP, by default mlp_ratio * hidden_size.
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
        check = FieldChecks(self, "vision_config")
        check.positive_integers("hidden_size", "num_hidden_layers", "num_attention_heads", "num_channels")
        check.positive_integers("image_size", "patch_size", "output_channels", "num_pos_feats")
        divisor = f"a divisor of hidden_size ({self.hidden_size})"
        check.require(self.hidden_size % self.num_attention_heads == 0, "num_attention_heads", divisor)
        multiple = f"a multiple of patch_size ({self.patch_size})"
        check.require(self.image_size % self.patch_size == 0, "image_size", multiple)
        check.require(self.window_size > 0, "window_size", "a positive integer")
        blocks = list(self.global_attn_indexes)
        rising = len(blocks) > 0 and blocks == sorted(set(blocks))
        in_range = rising and 0 <= blocks[0] <= blocks[-1] < self.num_hidden_layers
        expected = f"a rising list of block numbers from 0 to {self.num_hidden_layers - 1} with at least one entry"
        check.require(in_range, "global_attn_indexes", expected)
        check.positive("mlp_ratio")
        check.require(self.mlp_dim is None or self.mlp_dim > 0, "mlp_dim", "positive or null")
        check.require(0 <= self.attention_dropout < 1, "attention_dropout", "in [0, 1)")
        check.norm_eps()
        check.activation()
        if self.mlp_dim is None:
            self.mlp_dim = int(self.hidden_size * self.mlp_ratio)
        kwargs.pop("scale", None)  # stored by transformers, derived here
        super().__post_init__(**kwargs)

    @property
    def scale(self) -> float:
        """Standard deviation of the random positional matrix, read by transformers' layers; 1 in the original."""
        return 1.0

    @property
    def early_channels(self) -> int:
        """Channels of the early feature."""
        return self.hidden_size


@strict
class HQSamTinyViTConfig(PreTrainedConfig):
    """The TinyViT image encoder of Light HQ-SAM and MobileSAM. The defaults are those of the published weights.

    image_size: side of the square model input, in pixels, a multiple of 16.
    embed_dims, depths: channels and blocks of the four stages. The first stage is convolutional.
    num_attention_heads, window_sizes: of the other three stages; the first entry is not used. The side of a window is
        in cells of the stage's grid.
    mlp_ratio, mbconv_expand_ratio: hidden width of an MLP and of a convolution block, relative to its stage.
    output_channels: channels of the image embeddings, after the neck.
    num_pos_feats: half the width of the positional encoding of points and boxes.
    num_classes: classes of the unused classifier that the published weights include; 0 for none.
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
        check = FieldChecks(self, "vision_config")
        check.positive_integers("image_size", "num_channels", "output_channels", "num_pos_feats")
        check.require(self.image_size % self.patch_size == 0, "image_size", f"a multiple of {self.patch_size}")
        for field in ("embed_dims", "depths", "num_attention_heads", "window_sizes"):
            values = list(getattr(self, field))
            positive = all(type(number) is int and number > 0 for number in values)
            check.require(len(values) == 4 and positive, field, "four positive integers")
        for dim, heads in list(zip(self.embed_dims, self.num_attention_heads))[1:]:
            divisors = f"divisors of embed_dims ({list(self.embed_dims)})"
            check.require(dim % heads == 0, "num_attention_heads", divisors)
        check.require(self.embed_dims[0] % 2 == 0, "embed_dims", "even in the first entry")
        check.positive("mlp_ratio", "mbconv_expand_ratio")
        check.require(self.num_classes >= 0, "num_classes", "0 or more")
        super().__post_init__(**kwargs)

    @property
    def patch_size(self) -> int:
        """Pixels per cell of the embedding grid: the product of four strides of 2."""
        return 16

    @property
    def hidden_size(self) -> int:
        """Channels before the neck."""
        return self.embed_dims[-1]

    @property
    def scale(self) -> float:
        """As in `HQSamVisionConfig`."""
        return 1.0

    @property
    def early_channels(self) -> int:
        """Channels of the early feature, the input of the third stage."""
        return self.embed_dims[2]


# By model_type. transformers' configurations of the ViT have the same fields as ours.
VISION_CONFIGS: dict[str, Any] = {
    "hq_sam_vision_model": HQSamVisionConfig,
    "hq_sam_tiny_vit": HQSamTinyViTConfig,
    "sam_hq_vision_model": HQSamVisionConfig,
    "sam_vision_model": HQSamVisionConfig,
}

__all__ = ["VISION_CONFIGS", "HQSamTinyViTConfig", "HQSamVisionConfig"]
