"""Training objectives: which weights are trained, on which prompts, for which loss; one class per value of `train`."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..data.prompt_simulation import draw_prompt, paper_kinds
from ..model.checkpoint_format import family_of
from ..model.key_mapping import HQ_HEAD_MODULES
from ..model.losses import mask_loss
from ..model.modeling_hq_sam import HQSamModel
from ..model.modeling_hq_sam2 import HQSam2Model
from .batch import Batch
from .card import HQ_CARD, SAM_MASK_CARD, CardText
from .lora import add_adapters

AnyModel = HQSamModel | HQSam2Model


class Objective(ABC):
    """What a run trains, from the prompts to the exported model. `config.OBJECTIVES` lists the subclasses.

    prompts: kinds of prompts to draw from, by default `default_prompts`. paper_exact: whether to draw them with the
    quirks of the original's data pipeline. seed: of the run. clicks: rounds of corrective clicks after the first
    prompt. An objective ignores what it does not need.
    """

    # The value of the configuration's field `train`.
    name: ClassVar[str]
    # The kinds that the field `prompts` may name, and its default.
    allowed_prompts: ClassVar[tuple[str, ...]]
    default_prompts: ClassVar[tuple[str, ...]]
    # Whether the loss is on the HQ mask. Validation then measures it, and the HQ head is also exported by itself.
    trains_hq_head: ClassVar[bool] = False
    # Whether SAM's mask decoder is trained, so that adapters in it are refused.
    trains_decoder: ClassVar[bool] = False
    # Whether all weights of SAM are trained. They may then start from random values, and adapters are refused.
    trains_all_weights: ClassVar[bool] = False
    # What the model card says about the exported model.
    card: ClassVar[CardText]

    def __init__(
        self, prompts: Sequence[str] | None = None, paper_exact: bool = False, seed: int = 0, clicks: int = 0
    ) -> None:
        self.prompts = tuple(prompts or self.default_prompts)
        self.paper_exact, self.seed, self.clicks = paper_exact, seed, clicks

    @property
    def evaluated_outputs(self) -> tuple[str, ...]:
        """The outputs that validation measures."""
        return ("sam", "hq", "sum") if self.trains_hq_head else ("sam",)

    @property
    def best_metric(self) -> str:
        """The validation metric that `best` is chosen by: the mBIoU of the trained mask."""
        return "val_hq_mbiou" if self.trains_hq_head else "val_sam_mbiou"

    @classmethod
    def check_encoder(cls, model_type: str | None) -> None:
        """Raise ValueError for an image encoder, given by its `model_type`, that this objective cannot export."""
        return  # a subclass may refuse some

    @abstractmethod
    def trains(self, name: str) -> bool:
        """Whether the weight of this name is trained. Adapters come in addition."""

    def choose_masks(self, usable: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Choose up to `count` masks of an image. Masks are given, and returned, as indices."""
        return rng.permutation(usable)[:count]

    @abstractmethod
    def prompt_kinds(self, step: int, masks: list[np.ndarray]) -> tuple[str, ...]:
        """The kinds of prompts that may be drawn for these masks, a batch of step `step`."""

    @abstractmethod
    def draw_prompt(
        self, mask: np.ndarray, kinds: tuple[str, ...], rng: np.random.Generator, mask_size: int
    ) -> dict[str, np.ndarray]:
        """Draw a prompt of one of the kinds for a mask (S, S): "box", or "points" with "labels", or "mask".

        mask_size: side of a mask prompt.
        """

    @abstractmethod
    def loss_sums(self, model: AnyModel, batch: Batch, encoded: dict[str, Any]) -> dict[str, Tensor]:
        """Run the prompt encoder and the mask decoder and sum losses over the masks of the batch, by name.

        encoded: the images, from `ModelWithLoss.encode`.

        The sum called "loss" is minimized. These are sums and not means, so that a step may be split among processes
        and forward passes with different numbers of masks.
        """

    def save(self, model: AnyModel, folder: Path) -> None:
        """Write the trained model into a folder."""
        model.save_pretrained(folder)
        if self.trains_hq_head:
            model.save_hq_head(folder)


class MaskObjective(Objective):
    """One prompt per mask and the loss of the paper, on the HQ mask or on SAM's single mask."""

    allowed_prompts = ("box", "points", "point", "mask")
    default_prompts = ("box", "points", "mask")
    # Prefixes of the trained weights within the mask decoder. Weights that the trained mask does not depend on stay
    # frozen: those of SAM's score and of its other masks.
    trained_modules: ClassVar[tuple[str, ...]]

    def trains(self, name: str) -> bool:
        part, _, inner = name.partition(".")
        return part == "mask_decoder" and inner.startswith(self.trained_modules)

    def prompt_kinds(self, step: int, masks: list[np.ndarray]) -> tuple[str, ...]:
        return paper_kinds(masks, self.prompts) if self.paper_exact else self.prompts

    def draw_prompt(
        self, mask: np.ndarray, kinds: tuple[str, ...], rng: np.random.Generator, mask_size: int
    ) -> dict[str, np.ndarray]:
        prompt = draw_prompt(mask, rng, kinds, mask_side=mask_size, paper_exact=self.paper_exact)
        assert prompt is not None, "empty masks have been dropped"
        return prompt

    def loss_sums(self, model: AnyModel, batch: Batch, encoded: dict[str, Any]) -> dict[str, Tensor]:
        logits = model(
            **encoded,
            input_boxes=batch.boxes,
            input_points=batch.points,
            input_labels=batch.labels,
            input_masks=batch.mask_prompts,
            multimask_output=False,
            hq_token_only=self.trains_hq_head,
            sam_only=not self.trains_hq_head,
        ).pred_masks
        valid = batch.valid
        # One generator per mask, on the CPU, so that its points do not depend on the rest of the batch.
        generators = [torch.Generator().manual_seed(int(seed)) for seed in batch.seeds[valid.cpu()]]
        losses = mask_loss(logits[valid], batch.masks[valid][:, None], generators)
        return {name: loss * len(generators) for name, loss in zip(("loss", "bce", "dice"), losses)}


# The parts of SAM's mask decoder that its masks depend on, the last two in SAM 2 only.
SAM_DECODER_MODULES = ("iou_token", "mask_tokens", "transformer", "upscale_", "obj_score_token", "conv_s")
# Weights outside the image encoder that the encoded images depend on, in SAM 2 only.
ENCODING_WEIGHTS = ("no_memory_embedding", "mask_decoder.conv_s")
SINGLE_MASK_HEAD = "output_hypernetworks_mlps.0"


class HQHeadObjective(MaskObjective):
    """The objective of the paper: the HQ head alone, on a frozen SAM."""

    name = "hq_head"
    trains_hq_head = True
    trained_modules = HQ_HEAD_MODULES
    card = HQ_CARD


class HQHeadAndDecoderObjective(MaskObjective):
    """The HQ head together with SAM's mask decoder."""

    name = "hq_head_and_decoder"
    trains_hq_head = True
    trains_decoder = True
    trained_modules = (*HQ_HEAD_MODULES, *SAM_DECODER_MODULES)
    card = HQ_CARD


class SamMaskTokenObjective(MaskObjective):
    """A control: the tokens and the hypernetwork of SAM's own single mask, on the same data and prompts."""

    name = "sam_mask_token"
    trained_modules = ("mask_tokens", SINGLE_MASK_HEAD)
    card = SAM_MASK_CARD


class SamDecoderObjective(MaskObjective):
    """A control: SAM's whole mask decoder, on the same data and prompts."""

    name = "sam_decoder"
    trains_decoder = True
    trained_modules = (*SAM_DECODER_MODULES, SINGLE_MASK_HEAD)
    card = SAM_MASK_CARD


class ModelWithLoss(nn.Module):
    """A model and its objective in the one module that DistributedDataParallel wraps: `module(batch)` gives losses.

    mean, std: of the image processor, for pixel values in [0, 1]. lora: as the field of `TrainingConfig`.
    recompute: whether the encoder recomputes its activations in the backward pass.
    """

    def __init__(
        self,
        model: AnyModel,
        objective: Objective,
        mean: list[float],
        std: list[float],
        lora: dict[str, Any] | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective, self.recompute = objective, recompute
        for name, weight in model.named_parameters():
            weight.requires_grad_(objective.trains(name))
        if lora is not None:
            add_adapters(model, lora)
        trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
        self.trains_encoding = any(name.startswith(("vision_encoder.", *ENCODING_WEIGHTS)) for name in trained)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", 255 * torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std)[:, None, None], persistent=False)
        self.train()

    def train(self, mode: bool = True) -> "ModelWithLoss":
        super().train(mode)
        self.model.eval()  # SAM has no dropout, and the batch norms of TinyViT keep their statistics
        self.model.mask_decoder.train(mode)  # in evaluation, SAM 2's single mask may be one of its other masks
        if self.recompute:
            self.model.vision_encoder.train(mode)  # transformers recomputes activations in training mode only
        return self

    def trained_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad)

    def encode(self, images: Tensor) -> dict[str, Any]:
        """Encode uint8 images (B, 3, S, S) to those arguments of the model's `forward` that stand for the images.

        No gradients are kept where the encoder is frozen.
        """
        pixels = (images.float() - self.mean) / self.std
        with torch.set_grad_enabled(self.trains_encoding and torch.is_grad_enabled()):
            embeddings = self.model.get_image_embeddings(pixels)
        if family_of(self.model.config) == "sam2":
            return {"image_embeddings": embeddings}
        final, intermediate = embeddings
        return {"image_embeddings": final, "intermediate_embeddings": intermediate[:1]}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Sums of losses over the masks of a batch, by name; see `Objective.loss_sums`."""
        self.train(self.training)  # an evaluation in between leaves all parts in evaluation mode
        return self.objective.loss_sums(self.model, batch, self.encode(batch.images))


__all__ = [
    "HQHeadAndDecoderObjective",
    "HQHeadObjective",
    "MaskObjective",
    "ModelWithLoss",
    "Objective",
    "SamDecoderObjective",
    "SamMaskTokenObjective",
]
