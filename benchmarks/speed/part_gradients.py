"""The image encoder of one picture and the gradients of all its weights, as training a SAM or adapters takes."""

import torch
from torch import Tensor, nn

from hq_sam_hf.checkpoints import keys_from_original

from .contenders import Contenders, Options, build, named
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
    agreement = f"gradients differ by {_difference(contenders, tasks):.1g} of their size"
    times = alternate(tasks, options.rounds, options.clock)
    work = f"gradients of the encoder {options.backbone}, {options.dtype}"
    return [Row(work, times, peaks(tasks, options.device), agreement)]


def _learn(model: nn.Module, embedding: Tensor) -> None:
    model.zero_grad(set_to_none=True)
    embedding.float().square().mean().backward()


def _difference(contenders: Contenders, tasks: dict) -> float:
    """The 2-norm of the difference between the original's gradients and ours over that of the original's."""
    tasks["ours"]()
    tasks["original"]()
    found = {name: weight.grad for name, weight in contenders.ours.named_parameters() if weight.grad is not None}
    expected = {name: weight.grad for name, weight in contenders.original.named_parameters()}
    expected = {name: gradient for name, gradient in expected.items() if gradient is not None}
    names = keys_from_original(contenders.original.state_dict())
    off = sum(float((found[names[name]] - gradient).float().square().sum()) for name, gradient in expected.items())
    return (off / sum(float(gradient.float().square().sum()) for gradient in expected.values())) ** 0.5
