import pytest
import torch
from safetensors.torch import load_file

from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.training.trainer import train
from support.small_runs import small_run


@pytest.mark.slow
def test_adapters_are_trained_and_merged(base, tmp_path):
    fields = {"lora": {"rank": 2, "alpha": 4, "encoder": True, "decoder": True}, "max_steps": 2}
    final = train(small_run(base, tmp_path / "run", **fields))
    before, after = load_file(base / "model.safetensors"), load_file(final / "model.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name]) and not is_hq_key(name)}
    assert moved
    assert all("attn" in name and name.endswith("weight") for name in moved)
    assert any(name.startswith("vision_encoder") for name in moved)
    assert any(name.startswith("mask_decoder") for name in moved)
    state = load_file(tmp_path / "run/checkpoints/step-00000002/trained_weights.safetensors")
    assert any("lora_" in name for name in state)
    train(small_run(base, tmp_path / "again", **{**fields, "max_steps": 1}))
    resumed = train(small_run(base, tmp_path / "again", **fields, resume=True))
    for name, weight in load_file(resumed / "model.safetensors").items():
        assert torch.equal(weight, after[name]), name
