"""The configuration of a training run: flat fields, from a YAML file and `key=value` overrides."""

import dataclasses
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

from ..data.saved_datasets import holds_data_in_memory
from ..data.several import WEIGHT, take_weight
from ..model.key_mapping import HQ_INITS
from .config_values import check_type, plain_value, read_fields, require
from .contents import without_paths
from .objectives import (
    HQHeadAndDecoderObjective,
    HQHeadObjective,
    Objective,
    SamDecoderObjective,
    SamMaskTokenObjective,
)
from .sam_objective import SamObjective

# The objectives by the value of the field `train`.
OBJECTIVES: dict[str, type[Objective]] = {
    objective.name: objective
    for objective in (
        HQHeadObjective,
        HQHeadAndDecoderObjective,
        SamMaskTokenObjective,
        SamDecoderObjective,
        SamObjective,
    )
}


@dataclass
class TrainingConfig:
    """The fields of a training run. The defaults are the recipe of the paper, on one process with 32 images a step."""

    # Data and output: the fields that every run gives.

    data: str | dict[str, Any] | list[Any] = field(default_factory=dict)
    """Training data: the root folder of HQSeg-44K, or a mapping with `kind`, or a list of them, each with a `weight`;
    see `hq_sam_hf.data.factory`."""
    output_dir: str = ""
    """Folder for config.yaml, contents.json, log.jsonl, curves.png, overlays/, checkpoints/, best.safetensors, best/
    and final/."""

    # Model and objective

    model: str | None = None
    """Folder, Hub repository or file of a SAM or SAM 2, which gets a fresh HQ head, or of an HQ-SAM or HQ-SAM 2 to
    train further."""
    architecture: dict[str, Any] | None = None
    """Fields of `HQSamConfig` or, with `model_type: hq_sam2`, of `HQSam2Config`, to start from random weights instead
    of a `model`; for `train: sam`."""
    image_size: int | None = None
    """Model input size, the side in pixels; by default the model's own."""
    train: str = "hq_head"
    """What is trained: `hq_head` (the paper), `hq_head_and_decoder`, `sam_mask_token`, `sam_decoder` or `sam`."""
    hq_init: str = "random"
    """Initial weights of a fresh HQ head: `random`, as in the paper, or `sam`, with which its mask is SAM's own."""
    lora: dict[str, Any] | None = None
    """Low-rank adapters: a mapping of `rank` (8), `alpha` (the rank), `encoder` (true) and `decoder` (false)."""

    # Samples and prompts

    validation: str | dict[str, Any] | list[Any] | None = None
    """Validation data, described like `data` but without weights; null for no validation."""
    masks_per_image: int = 1
    """Most masks of an image to train on at once; the image is encoded once. For `train: sam` the exact number."""
    prompts: list[str] | None = None
    """Kinds to draw from: `box`, `points` (ten), `point`, `mask`; by default all but `point`. For `train: sam`: `box`
    and `point`, which is its default."""
    clicks: int = 2
    """Rounds of corrective clicks after the first prompt; for `train: sam`."""
    scales: list[float] | None = field(default_factory=lambda: [0.1, 2.0])
    """Lowest and highest factor of the large-scale jitter; null to train on whole images, as generated scenes need."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    paper_exact: bool = False
    """Whether to reproduce the quirks of the original's data pipeline."""
    bad_samples: Literal["skip", "stop"] = "skip"
    """What to do with an unusable sample: `skip` logs a warning and draws another image, `stop` raises."""
    empty_images: Literal["skip", "negative"] = "skip"
    """Images whose masks are all empty: `skip` takes them for unusable; `negative` trains on them, with a prompt
    anywhere and an empty mask as the ground truth."""

    # Length and optimizer

    epochs: int = 12
    """Epochs to train; the run ends earlier if it reaches `max_steps`."""
    max_steps: int | None = None
    """Optimizer steps to train; by default `epochs` sets the length."""
    batch_size: int = 4
    """Images per process and forward pass."""
    accumulation: int = 8
    """Forward passes per optimizer step."""
    learning_rate: float = 1e-3
    """Learning rate after the warm-up."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """`adam` or `adamw`."""
    weight_decay: float = 0.0
    """Weight decay of the optimizer."""
    schedule: Literal["step", "cosine", "constant"] = "step"
    """Learning rate schedule: `step` divides by ten at `drop_epoch`, `cosine` falls to zero, `constant` stays."""
    drop_epoch: int = 10
    """First epoch, counted from 0, with a tenth of the learning rate; for `schedule: step`."""
    schedule_steps: int | None = None
    """Steps until the cosine schedule reaches zero; by default the length of the run."""
    warmup_steps: int = 0
    """Steps in which the learning rate rises linearly to its value."""
    max_grad_norm: float | None = None
    """Largest norm of the gradients, which are clipped to it; null for no clipping."""
    ema_decay: float = 0.0
    """Decay of an exponential moving average of the weights, which is validated and saved; 0 for none."""

    # Running

    seed: int = 42
    """Seed of everything random."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """`fp32`, `bf16` or `fp16`; the last needs a GPU."""
    num_workers: int = 2
    """Worker processes that load data, per training process. The batches do not depend on it."""
    gradient_checkpointing: bool = False
    """Whether to recompute the encoder's activations in the backward pass, for less memory if the encoder trains."""

    # Checkpoints, logs and validation

    save_steps: int = 500
    """Steps between checkpoints."""
    keep_checkpoints: int = 2
    """Number of checkpoints to keep."""
    log_steps: int = 20
    """Steps between lines of losses in the log."""
    eval_steps: int | None = None
    """Steps between validations; by default one epoch."""
    eval_samples: int | None = None
    """Number of images to validate on, of each set, or of generated scenes in all; by default all images."""
    eval_prompts: list[str] = field(default_factory=lambda: ["box"])
    """Prompts to validate with, as in `hq-sam evaluate --prompts`. The first one decides which weights are `best`."""
    eval_overlays: int = 8
    """Number of validation images to draw, with the masks of ground truth, SAM and HQ-SAM."""
    patience: int | None = None
    """Stop after this many validations without a better mBIoU; null for never."""
    trackers: list[str] = field(default_factory=list)
    """Trackers of Accelerate to report to, such as `tensorboard`, `wandb` or `trackio`."""
    push_to_hub: str | None = None
    """Hub repository to upload final/ to."""
    resume: bool = False
    """Whether to resume from the newest checkpoint in `output_dir`."""

    def __post_init__(self) -> None:
        for name, annotation in get_type_hints(type(self)).items():
            setattr(self, name, check_type(name, annotation, getattr(self, name)))
        self._check_what_is_trained()
        self._check_data()
        self._check_numbers()
        if self.lora is not None:
            self._check_lora(self.lora)

    @property
    def objective_class(self) -> type[Objective]:
        return OBJECTIVES[self.train]

    def make_objective(self) -> Objective:
        return self.objective_class(self.prompts, self.paper_exact, self.seed, self.clicks)

    def _check_what_is_trained(self) -> None:
        given = (self.model is None) != (self.architecture is None)
        require(given, "model", "given, or `architecture` instead, but not both", self.model)
        require(self.train in OBJECTIVES, "train", f"one of {', '.join(OBJECTIVES)}", self.train)
        require(self.hq_init in HQ_INITS, "hq_init", f"one of {', '.join(HQ_INITS)}", self.hq_init)
        require(
            self.hq_init == "random" or self.objective_class.trains_hq_head,
            "hq_init",
            f"'random' for `train: {self.train}`, which does not train the HQ head",
            self.hq_init,
        )
        require(
            self.architecture is None or self.objective_class.trains_all_weights,
            "train",
            f"{SamObjective.name!r} to start from random weights: the others need a trained `model`",
            self.train,
        )
        vision = (self.architecture or {}).get("vision_config")
        if isinstance(vision, dict):
            self.objective_class.check_encoder(vision.get("model_type"))

    def _check_data(self) -> None:
        require(bool(self.data), "data", "the root folder of HQSeg-44K or a mapping with `kind`", self.data)
        self._check_parts()
        require(bool(self.output_dir), "output_dir", "a folder for the results", self.output_dir)
        if self.prompts is None:
            self.prompts = list(self.objective_class.default_prompts)
        allowed = self.objective_class.allowed_prompts
        known = bool(self.prompts) and set(self.prompts) <= set(allowed)
        require(known, "prompts", f"among {', '.join(allowed)}", self.prompts)
        exact = self.paper_exact and self.empty_images == "negative"
        require(not exact, "empty_images", "skip with `paper_exact`, as in the original", self.empty_images)
        ordered = self.scales is None or (len(self.scales) == 2 and 0 < self.scales[0] <= self.scales[1])
        require(ordered, "scales", "[low, high] with 0 < low <= high, or null", self.scales)
        require(bool(self.eval_prompts), "eval_prompts", "at least one prompt", self.eval_prompts)

    def _check_parts(self) -> None:
        for name, data in (("data", self.data), ("validation", self.validation)):
            for part in data if isinstance(data, list) else [data] * (data is not None):
                require(isinstance(part, str | dict), name, "texts and mappings with `kind`, if it is a list", part)
                take_weight(part)
                weighted = name == "validation" and isinstance(part, dict) and WEIGHT in part
                require(not weighted, name, f"without `{WEIGHT}`, which counts in training only", part)
            plain_value(name, data)

    def _check_numbers(self) -> None:
        for name in POSITIVE:
            require(getattr(self, name) > 0, name, "positive", getattr(self, name))
        for name in POSITIVE_OR_NULL:
            value = getattr(self, name)
            require(value is None or value > 0, name, "positive or null", value)
        for name in NOT_NEGATIVE:
            require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        require(0 <= self.ema_decay < 1, "ema_decay", "in [0, 1)", self.ema_decay)
        require(0 <= self.flip <= 1, "flip", "in [0, 1]", self.flip)

    def _check_lora(self, lora: dict[str, Any]) -> None:
        known = ["alpha", "decoder", "encoder", "rank"]
        require(set(lora) <= set(known), "lora", f"a mapping of {', '.join(known)}", lora)
        rank, alpha = lora.get("rank", 1), lora.get("alpha", 1)
        require(type(rank) is int and rank > 0, "lora.rank", "a positive integer", rank)
        require(type(alpha) in (int, float) and alpha > 0, "lora.alpha", "a positive number", alpha)
        for name in ("encoder", "decoder"):
            require(type(lora.get(name, True)) is bool, f"lora.{name}", "true or false", lora.get(name))
        objective = self.objective_class
        reason = f"for `train: {self.train}`, which trains"
        require(not objective.trains_all_weights, "lora", f"null {reason} all weights", lora)
        clash = lora.get("decoder") and objective.trains_decoder
        require(not clash, "lora.decoder", f"false {reason} the decoder itself", lora.get("decoder"))

    @classmethod
    def load(cls, path: str | Path, overrides: list[str] | None = None, resume: bool = False) -> "TrainingConfig":
        """Read a YAML file and apply overrides `key=value` or `outer.inner=value`, whose values are YAML too.

        resume: set the field `resume`, whatever the file says.
        """
        fields = read_fields(path, overrides or [])
        return cls.from_dict({**fields, "resume": True} if resume else fields)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "TrainingConfig":
        """Make a configuration from a mapping; raise ValueError for unknown keys."""
        names = [item.name for item in dataclasses.fields(cls)]
        for key in fields:
            if key not in names:
                near = difflib.get_close_matches(str(key), names, n=1)
                hint = f"Did you mean `{near[0]}`?" if near else f"The fields are {', '.join(names)}."
                raise ValueError(f"`{key}` is not a field of a training configuration. {hint}")
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """The fields as YAML can hold them. A text stands for a data set in memory."""
        return {item.name: plain_value(item.name, getattr(self, item.name)) for item in dataclasses.fields(self)}

    def refuse_changes(self, earlier: dict[str, Any]) -> list[str]:
        """Raise ValueError if this run would not continue the computation of the run with the fields `earlier`.

        Return the fields whose content is still to be checked: those that differ in their paths only, and data in
        memory.
        """
        now = self.to_dict()
        # A run of an older version lacks newer fields; it ran with what is their default.
        defaults = TrainingConfig(data="-", output_dir="-", model="-").to_dict()
        earlier = {**defaults, **earlier}
        different = [key for key in now if key not in FREE_ON_RESUME and now[key] != earlier[key]]
        changed = [key for key in different if without_paths(key, now[key]) != without_paths(key, earlier[key])]
        if self.schedule == "cosine" and self.schedule_steps is None:  # the schedule depends on the run's length
            changed += [key for key in ("epochs", "max_steps") if now[key] != earlier[key]]
        if changed:
            listing = "; ".join(f"`{key}` was {earlier[key]!r} and is {now[key]!r}" for key in changed)
            raise ValueError(
                f"The run in {self.output_dir} was started with another configuration: {listing}. Set them back to "
                "resume it, or choose another output_dir."
            )
        in_memory = [key for key in ("data", "validation") if holds_data_in_memory(now[key])]
        return list(dict.fromkeys([*different, *in_memory]))


# Fields by the values that they allow.
POSITIVE = (
    *("epochs", "batch_size", "accumulation", "masks_per_image", "learning_rate"),
    *("save_steps", "keep_checkpoints", "log_steps"),
)
POSITIVE_OR_NULL = (
    *("image_size", "max_steps", "schedule_steps", "max_grad_norm"),
    *("eval_steps", "eval_samples", "patience"),
)
NOT_NEGATIVE = ("clicks", "num_workers", "warmup_steps", "weight_decay", "seed", "eval_overlays")

# Fields that may differ when a run is resumed. They change how long or where it runs, not what it computes.
FREE_ON_RESUME = (
    *("output_dir", "epochs", "max_steps", "patience", "num_workers", "resume"),
    *("save_steps", "keep_checkpoints", "log_steps", "eval_steps", "eval_overlays", "trackers", "push_to_hub"),
)

__all__ = ["FREE_ON_RESUME", "OBJECTIVES", "TrainingConfig"]
