"""The image processor: pixel values, sizes, mask prompts, and masks resized to the images."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hq_sam_hf import HQSamImageProcessor


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)


def test_an_array_with_4_dimensions_is_a_batch_of_images(rgb):
    processor = HQSamImageProcessor(size={"longest_edge": 64}, mask_size={"longest_edge": 16})
    batch = np.stack([rgb, rgb[::-1]])
    separate = processor.preprocess([rgb, rgb[::-1]])
    assert torch.equal(processor.preprocess(batch)["pixel_values"], separate["pixel_values"])


@pytest.mark.parametrize(
    ("size", "reshaped"),
    [((333, 517), (660, 1024)), ((1, 1), (1024, 1024)), ((1, 3000), (1, 1024)), ((3000, 4000), (768, 1024))],
)
def test_the_longest_side_fills_the_model_input_and_the_rest_is_zero(size, reshaped):
    features = HQSamImageProcessor().preprocess(np.zeros((*size, 3), dtype=np.uint8))
    assert tuple(features["reshaped_input_sizes"][0].tolist()) == reshaped
    assert tuple(features["original_sizes"][0].tolist()) == size
    padding = features["pixel_values"][0].clone()
    assert (padding[:, : reshaped[0], : reshaped[1]] < -1).all()  # black is far below the mean
    padding[:, : reshaped[0], : reshaped[1]] = 0
    assert (padding == 0).all()


def test_saved_settings_load_the_same(tmp_path):
    processor = HQSamImageProcessor(
        size={"longest_edge": 512}, mask_size={"longest_edge": 128}, image_mean=[0.1, 0.2, 0.3]
    )
    processor.save_pretrained(tmp_path)
    again = HQSamImageProcessor.from_pretrained(tmp_path)
    assert (again.size, again.mask_size) == ({"longest_edge": 512}, {"longest_edge": 128})
    assert (again.image_mean, again.image_std) == ([0.1, 0.2, 0.3], [0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": {"height": 1024}}, "`size` must be"),
        ({"size": {"longest_edge": "1024"}}, "`size` must be"),
        ({"mask_size": {"longest_edge": 0}}, "`mask_size` must be"),
        ({"image_mean": [0.5]}, "`image_mean` must be three numbers"),
        ({"image_std": [0.5, 0.0, 0.5]}, "`image_std` must be positive"),
    ],
)
def test_errors_about_settings_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        HQSamImageProcessor(**arguments)


def original_post_processing(masks, original_size, reshaped_size, input_size):
    """The original's formula, for all masks at once."""
    masks = F.interpolate(masks, (input_size, input_size), mode="bilinear", align_corners=False)
    masks = masks[..., : reshaped_size[0], : reshaped_size[1]]
    return F.interpolate(masks, original_size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("size", [(50, 70), (333, 517), (700, 300), (3, 64)])
def test_post_processed_masks_equal_the_originals_formula(size):
    processor = HQSamImageProcessor(size={"longest_edge": 128}, mask_size={"longest_edge": 32})
    reshaped = processor.reshaped_size(size)
    logits = torch.randn(2, 5, 3, 32, 32)
    expected = original_post_processing(logits.flatten(0, 1), size, reshaped, 128).unflatten(0, (2, 5))
    sizes, reshaped_sizes = [size, size], torch.tensor([reshaped, reshaped])
    for ours, theirs in zip(processor.post_process_masks(logits, sizes, reshaped_sizes), expected):
        assert ours.dtype == torch.bool
        assert torch.equal(ours, theirs > 0)
    for ours, theirs in zip(processor.post_process_masks(logits, sizes, reshaped_sizes, binarize=False), expected):
        # With one thread and several channels, PyTorch rounds differently.
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    shifted = processor.post_process_masks(logits, sizes, reshaped_sizes, mask_threshold=0.5)
    assert torch.equal(shifted[0], expected[0] > 0.5)


def test_many_masks_are_made_without_full_size_floats(monkeypatch):
    processor = HQSamImageProcessor(size={"longest_edge": 256}, mask_size={"longest_edge": 64})
    largest = 0
    interpolate = F.interpolate

    def watch(*args, **kwargs):
        nonlocal largest
        result = interpolate(*args, **kwargs)
        largest = max(largest, result.numel())
        return result

    monkeypatch.setattr("torch.nn.functional.interpolate", watch)
    masks = processor.post_process_masks(torch.randn(1, 200, 3, 64, 64), [(200, 300)], [(171, 256)])
    assert masks[0].shape == (200, 3, 200, 300)
    assert largest == 256 * 256


def test_half_precision_logits_are_resized_in_float32():
    processor = HQSamImageProcessor(size={"longest_edge": 128}, mask_size={"longest_edge": 32})
    logits = torch.randn(1, 1, 1, 32, 32).bfloat16()
    ours = processor.post_process_masks(logits, [(90, 128)], [(90, 128)])
    theirs = processor.post_process_masks(logits.float(), [(90, 128)], [(90, 128)])
    assert torch.equal(ours[0], theirs[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2, 1, 1, 32, 32), [(9, 9)], [(9, 9)]), "must have one entry per image"),
        ((torch.zeros(1, 1, 1, 32, 32), [(9, 9, 3)], [(9, 9)]), "`original_sizes` must be pairs"),
        ((torch.zeros(1, 1, 1, 32, 32), [(9, 9)], [(0, 9)]), "`reshaped_input_sizes` must be pairs"),
        ((torch.zeros(1, 1, 1, 32, 32).bool(), [(9, 9)], [(9, 9)]), "`masks` must be float tensors"),
    ],
)
def test_errors_of_post_process_masks_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        HQSamImageProcessor().post_process_masks(*arguments)


def test_a_bool_mask_becomes_logits_averaged_over_each_cell():
    processor = HQSamImageProcessor(size={"longest_edge": 16}, mask_size={"longest_edge": 4})
    mask = np.zeros((8, 16), dtype=bool)
    mask[:, :6] = True  # one and a half cells of 4 x 4 pixels
    logits = processor.mask_to_logits(mask)
    assert logits.tolist() == [[10, 0, -10, -10], [10, 0, -10, -10], [-10] * 4, [-10] * 4]


def test_an_empty_list_of_images_raises():
    with pytest.raises(ValueError, match="`images` must contain at least one image"):
        HQSamImageProcessor().preprocess([])


def test_an_unknown_layout_or_argument_raises(rgb):
    with pytest.raises(ValueError, match="`input_data_format` must be"):
        HQSamImageProcessor().preprocess(rgb, input_data_format="HWC")
    with pytest.raises(TypeError, match="does not accept `do_resize`"):
        HQSamImageProcessor().preprocess(rgb, do_resize=False)
