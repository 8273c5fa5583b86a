"""transformers' Trainer on generated scenes, for tests; as a program, a run on all launched processes."""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import Trainer, TrainingArguments

from hq_sam_hf import HQSamModel, HQSamProcessor
from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.scenes import SceneGenerator


def make_rows(processor: HQSamProcessor, count: int, kind: str = "box") -> list[dict[str, torch.Tensor]]:
    """Rows of one object each, with a box, or with a point on the object and one in the background."""
    rows = []
    for scene in SceneGenerator(count, size=64):
        inside = np.asarray(scene["masks"][0]) > 127
        ys, xs = np.nonzero(inside)
        if kind == "box":
            prompts = {"input_boxes": [[[xs.min(), ys.min(), xs.max(), ys.max()]]]}
        else:
            away_y, away_x = np.argwhere(~inside)[0]
            prompts = {"input_points": [[[xs[0], ys[0]], [away_x, away_y]]], "input_labels": [[1, 0]]}
        inputs = processor(scene["image"], segmentation_maps=[inside[None]], **prompts)
        rows.append({name: inputs[name][0] for name in ("pixel_values", *prompts, "labels")})
    return rows


def make_trainer(base: Path | str, folder: Path | str, kind: str = "box", callbacks=None, **arguments) -> Trainer:
    """A trainer of the HQ head on 8 rows, which evaluates on the first 4. `arguments` replace its own."""
    model, processor = HQSamModel.from_pretrained(base), HQSamProcessor.from_pretrained(base)
    for name, weight in model.named_parameters():
        weight.requires_grad_(is_hq_key(name))
    rows = make_rows(processor, 8, kind)
    defaults = {
        "max_steps": 4,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 2,
        "learning_rate": 3e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 0,
    }
    arguments = TrainingArguments(str(folder), **{**defaults, **arguments})
    return Trainer(
        model,
        arguments,
        train_dataset=rows,
        eval_dataset=rows[:4],
        processing_class=processor.image_processor,
        callbacks=callbacks,
    )


if __name__ == "__main__":
    base, folder, kind = sys.argv[1:]
    trainer = make_trainer(
        base,
        folder,
        kind,
        max_steps=2,
        per_device_train_batch_size=2,  # on two processes, four images per step
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
    )
    trainer.train()
    trainer.save_model(f"{folder}/best")
    loss = trainer.evaluate()["eval_loss"]
    (Path(folder) / f"loss-{trainer.args.process_index}").write_text(str(loss))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
