"""The format of SAM 2 and HQ-SAM 2 checkpoints is detected from their keys, and their keys are mapped both ways."""

import pytest
import torch
from transformers import Sam2VideoConfig, Sam2VideoModel

from hq_sam_hf.model.checkpoint_format import derive_config, detect_format, is_hq_key
from hq_sam_hf.model.configuration_hq_sam2 import HQSam2Config
from hq_sam_hf.model.key_mapping import POSITIONAL_MATRIX_COPY
from hq_sam_hf.model.key_mapping_sam2 import is_video_key, weights_from_original_sam2, weights_to_original_sam2
from hq_sam_hf.model.presets import SAM2_PRESETS

# Shapes of the HQ head, as published for Hiera-L.
HEAD = {
    "hf_token.weight": (1, 256),
    "hf_mlp.layers.0.weight": (256, 256),
    "hf_mlp.layers.0.bias": (256,),
    "hf_mlp.layers.1.weight": (256, 256),
    "hf_mlp.layers.1.bias": (256,),
    "hf_mlp.layers.2.weight": (32, 256),
    "hf_mlp.layers.2.bias": (32,),
    "embedding_maskfeature.0.weight": (64, 32, 3, 3),
    "embedding_maskfeature.0.bias": (64,),
    "embedding_maskfeature.1.weight": (64,),
    "embedding_maskfeature.1.bias": (64,),
    "embedding_maskfeature.3.weight": (32, 64, 3, 3),
    "embedding_maskfeature.3.bias": (32,),
}
# Keys of the published files of SAM 2.1 and HQ-SAM 2 for each size.
KEYS = {"hiera_tiny": (471, 484), "hiera_small": (519, 532), "hiera_base_plus": (615, 628), "hiera_large": (903, 916)}
NAMES = {
    "hiera_tiny": "Hiera-T",
    "hiera_small": "Hiera-S",
    "hiera_base_plus": "Hiera-B+",
    "hiera_large": "Hiera-L",
}


def transformers_weights(preset: str) -> dict[str, torch.Tensor]:
    """The weights of transformers' Sam2VideoModel, without values and without the copy of the positional matrix."""
    config = Sam2VideoConfig(vision_config=HQSam2Config.from_preset(preset).transformers_sections()["vision_config"])
    with torch.device("meta"):
        weights = Sam2VideoModel(config).state_dict()
    return {name: tensor for name, tensor in weights.items() if name != POSITIONAL_MATRIX_COPY}


def original_head() -> dict[str, torch.Tensor]:
    return {f"sam_mask_decoder.{key}": torch.zeros(shape) for key, shape in HEAD.items()}


def test_the_hq_head_has_13_weights_with_177152_values():
    head = original_head()
    assert (len(head), sum(tensor.numel() for tensor in head.values())) == (13, 177_152)


@pytest.mark.parametrize("preset", SAM2_PRESETS)
def test_every_weight_of_a_published_size_has_one_key_in_each_layout(preset):
    theirs = {name: torch.empty(tensor.shape) for name, tensor in transformers_weights(preset).items()}
    original = weights_to_original_sam2(theirs)
    whole = {**original, **original_head()}
    assert (len(original), len(whole)) == KEYS[preset]
    ours = weights_from_original_sam2(original)
    assert {name: tensor.shape for name, tensor in ours.items()} == {k: v.shape for k, v in theirs.items()}
    named = weights_from_original_sam2(whole)
    assert {name for name in named if is_hq_key(name)} == named.keys() - ours.keys()
    assert weights_to_original_sam2(named).keys() == whole.keys()


def test_the_four_point_embeddings_are_rows_of_one_weight():
    keys = [f"sam_prompt_encoder.point_embeddings.{i}.weight" for i in range(4)]
    weights = {key: torch.full((1, 3), float(i)) for i, key in enumerate(keys)}
    ours = weights_from_original_sam2(weights)
    assert ours["prompt_encoder.point_embed.weight"].tolist() == [[0.0] * 3, [1.0] * 3, [2.0] * 3, [3.0] * 3]
    back = weights_to_original_sam2(ours)
    assert all(torch.equal(back[key], weights[key]) for key in keys)
    del weights[keys[1]]
    with pytest.raises(ValueError, match=r"point_embeddings\.N\.weight must be numbered from 0, got .*embeddings\.3"):
        weights_from_original_sam2(weights)


def test_equal_keys_with_different_meanings_are_not_confused():
    """`layers.0` of a three-layer MLP is its first layer in the original and its middle one here."""
    keys = [f"sam_mask_decoder.hf_mlp.layers.{i}.weight" for i in range(3)]
    weights = {key: torch.tensor([float(i)]) for i, key in enumerate(keys)}
    ours = {name: tensor.item() for name, tensor in weights_from_original_sam2(weights).items()}
    prefix = "mask_decoder.hq_mask_mlp"
    assert ours == {f"{prefix}.proj_in.weight": 0, f"{prefix}.layers.0.weight": 1, f"{prefix}.proj_out.weight": 2}


@pytest.mark.parametrize("preset", SAM2_PRESETS)
def test_the_published_sizes_are_recognised(preset):
    checkpoint = detect_format(transformers_weights(preset), "x")
    assert checkpoint.describe() == f"plain SAM 2, {NAMES[preset]}, transformers layout"
    assert derive_config(checkpoint).to_dict() == HQSam2Config.from_preset(preset).to_dict()
    images = {name: tensor for name, tensor in checkpoint.weights.items() if not is_video_key(name)}
    assert "for images alone" in detect_format(images, "x").describe()


def tiny() -> dict[str, torch.Tensor]:
    return {name: torch.zeros(tensor.shape) for name, tensor in transformers_weights("hiera_tiny").items()}


def stripped(weights, prefix):
    return {key.removeprefix(prefix): tensor for key, tensor in weights.items() if key.startswith(prefix)}


DETECTED = {
    "HQ-SAM 2, Hiera-T, original layout": lambda: {**weights_to_original_sam2(tiny()), **original_head()},
    "plain SAM 2, Hiera-T, original layout": lambda: weights_to_original_sam2(tiny()),
    "HQ-SAM 2, Hiera-T, transformers layout": lambda: {**tiny(), **weights_from_original_sam2(original_head())},
    "HQ-SAM 2 mask decoder alone, original layout": lambda: stripped(
        {**weights_to_original_sam2(tiny()), **original_head()}, "sam_mask_decoder."
    ),
    "plain SAM 2 mask decoder alone, transformers layout": lambda: stripped(tiny(), "mask_decoder."),
    "HQ-SAM 2 head alone, original layout": original_head,
    "HQ-SAM 2 head alone, transformers layout": lambda: weights_from_original_sam2(original_head()),
}


@pytest.mark.parametrize("description", DETECTED)
def test_every_format_is_detected(description):
    weights = DETECTED[description]()
    checkpoint = detect_format(weights, "x")
    assert checkpoint.describe() == description
    assert checkpoint.weights.keys() <= {**tiny(), **weights_from_original_sam2(original_head())}.keys()
    assert checkpoint.has_hq == description.startswith("HQ")


def test_a_size_that_is_not_published_needs_a_configuration():
    weights = tiny()
    del weights["vision_encoder.backbone.blocks.10.proj.weight"]  # where the last stage starts
    checkpoint = detect_format(weights, "x.pt")
    with pytest.raises(ValueError, match=r"'x.pt': no published SAM 2 .* width 96 .*\[1, 2, 9\].* Pass the `config`"):
        derive_config(checkpoint)


def test_an_unknown_key_is_named_in_the_error():
    weights = {**weights_to_original_sam2(tiny()), "sam_mask_decoder.compress_vit_feat.0.weight": torch.zeros(2)}
    with pytest.raises(ValueError, match="'x.pt': 'sam_mask_decoder.compress_vit_feat.0.weight' is not a key of"):
        detect_format(weights, "x.pt")
