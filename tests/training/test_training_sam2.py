"""HQ-SAM 2 is trained by the same command, with the same objectives, as HQ-SAM."""

import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.model.modeling_hq_sam2 import HQSam2Model
from hq_sam_hf.model.processing_hq_sam2 import HQSam2Processor
from hq_sam_hf.training.config import TrainingConfig
from hq_sam_hf.training.trainer import TrainingRun, train
from support.launched import LAUNCHER, LEFT_OPEN
from support.paths import ROOT
from support.small_runs import assert_close_weights, assert_equal_weights, read_log, small_run
from support.small_sam2 import ARCHITECTURE, save_base

CONFIGS = sorted((ROOT / "configs" / "small_sam2").glob("*.yaml"))


@pytest.fixture(scope="module")
def sam2_base(tmp_path_factory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def finished_sam2_run(sam2_base, tmp_path_factory) -> Path:
    """The output folder of an uninterrupted run of five steps. Tests only read it."""
    return train(five_steps(sam2_base, tmp_path_factory.mktemp("runs") / "finished")).parent


def five_steps(base, output, **fields):
    return small_run(base, output, **{"epochs": 3, "max_steps": 5, "prompts": ["box", "points", "mask"], **fields})


def moved_weights(base: Path, final: Path) -> set[str]:
    before, after = load_file(base / "model.safetensors"), load_file(final / "model.safetensors")
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_only_the_hq_head_is_trained(sam2_base, finished_sam2_run):
    moved = moved_weights(sam2_base, finished_sam2_run / "final")
    assert len(moved) == 13
    assert all(map(is_hq_key, moved))
    model = HQSam2Model.from_pretrained(finished_sam2_run / "final")
    HQSam2Processor.from_pretrained(finished_sam2_run / "final")
    other = HQSam2Model.from_pretrained(sam2_base)
    other.load_hq_head(finished_sam2_run / "final")
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    card = (finished_sam2_run / "final" / "README.md").read_text()
    assert "# HQ-SAM 2\n\nAn HQ-SAM 2 (arXiv 2306.01567)" in card
    assert "processor = HQSam2Processor.from_pretrained(" in card


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(sam2_base, finished_sam2_run, tmp_path):
    train(five_steps(sam2_base, tmp_path / "run", max_steps=2))
    train(five_steps(sam2_base, tmp_path / "run", resume=True))
    assert_equal_weights(tmp_path / "run", finished_sam2_run)
    assert read_log(tmp_path / "run") == read_log(finished_sam2_run)


@pytest.mark.slow
def test_five_steps_on_two_processes_give_the_same_weights(sam2_base, finished_sam2_run, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(five_steps(sam2_base, tmp_path / "run", batch_size=2).to_dict()))
    command = [*LAUNCHER, "hq_sam_hf.training", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert LEFT_OPEN not in done.stderr
    assert_close_weights(tmp_path / "run", finished_sam2_run, sam2_base)
    losses = [[line["loss"] for line in read_log(run)] for run in (tmp_path / "run", finished_sam2_run)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    ("target", "also"),
    [
        ("sam_mask_token", "mask_decoder.mask_tokens.weight"),
        ("sam_decoder", "mask_decoder.conv_s0.weight"),
        ("hq_head_and_decoder", "mask_decoder.obj_score_token.weight"),
    ],
)
def test_an_objective_changes_its_own_weights_only(sam2_base, tmp_path, target, also):
    moved = moved_weights(sam2_base, train(small_run(sam2_base, tmp_path / "run", train=target, max_steps=2)))
    assert also in moved
    assert all(name.startswith("mask_decoder.") for name in moved)
    assert not any("pred_obj_score_head" in name or "iou_prediction_head" in name for name in moved)
    assert any(map(is_hq_key, moved)) == (target == "hq_head_and_decoder")


@pytest.mark.slow
def test_adapters_are_trained_and_merged(sam2_base, tmp_path):
    fields = {"lora": {"rank": 2, "decoder": True}, "max_steps": 2}
    moved = moved_weights(sam2_base, train(small_run(sam2_base, tmp_path / "run", **fields)))
    adapted = {name for name in moved if not is_hq_key(name)}
    assert all("attn" in name and name.endswith("weight") for name in adapted)
    assert "vision_encoder.backbone.blocks.0.attn.qkv.weight" in adapted
    assert "mask_decoder.transformer.layers.0.self_attn.o_proj.weight" in adapted


@pytest.mark.slow
def test_the_decoder_is_in_training_mode_for_steps_and_not_for_validations(sam2_base, tmp_path):
    """In evaluation mode SAM 2's single mask may be one of the masks of its other tokens."""
    fields = {"train": "sam_mask_token", "validation": {"kind": "scenes", "count": 1, "size": 64}, "eval_steps": 1}
    run = TrainingRun(small_run(sam2_base, tmp_path / "run", **fields, max_steps=2, eval_overlays=0))
    modes = []
    run.model.mask_decoder.register_forward_hook(lambda decoder, *_: modes.append(decoder.training))
    run.run()
    assert modes == [True, False, True, False]  # a step, one prompt of one object, and both again


@pytest.mark.parametrize(("recompute", "calls"), [(False, 1), (True, 2)])
@pytest.mark.slow
def test_gradient_checkpointing_computes_the_blocks_again_in_the_backward_pass(sam2_base, tmp_path, recompute, calls):
    fields = {"lora": {"rank": 2}, "gradient_checkpointing": recompute, "max_steps": 1, "prompts": ["box"]}
    run = TrainingRun(small_run(sam2_base, tmp_path / "run", **fields))
    counted = []
    run.model.vision_encoder.backbone.blocks[3].attn.qkv.register_forward_hook(lambda *_: counted.append(1))
    run.run()
    assert len(counted) == calls


@pytest.mark.slow
def test_a_sam_2_from_random_weights_becomes_the_base_of_an_hq_sam_2(tmp_path):
    architecture = {"model_type": "hq_sam2", **ARCHITECTURE}
    config = small_run("", tmp_path / "run", model=None, architecture=architecture, train="sam", max_steps=1)
    final = train(config)
    assert '"model_type": "sam2"' in (final / "config.json").read_text()
    model = HQSam2Model.from_sam_pretrained(final)
    assert model.config.mask_decoder_config.hidden_size == 32
    assert not model.no_memory_embedding.eq(0).all()
    trained = train(small_run(final, tmp_path / "hq", max_steps=1, hq_init="sam"))
    decoder = HQSam2Model.from_pretrained(trained).mask_decoder
    assert (decoder.hq_token.weight - decoder.mask_tokens.weight[:1]).abs().max() < 0.01  # one step of 0.001


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"model_type": "hq_sam3"}, "`architecture.model_type` must be hq_sam or hq_sam2"),
        ({"model_type": "hq_sam2", "backbone": {}}, "fields of HQSam2Config, got 'backbone'. The fields are vision_"),
        (
            {"model_type": "hq_sam2", "vision_config": {"backbone_config": {"depth": 3}}},
            "got 'depth' in backbone_config. The fields are .*blocks_per_stage",
        ),
    ],
)
def test_unknown_fields_of_the_architecture_are_named(tmp_path, architecture, message):
    with pytest.raises(ValueError, match=message):
        train(small_run("", tmp_path / "run", model=None, architecture=architecture, train="sam"))


@pytest.mark.slow
def test_the_first_step_of_each_committed_configuration_runs(tmp_path):
    assert [path.stem for path in CONFIGS] == ["1_solid", "2_all", "3_mixed", "4_large", "5_hq"]
    previous = None
    for path in CONFIGS:
        fields = TrainingConfig.load(path).to_dict()
        fields |= {"output_dir": str(tmp_path / path.stem), "max_steps": 1, "batch_size": 2, "num_workers": 0}
        if previous is not None:
            assert fields["model"] == f"runs/small_sam2/{previous.parent.name}/final"
            fields["model"] = str(previous)
        previous = train(TrainingConfig.from_dict(fields))
    model = HQSam2Model.from_pretrained(previous)
    assert model.config.vision_config.image_size == 256
    assert sum(weight.numel() for weight in model.parameters()) == 2_590_257
