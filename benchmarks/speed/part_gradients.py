"""The image encoder of one picture and the gradients of all its weights, as training a SAM or adapters takes."""

import torch
from torch import Tensor, nn

from .contenders import Options, build, named, worst_gradient
from .measuring import alternate, peaks
from .report import Row


def measure(options: Options) -> list[Row]:
    contenders = build(options)
    pixels = torch.randn(1, 3, contenders.side, contenders.side, generator=torch.Generator().manual_seed(1))
    pixels = pixels.to(options.device, options.torch_dtype)
    original, ours, theirs = contenders.original, contenders.ours, contenders.transformers
    original.requires_grad_(True)  # it is built for inference
    tasks = named(
        lambda: _learn(ours, ours.vision_encoder(pixels).last_hidden_state),
        lambda: _learn(original, original.image_encoder(pixels)[0]),
        None if theirs is None else lambda: _learn(theirs, theirs.vision_encoder(pixels).last_hidden_state),
    )
    for task in tasks.values():
        task()
    agreement = f"gradients differ by {worst_gradient(contenders, original):.1g} of their size"
    times = alternate(tasks, options.rounds, options.clock)
    work = f"gradients of the encoder {options.backbone}, {options.dtype}"
    return [Row(work, times, peaks(tasks, options.device), agreement)]


def _learn(model: nn.Module, embedding: Tensor) -> None:
    """Gradients for a random pull on every number: a norm of what a layer norm gives would hardly have any."""
    model.zero_grad(set_to_none=True)
    pull = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(5))
    (embedding.float() * pull.to(embedding.device)).sum().backward()
