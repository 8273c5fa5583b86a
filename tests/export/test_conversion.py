"""Converting checkpoints between layouts, and the errors of sources and destinations that cannot be converted."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import SamHQModel, SamModel, SamProcessor

from hq_sam_hf import HQSamConfig, HQSamModel, HQSamProcessor
from hq_sam_hf.cli import main
from hq_sam_hf.export import layout_writing, sources, verification
from hq_sam_hf.export.conversion import convert
from hq_sam_hf.export.reference import build_original as build_from_config
from hq_sam_hf.export.reference import import_original, run_original
from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.utils.output_lock import output_lock
from support.checkpoints import assert_same_weights, decoder_alone, plain_sam
from support.oracle import FINE, SMALL, TINY, WIDE, Architecture, build_original, config_of, pair
from support.paths import ROOT


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The working folder of a test, with checkpoints of a small model."""
    monkeypatch.chdir(tmp_path)
    weights = pair(SMALL)[0].state_dict()
    torch.save(weights, "hq.pth")
    torch.save(plain_sam(weights), "sam.pth")
    torch.save(decoder_alone(weights), "epoch_11.pth")
    pair(SMALL)[1].save_hq_head("head")
    return tmp_path


def assert_same_file(path, weights):
    stored = torch.load(path, weights_only=True)
    assert stored.keys() == weights.keys()
    for key, tensor in weights.items():
        assert stored[key].dtype == tensor.dtype
        assert torch.equal(stored[key], tensor), key
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    assert path.stat().st_size < 1.1 * size + 200_000  # no tensor is saved with a larger storage that it shares


@pytest.mark.slow
@pytest.mark.parametrize("arch", [SMALL, FINE, WIDE, TINY], ids=["small", "fine", "wide", "tiny"])
def test_original_to_hq_sam_to_original(arch, tmp_path, capsys):
    sam, model = pair(arch)
    torch.save(sam.state_dict(), tmp_path / "x.pth")
    assert main(["convert", str(tmp_path / "x.pth"), str(tmp_path / "ours")]) == 0
    assert "recognised" in capsys.readouterr().err
    assert_same_weights(HQSamModel.from_pretrained(tmp_path / "ours"), model)
    processor = HQSamProcessor.from_pretrained(tmp_path / "ours")
    assert processor.to_dict() == HQSamProcessor.from_config(model.config).to_dict()
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "back.pth")]) == 0
    assert_same_file(tmp_path / "back.pth", sam.state_dict())
    again = build_from_config(model.config)
    assert again.load_state_dict(torch.load(tmp_path / "back.pth"), strict=True)


REAL_DIMENSIONS = {
    # At 256 pixels the positional embeddings are smaller; widths and depths are the real ones.
    name: Architecture(**sizes, image=256)
    for name, sizes in {
        "vit_l": {"dim": 1024, "depth": 24, "heads": 16, "global_blocks": (5, 11, 17, 23)},
        "vit_h": {"dim": 1280, "depth": 32, "heads": 16, "global_blocks": (7, 15, 23, 31)},
    }.items()
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL_DIMENSIONS)
def test_real_dimensions_give_the_masks_of_the_original(name, tmp_path):
    arch = REAL_DIMENSIONS[name]
    sam = build_original(arch)
    torch.save(sam.state_dict(), tmp_path / "x.pth")
    convert(tmp_path / "x.pth", tmp_path / "ours", report=lambda line: None)
    model = HQSamModel.from_pretrained(tmp_path / "ours")
    pixels, box = torch.randn(1, 3, 256, 256), torch.tensor([[30.0, 40, 200, 220]])
    with torch.no_grad():
        features, intermediate = sam.image_encoder(pixels)
        embeddings, early = model.get_image_embeddings(pixels)
        torch.testing.assert_close(embeddings, features, atol=2e-5, rtol=0)
        torch.testing.assert_close(early[0], intermediate[0], atol=2e-5, rtol=0)
        expected, scores = run_original(sam, pixels, boxes=box)
        outputs = model(pixels, input_boxes=box[None], multimask_output=False)
    torch.testing.assert_close(outputs.pred_masks[0], expected, atol=5e-6, rtol=0)
    torch.testing.assert_close(outputs.iou_scores[0], scores, atol=1e-6, rtol=0)


PEAK = """
import re, sys
from hq_sam_hf.export.conversion import convert
from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.utils.output_lock import output_lock
convert(sys.argv[1], sys.argv[2])
print(1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]))
"""  # not getrusage: its peak of a child process includes the memory of the parent at the fork


def convert_and_measure(source, destination) -> int:
    """Convert in a new process. Returns its peak memory in bytes, with libraries and mapped files."""
    result = subprocess.run(
        [sys.executable, "-c", PEAK, str(source), str(destination)], capture_output=True, text=True, check=True
    )
    return int(result.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["vit_b", "vit_l", "vit_h", "vit_tiny"])
def test_published_sizes_convert_there_and_back(preset, tmp_path, capsys):
    """ViT-B, L, H and TinyViT in full size keep every tensor and key; the original's registry loads the result.

    The peak memory for ViT-H is at most 1.3 times the file.
    """
    config = HQSamConfig.from_preset(preset)
    with torch.device("cpu" if preset == "vit_tiny" else "meta"):
        shapes = {key: (tensor.shape, tensor.dtype) for key, tensor in build_from_config(config).state_dict().items()}
    torch.manual_seed(0)
    weights = {
        key: torch.empty(shape).uniform_(-1, 1) if dtype.is_floating_point else torch.ones(shape, dtype=dtype)
        for key, (shape, dtype) in shapes.items()
    }
    digests = {key: hashlib.sha256(tensor.numpy().tobytes()).digest() for key, tensor in weights.items()}
    torch.save(weights, tmp_path / "x.pth")
    del weights
    size = (tmp_path / "x.pth").stat().st_size
    there = convert_and_measure(tmp_path / "x.pth", tmp_path / "ours")
    (tmp_path / "x.pth").unlink()
    back = convert_and_measure(tmp_path / "ours", tmp_path / "back.pth")
    if preset == "vit_h":
        assert there < 1.3 * size
        assert back < 1.3 * size
    stored = torch.load(tmp_path / "back.pth", weights_only=True, mmap=True)
    assert sorted(stored) == sorted(shapes)
    for key, tensor in stored.items():
        assert (tensor.shape, tensor.dtype) == shapes[key]
        assert hashlib.sha256(tensor.numpy().tobytes()).digest() == digests[key], key
    if preset in ("vit_b", "vit_tiny"):
        capsys.readouterr()
        import_original().sam_model_registry[preset](checkpoint=str(tmp_path / "back.pth"))
        assert "All keys matched successfully" in capsys.readouterr().out


# transformers' layout


def test_to_transformers_and_back(work):
    convert("hq.pth", "samhq", layout="transformers")
    theirs, info = SamHQModel.from_pretrained("samhq", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert theirs.config.mask_decoder_config.layer_norm_eps == 1e-5
    assert_same_weights(HQSamModel.from_pretrained("samhq"), pair(SMALL)[1])
    # The decoder of SamHQModel differs from the original's, so only the embeddings are compared.
    pixels = torch.randn(1, 3, SMALL.image, SMALL.image)
    with torch.no_grad():
        expected = pair(SMALL)[0].image_encoder(pixels)[0]
        torch.testing.assert_close(theirs.get_image_embeddings(pixels)[0], expected, atol=5e-6, rtol=0)
    convert("samhq", "back.pth")
    assert_same_file(work / "back.pth", pair(SMALL)[0].state_dict())


def test_the_processor_of_transformers_reads_the_written_settings(work, photo):
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    convert("hq.pth", "samhq", layout="transformers")
    theirs = SamImageProcessorPil.from_pretrained("samhq")
    ours = HQSamProcessor.from_pretrained("samhq")
    pixels = ours(photo)["pixel_values"]
    assert pixels.shape[-1] == SMALL.image
    np.testing.assert_allclose(theirs(photo)["pixel_values"][0], pixels[0], atol=1e-5)


def test_tiny_vit_cannot_have_a_layout_of_transformers(tmp_path):
    torch.save(pair(TINY)[0].state_dict(), tmp_path / "x.pth")
    for layout in ("transformers", "sam"):
        with pytest.raises(ValueError, match="no TinyViT encoder. Choose the layout hq_sam or original"):
            convert(tmp_path / "x.pth", tmp_path / "samhq", layout=layout)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


# Parts


def test_the_layout_sam_gives_the_masks_of_the_plain_sam_inside(work, photo):
    assert main(["convert", "hq.pth", "plain", "--layout", "sam"]) == 0
    theirs, info = SamModel.from_pretrained("plain", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    processor = SamProcessor.from_pretrained("plain")
    assert processor.image_processor.size == {"longest_edge": SMALL.image}
    pixels, box = torch.randn(1, 3, SMALL.image, SMALL.image), torch.tensor([[[20.0, 30.0, 90.0, 80.0]]])
    ours = pair(SMALL)[1]
    with torch.no_grad():
        expected = ours(pixels, input_boxes=box, sam_only=True, multimask_output=False)
        outputs = theirs(pixels, input_boxes=box, multimask_output=False)
    torch.testing.assert_close(outputs.pred_masks, expected.pred_masks, atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.iou_scores, expected.iou_scores, atol=1e-5, rtol=0)
    card = (work / "plain" / "README.md").read_text()
    assert "The plain SAM inside an HQ-SAM" in card
    # A fresh head can start on it.
    again, weights = HQSamModel.from_sam_pretrained("plain"), ours.state_dict()
    assert all(
        torch.equal(weight, weights[name]) for name, weight in again.state_dict().items() if not is_hq_key(name)
    )
    assert not torch.equal(again.mask_decoder.hq_token.weight, ours.mask_decoder.hq_token.weight)


@pytest.mark.parametrize("part", ["epoch_11.pth", "head/hq_head.safetensors"])
def test_a_part_is_completed_by_its_base(part, work):
    convert(part, "whole", base="sam.pth")
    assert_same_weights(HQSamModel.from_pretrained("whole"), pair(SMALL)[1])


def test_a_head_on_a_transformers_folder_keeps_its_configuration(work):
    pair(SMALL)[1].save_pretrained("base")
    config = json.loads((work / "base" / "config.json").read_text())
    config["mask_decoder_config"]["num_attention_heads"] = 4  # cannot be derived from the weights
    (work / "base" / "config.json").write_text(json.dumps(config))
    convert("head/hq_head.safetensors", "whole", base="base")
    assert HQSamConfig.from_pretrained("whole").mask_decoder_config.num_attention_heads == 4


# Options


def test_shards_and_dtype(work):
    convert("hq.pth", "half", dtype="bfloat16", max_shard_size="200KB")
    files = sorted(path.name for path in (work / "half").glob("*.safetensors"))
    assert len(files) > 1
    with safe_open(work / "half" / files[0], "pt") as file:
        assert file.metadata() == {"format": "pt"}
    model = HQSamModel.from_pretrained("half")
    assert model.dtype == torch.bfloat16
    matrix = model.shared_image_embedding.positional_embedding
    assert torch.equal(matrix, pair(SMALL)[1].shared_image_embedding.positional_embedding)
    assert all((work / "half" / name).stat().st_size < 210_000 for name in files)
    convert("half", "back.pth", dtype=torch.float32)
    assert torch.load("back.pth")["image_encoder.pos_embed"].dtype == torch.float32
    for name, tensor in HQSamModel.from_pretrained("back.pth").state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name].float()), name


def test_the_model_card_describes_the_source_without_local_paths(work):
    convert(work / "hq.pth", work / "my-model")
    card = (work / "my-model" / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "HQ-SAM, ViT 48x4, original layout" in card
    assert "Converted from `hq.pth`" in card
    assert str(work) not in card
    assert {path.name for path in (work / "my-model").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "processor_config.json",
    } or (work / "my-model" / "preprocessor_config.json").exists()


def test_a_published_file_is_recognised_by_its_sha256(work, monkeypatch, capsys):
    digest = hashlib.sha256((work / "hq.pth").read_bytes()).hexdigest()
    monkeypatch.setitem(sources.PUBLISHED, digest, "sam_hq_vit_b.pth")
    convert("hq.pth", "known")
    assert "it is the published sam_hq_vit_b.pth (same sha256)" in capsys.readouterr().out
    assert "sam_hq_vit_b.pth, same sha256" in (work / "known" / "README.md").read_text()
    (work / "sam.pth").rename(work / "sam_hq_vit_l.pth")
    with pytest.raises(ValueError, match="plain SAM"):
        convert("sam_hq_vit_l.pth", "other")
    assert (
        "NOTE: there is a published file named sam_hq_vit_l.pth, but this one has another" in capsys.readouterr().out
    )


@pytest.mark.parametrize("source", ["hq.pth", "head/hq_head.safetensors"])
def test_verify_compares_with_the_original(source, work, capsys):
    base = ["--base", "sam.pth"] if "head" in source else []
    assert main(["convert", source, "ours", *base, "--verify"]) == 0
    line = capsys.readouterr().err.splitlines()[-1]
    assert "verified against segment-anything-hq: mask logits up to" in line
    assert float(line.split()[-1]) < 5e-6


def test_verify_detects_an_error_in_the_key_table(work, monkeypatch):
    """The original loads the source itself, so errors of our key table change only the result."""
    read_checkpoint = sources.read_checkpoint

    def swapped(path):
        checkpoint = read_checkpoint(path)
        one, two = (f"vision_encoder.layers.{i}.attn.qkv.weight" for i in (0, 1))
        weights = checkpoint.weights
        checkpoint.weights = {**weights, one: weights[two], two: weights[one]}
        return checkpoint

    monkeypatch.setattr(sources, "read_checkpoint", swapped)
    with pytest.raises(ValueError, match="differ from the original's by .* more than rounding"):
        convert("hq.pth", "ours", verify=True)


@pytest.mark.slow  # starts processes that import torch and transformers
def test_the_script_is_the_command(work):
    script = ROOT / "conversion" / "convert_hq_sam.py"
    subprocess.run([sys.executable, str(script), "hq.pth", "ours"], check=True, capture_output=True)
    assert_same_weights(HQSamModel.from_pretrained("ours"), pair(SMALL)[1])


# Destinations


def test_an_existing_destination_is_only_replaced_with_overwrite(work):
    convert("hq.pth", "ours")
    before = (work / "ours" / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="exists already.*--overwrite"):
        convert("hq.pth", "ours", dtype="float16")
    assert (work / "ours" / "model.safetensors").read_bytes() == before
    convert("hq.pth", "ours", dtype="float16", overwrite=True)
    assert HQSamModel.from_pretrained("ours").dtype == torch.float16
    convert("hq.pth", "ours", layout="sam", max_shard_size="200KB", overwrite=True)
    convert("hq.pth", "ours", overwrite=True)
    assert sorted(path.name for path in (work / "ours").glob("*.safetensors")) == ["model.safetensors"]
    convert("hq.pth", "back.pth")
    with pytest.raises(ValueError, match="'back.pth' exists already"):
        convert("hq.pth", "back.pth")
    convert("ours", "back.pth", overwrite=True)
    assert not [path.name for path in work.iterdir() if path.name.startswith(".")]


def tree(folder) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def other_files(work):
    (work / "photos" / "trip").mkdir(parents=True)
    (work / "photos" / "trip" / "a.jpg").write_bytes(b"photo")


def one_more_file(work):
    convert("hq.pth", "photos", report=print)
    (work / "photos" / "notes.txt").write_text("mine")


def one_more_folder(work):
    convert("hq.pth", "photos", report=print)
    (work / "photos" / "model.safetensors.index.json").mkdir()


def another_model(work):
    (work / "photos").mkdir()
    for name in ("config.json", "model.safetensors", "README.md"):
        (work / "photos" / name).write_text("of another program")


def saved_weights(work):
    pair(SMALL)[1].save_pretrained("photos")


def a_link(work):
    convert("hq.pth", "elsewhere", report=print)
    (work / "photos").symlink_to("elsewhere")


FOREIGN = {
    "other people's files": (
        other_files,
        "other files than a converted model, such as 'trip', .* another folder",
    ),
    "one more file": (one_more_file, "such as 'notes.txt'"),
    "one more folder": (one_more_folder, "such as 'model.safetensors.index.json'"),
    "a model of another program": (another_model, "such as 'README.md'"),
    "a model that was saved without convert": (saved_weights, "such as 'config.json'"),
    "a link to nothing": (
        lambda work: (work / "photos").symlink_to("no/where"),
        "it is a link to '.*where'. Name the place",
    ),
    "a link": (a_link, "it is a link to '.*elsewhere'. Name the place itself"),
}


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("case", FOREIGN)
def test_only_what_convert_wrote_is_replaced(case, overwrite, work):
    make, message = FOREIGN[case]
    make(work)
    before = tree(work)
    with pytest.raises(ValueError, match=message):
        convert("hq.pth", "photos", overwrite=overwrite)
    assert tree(work) == before
    convert("hq.pth", "another", overwrite=overwrite)  # as the message says


def test_a_file_that_convert_did_not_write_is_not_replaced(work):
    (work / "thesis.pth").write_bytes(b"thesis")
    torch.save(pair(SMALL)[1].state_dict(), "ours.pth")
    (work / "link.pth").symlink_to("hq.pth")
    before = tree(work)
    for name in ("thesis.pth", "ours.pth", "epoch_11.pth"):
        with pytest.raises(ValueError, match=f"'{name}' exists already and is not an HQ-SAM in the original layout"):
            convert("head/hq_head.safetensors", name, base="sam.pth", overwrite=True)
    with pytest.raises(ValueError, match="'link.pth': it is a link to '.*hq.pth'"):
        convert("head/hq_head.safetensors", "link.pth", base="sam.pth", overwrite=True)
    assert tree(work) == before


def test_files_that_come_during_a_conversion_are_not_lost(work, monkeypatch):
    convert("hq.pth", "ours")
    save_file = layout_writing.save_file

    def save_and_add(*arguments, **options):
        save_file(*arguments, **options)
        (work / "ours" / "notes.txt").write_text("mine")

    monkeypatch.setattr(layout_writing, "save_file", save_and_add)
    with pytest.raises(ValueError, match="such as 'notes.txt'"):
        convert("hq.pth", "ours", overwrite=True)
    assert (work / "ours" / "notes.txt").read_text() == "mine"
    assert HQSamModel.from_pretrained("ours").dtype == torch.float32
    assert not [path.name for path in work.iterdir() if path.name.startswith(".")]


SELF = {
    "the same file": ("hq.pth", "./head/../hq.pth", None),
    "the same folder": ("ours", "ours", None),
    "a file in the folder": ("ours/model.safetensors", "ours", None),
    "through a link": ("link/model.safetensors", "ours", None),
    "the base": ("head/hq_head.safetensors", "hq.pth", "hq.pth"),
    "a base in the folder": ("head/hq_head.safetensors", "ours", "ours"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", SELF)
def test_no_source_is_replaced(case, work):
    convert("hq.pth", "ours")
    (work / "link").symlink_to("ours")
    source, destination, base = SELF[case]
    before = tree(work)
    with pytest.raises(ValueError, match="is also an input|lies inside the output"):
        convert(source, destination, base=base, overwrite=True)
    assert tree(work) == before
    convert("hq.pth", "another")


def test_the_current_folder_is_not_replaced(work, monkeypatch):
    convert("hq.pth", "ours")
    monkeypatch.chdir(work / "ours")
    before = tree(work)
    for destination in (".", "../ours", "..", work / "ours"):
        with pytest.raises(ValueError, match="the current folder or a folder around it. Name a new folder"):
            convert("../hq.pth", destination, overwrite=True)
    assert tree(work) == before
    convert("../hq.pth", "new")


def test_two_conversions_do_not_write_the_same_folder(work):
    with output_lock(work / "ours", beside=True), ThreadPoolExecutor(1) as other:
        with pytest.raises(ValueError, match=f"'ours' is being written by process {os.getpid()}"):
            other.submit(convert, "hq.pth", "ours").result()
        other.submit(convert, "hq.pth", "theirs").result()
    (work / ".ours.0123456789abcdef.part").mkdir()  # of a killed conversion
    convert("hq.pth", "ours")
    assert not [path.name for path in work.iterdir() if path.name.startswith(".")]


DESTINATIONS = {
    "an unknown layout": ({"destination": "x", "layout": "onnx"}, "The layout must be one of hq_sam, transformers"),
    "a folder in the original layout": ({"destination": "x", "layout": "original"}, "a single file; name it .pth"),
    "masks of a plain SAM": ({"destination": "x", "layout": "sam", "verify": True}, "compares HQ masks, which"),
    "a file in our layout": ({"destination": "x.pth", "layout": "hq_sam"}, "is a folder, got the file name 'x.pth'"),
    "a safetensors file": ({"destination": "x.safetensors"}, "is a folder, got the file name"),
    "no folder around it": ({"destination": "a/b/c"}, "'.*a/b' is not a folder"),
    "a file where a folder goes": ({"destination": "head/hq_head.json", "overwrite": True}, "there is a file"),
    "a folder where a file goes": ({"destination": "d.pth", "overwrite": True}, "there is a folder"),
    "pushing a file": ({"destination": "x.pth", "push_to": "org/name"}, "Only a folder can be pushed"),
}


@pytest.mark.parametrize("case", DESTINATIONS)
def test_an_impossible_destination_raises_an_error_before_the_source_is_read(case, work):
    (work / "head" / "hq_head.json").write_text("{}")
    (work / "d.pth").mkdir()
    options, message = DESTINATIONS[case]
    before = sorted(path for path in work.rglob("*"))
    with pytest.raises(ValueError, match=message):
        convert("hq.pth", report=lambda line: pytest.fail("it read the source first"), **options)
    assert sorted(path for path in work.rglob("*")) == before


SOURCES = {
    "plain SAM": (["sam.pth", "out"], "no HQ head to convert. Start a fresh head on it with HQSamModel.from_sam"),
    "decoder without base": (["epoch_11.pth", "out"], "Name the SAM that it was trained on with --base"),
    "head without base": (["head/hq_head.safetensors", "out"], "Name the SAM that it was trained on with --base"),
    "base that is a part": (
        ["epoch_11.pth", "out", "--base", "epoch_11.pth"],
        "The base must be a whole SAM or HQ-SAM",
    ),
    "whole with a base": (["hq.pth", "out", "--base", "sam.pth"], "a whole model that takes no base"),
    "head of another size": (["wide/hq_head.safetensors", "out", "--base", "sam.pth"], "do not fit together"),
    "nothing there": (["nothing.pth", "out"], "There is no file 'nothing.pth'"),
    "no repository": (["./nothing", "out"], "must be a file, a folder or a Hub repository"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_a_source_that_cannot_be_converted_gives_a_one_line_error(case, work, capsys):
    HQSamModel(config_of(WIDE)).save_hq_head("wide")
    arguments, message = SOURCES[case]
    assert main(["convert", *arguments]) == 1
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hq-sam: ")]
    assert message in error
    assert not (work / "out").exists()


def test_verifying_without_the_original_raises_an_error_that_says_how_to_install_it(work, monkeypatch):
    def not_installed():
        raise ImportError

    monkeypatch.setattr(verification, "import_original", not_installed)
    with pytest.raises(ValueError, match="pip install --no-deps segment-anything-hq==0.3"):
        convert("hq.pth", "ours", verify=True)
    assert not (work / "ours").exists()


KILLED = """
import sys, time
from hq_sam_hf.export import layout_writing
from hq_sam_hf.export.conversion import convert
save_file = layout_writing.save_file
def slow(*arguments, **options):
    save_file(*arguments, **options)
    print("written", flush=True)
    time.sleep(60)
layout_writing.save_file = slow
convert(*sys.argv[1:3], max_shard_size="200KB", overwrite=True)
"""


@pytest.mark.slow  # starts processes that import torch and transformers
@pytest.mark.usefixtures("with_ctrl_c")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_a_killed_conversion_leaves_the_destination_unchanged(sent, work):
    convert("hq.pth", "ours")
    before = {path.name: path.read_bytes() for path in (work / "ours").iterdir()}
    for destination in ("new", "ours"):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, "hq.pth", destination],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        while process.stdout.readline() != "written\n":
            assert process.poll() is None
        os.kill(process.pid, sent)
        process.wait(timeout=30)
    assert not (work / "new").exists()
    assert {path.name: path.read_bytes() for path in (work / "ours").iterdir()} == before
    if sent == signal.SIGINT:
        assert not [path.name for path in work.iterdir() if path.name.startswith(".")]


@pytest.mark.slow  # starts processes that import torch and transformers
def test_a_full_disk_leaves_no_files(work):
    """A limit on the file size of the process simulates a full disk."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from hq_sam_hf.cli import main; sys.exit(main(['convert', 'hq.pth', sys.argv[1]]))"
    )
    for destination in ("folder", "file.pth"):
        result = subprocess.run([sys.executable, "-c", code, destination], capture_output=True, text=True)
        assert result.returncode == 1
        assert result.stderr.splitlines()[-1].startswith("hq-sam: Cannot write"), result.stderr
        assert "Traceback" not in result.stderr
        assert not (work / destination).exists()
        assert not [path.name for path in work.iterdir() if path.name.startswith(".")]
