"""SAM's prompt encoder from transformers, with exact padding, so that ragged batches equal separate calls.

A prompt asks for one object. Prompts of a batch are padded to the same number of points, boxes and masks:
    a point is padding if its label is -10, a box if a coordinate is NaN, a mask if a value is NaN.
Padding points and boxes become tokens that the mask decoder masks out of its attention. A padding mask prompt becomes
SAM's `no_mask_embed`.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamPromptEncoder

from .configuration_composed import HQSamComposedConfig
from .configuration_hq_sam import NEGATIVE, NOT_A_POINT, PADDING, POSITIVE
from .tensor_types import rows_of


class HQSamPositionalEmbedding(nn.Module):
    """Random Fourier features of coordinates: sin and cos of 2 pi (2 x - 1) G with a fixed matrix G (2, C / 2).

    G is a buffer and stays float32 when the model is cast to another dtype: in bfloat16 the codes would be wrong by
    more than 0.1.
    """

    def __init__(self, num_pos_feats: int) -> None:
        super().__init__()
        self.positional_embedding: Tensor
        self.register_buffer("positional_embedding", torch.randn(2, num_pos_feats))
        self._cached: tuple[Tensor, tuple, Tensor] | None = None

    def reset_parameters(self) -> None:
        nn.init.normal_(self.positional_embedding)

    def _apply(self, fn: Any, recurse: bool = True) -> "HQSamPositionalEmbedding":
        matrix = self.positional_embedding
        super()._apply(fn, recurse)
        if self.positional_embedding.dtype != torch.float32:
            self.positional_embedding = matrix.to(self.positional_embedding.device)
        return self

    def forward(self, coordinates: Tensor) -> Tensor:
        """Encode coordinates (..., 2) as (x, y) in [0, 1] to (..., C), in float32."""
        x, y = (2 * coordinates.float() - 1).unsqueeze(-1).unbind(-2)
        # Not a matrix product, because autocast and TF32 would round it to a few bits.
        angles = 2 * math.pi * (x * self.positional_embedding[0] + y * self.positional_embedding[1])
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def grid(self, size: int) -> Tensor:
        """Codes of the cell centres of a size x size grid, (1, C, size, size)."""
        matrix = self.positional_embedding
        device = None if matrix.is_meta else matrix.device  # offloaded: the call below loads it
        centres = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return self(torch.stack([x, y], dim=-1)).permute(2, 0, 1)[None]

    def cells(self, size: int, dtype: torch.dtype) -> Tensor:
        """The same codes as (size * size, C) in dtype. They are cached until the matrix changes."""
        matrix = self.positional_embedding
        if torch.compiler.is_compiling() or matrix.is_inference():
            return self._cells(size, dtype)
        key, cached = (matrix._version, size, dtype), self._cached
        if cached is None or cached[0] is not matrix or cached[1] != key:
            with torch.inference_mode(False), torch.no_grad():
                cached = self._cached = (matrix, key, self._cells(size, dtype))
        return cached[2]

    def _cells(self, size: int, dtype: torch.dtype) -> Tensor:
        return self.grid(size)[0].flatten(1).mT.to(dtype).contiguous()


class HQSamPromptEncoder(SamPromptEncoder):
    def __init__(self, config: HQSamComposedConfig) -> None:
        super().__init__(config)
        # The matrix is stored once, in the model's `shared_image_embedding`, which is an argument of forward.
        del self.shared_embedding

    def forward(
        self,
        position: HQSamPositionalEmbedding,
        input_points: Tensor | None,
        input_labels: Tensor | None,
        input_boxes: Tensor | None,
        input_masks: Tensor | None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Embed prompts, in model input coordinates, as tokens and a dense embedding.

        Shapes (B images, P prompts each, N points each, T tokens, C channels, h x w embedding grid):
            input_points (B, P, N, 2) as (x, y); input_labels (B, P, N) of 1, 0, -1 (not a point) or -10 (padding);
            input_boxes (B, P, 4) as (x1, y1, x2, y2) or NaN (padding);
            input_masks (B, P or 1, 4h, 4w) logits or NaN (padding)

        Returns the tokens (B, P, T, C), their padding mask (B, P, T), True for padding, and the dense embedding
        (B or 1, P or 1, C, h, w). Without points and boxes, tokens and padding mask are None.
        """
        tokens, padding = [], []
        if input_points is not None and input_labels is not None:
            point_tokens, point_padding = self._embed_points(position, input_points, input_labels, input_boxes)
            tokens.append(point_tokens)
            padding.append(point_padding)
        if input_boxes is not None:
            box_tokens, box_padding = self._embed_boxes(position, input_boxes)
            tokens.append(box_tokens)
            padding.append(box_padding)
        dense = self._embed_masks(input_masks)
        if not tokens:
            return None, None, dense
        return torch.cat(tokens, dim=2), torch.cat(padding, dim=2), dense

    def _embed_points(
        self, position: HQSamPositionalEmbedding, points: Tensor, labels: Tensor, boxes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        has_points = (labels != PADDING).any(dim=-1, keepdim=True)
        has_box = None if boxes is None else ~boxes.isnan().any(dim=-1, keepdim=True)
        needs_appended = self.needs_not_a_point(has_points, has_box)
        appended = torch.full_like(needs_appended, PADDING, dtype=labels.dtype)
        labels = torch.cat([labels, appended.masked_fill(needs_appended, NOT_A_POINT)], dim=-1)
        points = F.pad(points, (0, 0, 0, 1))
        return self.embed_labelled(position, points, labels), labels == PADDING

    def needs_not_a_point(self, has_points: Tensor, has_box: Tensor | None) -> Tensor:
        """Which prompts (B, P, 1) get a "not a point" token: in SAM those with points, unless a box follows."""
        return has_points if has_box is None else has_points & ~has_box

    def point_embedding(self, label: int) -> Tensor:
        """What is added to the code of a point with this label, (1, C)."""
        return rows_of(self.not_a_point_embed if label == NOT_A_POINT else self.point_embed[label])

    def embed_labelled(
        self, position: HQSamPositionalEmbedding, points: Tensor, labels: Tensor, with_corners: bool = False
    ) -> Tensor:
        """Tokens (..., N, C) of points (..., N, 2) with labels (..., N).

        with_corners: labels may also be 2 and 3, the upper left and lower right corner of a box.
        """
        dtype = self.not_a_point_embed.weight.dtype
        codes = position((points.float() + 0.5) / self.input_image_size).to(dtype)  # + 0.5: the centre of the pixel
        kind = labels[..., None]
        codes = torch.where(kind < 0, 0.0, codes)
        for label in (NOT_A_POINT, NEGATIVE, POSITIVE, *((2, 3) if with_corners else ())):
            codes = codes + torch.where(kind == label, self.point_embedding(label), 0.0)
        return codes

    def _embed_boxes(self, position: HQSamPositionalEmbedding, boxes: Tensor) -> tuple[Tensor, Tensor]:
        padding = boxes.isnan().any(dim=-1, keepdim=True)
        corners = boxes.masked_fill(padding, 0.0).unflatten(-1, (2, 2))  # (B, P, 2, 2)
        dtype = self.not_a_point_embed.weight.dtype
        codes = position((corners.float() + 0.5) / self.input_image_size).to(dtype)
        codes = codes + torch.cat([self.point_embedding(2), self.point_embedding(3)])
        return codes, padding.expand(-1, -1, 2)

    def _embed_masks(self, masks: Tensor | None) -> Tensor:
        no_mask = rows_of(self.no_mask_embed).reshape(1, 1, -1, 1, 1)
        if masks is None:
            return no_mask.expand(-1, -1, -1, *self.image_embedding_size)
        padding = masks.isnan().flatten(2).any(dim=-1)  # (B, P)
        filled = masks.masked_fill(padding[..., None, None], 0.0).to(no_mask.dtype)
        dense = self.mask_embed(filled.flatten(0, 1)[:, None]).unflatten(0, masks.shape[:2])
        return torch.where(padding[..., None, None, None], no_mask, dense)


__all__ = ["HQSamPositionalEmbedding", "HQSamPromptEncoder"]
