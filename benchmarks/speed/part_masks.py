"""Part `masks`: from low-resolution logits to masks at the image size, and to stability, boxes and run lengths."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hq_sam_hf import HQSamImageProcessor
from hq_sam_hf.export.reference import import_original
from hq_sam_hf.inference.stability import stable_masks

from .contenders import Options, named
from .measuring import alternate, peaks
from .report import Row

MODEL_INPUT_SIZE = 1024
KINDS = {"small": (15, 45), "large": (60, 90)}  # radii in logits pixels: about 5 and 25 % of the area


def blob_logits(number: int, kind: str) -> Tensor:
    """Logits (number, 256, 256) of lobed blobs with noise, similar to those of objects in an image."""
    generator = torch.Generator().manual_seed(7)
    low, high = KINDS[kind]
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    blobs = []
    for _ in range(number):
        centre_y, centre_x, share = torch.rand(3, generator=generator).tolist()
        dy, dx = y - 40 - 150 * centre_y, x - 40 - 150 * centre_x
        angle = torch.atan2(dy, dx)
        radius = (low + (high - low) * share) * (1 + 0.2 * torch.sin(5 * angle) + 0.1 * torch.sin(9 * angle + 1))
        noise = 0.2 * torch.randn(256, 256, generator=generator)
        blobs.append(0.5 * (radius - (dx**2 + dy**2).sqrt()) + noise)
    return torch.stack(blobs)


def postprocess_by_original(logits: Tensor, reshaped_size: Sequence[int], size: Sequence[int]) -> Tensor:
    """Logits at the image size, by the original's `Sam.postprocess_masks`."""
    sam = type("Sam", (), {"image_encoder": type("Encoder", (), {"img_size": MODEL_INPUT_SIZE})})
    return import_original().modeling.Sam.postprocess_masks(sam, logits, reshaped_size, size)


@torch.no_grad()
def measure(options: Options) -> list[Row]:
    processor, rows = HQSamImageProcessor(), []
    for size, many in (((1024, 1024), 192), ((3000, 4000), options.large_masks)):
        for number in (1, many):
            for kind in KINDS:
                rows.append(_post_process(processor, blob_logits(number, kind)[:, None], size, kind, options))
    rows += [_records(processor, blob_logits(64, kind), kind, options) for kind in KINDS]
    return rows


def _post_process(
    processor: HQSamImageProcessor, logits: Tensor, size: tuple[int, int], kind: str, options: Options
) -> Row:
    reshaped_size = processor.reshaped_size(size)
    from transformers import SamImageProcessor

    transformers = SamImageProcessor()
    tasks = named(
        lambda: processor.post_process_masks([logits], [size], [reshaped_size])[0],
        lambda: postprocess_by_original(logits, reshaped_size, size) > 0,
        lambda: transformers.post_process_masks([logits], [size], [reshaped_size])[0],
    )
    rounds = 4 * options.rounds if len(logits) == 1 else options.rounds
    differing = int((tasks["ours"]() != tasks["original"]()).sum())
    work = f"{len(logits)} {kind} masks to {size[0]} x {size[1]}"
    return Row(work, alternate(tasks, rounds, options.clock), peaks(tasks, "cpu"), f"{differing} pixels differ")


def _records(processor: HQSamImageProcessor, logits: Tensor, kind: str, options: Options) -> Row:
    """Stability score, box and run lengths of 64 masks, as the last step of automatic masks computes them."""
    import_original()
    from segment_anything_hq.utils import amg

    size = (1024, 1024)

    def our_records() -> list:
        _, scores, masks = stable_masks(logits, processor, size, 1.0, 0)
        return [(score, mask.box, mask.run_lengths(size)) for score, mask in zip(scores, masks)]

    def original_records() -> list:
        full = postprocess_by_original(logits[:, None], size, size)[:, 0]
        scores, masks = amg.calculate_stability_score(full, 0.0, 1.0), full > 0
        boxes, lengths = amg.batched_mask_to_box(masks), amg.mask_to_rle_pytorch(masks)
        return [(s.numpy(), b, r["counts"]) for s, b, r in zip(scores, boxes.tolist(), lengths)]

    tasks = named(our_records, original_records)
    pairs = zip(our_records(), original_records())
    equal = all(np.float32(a[0]) == b[0] and a[1:] == b[1:] for a, b in pairs)
    work = f"stability, box and run lengths of 64 {kind} masks, 1024 x 1024"
    return Row(
        work,
        alternate(tasks, options.rounds, options.clock),
        peaks(tasks, "cpu"),
        "equal" if equal else "NOT EQUAL",
    )
