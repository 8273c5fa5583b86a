"""Part `encoder`: the image encoder on one image."""

import torch

from .contenders import Options, build, named
from .measuring import alternate, matmul_rate, peaks
from .report import Row


@torch.no_grad()
def measure(options: Options) -> list[Row]:
    contenders = build(options)
    pixels = torch.randn(1, 3, contenders.side, contenders.side, generator=torch.Generator().manual_seed(1))
    exact = build(Options(backbone=options.backbone)) if options.dtype != "float32" else contenders
    expected = exact.original.to(options.device).image_encoder(pixels.to(options.device))[0].float().cpu()
    del exact
    pixels = pixels.to(options.device, options.torch_dtype)
    original, ours = contenders.original.image_encoder, contenders.ours.vision_encoder
    transformers = None if contenders.transformers is None else contenders.transformers.vision_encoder
    tasks = named(
        lambda: ours(pixels).last_hidden_state,
        lambda: original(pixels)[0],
        None if transformers is None else lambda: transformers(pixels).last_hidden_state,
    )
    errors = {name: (tasks[name]().float().cpu() - expected) for name in ("ours", "original")}
    if options.dtype == "float32":
        agreement = f"{errors['ours'].abs().max():.1g} where values reach {expected.abs().max():.2g}"
    else:
        relative = {name: error.norm() / expected.norm() for name, error in errors.items()}
        agreement = f"off float32 by {relative['ours']:.2%}, the original by {relative['original']:.2%}"
    times = alternate(tasks, options.rounds, options.clock)
    work = f"encoder {options.backbone}, {options.dtype}"
    rows = [Row(work, times, peaks(tasks, options.device), agreement)]
    operations = _operations(options, contenders.side)
    if operations:
        rate = matmul_rate(options.torch_dtype, options.device, options.clock)
        above = times["ours"].median / (operations / rate)
        floor = f"{operations / 1e12:.2f} TFLOP at {rate / 1e9:.0f} GFLOP/s take {operations / rate:.3g} s"
        rows.append(Row(f"its matrix products alone: {floor}; ours takes {above:.2f} times that"))
    return rows


def _operations(options: Options, side: int) -> int:
    """Floating-point operations of the original's encoder for one image, counted on the meta device."""
    from torch.utils.flop_counter import FlopCounterMode

    from hq_sam_hf.export.reference import build_original

    from .contenders import configuration

    if options.backbone == "vit_tiny":
        return 0  # its convolutions are not matrix products
    with torch.device("meta"):
        encoder = build_original(configuration(options.backbone)).image_encoder
    with FlopCounterMode(display=False) as counter:
        encoder(torch.empty(1, 3, side, side, device="meta"))
    return counter.get_total_flops()
