"""Prompts decoded in parts give the same masks, in bounded memory."""

import pytest
import torch

from hq_sam_hf import HQSamConfig, HQSamImageFeatures, HQSamModel
from hq_sam_hf.model import modeling_kernels, modeling_prompt_parts
from support.decoder_prompts import KINDS, OPTIONS, predict, wide_model


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_parts_and_bands_of_any_size_give_the_same_masks(kind, options, monkeypatch):
    expected = predict(wide_model(), kind, **options)
    for part_bytes, band_numbers in ((1, 3000), (3 * 2**20, 1), (2**40, 2**40)):
        monkeypatch.setattr(modeling_prompt_parts, "PART_BYTES_ON_CPU", part_bytes)
        monkeypatch.setattr(modeling_kernels, "BAND_NUMBERS", band_numbers)
        actual = predict(wide_model(), kind, **options)
        torch.testing.assert_close(actual.pred_masks, expected.pred_masks, atol=2e-6, rtol=0)
        torch.testing.assert_close(actual.iou_scores, expected.iou_scores, atol=1e-6, rtol=0)


def test_a_part_is_whole_images_or_some_prompts_of_one_image():
    parts = []

    def decode(images, prompts, count):
        parts.append((images.start, images.stop, prompts.start, prompts.stop))
        shape = (images.stop - images.start, count)
        number = 10 * torch.arange(images.start, images.stop)[:, None] + torch.arange(prompts.start, prompts.stop)
        return number[..., None, None, None].expand(*shape, 1, 2, 2).float(), number[..., None].float()

    for at_once, expected in (
        (2, [(0, 1, 0, 2), (0, 1, 2, 3), (1, 2, 0, 2), (1, 2, 2, 3), (2, 3, 0, 2), (2, 3, 2, 3)]),
        (7, [(0, 2, 0, 3), (2, 3, 0, 3)]),
        (9, [(0, 3, 0, 3)]),
    ):
        parts.clear()
        masks, scores = modeling_prompt_parts.decode_in_parts(decode, 3, 3, at_once)
        assert parts == expected
        assert scores[..., 0].tolist() == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]
        assert torch.equal(masks, scores[..., None, None].expand(3, 3, 1, 2, 2))


@pytest.mark.parametrize(("grid", "fast", "plain"), [(64, 1, 1), (32, 6, 1), (16, 24, 7), (8, 98, 29)])
def test_the_memory_budget_gives_the_number_of_prompts(grid, fast, plain):
    """32 MiB over numbers of 4 bytes per cell: 4 * 256 + 2 * 7 * 8 + 12 * 16 = 1,328; plain 16 * 256 + ... = 4,400."""
    config = type(wide_model().config.mask_decoder_config)()
    embeddings = torch.empty(1, 256, grid, grid)
    assert modeling_prompt_parts.prompts_at_once(config, embeddings, 7, fast_path=True) == fast
    assert modeling_prompt_parts.prompts_at_once(config, embeddings, 7, fast_path=False) == plain


def test_memory_does_not_grow_with_the_number_of_prompts():
    """On a grid of 16 x 16, 64 prompts at once would hold 85 MB, at 1,328 numbers of 4 bytes per cell."""
    config = HQSamConfig(
        vision_config={
            "hidden_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "image_size": 256,
            "global_attn_indexes": [0],
        },
        prompt_encoder_config={"image_size": 256},
        mask_decoder_config={"vit_dim": 48},
    )
    model = HQSamModel(config).eval()
    features = HQSamImageFeatures(image_embeddings=torch.randn(1, 256, 16, 16), hq_features=torch.randn(1, 32, 64, 64))
    with torch.no_grad(), torch.profiler.profile(profile_memory=True) as profile:
        model(image_features=features, input_boxes=torch.rand(1, 64, 4) * 256, multimask_output=False)
    held = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    result = 64 * 64 * 64 * 4
    assert result < peak < result + 1.2 * modeling_prompt_parts.PART_BYTES_ON_CPU
