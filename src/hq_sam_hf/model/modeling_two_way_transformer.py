"""SAM's two-way transformer: a handful of tokens and an image of thousands of positions attend to each other.

Nearly all of its cost lies in the image's positions, so nothing is computed for them that a rearrangement of the
formulas moves to the tokens, or to the image alone, which all prompts share.

Letters in shapes: B images, P prompts each, N = B P; T tokens, L image positions, C channels; I inner channels of an
attention, in H heads of I / H.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamAttention, SamMLPBlock

from .configuration_hq_sam import HQSamMaskDecoderConfig
from .modeling_kernels import apply_linear, are_untouched, by_bands, products


class HQSamTokenAttention(SamAttention):
    """Self-attention of the tokens; weights named as in transformers."""

    def forward(self, query: Tensor, value: Tensor, hide: Tensor | None) -> Tensor:
        """Queries, which are also the keys, and values (B, P, T, C); hide (B, P, T) is added to the scores of keys."""
        # Images and prompts in one dimension: PyTorch 2.13 cannot compile this attention in five.
        queries, keys, values = (
            projection(tokens).flatten(0, 1).unflatten(-1, (self.num_attention_heads, -1)).transpose(1, 2)
            for projection, tokens in ((self.q_proj, query), (self.k_proj, query), (self.v_proj, value))
        )
        mask = None if hide is None else hide.flatten(0, 1)[:, None, None]
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return self.out_proj(attended.transpose(1, 2).flatten(-2)).view_as(query)


class HQSamCrossAttention(SamAttention):
    """Attention between tokens and image positions."""

    def has_few(self, tokens: Tensor) -> bool:
        """Whether tokens (N, T, C) are so few that moving a projection from the image to them saves work."""
        # A traced graph must serve any number of tokens, and they are few as a rule.
        return torch.compiler.is_compiling() or tokens.shape[1] * self.num_attention_heads <= self.internal_dim

    def is_untouched(self) -> bool:
        """Whether projections may move to the other side, see `are_untouched`."""
        return are_untouched(self.q_proj, self.k_proj, self.v_proj, self.out_proj)

    def by_head(self, tensor: Tensor, dim: int = -1) -> Tensor:
        """Split the inner channels of a tensor, in dimension dim, into (H, I / H)."""
        return tensor.unflatten(dim, (self.num_attention_heads, -1))


class HQSamTokenToImageAttention(HQSamCrossAttention):
    """What tokens read from their image: the tokens are queries, the image's positions keys and values."""

    def project_image(self, image: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (..., L, I) of an image (..., L, C); the code of each position (L, C) is added for keys."""
        keys = by_bands(lambda part, code: apply_linear(self.k_proj, part + code), image, position)
        return keys, apply_linear(self.v_proj, image)

    def read_projected(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """query (B, P, T, C); keys and values (B, L, I), shared by all prompts of an image; gives (B, P, T, C)."""
        queries = self.by_head(self.scaling * self.q_proj(query)).permute(0, 3, 1, 2, 4)  # (B, H, P, T, I / H)
        keys, values = self.by_head(keys).transpose(1, 2), self.by_head(values).transpose(1, 2)  # (B, H, L, I / H)
        scores = queries.flatten(2, 3) @ keys.mT  # (B, H, P T, L)
        attended = (scores.softmax(dim=-1) @ values).unflatten(2, query.shape[1:3])
        return self.out_proj(attended.permute(0, 2, 3, 1, 4).flatten(-2))

    def read(self, query: Tensor, image: Tensor, position: Tensor) -> Tensor:
        """query (N, T, C); image (N, L, C), each prompt's own; position (L, C), added for keys; gives (N, T, C).

        With few tokens the image is not projected. With the rows of a head in W_k and W_v, and weights a,

            score  = q (y W_kᵀ + b_k)ᵀ = (q W_k) yᵀ + a term of the token alone, which the softmax does not see,
            result = Σ a (y W_vᵀ + b_v) = (Σ a y) W_vᵀ + b_v, because the weights of a token sum to 1.
        """
        if not self.has_few(query):
            return self.read_projected(query[:, None], *self.project_image(image, position))[:, 0]
        queries = self.by_head(self.scaling * self.q_proj(query))  # (N, T, H, I / H)
        queries = torch.einsum("nthi,hic->nhtc", queries, self.by_head(self.k_proj.weight, 0)).flatten(1, 2)
        scores = by_bands(lambda part, code: products(part + code, queries), image, position)  # (N, L, H T)
        # By rows: along columns PyTorch takes thirty times as long with two threads and 24 of them.
        attended = self.by_head(scores.mT.softmax(dim=-1) @ image, 1)  # (N, H, T, C)
        attended = torch.einsum("nhtc,hic->nthi", attended, self.by_head(self.v_proj.weight, 0))
        return self.out_proj(attended.flatten(-2) + self.v_proj.bias)


class HQSamImageToTokenAttention(HQSamCrossAttention):
    """What the image's positions read from tokens: the positions are queries, the tokens keys and values.

    Here the last projection moves to the tokens: Σ_h (Σ a v_h) W_hᵀ = Σ_h Σ a (v_h W_hᵀ), with the columns of
    head h of out_proj in W_h. What is done for one position does not depend on the others.
    """

    def project_image(self, image: Tensor, position: Tensor) -> Tensor:
        """Queries (..., L, I) of an image (..., L, C) with the code of each position (L, C)."""
        return by_bands(lambda part, code: apply_linear(self.q_proj, part + code), image, position)

    def update_projected(
        self, image: Tensor, queries: Tensor, key: Tensor, value: Tensor, hide: Tensor | None, norm: nn.LayerNorm
    ) -> Tensor:
        """Add to an image what it reads from each of its prompts, and normalise.

        image (B, L, C) and its queries (B, L, I), shared by all prompts; key and value (B, P, T, C); hide (B, P, T),
        added to the scores of keys. Gives (B, P, L, C).
        """
        batch, prompts, tokens = key.shape[:3]
        keys = self.by_head(self.scaling * self.k_proj(key)).permute(0, 3, 1, 2, 4).flatten(2, 3)  # (B, H, P T, I / H)
        answers = self._answers(value.flatten(0, 1))

        def update(image: Tensor, queries: Tensor) -> Tensor:
            scores = keys @ self.by_head(queries).permute(0, 2, 3, 1)  # (B, H, P T, L)
            scores = scores.unflatten(2, (prompts, tokens)).transpose(1, 2)  # (B, P, H, T, L)
            if hide is not None:
                scores = scores + hide[:, :, None, :, None]
            weights = scores.softmax(dim=3).flatten(2, 3).flatten(0, 1)  # (N, H T, L)
            images = (image + self.out_proj.bias)[:, None].expand(-1, prompts, -1, -1)
            return norm(torch.baddbmm(images.flatten(0, 1), weights.mT, answers).view(images.shape))

        return by_bands(update, image, queries)

    def update(
        self,
        image: Tensor,
        position: Tensor,
        key: Tensor,
        value: Tensor,
        hide: Tensor | None,
        norm: nn.LayerNorm,
    ) -> Tensor:
        """The same where each prompt has its own image (N, L, C); key and value (N, T, C), hide (N, T).

        With few tokens the image is not projected. With the rows of a head in W_q and b_q,

            score = (y W_qᵀ + b_q) kᵀ = y (k W_q)ᵀ + b_q kᵀ.
        """
        if not self.has_few(key):
            queries, own_hide = self.project_image(image, position), None if hide is None else hide[:, None]
            return self.update_projected(image, queries, key[:, None], value[:, None], own_hide, norm)[:, 0]
        keys = self.by_head(self.scaling * self.k_proj(key))  # (N, T, H, I / H)
        constant = torch.einsum("nthi,hi->nht", keys, self.by_head(self.q_proj.bias))
        if hide is not None:
            constant = constant + hide[:, None]
        constant = constant.flatten(1)[..., None]
        keys = torch.einsum("nthi,hic->nhtc", keys, self.by_head(self.q_proj.weight, 0)).flatten(1, 2)
        answers = self._answers(value)

        def update(image: Tensor, position: Tensor) -> Tensor:
            scores = torch.baddbmm(constant, keys, (image + position).mT)  # (N, H T, L)
            weights = self.by_head(scores, 1).softmax(dim=2).flatten(1, 2)
            return norm(torch.baddbmm(image + self.out_proj.bias, weights.mT, answers))

        return by_bands(update, image, position)

    def _answers(self, value: Tensor) -> Tensor:
        """What a position that looks at one token of value (N, T, C) alone reads there, by head: (N, H T, C)."""
        values = self.by_head(self.v_proj(value))
        return torch.einsum("nthi,chi->nhtc", values, self.by_head(self.out_proj.weight)).flatten(1, 2)


class HQSamTwoWayAttentionBlock(nn.Module):
    """One round: tokens attend to tokens, tokens to the image, an MLP on the tokens, the image to tokens."""

    def __init__(self, config: HQSamMaskDecoderConfig, skip_first_layer_pe: bool) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.self_attn = HQSamTokenAttention(config, downsample_rate=1)
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.cross_attn_token_to_image = HQSamTokenToImageAttention(config)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = SamMLPBlock(config)
        self.layer_norm3 = nn.LayerNorm(width, eps=eps)
        self.layer_norm4 = nn.LayerNorm(width, eps=eps)
        self.cross_attn_image_to_token = HQSamImageToTokenAttention(config)
        self.skip_first_layer_pe = skip_first_layer_pe

    def project_image(self, image: Tensor, position: Tensor) -> Tensor:
        """Keys, values and queries (B, 3, L, I) of an image (B, L, C) that several prompts share; position (L, C)."""
        keys, values = self.cross_attn_token_to_image.project_image(image, position)
        return torch.stack([keys, values, self.cross_attn_image_to_token.project_image(image, position)], dim=1)

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        token_position: Tensor,
        image_position: Tensor,
        hide: Tensor | None,
        projections: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """tokens and token_position (B, P, T, C); image_position (L, C); hide (B, P, T), added to scores of keys.

        image (B, P, L, C), each prompt's own; or (B, 1, L, C), shared by all prompts, with its projections
        (B, 3, L, I). Gives tokens (B, P, T, C) and each prompt's image (B, P, L, C).
        """
        query = tokens if self.skip_first_layer_pe else tokens + token_position
        attended = self.self_attn(query, tokens, hide)
        tokens = self.layer_norm1(attended if self.skip_first_layer_pe else tokens + attended)

        query, reading, writing = (
            tokens + token_position,
            self.cross_attn_token_to_image,
            self.cross_attn_image_to_token,
        )
        if not (reading.is_untouched() and writing.is_untouched()):
            return self._cross_attend_as_written(tokens, image, token_position, image_position, hide)
        if projections is None:
            news = reading.read(query.flatten(0, 1), image.flatten(0, 1), image_position).view_as(tokens)
        else:
            news = reading.read_projected(query, projections[:, 0], projections[:, 1])
        tokens = self.layer_norm2(tokens + news)
        tokens = self.layer_norm3(tokens + self.mlp(tokens))

        key = tokens + token_position
        if projections is not None:
            queries = projections[:, 2]
            return tokens, writing.update_projected(image[:, 0], queries, key, tokens, hide, self.layer_norm4)
        flat_key, flat_value = key.flatten(0, 1), tokens.flatten(0, 1)
        flat_hide = None if hide is None else hide.flatten(0, 1)
        updated = writing.update(
            image.flatten(0, 1), image_position, flat_key, flat_value, flat_hide, self.layer_norm4
        )
        return tokens, updated.view_as(image)

    def _cross_attend_as_written(
        self, tokens: Tensor, image: Tensor, token_position: Tensor, image_position: Tensor, hide: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The second half of `forward` with no projection moved: every layer is called."""
        image = image.expand(-1, tokens.shape[1], -1, -1)
        placed, mask = image + image_position, None if hide is None else hide.flatten(0, 1)[:, None, None]
        news = self.cross_attn_token_to_image(query=tokens + token_position, key=placed, value=image)[0]
        tokens = self.layer_norm2(tokens + news)
        tokens = self.layer_norm3(tokens + self.mlp(tokens))
        update = self.cross_attn_image_to_token(
            query=placed, key=tokens + token_position, value=tokens, attention_similarity=mask
        )[0]
        return tokens, self.layer_norm4(image + update)


class HQSamTwoWayTransformer(nn.Module):
    def __init__(self, config: HQSamMaskDecoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            HQSamTwoWayAttentionBlock(config, skip_first_layer_pe=(i == 0)) for i in range(config.num_hidden_layers)
        )
        self.final_attn_token_to_image = HQSamTokenToImageAttention(config)
        self.layer_norm_final_attn = nn.LayerNorm(config.hidden_size)

    def project_image(self, image: Tensor, position: Tensor) -> Tensor:
        """What the first layer makes of an image (B, L, C) whatever the tokens: (B, 3, L, I); position (L, C)."""
        return self.layers[0].project_image(image, position)  # type: ignore[operator]

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        image_position: Tensor,
        hide: Tensor | None,
        projections: Tensor | None,
        wanted: list[int],
    ) -> tuple[Tensor, Tensor]:
        """Let the tokens and the image positions attend to each other; shapes as in the block.

        Gives the wanted tokens (B, P, len(wanted), C), by their index, and each prompt's attended image (B, P, L, C).
        Masks are read from the attended image, so callers must not keep the old one.
        """
        token_position = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_position, image_position, hide, projections)
            projections = None
        tokens, token_position = tokens[:, :, wanted], token_position[:, :, wanted]
        query, reading = tokens + token_position, self.final_attn_token_to_image
        if reading.is_untouched():
            news = reading.read(query.flatten(0, 1), image.flatten(0, 1), image_position).view_as(tokens)
        else:
            news = reading(query=query, key=image + image_position, value=image)[0]
        return self.layer_norm_final_attn(tokens + news), image


__all__ = ["HQSamTwoWayTransformer"]
