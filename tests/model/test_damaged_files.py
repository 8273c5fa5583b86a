"""Damage inside weight files, and files of a model folder that lead elsewhere, are reported before they are used."""

import json
import random
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from transformers.integrations import hub_kernels

from hq_sam_hf import HQSamConfig, HQSamModel
from hq_sam_hf.cli import main
from hq_sam_hf.model.weights import read_shards, read_weights
from support.oracle import SMALL, pair

WEIGHTS = {"a": torch.arange(30_000.0), "b": torch.ones(7), "c": torch.zeros(2, 3)}


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 16
    path.write_bytes(data)


def weights_or_message(path):
    try:
        return read_weights(path)
    except ValueError as error:
        return str(error)


def records(path):
    """(name, first byte, bytes) of every record of a .pth."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for record in archive.infolist():
            file.seek(record.header_offset + 26)
            name_length, extra_length = (int.from_bytes(file.read(2), "little") for _ in range(2))
            yield record.filename, record.header_offset + 30 + name_length + extra_length, record.file_size


def test_a_hole_in_a_pth_is_found(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(WEIGHTS, path)
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(5000) + data[middle + 5000 :])
    with pytest.raises(ValueError, match=r"damaged or cut short \(its record 'weights/data/0' has other content"):
        read_weights(path)


def test_a_flipped_byte_in_any_record_of_a_pth_is_found(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(WEIGHTS, path)
    whole = path.read_bytes()
    for name, start, size in list(records(path)):
        path.write_bytes(whole)
        flip(path, start + size // 2)
        with pytest.raises(ValueError, match=f"damaged or cut short .its record '{name}' has other content"):
            read_weights(path)


def test_a_flipped_byte_anywhere_in_a_pth_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(WEIGHTS, path)
    whole, generator = path.read_bytes(), random.Random(0)
    directory = len(whole) - 1200  # and the ends of headers
    for position in (*(generator.randrange(len(whole)) for _ in range(40)), *range(directory, len(whole), 17)):
        path.write_bytes(whole)
        flip(path, position)
        found = weights_or_message(path)
        if isinstance(found, str):
            assert any(word in found for word in ("damaged", "compressed", "not tensors")), found
        else:
            assert found.keys() == WEIGHTS.keys()
            assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items()), position


def test_files_without_checksums_are_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(WEIGHTS, tmp_path / "weights.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_weights(tmp_path / "weights.pth")["a"], WEIGHTS["a"])


def test_a_compressed_pth_is_refused_because_it_cannot_be_mapped(tmp_path):
    path, packed = tmp_path / "weights.pth", tmp_path / "packed.pth"
    torch.save(WEIGHTS, path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for record in whole.infolist():
            archive.writestr(record.filename, whole.read(record))
    with pytest.raises(ValueError, match=r"is a compressed archive, .* save it again with torch\.save"):
        read_weights(packed)
    torch.save(torch.load(packed), packed)  # as the message says
    assert torch.equal(read_weights(packed)["a"], WEIGHTS["a"])


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0"], ids=["shorter", "longer"])
@pytest.mark.parametrize("kind", ["old pth", "safetensors"])
def test_the_length_of_files_without_checksums_is_checked(kind, change, tmp_path):
    path = tmp_path / "weights"
    if kind == "safetensors":
        save_file(WEIGHTS, path)
    else:
        torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_weights(path)["a"], WEIGHTS["a"])
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=r"damaged.*Download it again"):
        read_weights(path)


def test_a_flipped_byte_in_an_old_pth_gives_values_or_an_error_in_words(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.ones(4), "b": torch.ones(2, 2)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for position in range(0, len(whole), 5):
        path.write_bytes(whole)
        flip(path, position)
        found = weights_or_message(path)
        assert not isinstance(found, str) or "\n" not in found


@pytest.fixture(scope="module")
def model():
    return pair(SMALL)[1]


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "model", max_shard_size="300KB")
    return tmp_path / "model"


def edit_index(folder, edit):
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(edit(index) or index))


def first(index):
    return next(iter(index["weight_map"]))


INDICES = {
    "a shard above the folder": (lambda i: i["weight_map"].update({first(i): "../other.safetensors"}), "leads out of"),
    "a shard at an absolute path": (lambda i: i["weight_map"].update({first(i): "/etc/passwd"}), "leads out of"),
    "a shard that leaves and returns": (
        lambda i: i["weight_map"].update({first(i): "x/../../other.safetensors"}),
        "leads out of",
    ),
    "a shard that is a number": (lambda i: i["weight_map"].update({first(i): 5}), "must be the name of a file, got 5"),
    "a shard that is a list": (lambda i: i["weight_map"].update({first(i): []}), "must be the name of a file"),
    "a shard without a name": (lambda i: i["weight_map"].update({first(i): ""}), "must be the name of a file"),
    "a shard that is missing": (lambda i: i["weight_map"].update({first(i): "none.safetensors"}), "lacks the shard"),
    "a shard that is the folder": (lambda i: i["weight_map"].update({first(i): "."}), "lacks the shard"),
    "no weight_map": (lambda i: i.pop("weight_map") and None, "has no `weight_map`"),
    "a list as weight_map": (lambda i: i.update(weight_map=[1]), "has no `weight_map`"),
    "an empty weight_map": (lambda i: i.update(weight_map={}), "has no `weight_map`"),
    "no metadata": (lambda i: i.pop("metadata") and None, "lacks the object `metadata`"),
    "a list": (lambda i: [i], "has no `weight_map`"),
}


@pytest.mark.parametrize("case", INDICES)
def test_an_index_that_is_wrong_is_refused_in_one_sentence(case, folder, tmp_path, capsys):
    edit, message = INDICES[case]
    save_file({"mask_decoder.hq_token.weight": torch.ones(1, 64)}, tmp_path / "other.safetensors")
    edit_index(folder, edit)
    for call in (HQSamModel.from_pretrained, read_weights):
        with pytest.raises(ValueError, match=message) as caught:
            call(folder)
        assert "\n" not in str(caught.value)
    assert main(["convert", str(folder), str(tmp_path / "out")]) == 1
    assert message.replace("\\", "") in capsys.readouterr().err


def test_an_index_nested_without_end_is_refused(folder):
    (folder / "model.safetensors.index.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is not an index of shards"):
        read_shards(folder / "model.safetensors.index.json")


def test_an_index_that_is_not_used_does_not_matter(folder, model):
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    edit_index(folder, lambda index: index["weight_map"].update(x="../other.safetensors"))
    HQSamModel.from_pretrained(folder)


def test_weights_that_the_index_does_not_name_are_loaded(folder, model):
    edit_index(folder, lambda index: index["weight_map"].pop(first(index)) and None)
    loaded = HQSamModel.from_pretrained(folder).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
def test_a_hole_in_a_bin_of_a_folder_is_found(sharded, folder, model):
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    name = "pytorch_model-00001-of-00001.bin" if sharded else "pytorch_model.bin"
    torch.save(model.state_dict(), folder / name)
    if sharded:
        index = {"metadata": {}, "weight_map": dict.fromkeys(model.state_dict(), name)}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    HQSamModel.from_pretrained(folder)
    middle = max(records(folder / name), key=lambda record: record[2])
    flip(folder / name, middle[1] + middle[2] // 2)
    with pytest.raises(ValueError, match="damaged or cut short"):
        HQSamModel.from_pretrained(folder)


CONFIGS = {
    "a list": (lambda c: [1], "JSON object"),
    "a number": (lambda c: 5, "not a JSON object"),
    "a dtype that is none": (lambda c: c.update(dtype="nonsense"), "`dtype` must be the name of a dtype"),
    "a dtype of a section": (lambda c: c["vision_config"].update(dtype=5), "`vision_config.dtype` must be"),
    "a quantization that is a number": (lambda c: c.update(quantization_config=5), "`quantization_config` must be"),
    "weights elsewhere": (
        lambda c: c.update(transformers_weights="../other.safetensors"),
        "`transformers_weights` must be the name of a file",
    ),
    "a section that is a number": (lambda c: c.update(mask_decoder_config=5), "`mask_decoder_config` must be"),
    "a field of the wrong type": (lambda c: c["vision_config"].update(hidden_size="48"), "expected int, got str"),
    "a kernel of the Hub": (lambda c: c.update(attn_implementation="evil/kernel"), "'sdpa' or 'eager'"),
    "a kernel by its other name": (lambda c: c.update(_attn_implementation="evil/kernel:f"), "'sdpa' or 'eager'"),
    "a kernel behind a wrapper": (lambda c: c.update(attn_implementation="paged|evil/kernel"), "'sdpa' or 'eager'"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_is_wrong_is_refused_in_one_sentence(case, folder, monkeypatch):
    monkeypatch.setattr(hub_kernels, "get_kernel", lambda *_, **__: pytest.fail("a kernel was loaded"), raising=False)
    edit, message = CONFIGS[case]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(edit(config) or config))
    with pytest.raises(ValueError, match=message) as caught:
        HQSamModel.from_pretrained(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("section", ["vision_config", "mask_decoder_config"])
def test_a_kernel_in_a_section_of_the_config_is_not_loaded(section, folder, monkeypatch):
    monkeypatch.setattr(hub_kernels, "get_kernel", lambda *_, **__: pytest.fail("a kernel was loaded"), raising=False)
    monkeypatch.setattr(hub_kernels, "is_kernels_available", lambda *_: True)
    config = json.loads((folder / "config.json").read_text())
    config[section]["attn_implementation"] = "evil/kernel"
    (folder / "config.json").write_text(json.dumps(config))
    assert HQSamModel.from_pretrained(folder).config.vision_config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    "implementation", ["evil/kernel", "flash_attention_2", "paged|eager", {"vision_config": "x/y"}]
)
def test_an_attention_that_the_model_lacks_is_refused_in_calls_too(implementation, folder, tmp_path):
    with pytest.raises(ValueError, match=r"`attn_implementation` must be 'sdpa' or 'eager'"):
        HQSamModel.from_pretrained(folder, attn_implementation=implementation)
    config = HQSamConfig.from_pretrained(folder)
    config._attn_implementation = implementation
    if isinstance(implementation, str):
        with pytest.raises(ValueError, match="'sdpa' or 'eager'"):
            HQSamModel(config)
