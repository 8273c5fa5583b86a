"""The fast path for loading a folder gives the same model as transformers' general path, or returns None."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, PreTrainedModel

from hq_sam_hf import HQSamConfig, HQSamModel
from hq_sam_hf.model import loading, modeling_pretrained
from hq_sam_hf.model.fast_loading import load_safetensors_folder
from support.oracle import SMALL, TINY, config_of, pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "model"
    pair(SMALL)[1].save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def half_folder(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("half") / "model"
    HQSamModel.from_pretrained(folder, dtype=torch.float16).save_pretrained(path)
    config = json.loads((path / "config.json").read_text())
    config.pop("dtype")
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def samhq_folder(tmp_path_factory):
    """Saved by transformers' SamHQModel in bfloat16: with a copy of the positional matrix, both rounded."""
    from transformers import SamHQConfig, SamHQModel

    path = tmp_path_factory.mktemp("samhq") / "model"
    config = config_of(SMALL).to_dict()
    sections = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    theirs = SamHQModel(SamHQConfig(**{section: config[section] for section in sections})).bfloat16()
    theirs.save_pretrained(path)
    weights = load_file(path / "model.safetensors")
    weights["prompt_encoder.shared_embedding.positional_embedding"] = weights[
        "shared_image_embedding.positional_embedding"
    ].clone()
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    return path


@pytest.mark.slow
@pytest.mark.parametrize("which", ["folder", "half_folder", "samhq_folder"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"dtype": "auto"},
        {"dtype": torch.bfloat16},
        {"dtype": "float32", "attn_implementation": "eager"},
        {"device_map": "cpu", "local_files_only": True, "token": None},
        {"config": "given"},
    ],
    ids=str,
)
def test_the_fast_path_gives_the_same_model_as_the_general_path(which, arguments, request, monkeypatch):
    path = request.getfixturevalue(which)
    if "config" in arguments:
        arguments = {"config": HQSamConfig.from_pretrained(path)}
    fast = load_safetensors_folder(HQSamModel, path, **arguments)
    monkeypatch.setattr(loading, "load_safetensors_folder", lambda *args, **kwargs: None)
    general = HQSamModel.from_pretrained(path, **arguments)
    assert fast.state_dict().keys() == general.state_dict().keys()
    for name, tensor in general.state_dict().items():
        assert fast.state_dict()[name].dtype == tensor.dtype, name
        assert torch.equal(fast.state_dict()[name], tensor), name
    assert fast.config.to_dict() == general.config.to_dict()
    assert fast.config._attn_implementation == general.config._attn_implementation
    assert fast.config.name_or_path == general.config.name_or_path
    assert fast.dtype == general.dtype
    assert not fast.training
    trainable = {name for name, parameter in fast.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name, parameter in general.named_parameters() if parameter.requires_grad}
    pixels = torch.randn(1, 3, SMALL.image, SMALL.image)
    with torch.no_grad():
        assert torch.equal(fast(pixels).pred_masks, general(pixels).pred_masks)


def test_light_hq_sam_keeps_its_batch_norm_statistics(tmp_path):
    model = pair(TINY)[1]
    model.save_pretrained(tmp_path)
    fast = load_safetensors_folder(HQSamModel, tmp_path)
    assert all(torch.equal(fast.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_nothing_is_initialised(folder, monkeypatch):
    monkeypatch.setattr(modeling_pretrained, "init_like_pytorch", lambda module: pytest.fail("initialised"))
    before = torch.random.get_rng_state()
    assert load_safetensors_folder(HQSamModel, folder) is not None
    assert torch.equal(torch.random.get_rng_state(), before)


def test_auto_model_takes_the_fast_path_too(folder, monkeypatch):
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", lambda *_, **__: pytest.fail("took the general path"))
    assert type(AutoModel.from_pretrained(folder)) is HQSamModel


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_parameters_are_the_mapped_file_and_survive_its_replacement(tmp_path):
    pair(SMALL)[1].save_pretrained(tmp_path)
    model = HQSamModel.from_pretrained(tmp_path)
    address = model.vision_encoder.layers[0].mlp.lin1.weight.data_ptr()
    with open("/proc/self/maps") as maps:
        ranges = [line.split() for line in maps]
    mapped_files = [
        line[-1] for line in ranges if int(line[0].split("-")[0], 16) <= address < int(line[0].split("-")[1], 16)
    ]
    assert mapped_files == [str(tmp_path / "model.safetensors")]
    model.save_pretrained(tmp_path)  # over the file that is mapped
    again = HQSamModel.from_pretrained(tmp_path)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        model.mask_decoder.hq_token.weight.add_(1)  # a change in memory does not change the file
    third = HQSamModel.from_pretrained(tmp_path)
    assert torch.equal(third.mask_decoder.hq_token.weight, again.mask_decoder.hq_token.weight)


def remove_a_key(path):
    weights = load_file(path / "model.safetensors")
    weights.pop("mask_decoder.hq_token.weight")
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


UNUSUAL = {
    "another folder of the repository": {"subfolder": "x"},
    "another device": {"device_map": "meta"},
    "a map of devices": {"device_map": {"": "cpu"}},
    "a key table": {"key_mapping": {"a": "b"}},
    "PyTorch's format": {"use_safetensors": False},
    "no such dtype": {"dtype": "float33"},
    "no dtype of weights": {"dtype": torch.int8},
    "dtypes by section": {"dtype": {"": "float32"}},
    "an argument of the configuration": {"image_size": 5},
    "an adapter": {"adapter_kwargs": {"revision": "main"}},
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_arguments_take_the_general_path(case, folder):
    assert load_safetensors_folder(HQSamModel, folder, **UNUSUAL[case]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "model.safetensors").rename(path / "other.safetensors"),
        lambda path: (path / "adapter_config.json").write_text("{}"),
        lambda path: (path / "model.safetensors").write_bytes(b"not this"),
        remove_a_key,
        lambda path: HQSamConfig.from_preset("vit_b").save_pretrained(path),
    ],
    ids=["other file name", "adapter", "damaged", "missing key", "other sizes"],
)
def test_unusual_folders_take_the_general_path(change, tmp_path):
    pair(SMALL)[1].save_pretrained(tmp_path)
    change(tmp_path)
    assert load_safetensors_folder(HQSamModel, tmp_path) is None
