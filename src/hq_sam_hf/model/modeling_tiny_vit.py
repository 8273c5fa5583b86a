"""TinyViT, the image encoder of Light HQ-SAM and MobileSAM, with the interface of the ViT encoder.

Four stages on grids of 1/4, 1/8, 1/16 and 1/16 of the input side: convolutions first, then attention in windows. The
early feature is the input of the third stage. Positions matter only in the attention biases of a window, so any input
size divisible by 16 works. Architecture: TinyViT-5M (arXiv 2207.10666) as configured by MobileSAM (arXiv 2306.14289).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.sam.modeling_sam import SamVisionNeck

from .configuration_hq_sam import HQSamTinyViTConfig
from .modeling_vision_encoder import HQSamVisionEncoderOutput, apply_neck


class HQSamTinyViTConvNorm(nn.Module):
    """A convolution without bias and a batch norm that always uses its stored statistics.

    The statistics come from the distillation of the encoder; training on small batches would spoil them.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def train(self, mode: bool = True) -> "HQSamTinyViTConvNorm":
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.conv(image))


class HQSamTinyViTPatchEmbed(nn.Module):
    """Two strided convolutions: (B, 3, S, S) to (B, D, S / 4, S / 4)."""

    def __init__(self, config: HQSamTinyViTConfig) -> None:
        super().__init__()
        width = config.embed_dims[0]
        self.conv1 = HQSamTinyViTConvNorm(config.num_channels, width // 2, kernel=3, stride=2)
        self.activation = nn.GELU()
        self.conv2 = HQSamTinyViTConvNorm(width // 2, width, kernel=3, stride=2)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.conv2(self.activation(self.conv1(pixel_values)))


class HQSamTinyViTConvBlock(GradientCheckpointingLayer):
    """MobileNet's inverted bottleneck on (B, D, h, w)."""

    def __init__(self, dim: int, expand_ratio: float) -> None:
        super().__init__()
        inner = int(dim * expand_ratio)
        self.conv1 = HQSamTinyViTConvNorm(dim, inner)
        self.conv2 = HQSamTinyViTConvNorm(inner, inner, kernel=3, groups=inner)
        self.conv3 = HQSamTinyViTConvNorm(inner, dim)
        self.activation = nn.GELU()

    def forward(self, image: Tensor) -> Tensor:
        inner = self.activation(self.conv2(self.activation(self.conv1(image))))
        return self.activation(image + self.conv3(inner))


class HQSamTinyViTDownsample(nn.Module):
    """From one stage to the next: (B, D, h, w) to (B, D', h / stride, w / stride)."""

    def __init__(self, dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = HQSamTinyViTConvNorm(dim, out_dim)
        self.conv2 = HQSamTinyViTConvNorm(out_dim, out_dim, kernel=3, stride=stride, groups=out_dim)
        self.conv3 = HQSamTinyViTConvNorm(out_dim, out_dim)
        self.activation = nn.GELU()

    def forward(self, image: Tensor) -> Tensor:
        return self.conv3(self.activation(self.conv2(self.activation(self.conv1(image)))))


class HQSamTinyViTAttention(nn.Module):
    """Self-attention among the N = w * w positions of a window, with a learned bias per head and distance."""

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads, self.window_size = num_heads, window_size
        self.layer_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, window_size**2))

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.attention_biases)

    def bias(self) -> Tensor:
        """The bias (heads, N, N) added to the scores: entry |dy| * w + |dx| of the head's table.

        It is computed from the weights on every call. The original's cache is stale after weights are loaded.
        """
        side = self.window_size
        place = torch.arange(side, device=self.attention_biases.device)
        y, x = place.repeat_interleave(side), place.repeat(side)
        index = (y[:, None] - y).abs() * side + (x[:, None] - x).abs()
        return self.attention_biases[:, index]

    def forward(self, windows: Tensor) -> Tensor:
        """Attend within each of W windows (W, N, D)."""
        number, length, _ = windows.shape
        # The rows of qkv are ordered by head, then query, key, value.
        qkv = self.qkv(self.layer_norm(windows)).view(number, length, self.num_heads, 3, -1)
        query, key, value = qkv.permute(3, 0, 2, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=self.bias()[None])
        return self.proj(attended.transpose(1, 2).flatten(2))


class HQSamTinyViTMLP(nn.Module):
    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dim)
        self.lin1 = nn.Linear(dim, hidden_dim)
        self.activation = nn.GELU()
        self.lin2 = nn.Linear(hidden_dim, dim)

    def forward(self, hidden_state: Tensor) -> Tensor:
        return self.lin2(self.activation(self.lin1(self.layer_norm(hidden_state))))


class HQSamTinyViTBlock(GradientCheckpointingLayer):
    """Attention in windows, a depthwise convolution without shortcut, an MLP; on (B, D, h, w)."""

    def __init__(self, dim: int, num_heads: int, window_size: int, mlp_ratio: float) -> None:
        super().__init__()
        self.window_size = window_size
        self.attn = HQSamTinyViTAttention(dim, num_heads, window_size)
        self.local_conv = HQSamTinyViTConvNorm(dim, dim, kernel=3, groups=dim)
        self.mlp = HQSamTinyViTMLP(dim, int(dim * mlp_ratio))

    def forward(self, image: Tensor) -> Tensor:
        image = self.local_conv(image + self._attend(image))
        hidden_state = image.permute(0, 2, 3, 1)
        return (hidden_state + self.mlp(hidden_state)).permute(0, 3, 1, 2)

    def _attend(self, image: Tensor) -> Tensor:
        (batch, dim, height, width), side = image.shape, self.window_size
        rows, columns = -(-height // side), -(-width // side)
        # Zeros on the right and below. The layer norm turns them into its bias, and they take part as keys.
        padded = F.pad(image, (0, columns * side - width, 0, rows * side - height))
        windows = padded.view(batch, dim, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        attended = self.attn(windows.reshape(batch * rows * columns, side * side, dim))
        attended = attended.view(batch, rows, columns, side, side, dim).permute(0, 5, 1, 3, 2, 4)
        return attended.reshape(batch, dim, rows * side, columns * side)[:, :, :height, :width]


class HQSamTinyViTStage(nn.Module):
    def __init__(self, config: HQSamTinyViTConfig, index: int) -> None:
        super().__init__()
        dim, depth = config.embed_dims[index], config.depths[index]
        if index == 0:
            blocks: list[nn.Module] = [HQSamTinyViTConvBlock(dim, config.mbconv_expand_ratio) for _ in range(depth)]
        else:
            heads, window = config.num_attention_heads[index], config.window_sizes[index]
            blocks = [HQSamTinyViTBlock(dim, heads, window, config.mlp_ratio) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        if index < 3:
            stride = 2 if index < 2 else 1
            self.downsample = HQSamTinyViTDownsample(dim, config.embed_dims[index + 1], stride)

    def forward(self, image: Tensor) -> Tensor:
        for block in self.blocks:
            image = block(image)
        return self.downsample(image) if hasattr(self, "downsample") else image


class HQSamTinyViTUnusedHead(nn.Module):
    """The classifier of TinyViT's pre-training. Never called; kept so that checkpoints convert without loss."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dim)
        if num_classes > 0:
            self.classifier = nn.Linear(dim, num_classes)


class HQSamTinyViTEncoder(nn.Module):
    config: HQSamTinyViTConfig

    def __init__(self, config: HQSamTinyViTConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = HQSamTinyViTPatchEmbed(config)
        self.stages = nn.ModuleList(HQSamTinyViTStage(config, i) for i in range(4))
        self.neck = SamVisionNeck(config)
        self.unused_head = HQSamTinyViTUnusedHead(config.embed_dims[-1], config.num_classes)

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False) -> HQSamVisionEncoderOutput:
        """Encode pixel_values (B, 3, S, S), normalised and padded by the processor.

        intermediate_embeddings has one entry, the input of the third stage. hidden_states, on request, has the patch
        embedding and the output of every stage, each (B, h, w, D) on its own grid.
        """
        image = self.patch_embed(pixel_values)
        images = [image]
        for stage in self.stages:
            image = stage(image)
            images.append(image)
        hidden_states = tuple(state.permute(0, 2, 3, 1) for state in images)
        return HQSamVisionEncoderOutput(
            last_hidden_state=apply_neck(self.neck, hidden_states[-1]),
            intermediate_embeddings=(hidden_states[2],),
            hidden_states=hidden_states if output_hidden_states else None,
        )

    def resize_image(self, image_size: int) -> None:
        """Change the side of the square model input, in place. No weight depends on it."""
        self.config.image_size = image_size


__all__ = ["HQSamTinyViTEncoder"]
