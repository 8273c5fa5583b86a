import pytest
import torch
from safetensors.torch import load_file

from hq_sam_hf import HQSamModel
from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.training.trainer import train
from support.small_runs import ARCHITECTURE, read_log, small_run


@pytest.mark.parametrize("target", ["sam_mask_token", "sam_decoder", "hq_head_and_decoder"])
def test_an_objective_changes_its_own_weights_only(base, tmp_path, target):
    final = train(small_run(base, tmp_path / "run", train=target, max_steps=2))
    before, after = load_file(base / "model.safetensors"), load_file(final / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("mask_decoder.") for name in moved)
    if target == "sam_mask_token":
        assert all("mask_tokens" in name or "output_hypernetworks_mlps.0" in name for name in moved)
    else:
        assert "mask_decoder.upscale_conv1.weight" in moved
        assert any(map(is_hq_key, moved)) == (target == "hq_head_and_decoder")


@pytest.mark.slow
def test_a_sam_from_random_weights_becomes_the_base_of_an_hq_sam(tmp_path):
    config = small_run("", tmp_path / "run", model=None, architecture=ARCHITECTURE, train="sam", epochs=1)
    final = train(config)
    assert "iou_2" in read_log(tmp_path / "run")[0]  # rounds 0 to 2: a first prompt and two corrective clicks
    assert "vit_dim" not in (final / "config.json").read_text()  # a plain SAM has no HQ head
    model = HQSamModel.from_sam_pretrained(final)
    assert model.config.mask_decoder_config.hidden_size == 32
    assert model.config.vision_config.patch_size == 8
    random, as_sam = (
        train(small_run(final, tmp_path / hq_init, epochs=1, hq_init=hq_init)) for hq_init in ("random", "sam")
    )
    decoders = {path: HQSamModel.from_pretrained(path).mask_decoder for path in (random, as_sam)}
    distance = {path: (one.hq_token.weight - one.mask_tokens.weight[:1]).abs().max() for path, one in decoders.items()}
    assert distance[as_sam] < 0.01 < distance[random]  # training moved both by two steps of 0.001 only


@pytest.mark.parametrize(
    ("name", "outputs", "best_metric"),
    [
        ("hq_head", ("sam", "hq", "sum"), "val_hq_mbiou"),
        ("hq_head_and_decoder", ("sam", "hq", "sum"), "val_hq_mbiou"),
        ("sam_mask_token", ("sam",), "val_sam_mbiou"),
        ("sam_decoder", ("sam",), "val_sam_mbiou"),
        ("sam", ("sam",), "val_sam_mbiou"),
    ],
)
def test_what_objectives_validate(name, outputs, best_metric):
    objective = small_run("base", "out", train=name).make_objective()
    assert objective.name == name
    assert objective.evaluated_outputs == outputs
    assert objective.best_metric == best_metric


def test_a_sam_step_has_one_kind_of_prompt():
    objective = small_run("base", "out", train="sam").make_objective()
    kinds = [objective.prompt_kinds(step, []) for step in range(20)]
    assert set(kinds) == {("box",), ("point",)}
    assert kinds == [objective.prompt_kinds(step, []) for step in range(20)]
