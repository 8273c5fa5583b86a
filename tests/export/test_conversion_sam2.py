"""Checkpoints of HQ-SAM 2 are converted between four layouts without loss."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Sam2Model, Sam2VideoConfig, Sam2VideoModel

from hq_sam_hf import HQSamModel
from hq_sam_hf.cli.main import main
from hq_sam_hf.export.conversion import convert
from hq_sam_hf.export.sources import PUBLISHED
from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.model.configuration_hq_sam2 import HQSam2Config
from hq_sam_hf.model.key_mapping import POSITIONAL_MATRIX, POSITIONAL_MATRIX_COPY
from hq_sam_hf.model.key_mapping_sam2 import is_video_key, weights_to_original_sam2
from hq_sam_hf.model.modeling_hq_sam2 import HQSam2Model
from hq_sam_hf.model.processing_hq_sam2 import HQSam2Processor
from support.oracle import SMALL, pair
from support.small_sam2 import add_preset, small_weights


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return add_preset(monkeypatch)


def save_original(name="hq.pt", keep=lambda key: True):
    """A file in the original's layout with the weights that `keep` accepts."""
    weights = {key: tensor for key, tensor in small_weights().items() if keep(key)}
    torch.save({"model": weights_to_original_sam2(weights)}, name)
    return name


def plain(key):
    return not is_hq_key(key)


def assert_equal(weights, expected):
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(weights[name], tensor), name


def test_the_original_becomes_a_folder_and_the_same_file_again():
    lines = []
    convert(save_original(), "ours", report=lines.append)
    assert lines[0] == "recognised hq.pt: HQ-SAM 2, Hiera 16x5, original layout"
    convert("ours", "back.pt")
    assert_equal(torch.load("back.pt")["model"], torch.load("hq.pt")["model"])
    assert_equal(load_file("ours/model.safetensors"), small_weights())  # with those that only video uses
    stored = json.loads(Path("ours/config.json").read_text())
    assert (stored["model_type"], stored["architectures"]) == ("hq_sam2", ["HQSam2Model"])
    HQSam2Processor.from_pretrained("ours")
    assert 'HQSam2Model.from_pretrained("ours")' in Path("ours/README.md").read_text()


def test_file_and_folder_load_to_the_same_model():
    convert(save_original(), "ours")
    images = {name: tensor for name, tensor in small_weights().items() if not is_video_key(name)}
    for source in ("hq.pt", "ours"):
        model, info = HQSam2Model.from_pretrained(source, output_loading_info=True)
        assert_equal(model.state_dict(), images)
        assert not any(info.values())


def test_a_model_for_images_takes_the_weights_for_video_of_its_base():
    HQSam2Model.from_pretrained(save_original()).save_pretrained("images")
    lines = []
    convert("images", "images.pt", report=lines.append)
    assert "for images alone" in lines[0]
    assert lines[-1].startswith("NOTE: it has no weights for video")
    convert("images", "whole.pt", base=save_original("sam2.pt", plain))
    assert_equal(torch.load("whole.pt")["model"], torch.load("hq.pt")["model"])
    with pytest.raises(ValueError, match="a whole model that takes no base"):
        convert("hq.pt", "x", base="sam2.pt")


def assert_completed_by(source):
    """Assert that a plain SAM 2 and the HQ head are the whole model again."""
    HQSam2Model.from_pretrained(save_original()).save_hq_head("head")
    model = HQSam2Model.from_sam_pretrained(source)
    model.load_hq_head("head")
    assert_equal(
        model.state_dict(), {name: tensor for name, tensor in small_weights().items() if not is_video_key(name)}
    )


@pytest.mark.slow
def test_the_layout_sam_is_what_transformers_loads_and_saves():
    convert(save_original(keep=lambda key: not is_video_key(key)), "plain", layout="sam")
    loaded, info = Sam2Model.from_pretrained("plain", output_loading_info=True)
    assert not any(info.values())
    expected = {name: tensor for name, tensor in small_weights().items() if plain(name) and not is_video_key(name)}
    assert_equal(loaded.state_dict(), {**expected, POSITIONAL_MATRIX_COPY: expected[POSITIONAL_MATRIX]})
    assert_completed_by("plain")
    loaded.save_pretrained("saved")
    assert_completed_by("saved")


@pytest.mark.slow
def test_the_layout_sam_keeps_the_weights_for_video():
    convert(save_original(), "plain", layout="sam")
    stored = load_file("plain/model.safetensors")
    matrix_copy = {POSITIONAL_MATRIX_COPY: small_weights()[POSITIONAL_MATRIX]}
    expected = {name: tensor for name, tensor in small_weights().items() if plain(name)}
    assert_equal(stored, {**expected, **matrix_copy})
    assert_completed_by("plain")
    convert("head/hq_head.safetensors", "whole.pt", base="plain")
    assert_equal(torch.load("whole.pt")["model"], torch.load("hq.pt")["model"])


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_the_layout_sam_of_a_published_size_is_what_transformers_loads_and_saves(version):
    config = HQSam2Config.from_preset("hiera_tiny")
    torch.manual_seed(0)
    video_config = Sam2VideoConfig(
        vision_config=config.transformers_sections()["vision_config"],
        enable_occlusion_spatial_embedding=version == "2.1",
        enable_temporal_pos_encoding_for_object_pointers=version == "2.1",
    )
    weights = {**Sam2VideoModel(video_config).state_dict(), **HQSam2Model(config).state_dict()}
    weights.pop(POSITIONAL_MATRIX_COPY)
    if version == "2.0":  # transformers keeps the unused layer
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("temporal_positional")}
    torch.save({"model": weights_to_original_sam2(weights)}, "whole.pt")
    convert("whole.pt", "plain", layout="sam")
    loaded, info = Sam2VideoModel.from_pretrained("plain", output_loading_info=True)
    assert not any(info.values())
    loaded.save_pretrained("saved")
    HQSam2Model.from_pretrained("whole.pt").save_hq_head("head")
    for source in ("plain", "saved"):
        convert("head/hq_head.safetensors", "again.pt", base=source, overwrite=True)
        assert_equal(torch.load("again.pt")["model"], torch.load("whole.pt")["model"])


def test_the_processor_of_the_layout_sam_stretches_to_the_model_input_size():
    convert(save_original(), "plain", layout="sam")
    images, video = (
        json.loads(Path(f"plain/{kind}processor_config.json").read_text()) for kind in ("pre", "video_pre")
    )
    for settings in (images, video):
        assert settings["size"] == {"height": 1024, "width": 1024}
        assert settings["image_mean"] == [0.485, 0.456, 0.406]
    assert images["mask_size"] == {"height": 256, "width": 256}


def test_sam_2_0_has_no_weights_for_absent_objects():
    without = ("occlusion_spatial_embedding_parameter", "temporal_positional_encoding_projection_layer.")
    convert(save_original(keep=lambda key: not key.startswith(without)), "plain", layout="sam")
    config = Sam2VideoConfig.from_pretrained("plain")
    assert not config.enable_occlusion_spatial_embedding
    assert not config.enable_temporal_pos_encoding_for_object_pointers


def test_a_fresh_head_starts_at_random_or_as_sams_mask():
    path = save_original(keep=plain)
    torch.manual_seed(0)
    random = HQSam2Model.from_sam_pretrained(path)
    torch.manual_seed(0)
    again = HQSam2Model.from_sam_pretrained(path)
    assert_equal(again.state_dict(), random.state_dict())
    assert random.mask_decoder.hq_token.weight.std() > 0.5
    as_sam = HQSam2Model.from_sam_pretrained(path, hq_init="sam")
    assert torch.equal(as_sam.mask_decoder.hq_token.weight, as_sam.mask_decoder.mask_tokens.weight[:1])


def test_an_encoder_that_is_not_published_loads_with_its_configuration(tmp_path, monkeypatch):
    folder, path = tmp_path, save_original()
    convert(path, "ours")
    monkeypatch.undo()  # PRESET is published no more
    with pytest.raises(ValueError, match="Pass the `config` of this model to HQSam2Model.from_pretrained"):
        HQSam2Model.from_pretrained(folder / path)
    config = HQSam2Config.from_pretrained(folder / "ours")
    model = HQSam2Model.from_pretrained(folder / path, config=config)
    assert_equal(model.state_dict(), HQSam2Model.from_pretrained(folder / "ours").state_dict())


def test_dtype_and_shards():
    convert(save_original(), "half", dtype="bfloat16", max_shard_size="500KB")
    assert len(list(Path("half").glob("*.safetensors"))) > 1
    model = HQSam2Model.from_pretrained("half")
    assert model.dtype == torch.bfloat16
    assert model.shared_image_embedding.positional_embedding.dtype == torch.float32


REFUSED = {
    "HQ-SAM 2 as HQ-SAM": (
        lambda: HQSamModel.from_pretrained(save_original()),
        "'hq.pt' is a HQ-SAM 2, .*another model than HQSamModel. Load it with HQSam2Model.from_pretrained",
    ),
    "SAM 2 as SAM": (
        lambda: HQSamModel.from_sam_pretrained(save_original(keep=plain)),
        "Load it with HQSam2Model.from_sam_pretrained",
    ),
    "a folder of HQ-SAM 2 as HQ-SAM": (
        lambda: (convert(save_original(), "two"), HQSamModel.from_pretrained("two")),
        "'two' is of the model_type 'hq_sam2', another model than HQSamModel. Load it with HQSam2Model",
    ),
    "a folder of SAM 2 as SAM": (
        lambda: (convert(save_original(), "two", layout="sam"), HQSamModel.from_sam_pretrained("two")),
        "'two' is of the model_type 'sam2_video', another model than HQSamModel. Load it with HQSam2Model",
    ),
    "a folder of HQ-SAM as HQ-SAM 2": (
        lambda: (pair(SMALL)[1].save_pretrained("one"), HQSam2Model.from_pretrained("one")),
        "'one' is of the model_type 'hq_sam', another model than HQSam2Model. Load it with HQSamModel",
    ),
    "plain SAM 2 as HQ-SAM 2": (
        lambda: HQSam2Model.from_pretrained(save_original(keep=plain)),
        "without an HQ head. .* start a fresh head on it with HQSam2Model.from_sam_pretrained",
    ),
    "HQ-SAM 2 as SAM 2": (
        lambda: HQSam2Model.from_sam_pretrained(save_original()),
        "already has an HQ head. Load it with HQSam2Model.from_pretrained",
    ),
    "a head alone": (
        lambda: HQSam2Model.from_pretrained(save_original(keep=is_hq_key)),
        "a HQ-SAM 2 head alone, .*with HQSam2Model.from_sam_pretrained, then call load_hq_head",
    ),
    "the head of HQ-SAM in HQ-SAM 2": (
        lambda: (
            pair(SMALL)[1].save_hq_head("head"),
            HQSam2Model.from_pretrained(save_original()).load_hq_head("head"),
        ),
        "is a HQ-SAM head alone, .*Load it into an HQSamModel; this model is an HQSam2Model",
    ),
    "a plain SAM 2 to convert": (lambda: convert(save_original(keep=plain), "x"), "there is no HQ head to convert"),
    "a base of the other kind": (
        lambda: (
            torch.save(pair(SMALL)[0].state_dict(), "sam.pth"),
            convert(save_original(keep=is_hq_key), "x", base="sam.pth"),
        ),
        "and the base is a HQ-SAM, ViT 48x4",
    ),
    "transformers' SamHQModel": (
        lambda: convert(save_original(), "x", layout="transformers"),
        "transformers has no HQ-SAM 2. Choose the layout hq_sam or original, or the layout sam",
    ),
    "verifying": (lambda: convert(save_original(), "x", verify=True), "Only HQ-SAM can be verified"),
    "a missing weight": (
        lambda: HQSam2Model.from_pretrained(save_original(keep=lambda key: "conv_s0.bias" not in key)),
        r"do not fit an HQSam2Model: 1 missing \(mask_decoder.conv_s0.bias\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_file_with_the_name_of_a_published_one_is_told_apart(capsys):
    save_original("sam2.1_hq_hiera_large.pt")
    assert main(["convert", "sam2.1_hq_hiera_large.pt", "-o", "ours"]) == 0
    assert (
        "a published file named sam2.1_hq_hiera_large.pt, but this one has another sha256" in capsys.readouterr().err
    )
    assert [name for name in PUBLISHED.values() if "hiera" in name] == [
        "sam2.1_hq_hiera_large.pt",
        *(f"sam2.1_hiera_{size}.pt" for size in ("tiny", "small", "base_plus", "large")),
    ]
