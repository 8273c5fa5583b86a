"""What is learned: a model together with the weights to train and the loss they are trained for."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..model.losses import mask_loss
from ..model.modeling_hq_sam import HQSamModel
from ..model.modeling_mask_decoder import HQ_HEAD_MODULES
from .config import FROM_SCRATCH, HQ_TARGETS, TrainingConfig
from .dataset import Batch


class Learner(nn.Module):
    """`learner(batch)` gives sums over the masks of a batch, by name; "loss" is the one to descend.

    Sums, not means, so that a step may be divided among processes and passes that hold different numbers of masks.
    """

    def __init__(self, model: HQSamModel, config: TrainingConfig, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.model = model.eval()  # SAM has no dropout, and the batch norms of TinyViT stay as they are
        self.learns_encoder = _choose_weights(model, config)
        self.recomputes = config.gradient_checkpointing
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", 255 * torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> "Learner":
        super().train(mode)
        self.model.eval()
        if self.recomputes:
            self.model.vision_encoder.train(mode)  # transformers recomputes only while training
        return self

    def learned_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad)

    def encode(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Image embeddings and early feature of uint8 images; without gradient where the encoder is frozen."""
        pixels = (images.float() - self.mean) / self.std
        with torch.set_grad_enabled(self.learns_encoder and torch.is_grad_enabled()):
            embeddings, intermediate = self.model.get_image_embeddings(pixels)
        return embeddings, intermediate[:1]


class MaskLearner(Learner):
    """One prompt per mask and the loss of the paper, on the HQ mask alone or, as a control, on SAM's own."""

    def __init__(self, model: HQSamModel, config: TrainingConfig, mean: list[float], std: list[float]) -> None:
        super().__init__(model, config, mean, std)
        self.learns_hq = config.train in HQ_TARGETS

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        embeddings, early = self.encode(batch.images)
        logits = self.model(
            image_embeddings=embeddings,
            intermediate_embeddings=early,
            input_boxes=batch.boxes,
            input_points=batch.points,
            input_labels=batch.labels,
            input_masks=batch.mask_prompts,
            multimask_output=False,
            hq_token_only=self.learns_hq,
            sam_only=not self.learns_hq,
        ).pred_masks
        present = batch.present
        # One generator per mask, on the CPU: the points do not depend on what else is in the batch.
        generators = [torch.Generator().manual_seed(int(seed)) for seed in batch.seeds[present.cpu()]]
        losses = mask_loss(logits[present], batch.masks[present][:, None], generators)
        return {name: loss * len(generators) for name, loss in zip(("loss", "bce", "dice"), losses)}


def _choose_weights(model: HQSamModel, config: TrainingConfig) -> bool:
    """Let just the weights that a configuration trains require gradients; tell if any is in the encoder.

    Weights that the chosen mask does not depend on stay frozen: SAM's score and its other masks' networks.
    """
    decoder_of_sam = ("iou_token", "mask_tokens", "transformer", "upscale_")
    chosen: dict[str, tuple[str, ...]] = {
        "hq_head": HQ_HEAD_MODULES,
        "hq_head_and_decoder": (*HQ_HEAD_MODULES, *decoder_of_sam),
        "sam_mask_token": ("mask_tokens", "output_hypernetworks_mlps.0"),
        "sam_decoder": (*decoder_of_sam, "output_hypernetworks_mlps.0"),
    }
    for name, weight in model.named_parameters():
        part, _, inner = name.partition(".")
        if config.train == FROM_SCRATCH:
            weight.requires_grad_(not (part == "mask_decoder" and inner.startswith(HQ_HEAD_MODULES)))
        else:
            weight.requires_grad_(part == "mask_decoder" and inner.startswith(chosen[config.train]))
    if config.lora is not None:
        from .lora import add_adapters

        add_adapters(model, config.lora)
    return any(weight.requires_grad for weight in model.vision_encoder.parameters())


__all__ = ["Learner", "MaskLearner"]
