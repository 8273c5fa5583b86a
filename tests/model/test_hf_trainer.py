"""transformers' own Trainer trains the model, because `labels` give a loss."""

import numpy as np
import torch
from transformers import Trainer, TrainingArguments

from hq_sam_hf import HQSamModel, HQSamProcessor
from hq_sam_hf.data import read_sample
from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.scenes import SceneGenerator
from support.small_runs import save_base


def test_trainer_trains_the_hq_head_and_changes_no_other_weight(tmp_path):
    base = save_base(tmp_path / "base")
    model, processor = HQSamModel.from_pretrained(base), HQSamProcessor.from_pretrained(base)
    for name, weight in model.named_parameters():
        weight.requires_grad_(is_hq_key(name))
    rows = []
    for scene in SceneGenerator(8, size=64):
        sample = read_sample(scene)
        ys, xs = np.nonzero(sample.masks[0] > 0.5)
        box = [xs.min(), ys.min(), xs.max(), ys.max()]
        inputs = processor(sample.image, input_boxes=[[box]], segmentation_maps=[sample.masks[:1]])
        rows.append({name: inputs[name][0] for name in ("pixel_values", "input_boxes", "labels")})
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    arguments = TrainingArguments(
        tmp_path / "trainer",
        max_steps=30,
        per_device_train_batch_size=4,
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        seed=0,
    )
    trainer = Trainer(model, arguments, train_dataset=rows)
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert losses[-1] < 0.9 * losses[0]
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]) != is_hq_key(name), name
