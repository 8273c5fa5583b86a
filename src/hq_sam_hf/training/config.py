"""What a training run is: one flat set of fields, from a YAML file and `key=value` overrides."""

import dataclasses
import difflib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..model.key_mapping import HQ_INITS

# What learns, and which mask the loss looks at: the HQ mask, or SAM's own.
HQ_TARGETS = ("hq_head", "hq_head_and_decoder")
SAM_TARGETS = ("sam_mask_token", "sam_decoder")
FROM_SCRATCH = "sam"
TARGETS = (*HQ_TARGETS, *SAM_TARGETS, FROM_SCRATCH)
TRAIN_DECODER = ("hq_head_and_decoder", "sam_decoder")
TINY_VIT = "hq_sam_tiny_vit"  # the model_type of its configuration

# Fields that may differ when a run is resumed: they change how long or where it runs, not what it computes.
FREE_ON_RESUME = {
    "epochs",
    "max_steps",
    "save_steps",
    "keep_checkpoints",
    "log_steps",
    "eval_steps",
    "eval_overlays",
    "patience",
    "num_workers",
    "trackers",
    "push_to_hub",
    "resume",
}


@dataclass
class TrainingConfig:
    """A training run; the defaults are the recipe of the paper, for one process with a batch of 32 in all.

    What is trained
        model: folder, Hub repository or file of a SAM, which gets a fresh HQ head, or of an HQ-SAM to train on.
        architecture: fields of HQSamConfig, to start from random weights instead of a `model`.
        image_size: side of the model's input; by default the model's own.
        train: "hq_head" (the paper), "hq_head_and_decoder"; as controls "sam_mask_token", "sam_decoder", which tune
            SAM's own mask on the same data and prompts; "sam", all weights of a plain SAM with iterative clicks.
        hq_init: how a fresh HQ head begins: "random", as in the paper; "sam", as SAM's own mask, which short runs and
            runs on pictures unlike those to come gain from.
        lora: for low-rank adapters beside it, such as {rank: 8, encoder: true, decoder: false, alpha: 16}; needs peft.
    Data
        data: root of HQSeg-44K, or a mapping with `kind`; see `data_sources.load_source`.
        validation: likewise, or null for none.
        masks_per_image: at most so many masks of an image are trained at once, over one run of the encoder; for "sam"
            just so many prompts, several for one mask if need be.
        prompts: kinds to draw from, of box, points (ten), point (one), mask; for "sam" of box, point.
        clicks: for "sam", rounds of corrective clicks after the first prompt.
        scales: lowest and highest factor of large-scale jitter; null keeps images whole, as generated scenes are.
        flip: probability of a horizontal flip.
        paper_exact: bring back the quirks of the original's data pipeline, named in docs/training.md.
        bad_samples: "skip" warns and takes another sample in place of one that cannot be read, "stop" raises.
    Length and optimiser
        epochs, max_steps: whichever ends first; a step is one update of the weights.
        batch_size: images per process and forward pass; accumulation: passes per step.
        learning_rate, optimizer ("adam", "adamw"), weight_decay.
        schedule: "step" divides the rate by ten from epoch `drop_epoch` on; "cosine" falls to zero; "constant".
        schedule_steps: where the cosine reaches zero; by default where the run ends.
        warmup_steps: the rate rises linearly over so many steps.
        max_grad_norm: gradients are clipped to this norm; null for no clipping.
        ema_decay: of an average of the weights that is evaluated and saved in their place; 0 for none.
    Running
        seed: of everything random.
        precision: "fp32", "bf16" or "fp16".
        num_workers: processes that prepare data, per training process; they do not change what is prepared.
        gradient_checkpointing: recompute the encoder's activations; of use where the encoder is trained.
    Output
        output_dir: gets config.yaml, log.jsonl, curves.png, overlays/, checkpoints/, best/ and final/.
        save_steps, keep_checkpoints: how often a checkpoint is written, and how many are kept.
        log_steps: how often losses are written.
        eval_steps: how often to validate; by default after each epoch.
        eval_samples: validate on the first so many images of each set, of generated scenes in all; by default on all.
        eval_prompts: as in `evaluation_prompts`; the first counts for `best`.
        eval_overlays: so many pictures of validation images with truth, SAM and HQ.
        patience: stop after so many validations without a better mBIoU; null for never.
        trackers: of accelerate, such as [tensorboard, wandb, trackio].
        push_to_hub: repository that final/ is uploaded to.
        resume: go on from the newest checkpoint in output_dir.
    """

    data: str | dict[str, Any] = field(default_factory=dict)
    output_dir: str = ""
    model: str | None = None
    architecture: dict[str, Any] | None = None
    image_size: int | None = None
    train: str = "hq_head"
    hq_init: str = "random"
    lora: dict[str, Any] | None = None
    validation: str | dict[str, Any] | None = None
    masks_per_image: int = 1
    prompts: list[str] = field(default_factory=lambda: ["box", "points", "mask"])
    clicks: int = 2
    scales: list[float] | None = field(default_factory=lambda: [0.1, 2.0])
    flip: float = 0.5
    paper_exact: bool = False
    bad_samples: str = "skip"
    epochs: int = 12
    max_steps: int | None = None
    batch_size: int = 4
    accumulation: int = 8
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "step"
    drop_epoch: int = 10
    schedule_steps: int | None = None
    warmup_steps: int = 0
    max_grad_norm: float | None = None
    ema_decay: float = 0.0
    seed: int = 42
    precision: str = "fp32"
    num_workers: int = 2
    gradient_checkpointing: bool = False
    save_steps: int = 500
    keep_checkpoints: int = 2
    log_steps: int = 20
    eval_steps: int | None = None
    eval_samples: int | None = None
    eval_prompts: list[str] = field(default_factory=lambda: ["box"])
    eval_overlays: int = 8
    patience: int | None = None
    trackers: list[str] = field(default_factory=list)
    push_to_hub: str | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            setattr(self, item.name, _as_type(item.name, item.type, getattr(self, item.name)))
        _require(
            (self.model is None) != (self.architecture is None), "model", "given, or else `architecture`", self.model
        )
        _require(bool(self.data), "data", "the root of HQSeg-44K or a mapping with `kind`", self.data)
        _require(bool(self.output_dir), "output_dir", "a folder for the results", self.output_dir)
        _one_of(self, "train", TARGETS)
        _one_of(self, "hq_init", HQ_INITS)
        _require(
            self.hq_init == "random" or self.train in HQ_TARGETS,
            "hq_init",
            f"'random' for `train: {self.train}`, which does not train the HQ head",
            self.hq_init,
        )
        _require(
            self.architecture is None or self.train == FROM_SCRATCH,
            "train",
            f"{FROM_SCRATCH!r} with random weights: other targets need a trained `model`",
            self.train,
        )
        vision = (self.architecture or {}).get("vision_config")
        if isinstance(vision, dict):
            self.refuse_encoder(vision.get("model_type"))
        kinds = {"box", "point"} if self.train == FROM_SCRATCH else {"box", "points", "point", "mask"}
        if self.train == FROM_SCRATCH and self.prompts == ["box", "points", "mask"]:
            self.prompts = ["box", "point"]
        _require(bool(self.prompts) and set(self.prompts) <= kinds, "prompts", f"among {sorted(kinds)}", self.prompts)
        _one_of(self, "bad_samples", ("skip", "stop"))
        _one_of(self, "optimizer", ("adam", "adamw"))
        _one_of(self, "schedule", ("step", "cosine", "constant"))
        _one_of(self, "precision", ("fp32", "bf16", "fp16"))
        for name in (
            "epochs",
            "batch_size",
            "accumulation",
            "masks_per_image",
            "save_steps",
            "keep_checkpoints",
            "log_steps",
        ):
            _require(getattr(self, name) > 0, name, "positive", getattr(self, name))
        for name in (
            "image_size",
            "max_steps",
            "schedule_steps",
            "eval_steps",
            "eval_samples",
            "patience",
            "max_grad_norm",
        ):
            value = getattr(self, name)
            _require(value is None or value > 0, name, "positive or null", value)
        for name in ("clicks", "num_workers", "warmup_steps", "weight_decay", "seed", "eval_overlays"):
            _require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        _require(self.learning_rate > 0, "learning_rate", "positive", self.learning_rate)
        _require(0 <= self.ema_decay < 1, "ema_decay", "in [0, 1)", self.ema_decay)
        _require(0 <= self.flip <= 1, "flip", "in [0, 1]", self.flip)
        ordered = self.scales is None or (len(self.scales) == 2 and 0 < self.scales[0] <= self.scales[1])
        _require(ordered, "scales", "[low, high] with 0 < low <= high, or null", self.scales)
        _require(bool(self.eval_prompts), "eval_prompts", "at least one prompt", self.eval_prompts)
        if self.lora is not None:
            self._check_lora(self.lora)

    def _check_lora(self, lora: dict[str, Any]) -> None:
        known = {"rank", "alpha", "encoder", "decoder"}
        _require(set(lora) <= known, "lora", f"a mapping of {sorted(known)}", lora)
        rank, alpha = lora.get("rank", 1), lora.get("alpha", 1)
        _require(type(rank) is int and rank > 0, "lora.rank", "a positive integer", rank)
        _require(type(alpha) in (int, float) and alpha > 0, "lora.alpha", "a positive number", alpha)
        for name in ("encoder", "decoder"):
            _require(type(lora.get(name, True)) is bool, f"lora.{name}", "true or false", lora.get(name))
        _require(
            self.train != FROM_SCRATCH, "lora", f"null for `train: {FROM_SCRATCH}`, which trains all weights", lora
        )
        _require(
            not (lora.get("decoder") and self.train in TRAIN_DECODER),
            "lora.decoder",
            f"false for `train: {self.train}`, which trains the decoder itself",
            lora.get("decoder"),
        )

    def refuse_encoder(self, model_type: str | None) -> None:
        """Raise ValueError for an encoder that this run could train but not save."""
        if self.train == FROM_SCRATCH and model_type == TINY_VIT:
            raise ValueError(
                f"`train: {FROM_SCRATCH}` saves a plain SAM in transformers' layout, which has no TinyViT, got "
                f"vision_config.model_type {model_type!r}. Choose a ViT, or train an HQ head on a TinyViT's SAM."
            )

    def refuse_hq_init(self) -> None:
        """Raise ValueError if a way to begin is asked for and `model` has an HQ head to train on."""
        _require(self.hq_init == "random", "hq_init", f"left out for {self.model}, which has an HQ head", self.hq_init)

    @classmethod
    def load(cls, path: str | Path, overrides: list[str] | None = None, resume: bool = False) -> "TrainingConfig":
        """Read a YAML file and apply overrides `key=value`, `outer.inner=value`; values are YAML too.

        resume: set that field, whatever the file says.
        """
        import yaml  # a requirement of transformers

        try:
            fields = yaml.safe_load(Path(path).read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no YAML: {error}") from error
        if not isinstance(fields, dict):
            raise ValueError(f"{path} must hold `key: value` lines, got {type(fields).__name__}.")
        for override in overrides or []:
            key, equals, value = override.partition("=")
            if not equals:
                raise ValueError(f"An override must read key=value, got {override!r}.")
            place = fields
            *outer, last = key.split(".")
            for name in outer:
                if name in ("data", "validation") and isinstance(place.get(name), str):
                    place[name] = {"kind": "hqseg44k", "root": place[name]}  # what a string alone stands for
                place = place.setdefault(name, {})
                if not isinstance(place, dict):
                    raise ValueError(f"{override!r}: `{name}` is not a mapping.")
            try:
                place[last] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise ValueError(f"The value of the override {override!r} is no YAML: {error}") from error
        return cls.from_dict({**fields, "resume": True} if resume else fields)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "TrainingConfig":
        """From a mapping; unknown keys are refused."""
        names = [item.name for item in dataclasses.fields(cls)]
        for key in fields:
            if key not in names:
                near = difflib.get_close_matches(str(key), names, n=1)
                hint = f" Did you mean `{near[0]}`?" if near else f" Known are {', '.join(names)}."
                raise ValueError(f"`{key}` is no field of a training configuration.{hint}")
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def refuse_changes(self, earlier: dict[str, Any]) -> None:
        """Raise ValueError if this run would compute something else than the one that is to be resumed."""
        now = self.to_dict()
        # A field that is younger than the run had no effect on it; its default says so.
        least = TrainingConfig(data="-", output_dir="-", model="-")
        earlier = {**least.to_dict(), **earlier}
        changed = [key for key in now if key not in FREE_ON_RESUME and now[key] != earlier[key]]
        if self.schedule == "cosine" and self.schedule_steps is None:
            changed += [key for key in ("epochs", "max_steps") if now[key] != earlier[key]]
        if changed:
            listing = "; ".join(f"`{key}` was {earlier[key]!r} and is {now[key]!r}" for key in changed)
            raise ValueError(
                f"The run in {self.output_dir} was started with another configuration: {listing}. Set them back to "
                "resume it, or choose another output_dir."
            )


def _require(holds: bool, name: str, expected: str, got: object) -> None:
    if not holds:
        raise ValueError(f"`{name}` must be {expected}, got {got!r}.")


def _one_of(config: TrainingConfig, name: str, allowed: tuple[str, ...]) -> None:
    _require(getattr(config, name) in allowed, name, f"one of {', '.join(allowed)}", getattr(config, name))


def _as_type(name: str, kind: Any, value: Any) -> Any:
    """Check a value against a field's annotation; integers may stand for floats, and 1e-3 is text to YAML."""
    options = str(kind.__name__ if isinstance(kind, type) else kind)
    value = _with_text_paths(value)
    if value is None:
        _require("None" in options, name, options, value)
        return value
    if "float" in options and "list" not in options:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = None
        _require(number is not None and not isinstance(value, bool), name, "a number", value)
        return number
    allowed = [
        t
        for text, t in (("str", str), ("dict", dict), ("list", list), ("bool", bool), ("int", int))
        if options.startswith(text) or f"| {text}" in options
    ]
    fits = isinstance(value, tuple(allowed)) and (not isinstance(value, bool) or bool in allowed)
    _require(fits, name, options.replace(" | None", " or null"), value)
    if "list[float]" in options:
        return [_as_type(name, float, entry) for entry in value]
    if "list[str]" in options:
        return [_as_type(name, str, entry) for entry in value]
    return value


def _with_text_paths(value: Any) -> Any:
    """Path objects as text, which YAML can hold."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return {key: _with_text_paths(entry) for key, entry in value.items()}
    return [_with_text_paths(entry) for entry in value] if isinstance(value, list) else value


__all__ = ["FREE_ON_RESUME", "FROM_SCRATCH", "HQ_TARGETS", "SAM_TARGETS", "TARGETS", "TrainingConfig"]
