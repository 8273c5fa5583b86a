"""The key table covers every weight of every published backbone, in both directions."""

import pytest
import torch

from hq_sam_hf import HQSamConfig, HQSamModel
from hq_sam_hf.export.reference import build_original as build_from_config
from hq_sam_hf.model.key_mapping import keys_from_original, keys_to_original
from support.oracle import SMALL, TINY, build_original, config_of


def state_dicts(config: HQSamConfig) -> tuple[dict, dict]:
    """The state dicts of the original and of this package, on the meta device where possible."""
    with torch.device("meta"):
        ours = HQSamModel(config).state_dict()
    # The original's TinyViT reads values of tensors while it is built.
    is_tiny = config.vision_config.model_type == "hq_sam_tiny_vit"
    with torch.device("cpu" if is_tiny else "meta"):
        return build_from_config(config).state_dict(), ours


@pytest.mark.parametrize(("preset", "keys"), [("vit_b", 339), ("vit_l", 507), ("vit_h", 619), ("vit_tiny", 464)])
def test_every_weight_of_a_published_backbone_has_one_key_in_each_layout(preset, keys):
    theirs, ours = state_dicts(HQSamConfig.from_preset(preset))
    names = keys_from_original(theirs)
    assert len(theirs) == len(set(names.values())) == keys
    assert {names[key]: tensor.shape for key, tensor in theirs.items()} == {
        name: tensor.shape for name, tensor in ours.items()
    }
    assert keys_to_original(ours) == {name: key for key, name in names.items()}


@pytest.mark.parametrize("arch", [SMALL, TINY], ids=["small", "tiny"])
def test_keys_to_the_original_and_back(arch):
    weights = build_original(arch).state_dict()
    names = keys_from_original(weights)
    back = keys_to_original(names.values())
    assert [back[names[key]] for key in weights] == list(weights)


def test_equal_keys_with_different_meanings_are_not_confused():
    """`layers.0` of a three-layer MLP is its first layer in the original and its middle one here."""
    original = build_original(SMALL).state_dict()
    names = keys_from_original(original)
    same_name = [key for key in original if key in set(names.values()) and names[key] != key]
    assert len(same_name) == 10  # weight and bias of SAM's four hypernetworks and of the IoU head
    for key in same_name:
        assert key.split(".")[-2] == "0"
        assert names[key].split(".")[-2] == "proj_in"


def test_mlps_of_any_depth_are_mapped():
    prefix = "mask_decoder.iou_prediction_head"
    keys = [f"{prefix}.layers.{i}.weight" for i in range(5)]
    names = [f"{prefix}.{layer}.weight" for layer in ("proj_in", "layers.0", "layers.1", "layers.2", "proj_out")]
    assert list(keys_from_original(keys).values()) == names
    assert list(keys_to_original(names).values()) == keys


@pytest.mark.parametrize("key", ["image_encoder.blocks.0.attention.qkv.weight", "mask_decoder.hq_token.weight", "x"])
def test_an_unknown_key_is_named_in_the_error(key):
    with pytest.raises(ValueError, match=f"'{key}' is not a key of the original"):
        keys_from_original([key])
    with pytest.raises(ValueError, match="'vision_encoder.extra' has no counterpart"):
        keys_to_original(["vision_encoder.extra"])


def test_the_tiny_configuration_is_the_published_one():
    vision = HQSamConfig.from_preset("vit_tiny").vision_config
    assert list(vision.embed_dims) == [64, 128, 160, 320]
    assert config_of(TINY).mask_decoder_config.vit_dim == 24
    with torch.device("meta"):
        model = HQSamModel(HQSamConfig.from_preset("vit_tiny"))
    assert sum(parameter.numel() for parameter in model.parameters()) == 10_578_604
