"""Presets, checks of fields, and conversion to and from config.json and transformers."""

import json

import pytest
from transformers import SamConfig, SamHQConfig

from hq_sam_hf import HQSamConfig, HQSamModel


@pytest.mark.parametrize(
    ("preset", "dim", "depth", "heads", "global_blocks"),
    [
        ("vit_b", 768, 12, 12, [2, 5, 8, 11]),
        ("vit_l", 1024, 24, 16, [5, 11, 17, 23]),
        ("vit_h", 1280, 32, 16, [7, 15, 23, 31]),
    ],
)
def test_presets_are_the_published_backbones(preset, dim, depth, heads, global_blocks):
    vision = HQSamConfig.from_preset(preset).vision_config
    assert (vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads) == (dim, depth, heads)
    assert list(vision.global_attn_indexes) == global_blocks
    assert HQSamConfig.from_preset(preset).mask_decoder_config.vit_dim == dim


@pytest.mark.parametrize(
    ("preset", "parameters"), [("vit_b", 94_806_576), ("vit_l", 313_676_080), ("vit_h", 642_686_000)]
)
def test_presets_have_the_original_number_of_parameters(preset, parameters):
    import torch

    with torch.device("meta"):
        model = HQSamModel(HQSamConfig.from_preset(preset))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_an_unknown_preset_raises_an_error_with_the_known_ones():
    with pytest.raises(ValueError, match="vit_b, vit_l, vit_h.*'vit_g'"):
        HQSamConfig.from_preset("vit_g")


def test_a_config_saved_and_loaded_is_the_same(tmp_path):
    config = HQSamConfig.from_preset("vit_l", image_size=512)
    config.save_pretrained(tmp_path)
    again = HQSamConfig.from_pretrained(tmp_path)
    assert again.vision_config.hidden_size == 1024
    assert again.mask_size == 128
    assert again.to_dict() == config.to_dict()


INVALID = [
    ("vision_config", "hidden_size", -5),
    ("vision_config", "hidden_size", "wide"),
    ("vision_config", "num_attention_heads", 7),
    ("vision_config", "num_attention_heads", 0),
    ("vision_config", "num_hidden_layers", 2.5),
    ("vision_config", "image_size", 1000),
    ("vision_config", "patch_size", 0),
    ("vision_config", "window_size", 0),
    ("vision_config", "global_attn_indexes", []),
    ("vision_config", "global_attn_indexes", [5, 2]),
    ("vision_config", "global_attn_indexes", [2, 99]),
    ("vision_config", "global_attn_indexes", 3),
    ("vision_config", "num_pos_feats", 100),
    ("vision_config", "hidden_act", "golu"),
    ("vision_config", "layer_norm_eps", -1.0),
    ("vision_config", "attention_dropout", 1.5),
    ("vision_config", "mlp_ratio", 0),
    ("prompt_encoder_config", "image_size", 512),
    ("prompt_encoder_config", "patch_size", 8),
    ("prompt_encoder_config", "hidden_size", 128),
    ("prompt_encoder_config", "mask_input_channels", 6),
    ("prompt_encoder_config", "num_point_embeddings", 3),
    ("mask_decoder_config", "hidden_size", 250),
    ("mask_decoder_config", "num_attention_heads", 5),
    ("mask_decoder_config", "vit_dim", 1024),
    ("mask_decoder_config", "num_multimask_outputs", 0),
    ("mask_decoder_config", "iou_head_depth", 1),
    ("mask_decoder_config", "mlp_dim", None),
]


@pytest.mark.parametrize(("section", "field", "value"), INVALID)
def test_an_invalid_field_is_named_in_the_error(tmp_path, section, field, value):
    HQSamConfig().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    stored[section][field] = value
    path.write_text(json.dumps(stored))
    with pytest.raises(Exception, match=field):
        HQSamConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("config_class", [SamConfig, SamHQConfig])
def test_transformers_accepts_the_sections_even_with_an_integer_for_a_float(config_class):
    config = HQSamConfig(vision_config={"mlp_ratio": 2})
    plain = config_class is SamConfig
    theirs = config_class(**config.transformers_sections(plain))
    assert hasattr(theirs.mask_decoder_config, "vit_dim") != plain
    assert theirs.vision_config.mlp_ratio == 2.0
    assert theirs.vision_config.mlp_dim == config.vision_config.mlp_dim == 1536
    assert theirs.mask_decoder_config.layer_norm_eps == 1e-5
