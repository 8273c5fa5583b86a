"""The head of a model card, which the Hub reads."""


def card_head(kind: str = "hq-sam", base_model: str | None = None) -> str:
    """The block in front of the text of a README.md.

    kind: its first tag, "hq-sam" or "sam". base_model: the repository that the weights were trained from.
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


__all__ = ["card_head"]
