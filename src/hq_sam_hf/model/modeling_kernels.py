"""What is done another way on a CPU, with the same result: matrix products by oneDNN, and work in bands.

A band is a part of the positions whose temporaries, about 2 MiB each, stay in a cache from kernel to kernel. Larger
ones would also be given back to the system and mapped anew each time, which costs more than the arithmetic on them.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Numbers in a temporary of a band.
BAND_NUMBERS = 2**19

# PyTorch gives a 1 x 1 convolution to oneDNN whatever the number of threads if the batch is at least this large.
_BATCH_FOR_ONEDNN = 16
# Multiplications from which that pays in bfloat16, whose F.linear is oneDNN's too.
_LARGE = 2**27


def runs_eagerly_on_cpu(tensor: Tensor) -> bool:
    """Whether what is tuned for a CPU may run: not on other devices or while a graph is traced."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def wants_gradients(*tensors: Tensor) -> bool:
    """Whether what is computed from the tensors is part of an autograd graph."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def are_untouched(*layers: nn.Module) -> bool:
    """Whether the weights of layers may be used without calling them.

    Not where a layer was replaced or hooked, as by adapters, quantization, or accelerate's offloading.
    """
    return all(
        type(layer) in (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
        and not layer._forward_pre_hooks
        and not layer._forward_hooks
        and "forward" not in layer.__dict__
        for layer in layers
    )


def band_size(tensor: Tensor, length: int, numbers: int) -> int:
    """How many of `length` positions, of so many numbers each, to treat at once: all, but for inference on a CPU."""
    if not runs_eagerly_on_cpu(tensor) or torch.is_grad_enabled():
        return length
    return min(length, max(1, BAND_NUMBERS // numbers))


def by_bands(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """function(*tensors), which maps (..., L, C) to (..., L, D) position by position, in bands of L."""
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
    """As F.linear on positions (..., C) with weight (D, C) and bias (D,); gives (..., D).

    In float32, and in bfloat16 where there is much to do, on a CPU the positions become a batch of 16 pictures, one
    pixel high, of C channels, for a 1 x 1 convolution by oneDNN: up to twice as fast as MKL's product of float32, a
    tenth faster than a product of bfloat16 and a bias, rounded no worse. A number of positions that 16 does not divide
    is left to F.linear.
    """
    number = positions.shape[:-1].numel() if runs_eagerly_on_cpu(positions) else 0
    pays = positions.dtype == torch.float32 or (
        positions.dtype == torch.bfloat16 and number * weight.shape.numel() >= _LARGE
    )
    if not pays or number == 0 or number % _BATCH_FOR_ONEDNN or not _has_onednn():
        return F.linear(positions, weight, bias)
    pictures = positions.reshape(_BATCH_FOR_ONEDNN, 1, -1, positions.shape[-1]).permute(0, 3, 1, 2)
    result = F.conv2d(pictures, weight[:, :, None, None], bias).permute(0, 2, 3, 1)
    # The convolution keeps the layout of its input, which reshaping may leave as it is; F.linear never does.
    return result.reshape(*positions.shape[:-1], weight.shape[0]).contiguous()


def products(positions: Tensor, vectors: Tensor) -> Tensor:
    """Of positions (N, L, C) with each of vectors (N, K, C): (N, L, K).

    Single ones of attention have few vectors or few channels; in bfloat16 `linear` would lose by them.
    """
    if len(positions) == 1 and positions.dtype == torch.float32 and not torch.compiler.is_compiling():
        return linear(positions, vectors[0])
    return positions @ vectors.mT


def add_products(totals: Tensor, positions: Tensor, vectors: Tensor) -> None:
    """Add `products` of positions and vectors to totals (N, L, K), in place. For inference: no gradients."""
    if len(positions) == 1 and positions.dtype == torch.float32:
        totals += products(positions, vectors)
    else:
        totals.baddbmm_(positions, vectors.mT)


def apply_linear(layer: nn.Module, positions: Tensor) -> Tensor:
    """A layer on positions (..., C), by `linear` where its weights may be used."""
    if are_untouched(layer):
        return linear(positions, layer.weight, layer.bias)  # type: ignore[arg-type]
    return layer(positions)


def norm_channels(positions: Tensor, norm: nn.Module) -> Tensor:
    """Apply a norm that is for channels first to positions (N, h, w, C)."""
    return norm(positions.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class HQSamLinear(nn.Linear):
    """nn.Linear by `linear`."""

    def forward(self, positions: Tensor) -> Tensor:
        return linear(positions, self.weight, self.bias)


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)


__all__ = [
    "HQSamLinear",
    "add_products",
    "apply_linear",
    "are_untouched",
    "band_size",
    "by_bands",
    "linear",
    "norm_channels",
    "products",
    "runs_eagerly_on_cpu",
    "wants_gradients",
]
