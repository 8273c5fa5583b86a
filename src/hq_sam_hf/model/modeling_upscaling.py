"""Upscaling by two: a 2 x 2 transposed convolution of stride 2, computed as a matrix product.

Kernel and stride are equal, so the outputs of two input pixels never overlap: each pixel becomes a 2 x 2 block by a
linear map of its channels. One matrix product computes all blocks, which is faster than PyTorch's transposed
convolution, with and without gradients.
"""

from torch import Tensor, nn

from .modeling_kernels import linear
from .tensor_types import is_ordinary


class HQSamUpscaleConv(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)`, with the same weights and outputs."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=2, stride=2)

    def forward(self, image: Tensor) -> Tensor:  # type: ignore[override]  # the output size follows from the input's
        """Upscale image (N, C, h, w) to (N, c, 2h, 2w). In memory, the channels of the output come last."""
        if not is_ordinary(self.weight, self.bias):
            return super().forward(image)
        blocks = self.to_blocks(image.permute(0, 2, 3, 1))  # (N, h, w, 2, 2, c)
        return blocks.transpose(2, 3).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)

    def to_blocks(self, positions: Tensor) -> Tensor:
        """The 2 x 2 block of outputs of each input position: (..., C) to (..., 2, 2, c)."""
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (C, c, 2, 2) to (4 c, C)
        bias = None if self.bias is None else self.bias.repeat(4)
        return linear(positions, weight, bias).unflatten(-1, (2, 2, -1))


__all__ = ["HQSamUpscaleConv"]
