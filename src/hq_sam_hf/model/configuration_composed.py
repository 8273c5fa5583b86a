"""What the configurations of HQ-SAM and HQ-SAM 2 share: three sections, each checked, and all of them in agreement."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

from .configuration_checks import check_stored, plain_errors, require

# The class that loads a model, by the model_type in its config.json.
LOADED_BY = {
    **dict.fromkeys(("hq_sam", "sam_hq", "sam"), "HQSamModel"),
    **dict.fromkeys(("hq_sam2", "sam2", "sam2_video"), "HQSam2Model"),
}


@strict
class HQSamComposedConfig(PreTrainedConfig):
    """A configuration with sections for image encoder, prompt encoder and mask decoder.

    vision_config, prompt_encoder_config, mask_decoder_config: a config object, its dict, or None for the defaults.
    """

    # Called when a configuration is created, if set. The package's `registration` sets it, to register the model with
    # transformers' auto classes no earlier than needed.
    before_first_use: ClassVar[Any] = None

    # The classes that a vision_config may have, by their model_type, the default first.
    vision_configs: ClassVar[dict[str, Any]] = {}

    vision_config: Any = None
    prompt_encoder_config: Any = None
    mask_decoder_config: Any = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.before_first_use is not None:
            self.before_first_use()
        for name in self.sub_configs:
            setattr(self, name, self._section(name, getattr(self, name)))
        self._check_agreement()
        super().__post_init__(**kwargs)

    def _section(self, name: str, value: Any) -> PreTrainedConfig:
        config_class: Any = self.sub_configs[name]
        if isinstance(
            value, (config_class, *self.vision_configs.values()) if name == "vision_config" else config_class
        ):
            return value
        if isinstance(value, PreTrainedConfig):
            value = value.to_dict()
        expected = f"a {config_class.__name__}, a dict or None"
        require(value is None or isinstance(value, dict), name, expected, value)
        fields = dict(value or {})
        if name == "vision_config":
            model_type = fields.pop("model_type", None) or next(iter(self.vision_configs))
            expected = f"one of {', '.join(self.vision_configs)}"
            require(model_type in self.vision_configs, "vision_config.model_type", expected, model_type)
            config_class = self.vision_configs[model_type]
        return config_class(**fields)

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read config.json. One of transformers' models is corrected to match the original's model."""
        try:
            stored, unused = super().get_config_dict(*args, **kwargs)
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"The config.json of {str(args[0])!r} is not a JSON object ({error}). Download it again."
            ) from error
        check_stored(stored, cls.sub_configs)
        loaded_by, own = LOADED_BY.get(str(stored.get("model_type"))), LOADED_BY.get(cls.model_type)
        if loaded_by and own and loaded_by != own:
            raise ValueError(
                f"{str(args[0])!r} is of the model_type {stored['model_type']!r}, another model than {own}. Load it "
                f"with {loaded_by}."
            )
        return cls._from_transformers(stored), unused

    @classmethod
    def _from_transformers(cls, stored: dict[str, Any]) -> dict[str, Any]:
        """The fields of a config.json as this class takes them, where it is one of transformers' models."""
        return stored

    @classmethod
    def _sections_without_model_type(cls, stored: dict[str, Any]) -> dict[str, Any]:
        """The fields of a config.json of transformers, without the types of the model and of its sections."""
        fields = {name: value for name, value in stored.items() if name not in ("model_type", "architectures")}
        for name in cls.sub_configs:
            section = fields.get(name) or {}
            fields[name] = {key: value for key, value in section.items() if key != "model_type"}
        return fields

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make a configuration of the fields of a config.json. Raises ValueError, naming the field, for wrong ones."""
        check_stored(config_dict, cls.sub_configs)
        with plain_errors():
            return super().from_dict(config_dict, **kwargs)

    def _check_agreement(self) -> None:
        """Raise ValueError, naming the field, if the sections disagree in image size, patch size or channels."""
        vision, prompt, decoder = self.vision_config, self.prompt_encoder_config, self.mask_decoder_config
        for field in ("image_size", "patch_size"):
            expected, got = getattr(vision, field), getattr(prompt, field)
            require(got == expected, f"prompt_encoder_config.{field}", f"vision_config.{field} ({expected})", got)
        width = vision.output_channels
        for section, config in (("prompt_encoder_config", prompt), ("mask_decoder_config", decoder)):
            expected_width = f"vision_config.output_channels ({width})"
            require(config.hidden_size == width, f"{section}.hidden_size", expected_width, config.hidden_size)

    @property
    def mask_size(self) -> int:
        """Side of the square low-resolution mask grid: four cells per patch (256 at 1024 pixels with patch 16)."""
        return 4 * (self.vision_config.image_size // self.vision_config.patch_size)


__all__ = ["HQSamComposedConfig"]
