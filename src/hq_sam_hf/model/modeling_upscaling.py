"""From the grid of patches to the mask grid, four times as fine, by two transposed convolutions of stride 2.

Their kernel is 2 x 2, so no two of their outputs overlap: each is a matrix product that gives every cell its four
quarters, and in the end the quarters are put in their places.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .modeling_kernels import are_untouched, linear, norm_channels


def upscale_cells(image: Tensor, first: nn.ConvTranspose2d, norm: nn.Module, second: nn.ConvTranspose2d) -> Tensor:
    """second(GELU(norm(first(image)))) for image (N, h, w, C), each cell apart: (N, h, w, 2, 2, 2, 2, c).

    The axes of 2 are row and column of a quarter of the cell, then row and column of a quarter of that quarter.
    """
    number, height, width = image.shape[:3]
    if not are_untouched(first, second):
        picture = second(F.gelu(norm(first(image.permute(0, 3, 1, 2)))))
        cells = picture.view(number, -1, height, 2, 2, width, 2, 2)
        return cells.permute(0, 2, 5, 3, 6, 4, 7, 1)
    quarters = _quarters(image, first)
    normalised = norm_channels(quarters.view(number, height, 4 * width, -1), norm).view_as(quarters)
    return _quarters(F.gelu(normalised), second)


def put_cells(cells: Tensor, picture: Tensor) -> None:
    """Write what `upscale_cells` gives into a picture (N, 4h, 4w, c)."""
    number, height, width = cells.shape[:3]
    picture.view(number, height, 2, 2, width, 2, 2, -1).copy_(cells.permute(0, 1, 3, 5, 2, 4, 6, 7))


def _quarters(cells: Tensor, convolution: nn.ConvTranspose2d) -> Tensor:
    """The transposed convolution of cells (..., C), each by itself: (..., 2, 2, c)."""
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (C, c, 2, 2) to (2 2 c, C)
    bias = None if convolution.bias is None else convolution.bias.repeat(4)
    return linear(cells, weight, bias).unflatten(-1, (2, 2, -1))


__all__ = ["put_cells", "upscale_cells"]
