"""How errors name prompts: the processor and the predictor take the same prompts under other names and nestings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PromptWording:
    """The names of the arguments, the form of each, and how to write one image's prompts.

    image_level: a list of one entry per image is around all prompts, so that errors name the image.
    """

    points: str
    labels: str
    boxes: str
    masks: str
    points_form: str
    labels_form: str
    boxes_form: str
    image_level: bool

    def image(self, index: int) -> str:
        return f"image {index}" if self.image_level else "the image"

    def argument(self, name: str, entry: object) -> str:
        """The argument that passes an entry for a single image, as Python code."""
        return f"{name}=[{entry}]" if self.image_level else f"{name}={entry}"


PROCESSOR_WORDING = PromptWording(
    points="input_points",
    labels="input_labels",
    boxes="input_boxes",
    masks="input_masks",
    points_form=(
        "`input_points` must be nested as [image][point][x, y] (one object per image) or "
        "[image][object][point][x, y], with None for an image without points"
    ),
    labels_form="`input_labels` must be nested like `input_points`, with one label in place of each [x, y]",
    boxes_form="`input_boxes` must be nested as [image][box][x1, y1, x2, y2], with None for an image without boxes",
    image_level=True,
)

PREDICTOR_WORDING = PromptWording(
    points="points",
    labels="labels",
    boxes="boxes",
    masks="mask",
    points_form="`points` must be [[x, y], ...] for one object or [[[x, y], ...], ...] for several",
    labels_form="`labels` must be nested like `points`, with one label in place of each [x, y]",
    boxes_form="`boxes` must be [x1, y1, x2, y2] for one object or a list of those for several",
    image_level=False,
)

__all__ = ["PREDICTOR_WORDING", "PROCESSOR_WORDING", "PromptWording"]
