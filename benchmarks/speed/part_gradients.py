"""Part `gradients`: the image encoder with gradients of all its weights, as for training a SAM or adapters."""

import torch
from torch import Tensor, nn

from .contenders import Options, build, named, worst_gradient
from .measuring import alternate, peaks
from .report import Row


def measure(options: Options) -> list[Row]:
    contenders = build(options)
    pixels = torch.randn(1, 3, contenders.side, contenders.side, generator=torch.Generator().manual_seed(1))
    pixels = pixels.to(options.device, options.torch_dtype)
    original, ours, transformers = contenders.original, contenders.ours, contenders.transformers
    original.requires_grad_(True)  # it is built for inference
    tasks = named(
        lambda: _backward(ours, ours.vision_encoder(pixels).last_hidden_state),
        lambda: _backward(original, original.image_encoder(pixels)[0]),
        None
        if transformers is None
        else lambda: _backward(transformers, transformers.vision_encoder(pixels).last_hidden_state),
    )
    for task in tasks.values():
        task()
    agreement = f"gradients differ by {worst_gradient(contenders, original):.1g} of their size"
    times = alternate(tasks, options.rounds, options.clock)
    work = f"gradients of the encoder {options.backbone}, {options.dtype}"
    return [Row(work, times, peaks(tasks, options.device), agreement)]


def _backward(model: nn.Module, embedding: Tensor) -> None:
    """Backpropagate a random weighted sum of the embedding.

    Its norm would not do: the output of a layer norm has a constant norm, so its gradient is almost zero.
    """
    model.zero_grad(set_to_none=True)
    loss_weights = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(5))
    (embedding.float() * loss_weights.to(embedding.device)).sum().backward()
