"""The progress of a run."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from .config_values import check_type


@dataclass
class Position:
    """The progress of a run, which its checkpoints store beside the weights and the optimizer.

    step: steps done. best: the best validation score so far. waited: validations since then. metrics: of the last
    validation. skipped: unusable samples so far, each replaced by another. unlogged_masks, unlogged_losses: masks
    since the last line of the log, and sums of their losses.
    """

    step: int = 0
    images_per_step: int = 0
    best: float | None = None
    waited: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    skipped: int = 0
    unlogged_masks: int = 0
    unlogged_losses: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_saved(cls, saved: dict[str, Any], images_per_step: int, folder: Path) -> "Position":
        """The position in a checkpoint. One of another version may have other fields.

        images_per_step: where the checkpoint does not say. Raises ValueError for values of other types.
        """
        known = {item.name for item in fields(cls)}
        values = {"images_per_step": images_per_step, **{key: saved[key] for key in saved if key in known}}
        types = get_type_hints(cls)
        try:
            for name, value in values.items():
                values[name] = check_type(name, types[name], value)
            for entry in [*values.get("metrics", {}).values(), *values.get("unlogged_losses", {}).values()]:
                check_type("metrics", float, entry)
            if "step" not in values or values["step"] < 0:
                raise ValueError("`step` must be 0 or more.")
        except ValueError as error:
            raise ValueError(
                f"The position in {folder} is damaged: {error} Remove this folder to resume from an earlier "
                "checkpoint, or choose another output_dir."
            ) from error
        return cls(**values)


__all__ = ["Position"]
