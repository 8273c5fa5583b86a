"""The model that a training run starts from."""

import os
from typing import Any

from ..model.checkpoint_format import family_of, read_checkpoint
from ..model.families import config_class_of, family_of_model_type, model_class_of, processor_class_of
from ..model.recognition import recognise
from ..model.weights import find_file
from .config import TrainingConfig
from .config_values import require


def load_base(config: TrainingConfig) -> tuple[Any, Any]:
    """Load the model to train, in float32, and its processor: those of HQ-SAM or of HQ-SAM 2.

    The model has random weights (`architecture`), or it is a plain SAM or SAM 2 with a fresh HQ head, or one that has
    a head. Raises ValueError for unknown fields, a model that cannot be found, or fields that do not fit the model.
    """
    if config.architecture is not None:
        model = _build(config.architecture)
        if config.image_size is not None:
            model.resize_image(config.image_size)
    else:
        name = str(config.model)
        options: dict[str, Any] = {"image_size": config.image_size, "dtype": "float32"}
        family, has_hq_head = _recognise(name)
        if has_hq_head:
            require(
                config.hq_init == "random", "hq_init", f"left out for {name}, which has an HQ head", config.hq_init
            )
            model = model_class_of(family).from_pretrained(name, **options)
        else:
            model = model_class_of(family).from_sam_pretrained(name, hq_init=config.hq_init, **options)
        config.objective_class.check_encoder(model.config.vision_config.model_type)
    if config.gradient_checkpointing:
        # The method has another name since transformers 5.24; it does without re-entering autograd by default.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable()
    return model, processor_class_of(family_of(model.config)).from_config(model.config)


def _build(architecture: dict[str, Any]) -> Any:
    """A model with random weights. `model_type` chooses between "hq_sam", the default, and "hq_sam2"."""
    model_type = architecture.get("model_type", "hq_sam")
    require(model_type in ("hq_sam", "hq_sam2"), "architecture.model_type", "hq_sam or hq_sam2", model_type)
    config_class = config_class_of(family_of_model_type(model_type))
    sections = {name: fields for name, fields in architecture.items() if name != "model_type"}
    known = config_class().to_dict()
    known = {name: known[name] for name in config_class.sub_configs}
    _refuse_unknown_fields(config_class.__name__, "", sections, known)
    try:
        return model_class_of(family_of_model_type(model_type))(config_class(**sections))
    except TypeError as error:
        raise ValueError(f"`architecture` must hold fields of {config_class.__name__}: {error}") from error


def _refuse_unknown_fields(config_name: str, place: str, fields: dict[str, Any], known: dict[str, Any]) -> None:
    """Raise ValueError for unknown fields. transformers ignores them, and the model would have its published size."""
    for name, value in fields.items():
        if name not in known:
            raise ValueError(
                f"`architecture` must hold fields of {config_name}, got {name!r}{place}. The fields are "
                f"{', '.join(known if not place else sorted(known))}."
            )
        if isinstance(value, dict) and isinstance(known[name], dict):
            _refuse_unknown_fields(config_name, f" in {name}", value, known[name])


def _recognise(name: str) -> tuple[str, bool]:
    """The family of a model, "sam" or "sam2", and whether it has an HQ head."""
    file = find_file(name)
    if file is not None:
        checkpoint = read_checkpoint(file)
        return checkpoint.family, checkpoint.has_hq
    try:
        return recognise(name)
    except (OSError, ValueError) as error:
        reason = "" if os.path.isdir(name) else f" ({error})"
        raise ValueError(
            f"`model` must be a model folder with config.json, a file or a Hub repository, got {name!r}{reason}."
        ) from error


__all__ = ["load_base"]
