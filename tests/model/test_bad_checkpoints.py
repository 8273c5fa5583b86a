"""Files and folders that are not an HQ-SAM: one clear error each, no code is run, nothing is written."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hq_sam_hf import HQSamModel
from hq_sam_hf.cli import main
from hq_sam_hf.export.conversion import convert
from support.oracle import SMALL, WIDE, build_original, pair


def weights():
    return dict(pair(SMALL)[0].state_dict())


class RunsCode:
    """Unpickling an instance would write a file."""

    def __reduce__(self):
        return os.system, ("touch code_was_run",)


def write(path, content):
    path.write_bytes(content)


def as_bytes(state, **options):
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


def changed(key, value):
    return {**weights(), key: value}


def without(key):
    return {name: tensor for name, tensor in weights().items() if name != key}


QKV = "image_encoder.blocks.1.attn.qkv.weight"
LORA = "base_model.model.vision_encoder.layers.0.attn.qkv.lora_A.weight"
FILES = {
    "empty": (lambda p: write(p, b""), "is empty"),
    "text": (lambda p: write(p, b"version https://git-lfs.github.com/spec/v1\noid"), "Git LFS pointer"),
    "web page": (lambda p: write(p, b"<!DOCTYPE html><html><body>Sign in</body></html>"), "neither a PyTorch nor"),
    "image": (lambda p: write(p, b"\x89PNG\r\n\x1a\n" + bytes(1000)), "neither a PyTorch nor a safetensors file"),
    "random bytes": (lambda p: write(p, np.random.default_rng(0).bytes(5000)), "neither a PyTorch nor"),
    "code in a zip": (lambda p: write(p, as_bytes({"a": RunsCode()})), "could run code"),
    "code in a pickle": (lambda p: write(p, pickle.dumps({"a": RunsCode()}, protocol=2)), "could run code"),
    "code in an old file": (
        lambda p: write(p, as_bytes({"a": RunsCode()}, _use_new_zipfile_serialization=False)),
        "could run code",
    ),
    "a whole module": (lambda p: write(p, as_bytes(torch.nn.Linear(2, 2))), "could run code"),
    "truncated zip": (lambda p: write(p, as_bytes(weights())[:-20_000]), "damaged or cut short"),
    "truncated pickle": (
        lambda p: write(p, as_bytes(weights(), _use_new_zipfile_serialization=False)[:100_000]),
        "damaged or cut short",
    ),
    "another zip": (lambda p: zipfile.ZipFile(p, "w").writestr("a.txt", "x"), "damaged or cut short"),
    "a list": (lambda p: write(p, as_bytes([torch.zeros(2)])), "holds a list, expected a state dict"),
    "a tensor": (lambda p: write(p, as_bytes(torch.zeros(2))), "holds a Tensor, expected a state dict"),
    "numbers": (lambda p: write(p, as_bytes({"epoch": 3, "loss": 0.5})), "entries that are not tensors"),
    "no tensors": (lambda p: write(p, as_bytes({})), "holds no tensors"),
    "another model": (
        lambda p: write(p, as_bytes(torch.nn.Conv2d(3, 8, 3).state_dict())),
        "not an HQ-SAM or SAM checkpoint; its first keys are 'bias', 'weight'",
    ),
    "key missing": (
        lambda p: write(p, as_bytes(without("image_encoder.blocks.1.norm1.weight"))),
        "1 missing (vision_encoder.layers.1.layer_norm1.weight)",
    ),
    "key that gives a size missing": (
        lambda p: write(p, as_bytes(without("image_encoder.patch_embed.proj.weight"))),
        "lacks the weight 'vision_encoder.patch_embed.projection.weight'",
    ),
    "half a head": (
        lambda p: write(p, as_bytes(without("mask_decoder.hf_mlp.layers.1.weight"))),
        "1 missing (mask_decoder.hq_mask_mlp.layers.0.weight)",
    ),
    "unexpected key": (
        lambda p: write(p, as_bytes(changed("image_encoder.blocks.0.attn.extra", torch.zeros(1)))),
        "1 unexpected (vision_encoder.layers.0.attn.extra)",
    ),
    "unknown key": (
        lambda p: write(p, as_bytes(changed("mask_decoder.extra.weight", torch.zeros(1)))),
        "'mask_decoder.extra.weight' is not a key of the original",
    ),
    "wrong shape": (
        lambda p: write(p, as_bytes(changed(QKV, torch.zeros(3, 3)))),
        "vision_encoder.layers.1.attn.qkv.weight is (3, 3), expected (144, 48)",
    ),
    "wrong shape of a weight that gives a size": (
        lambda p: write(p, as_bytes(changed("image_encoder.patch_embed.proj.weight", torch.zeros(3)))),
        "vision_encoder.patch_embed.projection.weight",
    ),
    "width that the attention heads do not divide": (
        lambda p: write(p, as_bytes(changed("mask_decoder.iou_token.weight", torch.zeros(1, 60)))),
        "do not fit together",
    ),
    "two models mixed": (
        lambda p: write(
            p,
            as_bytes(
                {**weights(), **{k: v for k, v in build_original(WIDE).state_dict().items() if k.startswith("image")}}
            ),
        ),
        "do not fit",
    ),
    "LoRA adapter": (
        lambda p: save_file({LORA: torch.zeros(4, 48)}, p),
        "is a LoRA adapter, not a model",
    ),
    "SAM 2": (
        lambda p: write(p, as_bytes({"model": {"image_encoder.trunk.pos_embed": torch.zeros(2)}})),
        "is a plain SAM 2",
    ),
    "SAM 2 of transformers": (
        lambda p: save_file({"vision_encoder.backbone.pos_embed": torch.zeros(2)}, p),
        "is a plain SAM 2",
    ),
    "safetensors cut short": (
        lambda p: (save_file(weights(), p), write(p, p.read_bytes()[:-1000])),
        "damaged",
    ),
    "integers": (
        lambda p: write(p, as_bytes({key: tensor.to(torch.int8) for key, tensor in weights().items()})),
        "is int8, expected a floating-point dtype",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_gives_one_clear_error(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make, message = FILES[case]
    path = tmp_path / "sam_hq_vit_b.pth"  # the name does not say what is in the file
    make(path)
    for call in (lambda: HQSamModel.from_pretrained(path), lambda: convert(path, "out")):
        with pytest.raises(ValueError, match="sam_hq_vit_b.pth") as caught:
            call()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    capsys.readouterr()
    assert main(["convert", str(path), "out"]) == 1
    error = capsys.readouterr().err
    assert [line.startswith("hq-sam: ") for line in error.splitlines()].count(True) == 1
    assert "Traceback" not in error
    assert [entry.name for entry in tmp_path.iterdir()] == ["sam_hq_vit_b.pth"]


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    for section, fields in changes.items():
        config[section].update(fields) if isinstance(fields, dict) else config.update({section: fields})
    (folder / "config.json").write_text(json.dumps(config))


def shard(folder):
    for path in folder.iterdir():
        path.unlink()
    pair(SMALL)[1].save_pretrained(folder, max_shard_size="300KB")
    return sorted(folder.glob("*.safetensors"))


FOLDERS = {
    "a shard missing": (lambda f: shard(f)[1].unlink(), "model-00002"),
    "a shard cut short": (lambda f: write(shard(f)[0], b"x" * 100), "damaged"),
    "an index that is not JSON": (lambda f: (shard(f), (f / "model.safetensors.index.json").write_text("{")), "index"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors"),
    "an empty weights file": (lambda f: write(f / "model.safetensors", b""), "damaged"),
    "a config of other weights": (lambda f: edit(f, mask_decoder_config={"mlp_dim": 256}), "mlp"),
    "a config that is not JSON": (lambda f: (f / "config.json").write_text("{"), "JSON"),
    "an impossible config": (lambda f: edit(f, vision_config={"num_attention_heads": 7}), "num_attention_heads"),
    "code in pytorch_model.bin": (
        lambda f: (
            (f / "model.safetensors").unlink(),
            write(f / "pytorch_model.bin", pickle.dumps({"a": RunsCode()}, protocol=2)),
        ),
        "could run code",
    ),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_bad_folder_gives_one_clear_error(case, tmp_path, monkeypatch, capsys, photo_path):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    pair(SMALL)[1].save_pretrained(folder)
    make, message = FOLDERS[case]
    make(folder)
    with pytest.raises((ValueError, OSError)) as caught:
        HQSamModel.from_pretrained(folder)
    assert message in str(caught.value)
    capsys.readouterr()
    commands = (["convert", "model", "out"], ["segment", str(photo_path), "--model", "model", "--box", "1,2,30,40"])
    for command in commands:
        assert main(command) == 1
        error = capsys.readouterr().err
        lines = [line for line in error.splitlines() if line.startswith("hq-sam: ")]
        assert len(lines) == 1, error
        assert "Traceback" not in error
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
