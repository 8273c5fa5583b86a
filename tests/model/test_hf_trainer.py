"""transformers' own Trainer trains and evaluates the model, because `labels` give a loss."""

import inspect
import json
import subprocess

import numpy as np
import pytest
import torch
from transformers import EarlyStoppingCallback, TrainerCallback

from hq_sam_hf import HQSamModel, HQSamProcessor
from hq_sam_hf.model.checkpoint_format import is_hq_key
from support.hf_trainer import make_rows, make_trainer
from support.launched import LAUNCHER
from support.small_runs import save_base

EVALUATED = {
    "eval_strategy": "steps",
    "eval_steps": 1,
    "save_strategy": "steps",
    "save_steps": 1,
    "load_best_model_at_end": True,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


def eval_losses(trainer) -> list[float]:
    return [line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line]


@pytest.mark.slow
def test_trainer_trains_the_hq_head_and_changes_no_other_weight(base, tmp_path):
    before = HQSamModel.from_pretrained(base).state_dict()
    trainer = make_trainer(base, tmp_path / "trainer", max_steps=30, logging_steps=10)
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert losses[-1] < 0.9 * losses[0]
    for name, weight in trainer.model.state_dict().items():
        assert torch.equal(weight, before[name]) != is_hq_key(name), name


@pytest.mark.parametrize("kind", ["box", "points"])
@pytest.mark.slow
def test_trainer_evaluates_predicts_and_keeps_the_best_model(base, tmp_path, kind):
    trainer = make_trainer(base, tmp_path, kind, **EVALUATED)
    assert trainer.label_names == ["labels"]
    trainer.train()
    losses = eval_losses(trainer)
    assert len(losses) == 4
    assert trainer.state.best_metric == min(losses)
    # The best weights are loaded, and their loss is the same in another call and in other batches.
    for size in (1, 3):
        trainer.args.per_device_eval_batch_size = size
        assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), rel=1e-6)
    predicted = trainer.predict(trainer.eval_dataset)
    masks, scores = predicted.predictions
    assert masks.shape == (4, 1, 1, 32, 32)
    assert scores.shape == (4, 1, 1)
    assert np.array_equal(predicted.label_ids, torch.stack([row["labels"] for row in trainer.eval_dataset]))
    assert predicted.metrics["test_loss"] == pytest.approx(min(losses), rel=1e-6)
    unlabelled = [{name: row[name] for name in row if name != "labels"} for row in trainer.eval_dataset]
    assert "test_loss" not in trainer.predict(unlabelled).metrics


def test_labels_of_points_reach_the_model(base, tmp_path):
    trainer = make_trainer(base, tmp_path, "points")
    positive = [{**row, "input_labels": torch.ones_like(row["input_labels"])} for row in trainer.eval_dataset]
    assert trainer.evaluate()["eval_loss"] != trainer.evaluate(positive)["eval_loss"]


def test_early_stopping(base, tmp_path):
    # A learning rate of 0 never improves the loss, which is the same each time.
    callbacks = [EarlyStoppingCallback(early_stopping_patience=2)]
    trainer = make_trainer(base, tmp_path, callbacks=callbacks, learning_rate=0.0, max_steps=20, **EVALUATED)
    trainer.train()
    assert trainer.state.global_step == 3
    assert len(set(eval_losses(trainer))) == 1


class StopAfter(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        control.should_training_stop = state.global_step == self.step


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["box", "points"])
def test_a_resumed_training_gives_the_same_weights_and_losses(base, tmp_path, kind):
    whole = make_trainer(base, tmp_path / "whole", kind, **EVALUATED)
    whole.train()
    stopped = make_trainer(base, tmp_path / "two", kind, callbacks=[StopAfter(2)], **EVALUATED)
    stopped.train()
    resumed = make_trainer(base, tmp_path / "two", kind, **EVALUATED)
    resumed.train(resume_from_checkpoint=True)
    assert eval_losses(resumed) == eval_losses(whole)
    for name, weight in resumed.model.state_dict().items():
        assert torch.equal(weight, whole.model.state_dict()[name]), name


def test_the_signature_of_forward_is_what_it_was():
    names = list(inspect.signature(HQSamModel.forward).parameters)
    assert names[:6] == ["self", "pixel_values", "input_points", "input_labels", "input_boxes", "input_masks"]
    assert "labels" in names
    assert str(inspect.signature(HQSamModel.forward)).startswith("(self, pixel_values: ")


def test_in_eval_mode_the_loss_of_an_object_does_not_depend_on_its_batch(base):
    model, processor = HQSamModel.from_pretrained(base), HQSamProcessor.from_pretrained(base)
    batch = {name: torch.stack([row[name] for row in make_rows(processor, 3)]) for name in make_rows(processor, 1)[0]}
    with torch.no_grad():
        together = model(**batch).loss.item()
        assert model(**batch).loss.item() == together
        alone = [model(**{name: value[i : i + 1] for name, value in batch.items()}).loss.item() for i in range(3)]
        model.train()
        assert model(**batch).loss.item() != model(**batch).loss.item()
    assert together == pytest.approx(np.mean(alone), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["box", "points"])
def test_two_processes_train_and_evaluate(base, tmp_path, kind):
    command = [*LAUNCHER, "support.hf_trainer", str(base), str(tmp_path / "two"), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    state = json.loads((tmp_path / "two/checkpoint-2/trainer_state.json").read_text())
    losses = [line["eval_loss"] for line in state["log_history"] if "eval_loss" in line]
    assert len(losses) == 2
    assert state["best_metric"] == min(losses)
    loss = make_trainer(tmp_path / "two/best", tmp_path / "one", kind).evaluate()["eval_loss"]
    for process in (0, 1):
        assert float((tmp_path / f"two/loss-{process}").read_text()) == pytest.approx(loss, rel=1e-5)
