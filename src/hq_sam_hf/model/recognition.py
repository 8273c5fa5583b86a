"""Which family a model is of and whether it has an HQ head, from the keys of a file or from a config.json."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from .checkpoint_format_sam2 import is_sam2
from .families import family_of_model_type
from .weights import find_file, read_weights

# What config.json calls a SAM and a SAM 2 of transformers, which have no HQ head.
PLAIN_MODEL_TYPES = ("sam", "sam2", "sam2_video")
# The HQ token in the layout of the original and in that of this package.
_HQ_TOKENS = ("hf_token.weight", "hq_token.weight")


def recognise(
    source: str | os.PathLike,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    subfolder: str | None = None,
    local_files_only: bool = False,
) -> tuple[str, bool]:
    """The family of a model, "sam" or "sam2", and whether it has an HQ head.

    source: a file, a folder, a Hub repository, or a file in one. The other arguments are those of `from_pretrained`.

    Raises ValueError for a file that cannot be read and for a folder without a config.json that can be read; OSError
    for a repository without config.json.
    """
    file = find_file(source, revision, token, cache_dir)
    if file is not None:
        return _recognise_keys(read_weights(file, check_damage=False))
    path = Path(source, subfolder or "", "config.json")
    if not os.path.isdir(source):
        from huggingface_hub import hf_hub_download

        path = Path(
            hf_hub_download(
                str(source),
                "config.json",
                subfolder=subfolder or None,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
            )
        )
    if not path.is_file():
        raise ValueError(f"The folder {str(path.parent)!r} has no config.json. Give the folder of a model.")
    stored = json.loads(path.read_bytes())
    model_type = stored.get("model_type") if isinstance(stored, dict) else None
    return family_of_model_type(model_type), model_type not in PLAIN_MODEL_TYPES


def _recognise_keys(keys: Iterable[str]) -> tuple[str, bool]:
    keys = list(keys)
    return "sam2" if is_sam2(keys) else "sam", any(key.endswith(_HQ_TOKENS) for key in keys)


__all__ = ["recognise"]
