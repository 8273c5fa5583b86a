"""Model cards of trained models."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from ..data.factory import describe_source
from ..export.model_cards import card_head
from ..model.checkpoint_format import MODEL_CLASSES

TEMPLATE = """\
{head}
# {title}

{summary}

```python
{usage}
```

## Training

* Base model: {base}
* Trained: {trained:,} of {total:,} weights ({percent:.3g} %)
* Data: `{data}`
* {steps} steps of {images_per_step} images, {precision}, seed {seed}
{metrics}
All fields of the run:

```yaml
{fields}```
"""


class CardText(NamedTuple):
    """What a card says about a kind of model.

    tag: the first tag on the Hub. usage: Python code. In all texts {sam} stands for "SAM" or "SAM 2", {model} and
    {processor} for their classes, and {name} for the folder or repository.
    """

    tag: str
    title: str
    summary: str
    usage: str


_USE_HQ_SAM = """\
from hq_sam_hf import {{model}}, {{processor}}

model = {{model}}.from_pretrained("{{name}}")
processor = {{processor}}.from_pretrained("{{name}}")
inputs = processor("photo.jpg", input_boxes=[[[165, 15, 415, 310]]])
masks = processor.post_process_masks(model(**inputs, multimask_output=False, {option}=True), inputs)"""

HQ_CARD = CardText(
    tag="hq-sam",
    title="HQ-{sam}",
    summary="An HQ-{sam} (arXiv 2306.01567), fine-tuned with hq-sam-hf. The HQ mask alone was trained, so use it with "
    "`hq_token_only=True`.",
    usage=_USE_HQ_SAM.format(option="hq_token_only"),
)

SAM_MASK_CARD = CardText(
    tag="hq-sam",
    title="HQ-{sam}",
    summary="A {sam} whose own mask was fine-tuned with hq-sam-hf, as a control for the HQ head.",
    usage=_USE_HQ_SAM.format(option="sam_only"),
)

PLAIN_SAM_CARD = CardText(
    tag="sam",
    title="A plain {sam}",
    summary="A {sam} (Segment Anything model), trained with hq-sam-hf. All its weights were trained.",
    usage="""\
from hq_sam_hf import {model}

model = {model}.from_sam_pretrained("{name}")  # with a fresh, untrained HQ head""",
)


class TrainingFacts(NamedTuple):
    """Facts for a card: trained weights, all weights, steps, and images per step."""

    trained: int
    total: int
    steps: int
    images_per_step: int


def model_card(
    text: CardText, family: str, name: str, fields: dict[str, Any], facts: TrainingFacts, metrics: dict[str, float]
) -> str:
    """The README.md of a trained model.

    family: "sam" or "sam2". name: the folder or repository to load it from. fields: of the training configuration.
    metrics: of the last validation, in percent.
    """
    import yaml

    model_class = MODEL_CLASSES[family]
    names = {
        "sam": "SAM 2" if family == "sam2" else "SAM",
        "model": model_class,
        "processor": model_class.replace("Model", "Processor"),
        "name": name,
    }
    fields = without_folders(fields)
    base = fields["model"]
    rows = ["", "| validation | |", "|---|---|", *(f"| {key} | {value:.2f} |" for key, value in metrics.items()), ""]
    return TEMPLATE.format(
        # A base model that still has a "/" is on the Hub: a repository, or a file in one.
        head=card_head(text.tag, "/".join(base.split("/")[:2]) if base and "/" in base else None),
        title=text.title.format(**names),
        summary=text.summary.format(**names),
        usage=text.usage.format(**names),
        base=base or "random weights",
        percent=100 * facts.trained / facts.total,
        data=describe_source(fields["data"]),
        precision=fields["precision"],
        seed=fields["seed"],
        metrics="\n".join(rows) if metrics else "",
        fields=yaml.safe_dump(fields, sort_keys=False),
        **facts._asdict(),
    )


def without_folders(value: Any) -> Any:
    """Fields of a configuration with the last part of every path, so that a card names no folders of its author."""
    if isinstance(value, dict):
        return {key: without_folders(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_folders(entry) for entry in value]
    if isinstance(value, str | os.PathLike) and (os.path.isabs(value) or os.path.exists(value)):
        return Path(os.path.abspath(value)).name
    return value


__all__ = ["HQ_CARD", "PLAIN_SAM_CARD", "SAM_MASK_CARD", "CardText", "TrainingFacts", "model_card", "without_folders"]
