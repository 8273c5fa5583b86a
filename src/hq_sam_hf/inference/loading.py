"""Load a model and its processor onto a device, by the name that a user gives."""

import os
import re
from pathlib import Path

import torch

from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    name: str | os.PathLike, device: str | None, dtype: str, image_size: int | None = None
) -> tuple[HQSamModel, HQSamProcessor]:
    """Load model and processor from a folder, Hub repository or file. device: None for a GPU where there is one."""
    check_source("model", name)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"The device {device!r} cannot be used here ({str(error).splitlines()[0]}).") from error
    model = HQSamModel.from_pretrained(name, dtype=DTYPES[dtype], image_size=image_size).to(device)
    return model, HQSamProcessor.from_pretrained(name, image_size=image_size)


def check_source(what: str, name: str | os.PathLike) -> None:
    """Refuse what is neither there nor might be on the Hub; its own message is about the letters of a repository."""
    if not Path(name).exists() and not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", str(name)):
        raise ValueError(
            f"The {what} {str(name)!r} is no folder or file that exists, and cannot be a repository of the Hub, which "
            "is named as ORGANISATION/NAME."
        )


__all__ = ["DTYPES", "check_source", "load_model"]
