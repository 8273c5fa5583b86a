"""The result of a training run as folders that load: a whole model, the trained head alone, and a card."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.factory import describe_source
from ..export.model_cards import card_head
from ..model.checkpoint_format import is_hq_key
from ..model.files import whole_folder
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor
from .config import FROM_SCRATCH, HQ_TARGETS, TrainingConfig

CARD = """\
{head}
# {title}

{what}

```python
{code}
```

## Training

* Base model: {base}
* Trained: {trained:,} of {total:,} weights ({percent:.3g} %)
* Data: `{data}`
* {steps} steps of {images_per_step} images, {precision}, seed {seed}
{figures}
All fields of the run:

```yaml
{fields}```
"""

USE_HQ = """\
from hq_sam_hf import HQSamModel, HQSamProcessor

model = HQSamModel.from_pretrained("{name}")
processor = HQSamProcessor.from_pretrained("{name}")
inputs = processor("photo.jpg", input_boxes=[[[165, 15, 415, 310]]])
masks = processor.post_process_masks(model(**inputs, multimask_output=False{option}), inputs)"""

USE_SAM = """\
from hq_sam_hf import HQSamModel

model = HQSamModel.from_sam_pretrained("{name}")  # with a fresh, untrained HQ head"""


def export_run(
    folder: Path,
    model: HQSamModel,
    processor: HQSamProcessor,
    config: TrainingConfig,
    facts: dict[str, Any],
    figures: dict[str, float],
) -> None:
    """Write a folder with the model, its processor, a card and, where the HQ head was trained, the head alone.

    A run from scratch gives a plain SAM in transformers' layout.
    facts: trained, total, steps, images_per_step, for the card. figures: the last validation, by name.
    """
    with whole_folder(folder) as part:
        if config.train == FROM_SCRATCH:
            _save_plain_sam(model, part)
        else:
            model.save_pretrained(part)
        if config.train in HQ_TARGETS:
            model.save_hq_head(part)
        processor.save_pretrained(part)
        (part / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
        (part / "README.md").write_text(_card(folder, config, facts, figures))


def _save_plain_sam(model: HQSamModel, folder: Path) -> None:
    from transformers import SamConfig, SamModel

    with torch.device("meta"):
        plain = SamModel(SamConfig(**model.config.transformers_sections(plain=True)))
    weights: dict[str, Tensor] = {name: tensor for name, tensor in model.state_dict().items() if not is_hq_key(name)}
    plain.save_pretrained(folder, state_dict={name: tensor.contiguous() for name, tensor in weights.items()})


def _card(folder: Path, config: TrainingConfig, facts: dict[str, Any], figures: dict[str, float]) -> str:
    import yaml

    name = config.push_to_hub or folder.name
    plain = config.train == FROM_SCRATCH
    table = "\n".join(["", "| validation | |", "|---|---|", *(f"| {key} | {figures[key]:.2f} |" for key in figures)])
    option = ", hq_token_only=True" if config.train in HQ_TARGETS else ", sam_only=True"
    fields = without_folders(config.to_dict())
    base = fields["model"]
    return CARD.format(
        # A base that has kept its "/" is on the Hub: a repository, or a file of one.
        head=card_head("sam" if plain else "hq-sam", "/".join(base.split("/")[:2]) if base and "/" in base else None),
        title="A plain SAM" if plain else "HQ-SAM",
        what=(
            "A Segment Anything model, trained from random weights with hq-sam-hf."
            if plain
            else "An HQ-SAM (arXiv 2306.01567), fine-tuned with hq-sam-hf. What was trained is the HQ mask alone, so "
            "`hq_token_only=True` is the way to use it."
            if config.train in HQ_TARGETS
            else "A SAM whose own mask was tuned with hq-sam-hf, to compare an HQ head with."
        ),
        code=(USE_SAM if plain else USE_HQ).format(name=name, option=option),
        base=base or "random weights",
        percent=100 * facts["trained"] / facts["total"],
        data=describe_source(fields["data"]),
        precision=config.precision,
        seed=config.seed,
        figures=table + "\n" if figures else "",
        fields=yaml.safe_dump(fields, sort_keys=False),
        **facts,
    )


def without_folders(value: Any) -> Any:
    """Fields of a configuration with the last part of every path in them: folders tell of somebody's machine."""
    if isinstance(value, dict):
        return {key: without_folders(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_folders(entry) for entry in value]
    if isinstance(value, str | os.PathLike) and (os.path.isabs(value) or os.path.exists(value)):
        return Path(os.path.abspath(value)).name
    return value


__all__ = ["export_run", "without_folders"]
