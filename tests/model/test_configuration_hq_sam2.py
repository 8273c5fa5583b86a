"""HQ-SAM 2: presets, checks of fields, and conversion to and from config.json and transformers."""

import json

import pytest
from transformers import Sam2Config, Sam2VideoConfig

from hq_sam_hf.model.configuration_hq_sam2 import HQSam2Config

PRESETS = ["hiera_tiny", "hiera_small", "hiera_base_plus", "hiera_large"]


@pytest.mark.parametrize(
    ("preset", "dim", "stages", "global_blocks", "windows", "background"),
    [
        ("hiera_tiny", 96, [1, 2, 7, 2], [5, 7, 9], [8, 4, 14, 7], [7, 7]),
        ("hiera_small", 96, [1, 2, 11, 2], [7, 10, 13], [8, 4, 14, 7], [7, 7]),
        ("hiera_base_plus", 112, [2, 3, 16, 3], [12, 16, 20], [8, 4, 14, 7], [14, 14]),
        ("hiera_large", 144, [2, 6, 36, 4], [23, 33, 43], [8, 4, 16, 8], [7, 7]),
    ],
)
def test_presets_are_the_published_backbones(preset, dim, stages, global_blocks, windows, background):
    backbone = HQSam2Config.from_preset(preset).vision_config.backbone_config
    assert backbone.hidden_size == dim
    assert backbone.embed_dim_per_stage == [dim, 2 * dim, 4 * dim, 8 * dim]
    assert (backbone.blocks_per_stage, backbone.global_attention_blocks) == (stages, global_blocks)
    assert backbone.window_size_per_stage == windows
    assert backbone.window_positional_embedding_background_size == background


def test_an_unknown_preset_raises_an_error_with_the_known_ones():
    with pytest.raises(ValueError, match="hiera_tiny, hiera_small, hiera_base_plus, hiera_large.*'hiera_huge'"):
        HQSam2Config.from_preset("hiera_huge")


def test_a_config_saved_and_loaded_is_the_same(tmp_path):
    config = HQSam2Config.from_preset("hiera_base_plus", image_size=512)
    config.save_pretrained(tmp_path)
    again = HQSam2Config.from_pretrained(tmp_path)
    assert again.vision_config.image_size == 512
    assert again.mask_size == 128
    assert again.to_dict() == config.to_dict()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_config_is_the_same_by_way_of_transformers(preset, tmp_path):
    config = HQSam2Config.from_preset(preset, image_size=512)
    Sam2Config(**config.transformers_sections()).save_pretrained(tmp_path)
    again, expected = HQSam2Config.from_pretrained(tmp_path).to_dict(), config.to_dict()
    for section in config.sub_configs:
        assert again[section] == expected[section]


def test_the_config_of_a_video_model_gives_its_image_part(tmp_path):
    Sam2VideoConfig().save_pretrained(tmp_path)
    config = HQSam2Config.from_pretrained(tmp_path)
    assert config.vision_config.to_dict() == HQSam2Config().vision_config.to_dict()
    assert not hasattr(config, "memory_attention_num_layers")


INVALID = [
    ("backbone_config", "hidden_size", -5),
    ("backbone_config", "hidden_size", 100),
    ("backbone_config", "image_size", 1000),
    ("backbone_config", "image_size", [1024, 512]),
    ("backbone_config", "patch_stride", [8, 8]),
    ("backbone_config", "query_stride", 3),
    ("backbone_config", "num_query_pool_stages", 2),
    ("backbone_config", "blocks_per_stage", [1, 2, 7]),
    ("backbone_config", "blocks_per_stage", [1, 2, 7, 0]),
    ("backbone_config", "embed_dim_per_stage", [96, 192, 384, -1]),
    ("backbone_config", "num_attention_heads_per_stage", [1, 5, 4, 8]),
    ("backbone_config", "window_size_per_stage", [8, 3, 14, 7]),
    ("backbone_config", "global_attention_blocks", [9, 5]),
    ("backbone_config", "global_attention_blocks", [5, 12]),
    ("backbone_config", "global_attention_blocks", [3]),
    ("backbone_config", "window_positional_embedding_background_size", [7]),
    ("backbone_config", "mlp_ratio", 0.0),
    ("backbone_config", "hidden_act", "golu"),
    ("vision_config", "fpn_hidden_size", 0),
    ("vision_config", "fpn_top_down_levels", [4]),
    ("vision_config", "num_feature_levels", 4),
    ("vision_config", "backbone_config", "hiera"),
    ("prompt_encoder_config", "image_size", 512),
    ("prompt_encoder_config", "hidden_size", 128),
    ("mask_decoder_config", "num_attention_heads", 5),
    ("mask_decoder_config", "num_multimask_outputs", 0),
    ("mask_decoder_config", "dynamic_multimask_stability_delta", -0.1),
    ("mask_decoder_config", "dynamic_multimask_stability_thresh", 1.5),
]


@pytest.mark.parametrize(("section", "field", "value"), INVALID)
def test_a_wrong_field_in_config_json_raises_an_error_with_its_name(section, field, value, tmp_path):
    HQSam2Config().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    stored = json.loads(file.read_text())
    part = stored["vision_config"]["backbone_config"] if section == "backbone_config" else stored[section]
    part[field] = value
    file.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=field) as error:
        HQSam2Config.from_pretrained(tmp_path)
    assert "must be" in str(error.value)
    assert "Correct it" in str(error.value)
