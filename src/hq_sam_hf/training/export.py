"""The result of a training run as a folder: the model, its processor, its metrics and a model card."""

import json
from pathlib import Path
from typing import Any

from ..model.checkpoint_format import family_of
from ..model.files import whole_folder
from .card import TrainingFacts, model_card
from .config import TrainingConfig
from .objectives import AnyModel, Objective
from .run_lock import refuse_foreign_files

METRICS_FILE = "metrics.json"


def export_run(
    folder: Path,
    model: AnyModel,
    processor: Any,
    objective: Objective,
    config: TrainingConfig,
    facts: TrainingFacts,
    metrics: dict[str, float],
) -> None:
    """Write a folder that loads: the model as its objective saves it, the processor, `metrics.json` and README.md.

    An objective on the HQ mask also saves the HQ head by itself; `train: sam` saves a plain SAM in transformers'
    layout. metrics: of the last validation, by name.
    """
    with whole_folder(folder, refuse_foreign_files) as temporary:
        objective.save(model, temporary)
        processor.save_pretrained(temporary)
        (temporary / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n")
        name = config.push_to_hub or folder.name
        card = model_card(objective.card, family_of(model.config), name, config.to_dict(), facts, metrics)
        (temporary / "README.md").write_text(card)


__all__ = ["METRICS_FILE", "export_run"]
