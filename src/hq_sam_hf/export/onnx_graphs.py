"""The modules that are exported as ONNX graphs: encoder and decoder of HQ-SAM and of HQ-SAM 2."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.configuration_hq_sam import NOT_A_POINT, PADDING
from ..model.modeling_decoder_parts import MaskSource
from ..model.modeling_hq_sam import HQSamModel
from ..model.modeling_hq_sam2 import MASK_PROMPT_LIMIT, HQSam2Model

INTERMEDIATE = ("stacked", "separate", "first")


class EncoderGraph(nn.Module):
    """The image encoder with its intermediate embeddings in the form that `intermediate` names."""

    def __init__(self, model: HQSamModel, intermediate: str) -> None:
        super().__init__()
        self.encoder, self.intermediate = model.vision_encoder, intermediate

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        encoded = self.encoder(pixel_values)
        levels = encoded.intermediate_embeddings
        if self.intermediate == "stacked":
            levels = (torch.stack(levels),)
        return encoded.last_hidden_state, *(levels[:1] if self.intermediate == "first" else levels)


class DecoderGraph(nn.Module):
    """The prompt encoder and mask decoder for one prompt, with labelled points in place of boxes."""

    def __init__(self, model: HQSamModel, intermediate: str, multimask_output: bool, mask_source: MaskSource) -> None:
        super().__init__()
        self.model, self.intermediate = model, intermediate
        self.multimask_output, self.mask_source = multimask_output, mask_source

    def forward(
        self,
        image_embeddings: Tensor,
        interm_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        encoder, decoder = self.model.prompt_encoder, self.model.mask_decoder
        early = interm_embeddings if self.intermediate == "first" else interm_embeddings[0]
        tokens = encoder.embed_labelled(
            self.model.shared_image_embedding, point_coords, point_labels, with_corners=True
        )
        masks, scores = decoder(
            image_embeddings=image_embeddings,
            image_positions=self.model.image_positions(),
            hq_features=decoder.fuse_hq_features(image_embeddings, early),
            prompt_tokens=tokens[:, None],
            prompt_padding_mask=(point_labels == PADDING)[:, None],
            dense_prompt_embeddings=_embed_mask(encoder, mask_input, has_mask_input)[:, None],
            num_prompts=1,
            multimask_output=self.multimask_output,
            mask_source=self.mask_source,
        )
        return scores[:, 0, :1], masks[:, 0, :1]


class EncoderGraphSam2(nn.Module):
    """The image encoder of SAM 2, the embedding for "no memory", and the projections of the finer feature maps."""

    def __init__(self, model: HQSam2Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, embeddings = self.model.get_image_embeddings(pixel_values)
        return embeddings, fine, middle


class DecoderGraphSam2(nn.Module):
    """As `DecoderGraph`. The padding point that SAM 2 adds to every prompt is part of the graph."""

    def __init__(self, model: HQSam2Model, multimask_output: bool, mask_source: MaskSource) -> None:
        super().__init__()
        self.model = model
        self.multimask_output, self.mask_source = multimask_output, mask_source

    def forward(
        self,
        image_embed: Tensor,
        high_res_feats_0: Tensor,
        high_res_feats_1: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        encoder = self.model.prompt_encoder
        points = F.pad(point_coords, (0, 0, 0, 1))
        labels = F.pad(point_labels, (0, 1), value=float(NOT_A_POINT))
        tokens = encoder.embed_labelled(self.model.shared_image_embedding, points, labels, with_corners=True)
        mask_input = mask_input.clamp(-MASK_PROMPT_LIMIT, MASK_PROMPT_LIMIT)
        masks, scores, _ = self.model.mask_decoder(
            image_embeddings=image_embed,
            image_positions=self.model.image_positions(),
            high_res_features_0=high_res_feats_0,
            high_res_features_1=high_res_feats_1,
            prompt_tokens=tokens[:, None],
            prompt_padding_mask=(labels == PADDING)[:, None],
            dense_prompt_embeddings=_embed_mask(encoder, mask_input, has_mask_input)[:, None],
            num_prompts=1,
            multimask_output=self.multimask_output,
            mask_source=self.mask_source,
        )
        return scores[:, 0], masks[:, 0]


def _embed_mask(encoder: Any, mask_input: Tensor, has_mask_input: Tensor) -> Tensor:
    no_mask = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    return torch.where(has_mask_input[:, None, None, None] > 0, encoder.mask_embed(mask_input), no_mask)


@dataclass
class Graphs:
    """The two modules of a model with the names of the tensors between them.

    encoder_outputs: names of what the encoder returns.
    decoder_features: example inputs of the decoder that come from the encoder, by name.
    dynamic_features: dimensions of them that may have other sizes than in the example.
    num_masks: masks that the decoder returns for a prompt.
    """

    encoder: nn.Module
    decoder: nn.Module
    encoder_outputs: list[str]
    decoder_features: dict[str, Tensor]
    dynamic_features: dict[str, dict[int, Any]]
    num_masks: int


def make_graphs(
    model: HQSamModel | HQSam2Model, intermediate: str, multimask_output: bool, hq_token_only: bool
) -> Graphs:
    """The graphs of a model; `export_onnx` has the arguments. Runs the encoder once, for the examples."""
    mask_source = MaskSource.from_flags(hq_token_only)
    side = model.config.vision_config.image_size
    pixels = torch.zeros(1, 3, side, side)
    if isinstance(model, HQSam2Model):
        encoder: nn.Module = EncoderGraphSam2(model)
        names = ["image_embed", "high_res_feats_0", "high_res_feats_1"]
        count = model.config.mask_decoder_config.num_multimask_outputs if multimask_output and not hq_token_only else 1
        decoder: nn.Module = DecoderGraphSam2(model, multimask_output, mask_source)
        return Graphs(encoder, decoder, names, dict(zip(names, encoder(pixels))), {}, count)
    encoder = EncoderGraph(model, intermediate)
    image_embeddings, *levels = encoder(pixels)
    names = ["interm_embeddings"]
    if intermediate == "separate":
        names = [f"interm_embeddings_{i}" for i in range(len(levels))]
    stacked = torch.stack(levels) if intermediate == "separate" else levels[0]
    features = {"image_embeddings": image_embeddings, "interm_embeddings": stacked}
    dynamic: dict[str, dict[int, Any]] = {}
    if intermediate != "first" and len(stacked) > 1:
        dynamic["interm_embeddings"] = {0: torch.export.Dim("num_levels", min=1)}
    decoder = DecoderGraph(model, intermediate, multimask_output, mask_source)
    return Graphs(encoder, decoder, ["image_embeddings", *names], features, dynamic, 1)


__all__ = ["INTERMEDIATE", "Graphs", "make_graphs"]
