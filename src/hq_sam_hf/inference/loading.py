"""Load a model and its processor onto a device, from a folder, a Hub repository or a checkpoint file."""

import inspect
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..model.families import model_class_of, processor_class_of
from ..model.image_reading import shortened
from ..model.modeling_hq_sam import HQSamModel
from ..model.modeling_hq_sam2 import HQSam2Model
from ..model.processing_hq_sam import HQSamProcessor
from ..model.recognition import recognise
from ..utils.embedded import EMBEDDED

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

AnyModel = HQSamModel | HQSam2Model

# A repository has 96 characters at most; a file inside it may follow.
LONGEST_HUB_NAME = 1000

# Keyword arguments of `from_pretrained` that say where the files are; both the model and the processor take them.
HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "proxies", "subfolder")
# Keyword arguments of `HQSamModel.from_pretrained` that say how the weights are loaded.
WEIGHT_OPTIONS = ("attn_implementation", "use_safetensors", "weights_only", "variant")


@dataclass(frozen=True)
class ModelSpec:
    """Which model to load, and how.

    name: folder, Hub repository or checkpoint file; by default the checkpoint inside the package.
    device: None for a GPU where there is one, else the CPU.
    dtype: name of the weights' dtype.
    image_size: side of the square model input in pixels; None for the size in the checkpoint's configuration.
    """

    name: str | os.PathLike = EMBEDDED
    device: str | None = None
    dtype: str = "float32"
    image_size: int | None = None

    def load(self, device: str | None = None) -> tuple[Any, HQSamProcessor]:
        """Load model and processor. device: used where the specification names none."""
        return load_model(self.name, self.device or device, self.dtype, self.image_size)

    def as_options(self) -> dict[str, Any]:
        """The fields that the masks depend on, as JSON values."""
        return {"model": str(self.name), "dtype": self.dtype, "image_size": self.image_size}


EMBEDDED_MODEL = ModelSpec()


def load_model(
    name: str | os.PathLike | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    image_size: int | None = None,
    **options: Any,
) -> tuple[Any, HQSamProcessor]:
    """Load an HQ-SAM or HQ-SAM 2, which is recognised, and its processor.

    name: folder, Hub repository or checkpoint file; None for the checkpoint inside the package.
    device: None for a GPU where there is one, else the CPU.
    dtype: torch.float32, torch.bfloat16 or torch.float16, or its name; None for the dtype in the configuration.
    image_size: side of the square model input in pixels; None for the size in the configuration.
    options: those named in HUB_OPTIONS and WEIGHT_OPTIONS, as `PreTrainedModel.from_pretrained` takes them.

    Raises ValueError for a name, device or dtype that cannot be used.
    """
    name = EMBEDDED if name is None else name
    check_source("model", name)
    device = usable_device(device)
    logger.info("loading the model %s ...", name)
    hub_options = {key: value for key, value in options.items() if key in HUB_OPTIONS}
    model_class = model_class_of(_family(name, hub_options))
    model = model_class.from_pretrained(name, dtype=_checked_dtype(dtype), image_size=image_size, **options)
    return model.to(device), load_processor(name, image_size, **hub_options)


def load_processor(
    name: str | os.PathLike | None = None, image_size: int | None = None, **options: Any
) -> HQSamProcessor:
    """Load the processor of an HQ-SAM or HQ-SAM 2 without the model. The arguments are those of `load_model`.

    options: those named in HUB_OPTIONS. Raises ValueError for a name that cannot be used.
    """
    name = EMBEDDED if name is None else name
    check_source("model", name)
    return processor_class_of(_family(name, options)).from_pretrained(name, image_size=image_size, **options)


def _family(name: str | os.PathLike, options: dict[str, Any]) -> str:
    """The family of a model. "sam" if it cannot be told, so that loading it raises its own error."""
    known = {key: value for key, value in options.items() if key in inspect.signature(recognise).parameters}
    try:
        return recognise(name, **known)[0]
    except (OSError, ValueError, RecursionError):
        return "sam"


def usable_device(device: str | torch.device | None) -> torch.device:
    """The device of this name; for None a GPU where there is one, else the CPU. Raises ValueError if it fails."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        raise ValueError(
            f"`device` must be a device of this machine, such as 'cpu' or 'cuda', got {str(device)!r} ({reason})."
        ) from error


def _checked_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    found = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if dtype is not None and found not in DTYPES.values():
        raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}, as a name or as a torch.dtype, got {dtype!r}.")
    return found


def check_source(what: str, name: str | os.PathLike) -> None:
    """Raise ValueError for a name that is neither an existing path nor a possible Hub repository.

    The Hub client's own message would only be about the characters of the name.
    """
    if os.path.exists(name):
        return
    if len(str(name)) > LONGEST_HUB_NAME or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", str(name)):
        raise ValueError(
            f"The {what} {shortened(str(name))} is neither an existing folder or file nor a Hub repository, which is "
            "named ORGANISATION/NAME. Correct the name."
        )


def split_options(
    cls: type, options: Mapping[str, Any], loading: Sequence[str] = (*HUB_OPTIONS, *WEIGHT_OPTIONS)
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split keyword arguments of `cls.from_pretrained` into those of the class and those of loading.

    Raises TypeError for a keyword that neither takes.
    """
    own = [name for name in inspect.signature(cls).parameters if name not in ("model", "processor", "detector")]
    parameters = inspect.signature(cls.from_pretrained).parameters.values()  # type: ignore[attr-defined]
    named = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    for name in options:
        if name not in own and name not in loading:
            raise TypeError(
                f"`{cls.__name__}.from_pretrained` has no option `{name}`. Options of the class are "
                f"{', '.join(own) or 'none'}; options of loading are {', '.join([*named[1:], *loading])}."
            )
    return (
        {name: value for name, value in options.items() if name in own},
        {name: value for name, value in options.items() if name not in own},
    )


__all__ = [
    "DTYPES",
    "EMBEDDED_MODEL",
    "HUB_OPTIONS",
    "AnyModel",
    "ModelSpec",
    "check_source",
    "load_model",
    "load_processor",
    "split_options",
    "usable_device",
]
