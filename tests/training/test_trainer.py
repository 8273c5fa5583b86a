"""Training runs: what is trained, what they write, and where they can run."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hq_sam_hf import HQSamModel, HQSamProcessor
from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.training.trainer import TrainingRun, train
from support.small_runs import FINAL, assert_equal_weights, read_log, small_run


def test_only_the_hq_head_is_trained(base, finished_run):
    before, after = load_file(base / "model.safetensors"), load_file(finished_run / FINAL)
    for name in before:
        assert torch.equal(before[name], after[name]) != is_hq_key(name), name


def test_the_frozen_encoder_keeps_no_activations(base, tmp_path):
    run = TrainingRun(small_run(base, tmp_path / "run"))
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    encoded = run.module.encode(images)
    assert not encoded["image_embeddings"].requires_grad
    assert not encoded["intermediate_embeddings"][0].requires_grad
    optimized = {id(weight) for group in run.optimizer.param_groups for weight in group["params"]}
    assert optimized == {id(weight) for name, weight in run.model.named_parameters() if is_hq_key(name)}


def test_a_run_writes_the_documented_files(base, finished_run):
    names = {path.name for path in finished_run.iterdir()}
    assert {"config.yaml", "log.jsonl", "curves.png", "checkpoints", "final"} <= names
    checkpoints = sorted(path.name for path in (finished_run / "checkpoints").iterdir())
    assert checkpoints == ["step-00000003", "step-00000004"]
    assert [line["step"] for line in read_log(finished_run)] == [1, 2, 3, 4]
    model = HQSamModel.from_pretrained(finished_run / "final")
    HQSamProcessor.from_pretrained(finished_run / "final")
    other = HQSamModel.from_pretrained(base)
    other.load_hq_head(finished_run / "final")
    for name, weight in other.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name
    card = (finished_run / "final" / "README.md").read_text()
    assert "4 steps of 4 images" in card
    assert "hq_token_only=True" in card
    assert "learning_rate: 0.001" in card


def test_a_run_in_a_thread_gives_the_same_weights(base, finished_run, tmp_path):
    with ThreadPoolExecutor() as threads:  # where no signals can be handled
        threads.submit(train, small_run(base, tmp_path / "run")).result()
    assert_equal_weights(tmp_path / "run", finished_run)


def test_bf16_trains_on_a_cpu(base, tmp_path):
    train(small_run(base, tmp_path / "run", precision="bf16", max_steps=2))
    assert all(np.isfinite(line["loss"]) for line in read_log(tmp_path / "run"))


@pytest.mark.slow
def test_tensorboard_gets_the_losses(base, tmp_path):
    train(small_run(base, tmp_path / "run", trackers=["tensorboard"], max_steps=1))
    assert list((tmp_path / "run" / "hq_sam_hf").glob("events.out.tfevents*"))
