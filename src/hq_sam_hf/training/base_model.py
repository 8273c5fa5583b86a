"""The model that a training run starts from."""

import json
import os
from pathlib import Path
from typing import Any

from ..model.checkpoint_format import read_checkpoint
from ..model.configuration_hq_sam import HQSamConfig
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor
from ..model.weights import find_file
from .config import TrainingConfig
from .config_values import require


def load_base(config: TrainingConfig) -> tuple[HQSamModel, HQSamProcessor]:
    """Load the model to train, in float32, and its processor.

    The model has random weights (`architecture`), or it is a plain SAM with a fresh HQ head, or an HQ-SAM. Raises
    ValueError for unknown fields, a model that cannot be found, or fields that do not fit the model.
    """
    if config.architecture is not None:
        _refuse_unknown_fields(config.architecture)
        try:
            model = HQSamModel(HQSamConfig(**config.architecture))
        except TypeError as error:
            raise ValueError(f"`architecture` must hold fields of HQSamConfig: {error}") from error
        if config.image_size is not None:
            model.resize_image(config.image_size)
    else:
        name = str(config.model)
        options: dict[str, Any] = {"image_size": config.image_size, "dtype": "float32"}
        if _has_hq_head(name):
            require(
                config.hq_init == "random", "hq_init", f"left out for {name}, which has an HQ head", config.hq_init
            )
            model = HQSamModel.from_pretrained(name, **options)
        else:
            model = HQSamModel.from_sam_pretrained(name, hq_init=config.hq_init, **options)
        config.objective_class.check_encoder(model.config.vision_config.model_type)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model, HQSamProcessor.from_config(model.config)


def _refuse_unknown_fields(architecture: dict[str, Any]) -> None:
    """Raise ValueError for unknown fields. transformers ignores them, and the model would have its published size."""
    known = HQSamConfig().to_dict()
    for section, fields in architecture.items():
        expected: Any = list(HQSamConfig.sub_configs)
        unknown = [] if section in expected else [section]
        if not unknown and isinstance(fields, dict):
            expected = sorted(known[section])
            unknown = [name for name in fields if name not in expected]
        if unknown:
            place = "" if unknown[0] == section else f" in {section}"
            raise ValueError(
                f"`architecture` must hold fields of HQSamConfig, got {unknown[0]!r}{place}. "
                f"The fields are {', '.join(expected)}."
            )


def _has_hq_head(name: str) -> bool:
    file = find_file(name)
    if file is not None:
        return read_checkpoint(file).has_hq
    expected = f"`model` must be a model folder with config.json, a file or a Hub repository, got {name!r}"
    path = Path(name) / "config.json"
    if not os.path.isdir(name):
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HFValidationError

        try:
            path = Path(hf_hub_download(name, "config.json"))
        except (OSError, HFValidationError) as error:
            raise ValueError(f"{expected} ({error})") from error
    if not path.is_file():
        raise ValueError(f"{expected}.")
    return json.loads(path.read_text()).get("model_type") != "sam"


__all__ = ["load_base"]
