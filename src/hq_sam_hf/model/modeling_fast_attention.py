"""The two-way transformer rearranged for inference: nothing is computed per image position that can move elsewhere.

Nearly all of the cost lies in the L = 4096 image positions of each prompt; the T tokens are about a dozen. Three
rearrangements, each exact, move work away from the positions. Below, y is the image embedding of one position with its
position code, W_h and b_h are the rows of a projection that belong to head h, and a are attention weights.

1. The first block sees the image before any prompt changes it, unless there is a mask prompt. Its keys, values and
   queries are computed once per image (`project_image`) and shared by all prompts.

2. Token-to-image attention with few tokens projects the tokens instead of the image:

       score  = q (y W_kᵀ + b_k)ᵀ = (q W_k) yᵀ + a term of the token alone, which the softmax ignores,
       output = Σ a (y W_vᵀ + b_v) = (Σ a y) W_vᵀ + b_v, because the weights of a token sum to 1.

3. Image-to-token attention with few tokens does the same on the other side, and the output projection moves to the
   tokens for any number of them:

       score  = (y W_qᵀ + b_q) kᵀ = y (k W_q)ᵀ + b_q kᵀ,
       output = Σ_h (Σ a v_h) W_hᵀ = Σ_h Σ a (v_h W_hᵀ), with the columns of head h of the output projection in W_h.

   One position does not depend on another, so all of it is done by bands of positions that stay in a cache.

Letters in shapes: as in `modeling_two_way_transformer`, and N = B P.
"""

import torch
from torch import Tensor, nn

from .modeling_kernels import by_bands, products
from .modeling_two_way_transformer import HQSamDecoderAttention, HQSamTwoWayAttentionBlock, HQSamTwoWayTransformer


def project_image(block: HQSamTwoWayAttentionBlock, image: Tensor, positions: Tensor) -> Tensor:
    """Keys and values of the token-to-image attention and queries of the image-to-token attention of a block.

    image (B, L, C), shared by several prompts; positions (L, C). Returns (B, 3, L, I).
    """
    keys, values = _keys_and_values(block.cross_attn_token_to_image, image, positions)
    return torch.stack([keys, values, _queries(block.cross_attn_image_to_token, image, positions)], dim=1)


def attend_two_ways(
    transformer: HQSamTwoWayTransformer,
    tokens: Tensor,
    image: Tensor,
    image_positions: Tensor,
    padding_mask: Tensor | None,
    projections: Tensor | None,
    output_tokens: list[int],
) -> tuple[Tensor, Tensor]:
    """`HQSamTwoWayTransformer.forward`, for the output tokens with these indices only.

        tokens (B, P, T, C); image_positions (L, C); padding_mask (B, P, T), True for padding tokens
        image (B, 1, L, C), shared by all prompts, with its projections (B, 3, L, I) from `project_image`;
            or (B, P, L, C), that of each prompt, without projections

    Returns the tokens (B, P, len(output_tokens), C) and the image of each prompt (B, P, L, C).
    """
    token_positions = tokens
    for block in transformer.layers:
        tokens, image = _attend_in_block(
            block,  # type: ignore[arg-type]  # a ModuleList does not know the type of its modules
            tokens,
            image,
            token_positions,
            image_positions,
            padding_mask,
            projections,
        )
        projections = None
    tokens, token_positions = tokens[:, :, output_tokens], token_positions[:, :, output_tokens]
    query = (tokens + token_positions).flatten(0, 1)
    attention = transformer.final_attn_token_to_image
    attention_output = _token_to_image(attention, query, image.flatten(0, 1), image_positions).view_as(tokens)
    return transformer.layer_norm_final_attn(tokens + attention_output), image


def _attend_in_block(
    block: HQSamTwoWayAttentionBlock,
    tokens: Tensor,
    image: Tensor,
    token_positions: Tensor,
    image_positions: Tensor,
    padding_mask: Tensor | None,
    projections: Tensor | None,
) -> tuple[Tensor, Tensor]:
    tokens = block.attend_to_tokens(tokens, token_positions, padding_mask)

    query, attention = tokens + token_positions, block.cross_attn_token_to_image
    if projections is None:
        flat_query, flat_image = query.flatten(0, 1), image.flatten(0, 1)
        attention_output = _token_to_image(attention, flat_query, flat_image, image_positions).view_as(tokens)
    else:
        attention_output = _token_to_projected_image(attention, query, projections[:, 0], projections[:, 1])
    tokens = block.layer_norm2(tokens + attention_output)
    tokens = block.layer_norm3(tokens + block.mlp(tokens))

    padding_bias = None  # added to the scores
    if padding_mask is not None:
        padding_bias = torch.zeros_like(tokens[..., 0]).masked_fill(padding_mask, float("-inf"))
    key, attention, norm = tokens + token_positions, block.cross_attn_image_to_token, block.layer_norm4
    if projections is not None:
        queries = projections[:, 2]
        return tokens, _projected_image_to_token(attention, image[:, 0], queries, key, tokens, padding_bias, norm)
    flat_key, flat_value = key.flatten(0, 1), tokens.flatten(0, 1)
    flat_bias = None if padding_bias is None else padding_bias.flatten(0, 1)
    flat_image = image.flatten(0, 1)
    updated = _image_to_token(attention, flat_image, image_positions, flat_key, flat_value, flat_bias, norm)
    return tokens, updated.view_as(image)


def _token_to_projected_image(attention: HQSamDecoderAttention, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """query (B, P, T, C); keys and values (B, L, I), shared by all prompts of an image. Returns (B, P, T, C)."""
    queries = _by_head(attention, attention.scaling * attention.q_proj(query))
    queries = queries.permute(0, 3, 1, 2, 4)  # (B, H, P, T, I / H)
    keys, values = (_by_head(attention, each).transpose(1, 2) for each in (keys, values))  # (B, H, L, I / H)
    scores = queries.flatten(2, 3) @ keys.mT  # (B, H, P T, L)
    attended = (scores.softmax(dim=-1) @ values).unflatten(2, query.shape[1:3])
    return attention.output_projection(attended.permute(0, 2, 3, 1, 4).flatten(-2))


def _token_to_image(attention: HQSamDecoderAttention, query: Tensor, image: Tensor, positions: Tensor) -> Tensor:
    """query (N, T, C); image (N, L, C), that of each prompt; positions (L, C). Returns (N, T, C)."""
    if not _has_few(attention, query):
        keys, values = _keys_and_values(attention, image, positions)
        return _token_to_projected_image(attention, query[:, None], keys, values)[:, 0]
    queries = _by_head(attention, attention.scaling * attention.q_proj(query))  # (N, T, H, I / H)
    queries = torch.einsum("nthi,hic->nhtc", queries, _by_head(attention, attention.k_proj.weight, 0)).flatten(1, 2)
    scores = by_bands(lambda part, codes: products(part + codes, queries), image, positions)  # (N, L, H T)
    # By rows: along columns PyTorch takes thirty times as long with two threads and 24 of them.
    attended = _by_head(attention, scores.mT.softmax(dim=-1) @ image, 1)  # (N, H, T, C)
    attended = torch.einsum("nhtc,hic->nthi", attended, _by_head(attention, attention.v_proj.weight, 0))
    return attention.output_projection(attended.flatten(-2) + attention.v_proj.bias)


def _projected_image_to_token(
    attention: HQSamDecoderAttention,
    image: Tensor,
    queries: Tensor,
    key: Tensor,
    value: Tensor,
    padding_bias: Tensor | None,
    norm: nn.Module,
) -> Tensor:
    """Add the attention output of each prompt to the image that its prompts share, and normalise the sum.

    image (B, L, C) and its queries (B, L, I); key and value (B, P, T, C); padding_bias (B, P, T). Returns
    (B, P, L, C).
    """
    prompts, tokens = key.shape[1:3]
    keys = _by_head(attention, attention.scaling * attention.k_proj(key))
    keys = keys.permute(0, 3, 1, 2, 4).flatten(2, 3)  # (B, H, P T, I / H)
    projected_values = _projected_values(attention, value.flatten(0, 1))

    def update(image: Tensor, queries: Tensor) -> Tensor:
        scores = keys @ _by_head(attention, queries).permute(0, 2, 3, 1)  # (B, H, P T, L)
        scores = scores.unflatten(2, (prompts, tokens)).transpose(1, 2)  # (B, P, H, T, L)
        if padding_bias is not None:
            scores = scores + padding_bias[:, :, None, :, None]
        weights = scores.softmax(dim=3).flatten(2, 3).flatten(0, 1)  # (N, H T, L)
        images = (image + attention.output_projection.bias)[:, None].expand(-1, prompts, -1, -1)
        return norm(torch.baddbmm(images.flatten(0, 1), weights.mT, projected_values).view(images.shape))

    return by_bands(update, image, queries)


def _image_to_token(
    attention: HQSamDecoderAttention,
    image: Tensor,
    positions: Tensor,
    key: Tensor,
    value: Tensor,
    padding_bias: Tensor | None,
    norm: nn.Module,
) -> Tensor:
    """The same for the image (N, L, C) of each prompt; positions (L, C); key and value (N, T, C)."""
    if not _has_few(attention, key):
        bias = None if padding_bias is None else padding_bias[:, None]
        queries = _queries(attention, image, positions)
        return _projected_image_to_token(attention, image, queries, key[:, None], value[:, None], bias, norm)[:, 0]
    keys = _by_head(attention, attention.scaling * attention.k_proj(key))  # (N, T, H, I / H)
    constant = torch.einsum("nthi,hi->nht", keys, _by_head(attention, attention.q_proj.bias))
    if padding_bias is not None:
        constant = constant + padding_bias[:, None]
    constant = constant.flatten(1)[..., None]
    keys = torch.einsum("nthi,hic->nhtc", keys, _by_head(attention, attention.q_proj.weight, 0)).flatten(1, 2)
    projected_values = _projected_values(attention, value)

    def update(image: Tensor, positions: Tensor) -> Tensor:
        scores = torch.baddbmm(constant, keys, (image + positions).mT)  # (N, H T, L)
        weights = _by_head(attention, scores, 1).softmax(dim=2).flatten(1, 2)
        return norm(torch.baddbmm(image + attention.output_projection.bias, weights.mT, projected_values))

    return by_bands(update, image, positions)


def _keys_and_values(attention: HQSamDecoderAttention, image: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values (N, L, I) of an image (N, L, C) in token-to-image attention."""
    keys = by_bands(lambda part, codes: attention.k_proj(part + codes), image, positions)
    return keys, attention.v_proj(image)


def _queries(attention: HQSamDecoderAttention, image: Tensor, positions: Tensor) -> Tensor:
    """Queries (N, L, I) of an image (N, L, C) in image-to-token attention."""
    return by_bands(lambda part, codes: attention.q_proj(part + codes), image, positions)


def _projected_values(attention: HQSamDecoderAttention, value: Tensor) -> Tensor:
    """The output, by head, of a position that attends to one token of value (N, T, C) alone: (N, H T, C)."""
    values = _by_head(attention, attention.v_proj(value))
    weight = _by_head(attention, attention.output_projection.weight)
    return torch.einsum("nthi,chi->nhtc", values, weight).flatten(1, 2)


def _has_few(attention: HQSamDecoderAttention, tokens: Tensor) -> bool:
    """Whether projecting tokens (N, T, C) to the width of the image is cheaper than projecting the image."""
    return tokens.shape[1] * attention.num_attention_heads <= attention.q_proj.out_features


def _by_head(attention: HQSamDecoderAttention, tensor: Tensor, dim: int = -1) -> Tensor:
    """Split the inner channels, in dimension dim, into (H, I / H)."""
    return tensor.unflatten(dim, (attention.num_attention_heads, -1))


__all__ = ["attend_two_ways", "project_image"]
