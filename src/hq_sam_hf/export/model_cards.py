"""Model cards: the metadata block that the Hub reads, and the text for converted checkpoints."""

import os
import re
from pathlib import Path

CARD = """\
{head}
# HQ-SAM

{what}. HQ-SAM ("Segment Anything in High Quality", [arXiv 2306.01567](https://arxiv.org/abs/2306.01567)) adds one
learned output token and a fusion of early and final features to a frozen SAM, for masks with fine boundaries.

```python
from hq_sam_hf import HQSamModel, HQSamProcessor

model = HQSamModel.from_pretrained("{name}")
processor = HQSamProcessor.from_pretrained("{name}")
inputs = processor("photo.jpg", input_boxes=[[[165, 15, 415, 310]]])
masks = processor.post_process_masks(model(**inputs, multimask_output=False), inputs)
```

Converted from `{source}`{published}.
"""

SAM_CARD = """\
{head}
# SAM

The plain SAM inside an {what}, without its HQ head, in the layout of transformers' SamModel.

```python
from hq_sam_hf import HQSamModel

model = HQSamModel.from_sam_pretrained("{name}")  # with a fresh, untrained HQ head
```

Taken from `{source}`{published}.
"""


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


def conversion_card(source: str | os.PathLike, target: Path, what: str, published: str | None, plain_sam: bool) -> str:
    """The model card of a converted checkpoint.

    what: describes the source, as `ModelWeights.describe` does. published: name of the published file that it equals.
    """
    # The path of a local source would reveal the folders of somebody's machine.
    origin = Path(source).name if os.path.exists(source) else str(source)
    return (SAM_CARD if plain_sam else CARD).format(
        head=card_head("sam" if plain_sam else "hq-sam"),
        what=what,
        name=target.name,
        source=origin,
        published=f" ({published}, same sha256)" if published else "",
    )


__all__ = ["card_head", "conversion_card", "is_conversion_card"]
