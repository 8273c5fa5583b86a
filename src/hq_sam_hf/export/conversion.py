"""Convert checkpoints from one layout to another: the work of `hq-sam convert`."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..model.checkpoint_format import ModelWeights, is_hq_key
from ..model.configuration_hq_sam import HQSamConfig
from ..model.configuration_hq_sam2 import HQSam2Config
from ..model.families import model_class_of
from ..model.files import check_parent, check_place, remove_leftovers
from ..model.key_mapping import POSITIONAL_MATRIX
from ..model.key_mapping_sam2 import is_video_key
from ..model.weight_checks import check_weights
from ..utils.output_lock import output_lock
from .hub import push_folder
from .layout_writing import check_destination, default_layout, write_folder, write_original
from .model_cards import conversion_card
from .sources import Source, read_source
from .verification import check_can_verify, check_can_verify_family, verify_masks


def convert(
    source: str | os.PathLike,
    destination: str | os.PathLike,
    layout: str | None = None,
    base: str | os.PathLike | None = None,
    dtype: torch.dtype | str | None = None,
    max_shard_size: str = "5GB",
    overwrite: bool = False,
    verify: bool = False,
    push_to: str | None = None,
    revision: str | None = None,
    report: Callable[[str], object] = print,
) -> HQSamConfig | HQSam2Config:
    """Convert a checkpoint of any layout. Returns its configuration.

    source: a file, a folder, a Hub repository, or a file in one as "organisation/name/file.pth".
    destination: a folder, or a .pth file for the original layout. It appears only when it is complete.
    layout: "hq_sam" (this package), "transformers" (SamHQModel; there is none for HQ-SAM 2), "sam" (the plain SAM
        inside, without the HQ head, as transformers' SamModel, Sam2Model or, with weights for video, Sam2VideoModel)
        or "original". By default "original" for a .pth or .pt file and "hq_sam" for a folder.
    base: the model that completes a source with only a mask decoder or only an HQ head, or an HQ-SAM 2 without the
        weights for video.
    dtype: dtype of the written weights, by default as in the source. The positional matrix stays float32.
    max_shard_size: largest size of a file of weights in a folder.
    overwrite: replace an earlier conversion. A folder with other files is never replaced.
    verify: compare masks of the source in the original implementation with masks of the result.
    push_to: Hub repository to upload the folder to.
    revision: branch, tag or commit of a source on the Hub.
    report: called with one line for each step.

    Raises ValueError, before anything is written, if the source is no HQ-SAM or cannot have the layout, and if another
    process is writing the destination.
    """
    target = Path(destination)
    layout = layout or default_layout(target)
    check_parent(target)
    check_place(target)
    with output_lock(target, beside=True):
        check_destination(target, layout, overwrite, [source, base])
        if push_to is not None and layout == "original":
            raise ValueError("Only a folder can be pushed to the Hub. Choose the layout hq_sam or transformers.")
        if verify:
            check_can_verify(layout)
        remove_leftovers(target)
        read = read_source(source, revision, report)
        if verify:
            check_can_verify_family(read.checkpoint)
        config, checkpoint = _whole_model(read, None if base is None else read_source(base, None, report))
        weights = {name: _cast(name, tensor, dtype) for name, tensor in checkpoint.weights.items()}
        if layout == "original":
            write_original(target, weights, checkpoint.family)
        else:
            card = conversion_card(source, target, checkpoint, read.published, plain_sam=layout == "sam")
            write_folder(target, layout, config, weights, max_shard_size, card)
        report(f"wrote {target} ({layout} layout)")
        if layout == "original" and checkpoint.lacks_video:
            report("NOTE: it has no weights for video, which the original expects; a SAM 2 as --base adds them")
        if verify:
            report(f"verified against segment-anything-hq: {verify_masks(read, checkpoint, target)}")
        if push_to is not None:
            report(f"pushed to {push_folder(target, push_to)}")
    return config


def _whole_model(source: Source, base: Source | None) -> tuple[HQSamConfig | HQSam2Config, ModelWeights]:
    """The configuration and the weights of a whole HQ-SAM or HQ-SAM 2. A part is completed by its base.

    Raises ValueError if there is no whole HQ-SAM.
    """
    checkpoint, whole = source.checkpoint, source
    what = f"{checkpoint.source!r} is a {checkpoint.describe()}"
    if base is not None:
        if base.checkpoint.part != "model":
            raise ValueError(f"The base must be a whole SAM or HQ-SAM, got a {base.checkpoint.describe()}.")
        if base.checkpoint.family != checkpoint.family:
            raise ValueError(f"{what}, and the base is a {base.checkpoint.describe()}. Name the one it was made for.")
        if checkpoint.part == "model" and not (checkpoint.lacks_video and not base.checkpoint.lacks_video):
            raise ValueError(f"{what}, a whole model that takes no base. Leave out --base.")
        checkpoint, whole = _complete(checkpoint, base.checkpoint), base
    if checkpoint.part != "model":
        raise ValueError(f"{what}. Name the SAM that it was trained on with --base to get a whole model.")
    if not checkpoint.has_hq:
        raise ValueError(
            f"{what}, and there is no HQ head to convert. Start a fresh head on it with "
            f"{checkpoint.model_class}.from_sam_pretrained, or name its HQ-SAM checkpoint."
        )
    config = whole.config()
    with torch.device("meta"):
        model = model_class_of(checkpoint.family)(config)
    check_weights(checkpoint, model)
    return config, checkpoint


def _complete(part: ModelWeights, base: ModelWeights) -> ModelWeights:
    """Put a mask decoder or HQ head on the model that it belongs to. A decoder replaces the HQ head of the base.

    A whole HQ-SAM 2 takes the weights for video alone.
    """
    if part.part == "model":
        video = {name: tensor for name, tensor in base.weights.items() if is_video_key(name)}
        return dataclasses.replace(part, weights={**part.weights, **video})
    weights = {name: tensor for name, tensor in base.weights.items() if part.part == "head" or not is_hq_key(name)}
    has_hq = part.has_hq or base.has_hq
    return dataclasses.replace(part, part="model", has_hq=has_hq, weights={**weights, **part.weights})


def _cast(name: str, tensor: Tensor, dtype: torch.dtype | str | None) -> Tensor:
    if dtype is None or name == POSITIONAL_MATRIX or not tensor.is_floating_point():
        return tensor
    return tensor.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)


__all__ = ["convert"]
