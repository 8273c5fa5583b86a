"""The HQ mask of upscaled features, without ever making the refined features that it is a product with."""

import torch.nn.functional as F
from torch import Tensor, nn

from .modeling_kernels import are_untouched, band_size, norm_channels


def refined_products(
    bordered: Tensor, vectors: Tensor, first: nn.Conv2d, norm: nn.Module, second: nn.Conv2d
) -> Tensor:
    """vectors (N, c) times second(GELU(norm(first(features)))), two 3 x 3 convolutions: (N, H, W).

    bordered (N, H + 2, W, c): the features, with a row of zeros above and below.

    A product is one channel, so the vector goes into the last convolution: with its kernel W_d (c, 2c) at offset d,

        v · (b + Σ_d W_d y[p + d]) = v · b + Σ_d (v W_d) · y[p + d],

    nine products per position, which are added after a shift, in place of 9 c.
    """
    if not are_untouched(first, second):
        features = bordered[:, 1:-1].permute(0, 3, 1, 2)
        refined = second(F.gelu(norm(first(features))))
        return (vectors[:, None] @ refined.flatten(2)).view(refined.shape[0], *refined.shape[2:])
    number, height, width = bordered.shape[0], bordered.shape[1] - 2, bordered.shape[2]
    kernel = second.weight
    taps = (vectors @ kernel.flatten(1)).unflatten(1, (kernel.shape[1], 9)).mT  # (N, 9, 2c), d row by row
    products = bordered.new_zeros(number, 9, height + 2, width + 2)  # of the taps with y, in a border of zeros
    rows = band_size(bordered, height, number * width * taps.shape[2])
    for top in range(0, height, rows):
        stop = min(top + rows, height)
        band = bordered[:, top : stop + 2]
        wide = F.conv2d(band.permute(0, 3, 1, 2), first.weight, first.bias, padding=(0, 1)).permute(0, 2, 3, 1)
        wide = F.gelu(norm_channels(wide, norm))  # y
        products[:, :, 1 + top : 1 + stop, 1:-1] = (taps @ wide.flatten(1, 2).mT).unflatten(2, wide.shape[1:3])
    total = products[:, 0, :height, :width]
    for d in range(1, 9):
        y, x = divmod(d, 3)
        total = total + products[:, d, y : y + height, x : x + width]
    return total if second.bias is None else total + (vectors @ second.bias)[:, None, None]


__all__ = ["refined_products"]
