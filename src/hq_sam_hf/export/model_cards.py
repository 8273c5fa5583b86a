"""Model cards: the metadata block that the Hub reads, and the text for converted checkpoints."""

import os
import re
from pathlib import Path

from ..model.checkpoint_format import ModelWeights

CARD = """\
{head}
# {title}

{what}. {about}

```python
from hq_sam_hf import {model}, {processor}

model = {model}.from_pretrained("{name}")
processor = {processor}.from_pretrained("{name}")
inputs = processor("photo.jpg", input_boxes=[[[165, 15, 415, 310]]])
masks = processor.post_process_masks(model(**inputs, multimask_output=False), inputs)
```

Converted from `{source}`{published}.
"""

SAM_CARD = """\
{head}
# {title}

The plain {title} inside an {what}, without its HQ head, in the layout of transformers' {plain_model}.

```python
from hq_sam_hf import {model}

model = {model}.from_sam_pretrained("{name}")  # with a fresh, untrained HQ head
```

Taken from `{source}`{published}.
"""


ABOUT = {
    "sam": """\
HQ-SAM ("Segment Anything in High Quality", [arXiv 2306.01567](https://arxiv.org/abs/2306.01567)) adds one
learned output token and a fusion of early and final features to a frozen SAM, for masks with fine boundaries.""",
    "sam2": """\
HQ-SAM 2 adds the learned output token of HQ-SAM ("Segment Anything in High Quality",
[arXiv 2306.01567](https://arxiv.org/abs/2306.01567)) to a frozen SAM 2, for masks with fine boundaries.""",
}

# The last line of both cards.
ORIGIN = re.compile(r"^(Converted|Taken) from `.*\.\n\Z", re.MULTILINE)


def card_head(kind: str = "hq-sam", base_model: str | None = None) -> str:
    """The metadata block at the top of a model card.

    kind: the first tag, "hq-sam" or "sam". base_model: the repository whose weights the training started from.
    """
    base = f"base_model: {base_model}\n" if base_model else ""
    return f"""\
---
license: apache-2.0
library_name: transformers
pipeline_tag: mask-generation
tags:
- {kind}
- segment-anything
{base}---
"""


def is_conversion_card(path: Path) -> bool:
    """Whether a file is a model card that `conversion_card` made."""
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    return text.startswith((card_head(), card_head("sam"))) and "HQ-SAM" in text and bool(ORIGIN.search(text))


def conversion_card(
    source: str | os.PathLike, target: Path, checkpoint: ModelWeights, published: str | None, plain_sam: bool
) -> str:
    """The model card of a converted checkpoint.

    published: name of the published file that the source equals. plain_sam: the HQ head was left out.
    """
    # The path of a local source would reveal the folders of somebody's machine.
    is_sam2 = checkpoint.family == "sam2"
    plain_model = ("Sam2Model" if checkpoint.lacks_video else "Sam2VideoModel") if is_sam2 else "SamModel"
    origin = Path(source).name if os.path.exists(source) else str(source)
    return (SAM_CARD if plain_sam else CARD).format(
        head=card_head("sam" if plain_sam else "hq-sam"),
        title=("SAM" if plain_sam else "HQ-SAM") + (" 2" if is_sam2 else ""),
        what=checkpoint.describe(),
        about=ABOUT[checkpoint.family],
        model=checkpoint.model_class,
        processor=checkpoint.model_class.replace("Model", "Processor"),
        plain_model=plain_model,
        name=target.name,
        source=origin,
        published=f" ({published}, same sha256)" if published else "",
    )


__all__ = ["card_head", "conversion_card", "is_conversion_card"]
