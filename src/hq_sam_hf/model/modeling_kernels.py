"""CPU fast paths: oneDNN linear layers and cache-sized tiling.

A band is a part of the positions whose temporaries, about 2 MiB each, stay in the cache from one kernel to the next.
The system also takes back the memory of larger temporaries and maps it anew each time, which costs more than the
arithmetic on them.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .tensor_types import is_ordinary

# Numbers in one temporary of a band.
BAND_NUMBERS = 2**19

# PyTorch passes a 1 x 1 convolution to oneDNN, for any number of threads, if the batch has at least this size.
_BATCH_FOR_ONEDNN = 16
# In bfloat16, F.linear uses oneDNN too. The convolution is faster from this number of multiplications.
_LARGE = 2**27


def runs_eagerly_on_cpu(tensor: Tensor) -> bool:
    """Whether code that is tuned for a CPU may run: not on other devices, in traced graphs and with subclasses."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling() and is_ordinary(tensor)


def wants_gradients(*tensors: Tensor) -> bool:
    """Whether autograd records what is computed from the tensors."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def band_size(tensor: Tensor, length: int, numbers: int) -> int:
    """How many of `length` positions, with `numbers` numbers each, to compute at once: a band on a CPU, else all."""
    if not runs_eagerly_on_cpu(tensor):
        return length
    return min(length, max(1, BAND_NUMBERS // numbers))


def by_bands(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Compute function(*tensors) by bands. It maps (..., L, C) to (..., L, D), each position by itself."""
    length, channels = tensors[0].shape[-2:]
    size = band_size(tensors[0], length, tensors[0].shape[:-2].numel() * channels)
    if size == length:
        return function(*tensors)
    first = function(*(tensor[..., :size, :] for tensor in tensors))
    result = first.new_empty(*first.shape[:-2], length, first.shape[-1])
    result[..., :size, :] = first
    for start in range(size, length, size):
        stop = start + size
        result[..., start:stop, :] = function(*(tensor[..., start:stop, :] for tensor in tensors))
    return result


def linear(positions: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.linear on positions (..., C) with weight (D, C) and bias (D,); returns (..., D).

    On a CPU, float32 positions, and bfloat16 ones where there is much to compute, become a batch of 16 images, each
    one pixel high, with C channels. oneDNN multiplies them as a 1 x 1 convolution. That is up to twice as fast as
    MKL's float32 product and a tenth faster than a bfloat16 product with a bias. The rounding is no worse. A number of
    positions that is not a multiple of 16 goes to F.linear, and so do weights of a tensor subclass, such as quantized
    ones.
    """
    is_tuned = runs_eagerly_on_cpu(positions) and is_ordinary(weight, bias)
    number = positions.shape[:-1].numel() if is_tuned else 0
    is_faster = positions.dtype == torch.float32 or (
        positions.dtype == torch.bfloat16 and number * weight.shape.numel() >= _LARGE
    )
    if not is_faster or number == 0 or number % _BATCH_FOR_ONEDNN or not _has_onednn():
        return F.linear(positions, weight, bias)
    images = positions.reshape(_BATCH_FOR_ONEDNN, 1, -1, positions.shape[-1]).permute(0, 3, 1, 2)
    result = F.conv2d(images, weight[:, :, None, None], bias).permute(0, 2, 3, 1)
    # The convolution keeps the memory layout of its input, and reshape may too. The result of F.linear is contiguous.
    return result.reshape(*positions.shape[:-1], weight.shape[0]).contiguous()


def products(positions: Tensor, vectors: Tensor) -> Tensor:
    """Products of positions (N, L, C) with each of vectors (N, K, C): (N, L, K).

    Where an attention calls this with N = 1, K or C is small, and in bfloat16 `linear` would be slower.
    """
    if len(positions) == 1 and positions.dtype == torch.float32 and not torch.compiler.is_compiling():
        return linear(positions, vectors[0])
    return positions @ vectors.mT


def add_products(totals: Tensor, positions: Tensor, vectors: Tensor) -> None:
    """Add `products(positions, vectors)` to totals (N, L, K), in place. For inference: autograd cannot record it."""
    if len(positions) == 1 and positions.dtype == torch.float32:
        totals += products(positions, vectors)
    else:
        totals.baddbmm_(positions, vectors.mT)


class HQSamLinear(nn.Linear):
    """nn.Linear computed by `linear`."""

    def forward(self, positions: Tensor) -> Tensor:
        return linear(positions, self.weight, self.bias)


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)


__all__ = [
    "HQSamLinear",
    "add_products",
    "band_size",
    "by_bands",
    "linear",
    "products",
    "runs_eagerly_on_cpu",
    "wants_gradients",
]
