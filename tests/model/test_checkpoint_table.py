"""Every cell of the table in docs/checkpoints.md is tested."""

import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import SamConfig, SamModel

from hq_sam_hf import HQSamModel
from hq_sam_hf.export.conversion import convert
from support.checkpoints import assert_same_weights, decoder_alone, plain_sam, transformers_config
from support.oracle import SMALL, TINY, pair
from support.paths import ROOT

PAGE = ROOT / "docs" / "checkpoints.md"


def table() -> dict[str, list[str]]:
    """The cells of each source: from_pretrained, from_sam_pretrained, load_hq_head, convert."""
    lines = re.search(r"^\| source \|.*?(?=\n\n)", PAGE.read_text(), re.MULTILINE | re.DOTALL)[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def save(weights, name):
    torch.save(weights, name)
    return name


def samhq_folder():
    convert(save(pair(SMALL)[0].state_dict(), "x.pth"), "samhq", layout="transformers")
    return "samhq"


def sam_folder():
    SamModel(transformers_config(SamConfig)).save_pretrained("sam")
    return "sam"


def our_folder():
    pair(SMALL)[1].save_pretrained("ours")
    return "ours"


def one_file():
    return save(load_file(f"{our_folder()}/model.safetensors"), "pytorch_model.bin")


def head():
    pair(SMALL)[1].save_hq_head(".")
    return "hq_head.safetensors"


def lora():
    save_file({"base_model.model.vision_encoder.layers.0.attn.qkv.lora_A.weight": torch.zeros(4, 48)}, "a.safetensors")
    return "a.safetensors"


SOURCES = {
    "HQ-SAM `.pth` of the original (ViT-B, L, H and other sizes)": lambda: save(pair(SMALL)[0].state_dict(), "a.pth"),
    "Light HQ-SAM `.pth` of the original (TinyViT)": lambda: save(pair(TINY)[0].state_dict(), "a.pth"),
    "SAM `.pth` of the original": lambda: save(plain_sam(pair(SMALL)[0].state_dict()), "a.pth"),
    "MobileSAM `.pth`": lambda: save(plain_sam(pair(TINY)[0].state_dict()), "a.pt"),
    "decoder of HQ-SAM's training, `epoch_N.pth`": lambda: save(decoder_alone(pair(SMALL)[0].state_dict()), "a.pth"),
    "decoder of SAM alone, `sam_vit_l_maskdecoder.pth`": lambda: save(
        decoder_alone(plain_sam(pair(SMALL)[0].state_dict())), "a.pth"
    ),
    "folder or repository of transformers' `SamHQModel`": samhq_folder,
    "folder or repository of transformers' `SamModel`": sam_folder,
    "folder or repository of this package": our_folder,
    "one `.safetensors` or `.bin` file of either": one_file,
    "HQ head alone, `hq_head.safetensors`": head,
    "SAM 2 `.pt` of the original": lambda: save({"model": {"image_encoder.trunk.pos_embed": torch.zeros(2)}}, "a.pt"),
    "LoRA adapter": lora,
}

# What the error of each refusal contains.
REFUSALS = {
    "has a head": "already has an HQ head",
    "plain SAM": "plain SAM",
    "no head": "holds no HQ head|no HQ head to convert|no HQ head. ",
    "a part": "alone",
    "SAM 2": "is a plain SAM 2",
    "LoRA": "is a LoRA adapter",
}


def test_the_table_names_every_source():
    assert table().keys() == SOURCES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_every_source_loads_or_is_refused_as_the_table_says(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arch = TINY if "TinyViT" in source or "MobileSAM" in source else SMALL
    original, expected = pair(arch)
    path = SOURCES[source]()
    base = save(plain_sam(original.state_dict()), "base.pth")

    def load_head():
        model = HQSamModel.from_sam_pretrained(base)
        model.load_hq_head(path)
        return model

    def converted(**options):
        convert(path, "out", **options)
        return HQSamModel.from_pretrained("out")

    calls = [
        lambda: HQSamModel.from_pretrained(path),
        lambda: HQSamModel.from_sam_pretrained(path),
        load_head,
        converted,
    ]
    for call, cell in zip(calls, table()[source], strict=True):
        refused = cell.removeprefix("refused: ") if cell.startswith("refused: ") else None
        if refused or cell == "converts with a base":
            with pytest.raises(ValueError, match=REFUSALS[refused] if refused else "with --base"):
                call()
            if refused:
                continue
            call = lambda: converted(base=base)  # noqa: E731
        model = call()
        if cell == "fresh head":
            assert model.mask_decoder.hq_token.weight.std() > 0.5
        else:
            assert cell in ("loads", "takes the head", "converts", "converts with a base")
            assert_same_weights(model, expected)
