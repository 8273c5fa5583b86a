"""The format of a checkpoint is detected from its keys and shapes, and its configuration is derived from them."""

import pytest
import torch

from hq_sam_hf import HQSamConfig, HQSamModel
from hq_sam_hf.model.checkpoint_format import derive_config, detect_format, is_hq_key
from hq_sam_hf.model.key_mapping import POSITIONAL_MATRIX_COPY, keys_to_original
from support.oracle import FINE, NARROW, SMALL, TINY, WIDE, config_of, pair

DERIVED = {
    "small": config_of(SMALL),
    "narrow": config_of(NARROW),
    "wide": config_of(WIDE),
    "fine": config_of(FINE),
    "tiny": config_of(TINY),
    **{name: HQSamConfig.from_preset(name) for name in ("vit_b", "vit_l", "vit_h", "vit_tiny")},
}


@pytest.mark.parametrize("name", DERIVED)
@pytest.mark.parametrize("layout", ["original", "transformers"])
def test_the_configuration_is_derived_from_the_shapes(name, layout):
    config = DERIVED[name]
    with torch.device("meta"):
        weights = HQSamModel(config).state_dict()
    if layout == "original":
        keys = keys_to_original(weights)
        weights = {keys[name]: tensor for name, tensor in weights.items()}
    checkpoint = detect_format(weights, "x")
    assert (checkpoint.layout, checkpoint.part, checkpoint.has_hq) == (layout, "model", True)
    derived, expected = derive_config(checkpoint).to_dict(), config.to_dict()
    for section in ("vision_config", "prompt_encoder_config", "mask_decoder_config"):
        for field, value in expected[section].items():
            unused = field in ("num_attention_heads", "window_sizes") and isinstance(value, list)
            got = derived[section][field]
            assert (got[1:] if unused else got) == (value[1:] if unused else value), field


def weights_of(arch=SMALL) -> dict[str, torch.Tensor]:
    return pair(arch)[0].state_dict()


def without_head(weights):
    parts = ("hf_token", "hf_mlp", "compress_vit_feat", "embedding_encoder", "embedding_maskfeature")
    return {key: tensor for key, tensor in weights.items() if not any(part in key for part in parts)}


def decoder(weights):
    return {
        key.removeprefix("mask_decoder."): tensor for key, tensor in weights.items() if key.startswith("mask_decoder.")
    }


def ours(arch=SMALL):
    return pair(arch)[1].state_dict()


DETECTED = {
    "HQ-SAM, ViT 48x4, original layout": lambda: weights_of(),
    "HQ-SAM, TinyViT, original layout": lambda: weights_of(TINY),
    "plain SAM, ViT 48x4, original layout": lambda: without_head(weights_of()),
    "plain SAM, TinyViT, original layout": lambda: without_head(weights_of(TINY)),
    "HQ-SAM mask decoder alone, original layout": lambda: decoder(weights_of()),
    "plain SAM mask decoder alone, original layout": lambda: decoder(without_head(weights_of())),
    "HQ-SAM, ViT 48x4, transformers layout": lambda: {
        **ours(),
        POSITIONAL_MATRIX_COPY: ours()["shared_image_embedding.positional_embedding"],
    },
    "plain SAM, ViT 48x4, transformers layout": lambda: {k: v for k, v in ours().items() if not is_hq_key(k)},
    "HQ-SAM head alone, transformers layout": lambda: {k: v for k, v in ours().items() if is_hq_key(k)},
    "HQ-SAM head alone, original layout": lambda: {
        k: v for k, v in weights_of().items() if k not in without_head(weights_of())
    },
    "HQ-SAM mask decoder alone, transformers layout": lambda: decoder(ours()),
}


@pytest.mark.parametrize("description", DETECTED)
def test_every_format_is_detected(description):
    checkpoint = detect_format(DETECTED[description](), "x")
    assert checkpoint.describe() == description
    own = ours(TINY if "TinyViT" in description else SMALL)
    assert set(checkpoint.weights) <= set(own)
    for name, tensor in checkpoint.weights.items():
        assert torch.equal(tensor, own[name])


def test_the_positional_matrix_is_kept_once_in_float32():
    half = {name: tensor.half() for name, tensor in ours().items()}
    matrix = half.pop("shared_image_embedding.positional_embedding")
    from_copy = detect_format({**half, POSITIONAL_MATRIX_COPY: matrix}, "x")
    assert from_copy.weights["shared_image_embedding.positional_embedding"].dtype == torch.float32
    assert POSITIONAL_MATRIX_COPY not in from_copy.weights
    with pytest.raises(ValueError, match="two different positional matrices"):
        detect_format({**ours(), POSITIONAL_MATRIX_COPY: matrix + 1}, "x")


def test_the_published_encoders_have_their_names():
    for preset, name in (("vit_b", "ViT-B"), ("vit_l", "ViT-L"), ("vit_h", "ViT-H"), ("vit_tiny", "TinyViT")):
        with torch.device("meta"):
            weights = HQSamModel(HQSamConfig.from_preset(preset)).state_dict()
        assert detect_format(weights, "x").encoder == name


def test_a_plain_sam_gets_the_configuration_of_the_hq_sam_built_on_it():
    for arch in (SMALL, TINY):
        config = derive_config(detect_format(without_head(weights_of(arch)), "x"))
        assert config.mask_decoder_config.vit_dim == config_of(arch).mask_decoder_config.vit_dim


def test_an_error_is_raised_if_windowed_and_global_blocks_look_the_same():
    weights = dict(ours())
    weights["vision_encoder.layers.0.attn.rel_pos_h"] = torch.zeros(7, 12)  # a third span, of 4 patches
    with pytest.raises(ValueError, match="cannot tell windowed from global blocks"):
        derive_config(detect_format(weights, "x"))
