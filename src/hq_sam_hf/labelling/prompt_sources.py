"""Where the prompts of each image come from: columns of the source, a file, text, or nothing."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..data.coco_files import id_key
from ..inference.text import split_labels
from .examples import Example
from .prompt_files import ObjectPrompt, finite_numbers
from .sources import SourceRow

BOX_FORMATS = ("xyxy", "xywh")


class PromptSource(ABC):
    """Turns a row of a source into an example. It can be pickled."""

    @abstractmethod
    def example(self, row: SourceRow) -> Example:
        """The image of a row with its prompts. Raises ValueError for prompts that are malformed."""

    @abstractmethod
    def as_options(self) -> dict[str, Any]:
        """What says which prompts these are, as JSON values."""


@dataclass(frozen=True)
class AutomaticPrompts(PromptSource):
    """No prompts: everything in the images is segmented."""

    def example(self, row: SourceRow) -> Example:
        return Example(row.key, row.place)

    def as_options(self) -> dict[str, Any]:
        return {"prompts": "automatic"}


@dataclass(frozen=True)
class TextPrompts(PromptSource):
    """The same text for all images. labels: what a detector looks for."""

    labels: Sequence[str]

    def example(self, row: SourceRow) -> Example:
        return Example(row.key, row.place, text=self.labels)

    def as_options(self) -> dict[str, Any]:
        return {"prompts": "text", "text": list(self.labels)}


@dataclass(frozen=True)
class ColumnPrompts(PromptSource):
    """Prompts from columns of the source, in pixels of the image. `objects.bbox` is a field inside of a column.

    boxes: a list of boxes, of 4 numbers each.
    box_format: "xyxy" for x1, y1, x2, y2, or "xywh" for x, y, width, height.
    points: for each object a list of [x, y]. point_labels: nested alike, 1 on the object and 0 on the background.
    masks: a list of rough masks: COCO segmentations as JSON text, or images.
    labels: a list with the label of each object, or one for all.
    text: labels that a detector looks for, as a list or as "dog. leash."; it excludes the other columns.

    Columns of one row describe the same objects, so their lists have the same length. A row without a value has no
    objects.
    """

    boxes: str | None = None
    box_format: str = "xyxy"
    points: str | None = None
    point_labels: str | None = None
    masks: str | None = None
    labels: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if self.box_format not in BOX_FORMATS:
            raise ValueError(f"`box_format` must be one of {', '.join(BOX_FORMATS)}, got {self.box_format!r}.")
        prompts = (self.boxes, self.points, self.masks)
        if self.text is None and not any(prompts):
            raise ValueError("Name a column with boxes, points, masks or text.")
        if self.text is not None and any((*prompts, self.labels)):
            raise ValueError("A column with text excludes columns with other prompts. Name one of them.")
        if self.point_labels is not None and self.points is None:
            raise ValueError("A column with labels of points needs one with points. Name it too.")

    def names(self) -> list[str]:
        """The names of the columns, without fields inside of them."""
        values = (self.boxes, self.points, self.point_labels, self.masks, self.labels, self.text)
        return [name.partition(".")[0] for name in values if name is not None]

    def check(self, columns: Sequence[str]) -> None:
        """Raise ValueError if the source has no such column."""
        missing = [name for name in self.names() if name not in columns]
        if missing:
            own = f"Its columns are {', '.join(columns)}" if columns else "It has no columns with prompts"
            raise ValueError(f"The source has no column {missing[0]!r}. {own}. Correct the name.")

    def example(self, row: SourceRow) -> Example:
        if self.text is not None:
            text = _value(row, self.text)
            return Example(row.key, row.place, text=split_labels(text)) if text else Example(row.key, row.place, [])
        values = {
            name: _list(row, column)
            for name, column in (
                ("box", self.boxes),
                ("points", self.points),
                ("labels", self.point_labels),
                ("mask", self.masks),
                ("label", self.labels),
            )
            if column is not None
        }
        counts = {name: len(value) for name, value in values.items() if not isinstance(value, str)}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{count} of {name}" for name, count in counts.items())
            raise ValueError(f"the columns of a row describe the same objects, got {listed}. Correct the row.")
        prompts = []
        for i in range(max(counts.values(), default=0)):
            given = {name: value if isinstance(value, str) else value[i] for name, value in values.items()}
            prompts.append(_object(given, self.box_format))
        return Example(row.key, row.place, prompts)

    def as_options(self) -> dict[str, Any]:
        given = {f"{name}_column": value for name, value in asdict(self).items() if value and name != "box_format"}
        return {"prompts": "columns", **given, "box_format": self.box_format}


@dataclass(frozen=True)
class FilePrompts(PromptSource):
    """Prompts from a file.

    by_name: the objects of each image, by its key, its path or its id in COCO. file_digest: of the file's content.
    min_score: detections with a lower score are left out.
    """

    by_name: Mapping[str | int, Sequence[ObjectPrompt]]
    file_digest: str
    min_score: float = 0.0

    def example(self, row: SourceRow) -> Example:
        name = self.name_of(row)
        return Example(row.key, row.place, [] if name is None else self.by_name[name])

    def name_of(self, row: SourceRow) -> str | int | None:
        """The name by which the file knows an image; None if it has no objects there."""
        names = (row.key, row.place.address, row.columns.get("image_id"), id_key(row.key), row.key.rpartition("/")[2])
        return next((name for name in names if name is not None and name in self.by_name), None)

    def as_options(self) -> dict[str, Any]:
        return {"prompts": "file", "file_digest": self.file_digest, "min_score": self.min_score}


def _value(row: SourceRow, column: str) -> Any:
    """The value of a column or of a field inside of it; None if the row has none."""
    value: Any = row.columns
    for name in column.split("."):
        if isinstance(value, Sequence) and not isinstance(value, str):  # a list of objects with fields
            value = [one.get(name) if isinstance(one, Mapping) else None for one in value]
        else:
            value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _list(row: SourceRow, column: str) -> Sequence[Any] | str:
    value = _value(row, column)
    if value is None:
        return []
    if isinstance(value, str):
        return value
    if not isinstance(value, Sequence):
        value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, Sequence):
        raise ValueError(f"the column {column!r} must hold a list, got {value!r:.60}. Correct the row.")
    return value


def _object(given: Mapping[str, Any], box_format: str) -> ObjectPrompt:
    """The prompts for one object. Raises ValueError if they are malformed."""
    box, points, labels, mask = (given.get(name) for name in ("box", "points", "labels", "mask"))
    if box is not None:
        box = finite_numbers("box", box, 4, "4 numbers")
        if box_format == "xywh":
            box = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
    if points is not None:
        points = [finite_numbers("points", point, 2, "x, y") for point in points]
        if labels is not None and len(labels) != len(points):
            raise ValueError(f"an object has {len(points)} points and {len(labels)} labels of points. Give one each.")
    mask = None if mask is None else _row_mask(mask)
    if box is None and not points and mask is None:
        raise ValueError("an object has no prompt. Give it a box, points or a mask, or leave it out.")
    label = given.get("label")
    return ObjectPrompt(box, points or None, labels or None, mask, None if label is None else str(label))


def _row_mask(mask: Any) -> str | bytes:
    """A mask in a row: bytes of an image, or text. A table from somebody else must not have a file read."""
    content = mask.get("bytes") if isinstance(mask, Mapping) else mask
    if isinstance(content, bytes) or (isinstance(content, str) and content.lstrip().startswith("{")):
        return content
    raise ValueError(
        f"a mask of a row must hold its bytes or be a COCO segmentation as text, got {mask!r:.60}. Store the masks in "
        "the table."
    )


__all__ = ["BOX_FORMATS", "AutomaticPrompts", "ColumnPrompts", "FilePrompts", "PromptSource", "TextPrompts"]
