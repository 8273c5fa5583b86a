"""Masks without full-size logits: every pixel is the original's, whatever the logits."""

import tracemalloc

import numpy as np
import pytest
import torch

from hq_sam_hf import HQSamImageProcessor
from hq_sam_hf.export.reference import import_original
from hq_sam_hf.inference.stability import stable_masks
from hq_sam_hf.model import mask_resizing
from hq_sam_hf.model.mask_resizing import MaskResizer

# mask side, frame side, size of the picture in the frame, size of the picture
FRAMES = [
    (64, 256, (256, 256), (256, 256)),  # nothing to resize the second time
    (64, 256, (192, 256), (450, 600)),
    (64, 256, (256, 171), (120, 80)),
    (64, 256, (256, 3), (400, 5)),
    (32, 128, (1, 128), (1, 300)),
    (32, 64, (64, 42), (97, 63)),
    (32, 112, (80, 112), (301, 420)),  # a patch of 14: three and a half pixels per cell
    (10, 40, (40, 40), (1, 1)),
]


def originals_logits(logits: torch.Tensor, frame: tuple) -> torch.Tensor:
    _, side, used, size = frame
    sam = type("Sam", (), {"image_encoder": type("Encoder", (), {"img_size": side})})
    return import_original().modeling.Sam.postprocess_masks(sam, logits[:, None], used, size)[:, 0]


def logits_of_every_kind(side: int) -> torch.Tensor:
    """Blobs, noise, ties all over the picture, values that are no numbers, and masks of nothing and everything."""
    generator = torch.Generator().manual_seed(side)
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    kinds = []
    for radius in (0.05, 0.3, 0.8, 2.0):
        dx, dy = (torch.rand(2, generator=generator) - 0.5).tolist()
        blob = radius - ((x - dx) ** 2 + 0.5 * (y - dy) ** 2).sqrt()
        kinds.append(20 * blob + 0.2 * torch.randn(side, side, generator=generator))
    noise = torch.randn(side, side, generator=generator)
    board = ((torch.arange(side)[:, None] + torch.arange(side)) % 2).float()
    kinds += [
        noise,
        1e-30 * noise,
        1e4 * noise,
        noise.sign(),
        2 * board - 1,
        3 * board - 2,
        x,
        x * y,
        x.round(decimals=1),
    ]
    kinds += [torch.zeros(side, side), torch.full((side, side), float("-inf")), noise.abs(), -noise.abs()]
    corner, infinite, nan = torch.full((side, side), -3.0), noise.clone(), noise.clone()
    corner[-1, 0] = 1.0
    infinite[side // 2, 1] = float("-inf")
    nan[1, side // 2] = float("nan")
    return torch.stack([*kinds, corner, infinite, nan])


@pytest.mark.parametrize("frame", FRAMES, ids=str)
@pytest.mark.parametrize("threshold", [0.0, 0.1, -1.0, 3])
def test_masks_are_those_of_the_original(frame, threshold):
    logits = logits_of_every_kind(frame[0])
    expected = (originals_logits(logits, frame) > threshold).numpy()
    actual = MaskResizer(*frame).masks(logits.numpy(), threshold)
    assert actual.dtype == bool
    for i, (mine, theirs) in enumerate(zip(actual, expected)):
        assert np.array_equal(mine, theirs), f"logits {i}: {(mine != theirs).sum()} pixels differ"


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 30))])
def test_masks_of_large_photos_are_those_of_the_original(seed):
    frame = (256, 1024, (768, 1024), (3000, 4000))
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, 4 + seed, 4 + seed, generator=generator)
    logits = 5 * torch.nn.functional.interpolate(coarse, (256, 256), mode="bicubic")[0]
    expected = (originals_logits(logits, frame) > 0).numpy()
    assert np.array_equal(MaskResizer(*frame).masks(logits.numpy(), 0.0), expected)


@pytest.mark.parametrize("frame", [FRAMES[1], FRAMES[2], FRAMES[6]], ids=str)
def test_values_in_doubt_are_settled_in_both_ways(frame, monkeypatch):
    """By the bound of the rounding, or by resizing in full."""
    logits = logits_of_every_kind(frame[0])[:4]
    expected = (originals_logits(logits, frame) > 0).numpy()
    settled, full = [], []
    settle, resize = MaskResizer._settle, mask_resizing.resize_logits
    monkeypatch.setattr(MaskResizer, "_settle", lambda *args: settled.append(len(args[2])) or settle(*args))
    monkeypatch.setattr(mask_resizing, "resize_logits", lambda *args: full.append(1) or resize(*args))
    monkeypatch.setattr(mask_resizing, "_PRODUCT_ERROR", 1e-3)  # as if the products were rough
    assert np.array_equal(MaskResizer(*frame).masks(logits.numpy(), 0.0), expected)
    assert sum(settled) > 10
    assert len(full) < len(settled)
    monkeypatch.setattr(mask_resizing, "_RESIZING_ERROR", 1.0)
    full.clear()
    assert np.array_equal(MaskResizer(*frame).masks(logits.numpy(), 0.0), expected)
    assert full


def test_an_interpolation_that_is_not_known_is_left_to_itself(monkeypatch):
    frame = FRAMES[5]
    logits = logits_of_every_kind(frame[0])
    monkeypatch.setattr(mask_resizing, "_axis", lambda *args: None)
    expected = (originals_logits(logits, frame) > 0).numpy()
    assert np.array_equal(MaskResizer(*frame).masks(logits.numpy(), 0.0), expected)


def test_memory_is_that_of_the_masks():
    """12 megapixels would be 48 MB of float32 per mask, besides the frame."""
    frame = (256, 1024, (768, 1024), (3000, 4000))
    logits = logits_of_every_kind(256)[:4].numpy()
    resizer = MaskResizer(*frame)
    tracemalloc.start()
    masks = resizer.masks(logits, 0.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert masks.nbytes == 48_000_000
    assert peak < masks.nbytes + 6_000_000


@pytest.mark.parametrize("frame", [frame for frame in FRAMES if max(frame[2]) == frame[1]], ids=str)
@pytest.mark.parametrize("offset", [1.0, 0.0, 2.5])
def test_measures_of_automatic_masks_are_those_of_the_original(frame, offset):
    import_original()
    from segment_anything_hq.utils.amg import batched_mask_to_box, calculate_stability_score, mask_to_rle_pytorch

    logits = logits_of_every_kind(frame[0])
    full = originals_logits(logits, frame)
    expected = calculate_stability_score(full, 0.0, offset)
    processor = HQSamImageProcessor(size={"longest_edge": frame[1]}, mask_size={"longest_edge": frame[0]})
    assert processor.reshaped_size(frame[3]) == frame[2]
    kept, scores, windows = stable_masks(logits, processor, frame[3], offset, min_stability=0)
    assert kept == list(range(len(logits)))
    np.testing.assert_array_equal(scores, expected.numpy())
    for window, mask in zip(windows, full > 0):
        assert np.array_equal(window.full(frame[3]), mask.numpy())
        assert window.area == mask.sum()
        assert window.run_lengths(frame[3]) == mask_to_rle_pytorch(mask[None])[0]["counts"]
        if mask.any():
            assert window.box == batched_mask_to_box(mask[None])[0].tolist()
    kept, some, _ = stable_masks(logits, processor, frame[3], offset, min_stability=0.7)
    assert kept == [i for i, score in enumerate(scores) if score >= np.float32(0.7)]
    assert np.array_equal(some, scores[kept])
