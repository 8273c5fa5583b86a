"""Masks without full-size logits: every pixel equals the original's, whatever the logits."""

import tracemalloc

import numpy as np
import pytest
import torch

from hq_sam_hf import HQSamImageProcessor
from hq_sam_hf.export.reference import import_original
from hq_sam_hf.inference.stability import stable_masks
from hq_sam_hf.model import mask_resizing
from hq_sam_hf.model.mask_resizing import MaskResizer

# The arguments of MaskResizer: mask size, model input size, size of the resized image, original size
SIZES = [
    (64, 256, (256, 256), (256, 256)),  # the second interpolation changes nothing
    (64, 256, (192, 256), (450, 600)),
    (64, 256, (256, 171), (120, 80)),
    (64, 256, (256, 3), (400, 5)),
    (32, 128, (1, 128), (1, 300)),
    (32, 64, (64, 42), (97, 63)),
    (32, 112, (80, 112), (301, 420)),  # a patch size of 14: three and a half pixels per logit
    (10, 40, (40, 40), (1, 1)),
]


def original_logits(logits: torch.Tensor, sizes: tuple) -> torch.Tensor:
    """Full-size logits (N, height, width) by the original's code."""
    _, input_size, reshaped_size, original_size = sizes
    sam = type("Sam", (), {"image_encoder": type("Encoder", (), {"img_size": input_size})})
    return import_original().modeling.Sam.postprocess_masks(sam, logits[:, None], reshaped_size, original_size)[:, 0]


def logits_of_every_kind(side: int) -> torch.Tensor:
    """Blobs, noise, many values equal to the threshold, NaN, infinity, and masks of nothing and of everything."""
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


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("threshold", [0.0, 0.1, -1.0, 3])
def test_masks_equal_the_original(sizes, threshold):
    logits = logits_of_every_kind(sizes[0])
    expected = (original_logits(logits, sizes) > threshold).numpy()
    masks = MaskResizer(*sizes).masks(logits.numpy(), threshold)
    assert masks.dtype == bool
    for i, (ours, theirs) in enumerate(zip(masks, expected)):
        assert np.array_equal(ours, theirs), f"logits {i}: {(ours != theirs).sum()} pixels differ"


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 30))])
def test_masks_of_large_images_equal_the_original(seed):
    sizes = (256, 1024, (768, 1024), (3000, 4000))
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, 4 + seed, 4 + seed, generator=generator)
    logits = 5 * torch.nn.functional.interpolate(coarse, (256, 256), mode="bicubic")[0]
    expected = (original_logits(logits, sizes) > 0).numpy()
    assert np.array_equal(MaskResizer(*sizes).masks(logits.numpy(), 0.0), expected)


@pytest.mark.parametrize("sizes", [SIZES[1], SIZES[2], SIZES[6]], ids=str)
def test_pixels_close_to_the_threshold_are_decided_in_float64_or_by_interpolation(sizes, monkeypatch):
    logits = logits_of_every_kind(sizes[0])[:4]
    expected = (original_logits(logits, sizes) > 0).numpy()
    recomputed, interpolated = [], []
    recompute, resize_logits = MaskResizer._recompute, mask_resizing.resize_logits
    monkeypatch.setattr(MaskResizer, "_recompute", lambda *args: recomputed.append(len(args[2])) or recompute(*args))
    monkeypatch.setattr(mask_resizing, "resize_logits", lambda *args: interpolated.append(1) or resize_logits(*args))
    monkeypatch.setattr(mask_resizing, "_PRODUCT_ERROR", 1e-3)  # as if the products were imprecise
    assert np.array_equal(MaskResizer(*sizes).masks(logits.numpy(), 0.0), expected)
    assert sum(recomputed) > 10
    assert len(interpolated) < len(recomputed)
    monkeypatch.setattr(mask_resizing, "_INTERPOLATION_ERROR", 1.0)
    interpolated.clear()
    assert np.array_equal(MaskResizer(*sizes).masks(logits.numpy(), 0.0), expected)
    assert interpolated


def test_unknown_interpolation_weights_lead_to_plain_interpolation(monkeypatch):
    sizes = SIZES[5]
    logits = logits_of_every_kind(sizes[0])
    monkeypatch.setattr(mask_resizing, "_axis_resizing", lambda *args: None)
    expected = (original_logits(logits, sizes) > 0).numpy()
    assert np.array_equal(MaskResizer(*sizes).masks(logits.numpy(), 0.0), expected)


def test_memory_is_little_more_than_the_masks_take():
    """Logits of 12 megapixels would take 48 MB of float32 per mask."""
    logits = logits_of_every_kind(256)[:4].numpy()
    resizer = MaskResizer(256, 1024, (768, 1024), (3000, 4000))
    tracemalloc.start()
    masks = resizer.masks(logits, 0.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert masks.nbytes == 48_000_000
    assert peak < masks.nbytes + 6_000_000


@pytest.mark.parametrize("sizes", [sizes for sizes in SIZES if max(sizes[2]) == sizes[1]], ids=str)
@pytest.mark.parametrize("offset", [1.0, 0.0, 2.5])
def test_stability_scores_areas_boxes_and_rles_equal_the_original(sizes, offset):
    import_original()
    from segment_anything_hq.utils.amg import batched_mask_to_box, calculate_stability_score, mask_to_rle_pytorch

    mask_size, input_size, reshaped_size, original_size = sizes
    logits = logits_of_every_kind(mask_size)
    full = original_logits(logits, sizes)
    expected = calculate_stability_score(full, 0.0, offset)
    processor = HQSamImageProcessor(size={"longest_edge": input_size}, mask_size={"longest_edge": mask_size})
    assert processor.reshaped_size(original_size) == reshaped_size
    kept, scores, masks = stable_masks(logits, processor, original_size, offset, min_stability=0)
    assert kept == list(range(len(logits)))
    np.testing.assert_array_equal(scores, expected.numpy())
    for ours, theirs in zip(masks, full > 0):
        assert np.array_equal(ours.full(original_size), theirs.numpy())
        assert ours.area == theirs.sum()
        assert ours.run_lengths(original_size) == mask_to_rle_pytorch(theirs[None])[0]["counts"]
        if theirs.any():
            assert ours.box == batched_mask_to_box(theirs[None])[0].tolist()
    kept, kept_scores, _ = stable_masks(logits, processor, original_size, offset, min_stability=0.7)
    assert kept == [i for i, score in enumerate(scores) if score >= np.float32(0.7)]
    assert np.array_equal(kept_scores, scores[kept])
