"""How an `HQSamModel` comes by its weights: folders, Hub repositories, single files, a plain SAM, a head alone."""

import json
import os
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging import LogRecord
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from .checkpoint_format import Checkpoint, derive_config, is_hq_key, read_checkpoint, warn_about_nan
from .fast_loading import load_plain_folder
from .files import write_atomically
from .key_mapping import HQ_HEAD_MODULES, HQ_INITS
from .modeling_vision_encoder import init_like_pytorch
from .weights import find_file

logger = logging.get_logger(__name__)

HQ_HEAD_FILE = "hq_head.safetensors"
NUMBERS_LOOKED_AT = 2**14

# Of `PreTrainedModel.from_pretrained`, the arguments that say where on the Hub a file is.
_HUB_ARGUMENTS = ("revision", "token", "cache_dir")
# And those that mean nothing for a file that has been found.
_WITHOUT_EFFECT = ("local_files_only", "force_download", "proxies", "use_safetensors", "weights_only")


class HQSamLoading(PreTrainedModel):
    """The loading and saving methods of `HQSamModel`."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *args: Any,
        image_size: int | None = None,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load a model from a folder, a Hub repository or a single file, and refuse weights that do not fit.

        Folders and repositories: in the layout of this package or of transformers' SamHQModel, with the arguments of
        `PreTrainedModel.from_pretrained` (dtype, device_map, attn_implementation, revision, token and so on).
        Files: .pth or .safetensors of the original's or of transformers' layout, by path or as
        "organisation/name/file.pth" on the Hub; the configuration is derived from the weights, and `config`, `dtype`,
        `device_map` (a single device) and `attn_implementation` may be given.

        image_size: another side of the square input, in pixels; the positions are interpolated once.

        Raises ValueError if the checkpoint is damaged, lacks weights of the model or holds others. transformers would
        only log a report of missing weights and go on with random ones.
        """
        source = pretrained_model_name_or_path
        file = find_file(source, **{name: kwargs.get(name) for name in _HUB_ARGUMENTS})
        info: dict[str, Any] = {"missing_keys": set(), "unexpected_keys": set(), "mismatched_keys": set()}
        if file is not None:
            model = cls._from_file(read_checkpoint(file), needs_hq=True, **kwargs)
        else:
            model, info = cls._from_folder(source, *args, **kwargs)
            _refuse_misfit(source, info["missing_keys"], info["unexpected_keys"])
        if image_size is not None:
            model.resize_image(image_size)
        return (model, info) if output_loading_info else model

    @classmethod
    def from_sam_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        image_size: int | None = None,
        hq_init: str = "random",
        **kwargs: Any,
    ) -> Any:
        """Start a fresh HQ head on a plain SAM.

        hq_init: "random", as in the paper, with PyTorch's initialisation (`torch.manual_seed` fixes it); "sam", such
            that the HQ mask begins as SAM's single mask, for short training or pictures unlike those to come.

        Takes what `from_pretrained` takes, in the layout of transformers' SamModel (facebook/sam-vit-base and so on),
        or the original .pth of SAM or MobileSAM. Raises ValueError for a checkpoint that already has an HQ head.
        """
        if hq_init not in HQ_INITS:
            raise ValueError(f"`hq_init` must be one of {', '.join(HQ_INITS)}, got {hq_init!r}.")
        source = pretrained_model_name_or_path
        file = find_file(source, **{name: kwargs.get(name) for name in _HUB_ARGUMENTS})
        if file is not None:
            model = cls._from_file(read_checkpoint(file), needs_hq=False, **kwargs)
        else:
            model, info = cls._from_folder(source, **kwargs)
            missing = info["missing_keys"]
            if not any(map(is_hq_key, missing)):
                raise ValueError(_has_head_already(source))
            _refuse_misfit(source, {key for key in missing if not is_hq_key(key)}, info["unexpected_keys"])
        if hq_init == "sam":
            model.mask_decoder.start_hq_mask_from_sam()
        if image_size is not None:
            model.resize_image(image_size)
        return model

    @classmethod
    def _from_folder(
        cls, name: str | os.PathLike, *args: Any, ignore_mismatched_sizes: bool = False, **kwargs: Any
    ) -> tuple[Any, dict[str, Any]]:
        if not args and not ignore_mismatched_sizes:
            quick = load_plain_folder(cls, name, **kwargs)
            if quick is not None:
                # A look at all would read the whole file. Training that diverged leaves NaN everywhere.
                looked_at = {key: tensor.flatten()[:NUMBERS_LOOKED_AT] for key, tensor in quick.state_dict().items()}
                warn_about_nan(looked_at, str(name))
                return quick, {key: set() for key in ("missing_keys", "unexpected_keys", "mismatched_keys")}
        try:
            with _without_load_report():
                loaded: Any = super().from_pretrained(
                    name, *args, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs
                )
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"The .bin weights of {str(name)!r} hold Python objects besides tensors, which are not loaded because "
                "they could run code. Get them as safetensors."
            ) from error
        except (SafetensorError, json.JSONDecodeError) as error:
            raise ValueError(
                f"A weights file or index of {str(name)!r} is damaged or cut short ({error}). Fetch or convert it "
                "again."
            ) from error
        model, info = loaded
        for key, got, expected in info["mismatched_keys"] if not ignore_mismatched_sizes else ():
            raise ValueError(
                f"The weights of {str(name)!r} do not fit its config.json: {key} is {tuple(got)}, expected "
                f"{tuple(expected)}. Correct the configuration or take that of these weights."
            )
        warn_about_nan(model.state_dict(), str(name))
        return model, info

    @classmethod
    def _from_file(
        cls,
        checkpoint: Checkpoint,
        needs_hq: bool,
        config: Any = None,
        dtype: torch.dtype | str | None = None,
        device_map: str | int | torch.device | None = None,
        attn_implementation: str | None = None,
        **others: Any,
    ) -> Any:
        strange = others.keys() - {*_HUB_ARGUMENTS, *_WITHOUT_EFFECT}
        if strange:
            raise TypeError(
                f"`{sorted(strange)[0]}` cannot be given with a single file, {checkpoint.source!r}. Convert it to a "
                "folder first, with `hq-sam convert`."
            )
        if isinstance(device_map, dict) or device_map in ("balanced", "balanced_low_0", "sequential"):
            raise ValueError(f"`device_map` must be a single device for a file, got {device_map!r}.")
        _refuse_part_or_wrong_kind(checkpoint, needs_hq)
        config = derive_config(checkpoint) if config is None else config
        if attn_implementation is not None:
            config._attn_implementation = attn_implementation
        with torch.device("meta"):
            model = cls(config)
        check_fit(checkpoint, model)
        model.load_state_dict(checkpoint.weights, strict=False, assign=True)
        if not needs_hq:
            for name in HQ_HEAD_MODULES:
                getattr(model.mask_decoder, name).to_empty(device="cpu").apply(init_like_pytorch)
        model.config._name_or_path = checkpoint.source
        if isinstance(dtype, str):
            dtype = None if dtype == "auto" else getattr(torch, dtype)
        device = None if device_map == "auto" and not torch.cuda.is_available() else device_map
        return model.to(device="cuda" if device == "auto" else device, dtype=dtype).eval()

    def save_hq_head(self, folder: str | os.PathLike) -> None:
        """Write the trained part alone into a folder, which is made if need be: `hq_head.safetensors`, 2 to 7 MB."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        head = {name: tensor.detach().cpu().contiguous() for name, tensor in self._hq_head().items()}
        data = save(head, metadata={"format": "pt", "vit_dim": str(self.config.mask_decoder_config.vit_dim)})
        write_atomically(Path(folder) / HQ_HEAD_FILE, lambda file: file.write(data))

    def load_hq_head(
        self, source: str | os.PathLike, revision: str | None = None, token: str | bool | None = None
    ) -> None:
        """Put a trained HQ head on this model, in place.

        source: a folder or Hub repository with `hq_head.safetensors`, or a file or folder with an HQ head in any
        layout, such as the decoder checkpoints `epoch_N.pth` of the original's training. Of a larger checkpoint only
        the head is taken; a warning tells if it was trained with another SAM decoder than this model has.
        Raises ValueError if the head was made for a base of other sizes.
        """
        path = find_file(source, revision, token)
        if path is None and os.path.isdir(source):
            head_file = Path(source) / HQ_HEAD_FILE
            path = head_file if head_file.is_file() else Path(source)
        elif path is None:
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(str(source), HQ_HEAD_FILE, revision=revision, token=token))
        checkpoint = read_checkpoint(path)
        if not checkpoint.has_hq:
            raise ValueError(f"{str(source)!r} is a {checkpoint.describe()} and holds no HQ head.")
        own = self._hq_head()
        head = {name: tensor for name, tensor in checkpoint.weights.items() if is_hq_key(name)}
        _refuse_misfit(source, own.keys() - head.keys(), head.keys() - own.keys())
        for name, tensor in head.items():
            if tensor.shape != own[name].shape:
                raise ValueError(
                    f"The HQ head {str(source)!r} does not fit this base: {name} is {tuple(tensor.shape)}, expected "
                    f"{tuple(own[name].shape)}. It was made for early features of "
                    f"{head['mask_decoder.compress_vit_conv1.weight'].shape[0]} channels, this base has "
                    f"{self.config.mask_decoder_config.vit_dim} (ViT-B 768, ViT-L 1024, ViT-H 1280, TinyViT 160)."
                )
        self._warn_about_another_decoder(checkpoint)
        with torch.no_grad():
            for name, tensor in head.items():
                own[name].copy_(tensor)

    def _hq_head(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.state_dict().items() if is_hq_key(name)}

    def _warn_about_another_decoder(self, checkpoint: Checkpoint) -> None:
        own = self.state_dict()
        shared = [name for name in checkpoint.weights if name.startswith("mask_decoder.") and not is_hq_key(name)]
        for name in shared:
            theirs, ours = checkpoint.weights[name].float(), own[name].float().cpu()
            if theirs.shape != ours.shape or not torch.allclose(theirs, ours, rtol=1e-2, atol=1e-2):
                logger.warning(
                    f"The HQ head {checkpoint.source!r} was trained with another SAM decoder than this model's; they "
                    f"differ in {name}. To take its decoder too, use `hq-sam convert FILE FOLDER --base SAM`."
                )
                return

    def resize_image(self, image_size: int) -> None:
        """Change the side of the square input, in place, by interpolating the positions that depend on it.

        Absolute positions are interpolated bicubically, the relative ones of global blocks linearly; at the native
        size nothing changes. Raises ValueError for a size that is no multiple of the patch size.
        """
        vision, prompt = self.config.vision_config, self.config.prompt_encoder_config
        if type(image_size) is not int or image_size <= 0 or image_size % vision.patch_size:
            raise ValueError(f"`image_size` must be a positive multiple of {vision.patch_size}, got {image_size!r}.")
        if image_size == vision.image_size:
            return
        grid = image_size // vision.patch_size
        vision.image_size = prompt.image_size = image_size
        self.prompt_encoder.input_image_size = image_size
        self.prompt_encoder.image_embedding_size = (grid, grid)
        self.vision_encoder.resize_image(image_size)


@contextmanager
def _without_load_report() -> Iterator[None]:
    """Within the block, transformers does not report missing weights: here they are an error, or as it should be."""

    def is_other(record: LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    theirs = logging.get_logger("transformers.modeling_utils")
    theirs.addFilter(is_other)
    try:
        yield
    finally:
        theirs.removeFilter(is_other)


def check_fit(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Raise ValueError unless names and shapes are just those of the model; a plain SAM lacks the head."""
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if not checkpoint.has_hq:
        expected = {name: shape for name, shape in expected.items() if not is_hq_key(name)}
    weights = checkpoint.weights
    _refuse_misfit(checkpoint.source, expected.keys() - weights.keys(), weights.keys() - expected.keys())
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise ValueError(
                f"The weights of {checkpoint.source!r} do not fit together: {name} is {tuple(weights[name].shape)}, "
                f"expected {tuple(shape)} from the shapes of the others."
            )
        if not weights[name].is_floating_point() and not name.endswith("num_batches_tracked"):
            raise ValueError(
                f"The weight {name} of {checkpoint.source!r} is {str(weights[name].dtype).removeprefix('torch.')}, "
                "expected a floating-point type. Quantized weights cannot be loaded."
            )


def _refuse_part_or_wrong_kind(checkpoint: Checkpoint, needs_hq: bool) -> None:
    what = f"{checkpoint.source!r} is a {checkpoint.describe()}"
    if checkpoint.part != "model":
        raise ValueError(
            f"{what}, without image encoder. Load the SAM it was trained on with HQSamModel.from_sam_pretrained and "
            "then call load_hq_head with this file."
        )
    if needs_hq and not checkpoint.has_hq:
        raise ValueError(
            f"{what}, without an HQ head. Load an HQ-SAM checkpoint, or start a fresh head on it with "
            "HQSamModel.from_sam_pretrained."
        )
    if checkpoint.has_hq and not needs_hq:
        raise ValueError(_has_head_already(checkpoint.source))


def _refuse_misfit(source: object, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    named = {"missing": sorted(missing), "unexpected": sorted(unexpected)}
    if not any(named.values()):
        return

    def some(keys: list[str]) -> str:
        return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")

    parts = [f"{len(keys)} {kind} ({some(keys)})" for kind, keys in named.items() if keys]
    hint = "Check that the weights and config.json belong together."
    if named["missing"] and all(map(is_hq_key, named["missing"])):
        hint = (
            "These are the weights of a plain SAM, without the HQ head. Load an HQ-SAM checkpoint, or start a fresh "
            "head with HQSamModel.from_sam_pretrained."
        )
    raise ValueError(f"The weights of {str(source)!r} do not fit an HQSamModel: {'; '.join(parts)}. {hint}")


def _has_head_already(source: object) -> str:
    return f"{str(source)!r} already has an HQ head. Load it with HQSamModel.from_pretrained."


__all__ = ["HQ_HEAD_FILE", "HQSamLoading", "check_fit"]
