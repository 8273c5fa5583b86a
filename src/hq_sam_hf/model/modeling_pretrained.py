"""The base class of `HQSamModel`: how transformers initialises, places, loads and saves it."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel

from .compatibility import check_attention
from .configuration_hq_sam import HQSamConfig
from .files import give_default_permissions
from .hq_head_files import load_hq_head, save_hq_head
from .loading import load_model, load_sam
from .modeling_vision_encoder import init_like_pytorch
from .tensor_types import computing_device


class HQSamPreTrainedModel(PreTrainedModel):
    config: HQSamConfig
    config_class = HQSamConfig
    base_model_prefix = "hq_sam"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ["SamVisionLayer", "HQSamVisionLayer", "HQSamTinyViTConvBlock", "HQSamTinyViTBlock"]
    _keep_in_fp32_modules_strict = ["shared_image_embedding"]
    _supports_sdpa = True
    supports_gradient_checkpointing = True

    def __init__(self, config: HQSamConfig, *inputs: Any, **kwargs: Any) -> None:
        check_attention(config._attn_implementation)
        super().__init__(config, *inputs, **kwargs)

    @property
    def device(self) -> torch.device:
        """The device that the model computes on, also where accelerate offloads its weights."""
        return computing_device(self)

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """As `PreTrainedModel.save_pretrained`, with the permissions of other new files for the weights."""
        super().save_pretrained(save_directory, *args, **kwargs)
        give_default_permissions(Path(save_directory).glob("model*.safetensors"))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        init_like_pytorch(module)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *args: Any,
        image_size: int | None = None,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load a model from a folder, a Hub repository or a single file. Raises an error for weights that do not fit.

        Folders and repositories may be in the layout of this package or of transformers' SamHQModel. They take the
        arguments of `PreTrainedModel.from_pretrained` (dtype, device_map, attn_implementation, revision, token ...).

        Single files are .pth or .safetensors in the layout of the original or of transformers, given by path or, on
        the Hub, as "organisation/name/file.pth". The configuration is derived from the weights. They take `config`,
        `dtype`, `device_map` (a single device) and `attn_implementation`.

        image_size: side of the square model input in pixels, if it should differ from the checkpoint's. The positional
            embeddings are interpolated once, on loading.
        output_loading_info: also return transformers' dict of missing, unexpected and mismatched keys.

        Raises ValueError if the checkpoint is damaged, lacks weights of the model or holds others. transformers would
        only log missing weights and continue with random ones.
        """
        load = super().from_pretrained
        model, info = load_model(cls, load, pretrained_model_name_or_path, *args, image_size=image_size, **kwargs)
        return (model, info) if output_loading_info else model

    @classmethod
    def from_sam_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        image_size: int | None = None,
        hq_init: str = "random",
        **kwargs: Any,
    ) -> Any:
        """Load a plain SAM and add a fresh HQ head to it, as the start of training.

        The source is what `from_pretrained` takes, in the layout of transformers' SamModel (such as
        facebook/sam-vit-base) or the original .pth of SAM or MobileSAM.

        hq_init: "random" as in the paper, with PyTorch's initialisation (fixed by `torch.manual_seed`); or "sam", so
            that the HQ mask starts as SAM's single mask, for short training or images unlike the training images.

        Raises ValueError for a checkpoint that already has an HQ head.
        """
        load = super().from_pretrained
        return load_sam(cls, load, pretrained_model_name_or_path, image_size=image_size, hq_init=hq_init, **kwargs)

    def save_hq_head(self, folder: str | os.PathLike) -> None:
        """Write the HQ head alone, 2 to 7 MB, to `hq_head.safetensors` in a folder, which is created if needed."""
        save_hq_head(self, folder)

    def load_hq_head(
        self, source: str | os.PathLike, revision: str | None = None, token: str | bool | None = None
    ) -> None:
        """Copy a trained HQ head into this model, in place.

        source: a folder or Hub repository with `hq_head.safetensors`, or a file or folder with an HQ head in any
            layout, such as the decoder checkpoints `epoch_N.pth` of the original's training. Only the head of a larger
            checkpoint is used. A warning is logged if its SAM decoder differs from this model's.

        Raises ValueError if the source holds no HQ head, or one that was made for a SAM of other sizes.
        """
        load_hq_head(self, source, revision, token)


__all__ = ["HQSamPreTrainedModel"]
