"""The mask decoder rearranged for inference: the masks of `HQSamMaskDecoder.forward` in a fraction of its time.

`can_use_fast_path` decides whether it may be used. It reads weights without calling their layers, and it writes into
buffers, so it serves neither gradients nor traced graphs nor layers that were hooked or replaced.

What is rearranged, besides the attention (see `modeling_fast_attention`):

1. Only the tokens that masks and scores are computed from pass through the last attention.
2. Both transposed convolutions of the upscaling map each cell of the h x w grid to 4 x 4 pixels by itself. So the
   cells stay apart from the first to the second, and the pixels are put in their places once.
3. The HQ mask is the product of a vector v (c) with GELU features y (2c) behind a last 3 x 3 convolution, whose kernel
   at offset d is W_d (c, 2c) and whose bias is b. The vector is folded into that kernel:

       v · (b + Σ_d W_d y[p + d]) = v · b + Σ_d (v W_d) · y[p + d],

   nine products per position, added after a shift, in place of 9 c.
4. v · (features of the image + features of the prompt) is the sum of two products. So the sum of the features, which
   is as large as the upscaled features of all prompts, is never made.
5. Masks with no chance to pass `min_iou_score` are not computed.
6. On a CPU, upscaling and HQ mask are computed by bands of rows that stay in a cache.

Letters in shapes: as in `modeling_mask_decoder`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamFeedForward, SamLayerNorm, SamMLPBlock

from .modeling_decoder_parts import HQSamDecoderParts, MaskSource
from .modeling_fast_attention import attend_two_ways
from .modeling_fast_attention import project_image as project_flat_image
from .modeling_kernels import HQSamLinear, band_size, wants_gradients
from .modeling_mask_decoder import HQSamMaskDecoder
from .modeling_two_way_transformer import HQSamTwoWayAttentionBlock
from .modeling_upscaling import HQSamUpscaleConv

# The classes with weights or children in an untouched decoder, besides its own. Its other modules are activation
# functions.
_LAYER_CLASSES = {
    HQSamUpscaleConv,
    HQSamLinear,
    SamFeedForward,
    SamLayerNorm,
    SamMLPBlock,
    nn.Conv2d,
    nn.Embedding,
    nn.LayerNorm,
    nn.Linear,
    nn.ModuleList,
}


def can_use_fast_path(decoder: HQSamDecoderParts, *inputs: Tensor | None) -> bool:
    """Whether `decode_fast`, or `decode_fast_sam2`, may stand in for the decoder on these inputs.

    Not where gradients are needed, where a graph is traced, compiled or exported, where a weight or an input is a
    tensor subclass (quantized, sharded or fake), or where a layer has a hook or was replaced, as adapters,
    quantization and accelerate's offloading do.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    tensors = [each for each in inputs if each is not None]
    for module in decoder.modules():
        if not _is_untouched(module, decoder.own_classes):
            return False
        tensors += [weight for weight in module._parameters.values() if weight is not None]
    return all(type(each) in (Tensor, nn.Parameter) for each in tensors) and not wants_gradients(*tensors)


def _is_untouched(module: nn.Module, own_classes: frozenset[type]) -> bool:
    """Whether a module of the decoder is of its original class, without hooks and with the forward of that class."""
    has_hooks = (
        module._forward_pre_hooks or module._forward_hooks or module._backward_pre_hooks or module._backward_hooks
    )
    is_activation = not (module._parameters or module._buffers or module._modules)
    is_known = is_activation or type(module) in _LAYER_CLASSES or type(module) in own_classes
    return not has_hooks and is_known and "forward" not in module.__dict__


def project_image(decoder: HQSamDecoderParts, image: Tensor, image_positions: Tensor) -> Tensor:
    """What the first attention computes from the image (B, C, h, w) plus its dense prompt: (B, 3, L, I).

    image_positions (L, C). The projections are those of all prompts with the same dense embedding.
    """
    first_block: HQSamTwoWayAttentionBlock = decoder.transformer.layers[0]  # type: ignore[assignment]
    return project_flat_image(first_block, image.flatten(2).mT, image_positions)


def attend_fast(
    decoder: HQSamDecoderParts,
    image_projections: Tensor | None,
    image_embeddings: Tensor,
    image_positions: Tensor,
    dense_prompt_embeddings: Tensor,
    tokens: Tensor,
    padding_mask: Tensor | None,
    output_tokens: list[int],
) -> tuple[Tensor, Tensor]:
    """The two-way transformer: the attended output tokens (B, P, T', C) and the attended image (N, h, w, C).

    The arguments are those of `decode_fast`; tokens (B, P, T, C) with padding_mask (B, P, T), or None; output_tokens:
    the numbers of the T' tokens that masks and scores are computed from.
    """
    image = image_embeddings[:, None] + dense_prompt_embeddings  # (B, 1 or P, C, h, w)
    if image.shape[1] > 1:
        image_projections = None
    elif image_projections is None:
        image_projections = project_image(decoder, image[:, 0], image_positions)
    tokens, attended = attend_two_ways(
        decoder.transformer,
        tokens,
        image.flatten(3).mT,
        image_positions,
        padding_mask,
        image_projections,
        output_tokens,
    )
    return tokens, attended.flatten(0, 1).unflatten(1, image_embeddings.shape[2:])


def decode_fast(
    decoder: HQSamMaskDecoder,
    image_projections: Tensor | None,
    image_embeddings: Tensor,
    image_positions: Tensor,
    hq_features: Tensor | None,
    prompt_tokens: Tensor | None,
    prompt_padding_mask: Tensor | None,
    dense_prompt_embeddings: Tensor,
    num_prompts: int,
    multimask_output: bool,
    mask_source: MaskSource = MaskSource.HQ_AND_SAM,
    min_iou_score: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Masks and scores as `HQSamMaskDecoder.forward` returns them, from the same arguments.

    image_projections: `project_image` of image_embeddings + dense_prompt_embeddings if all prompts share the latter.
    With None they are computed here.
    """
    batch, _, height, width = image_embeddings.shape
    uses_sam, uses_hq = mask_source is not MaskSource.HQ_ONLY, mask_source is not MaskSource.SAM_ONLY
    tokens, padding_mask = decoder.concatenate_tokens(
        uses_hq, (batch, num_prompts), prompt_tokens, prompt_padding_mask
    )
    candidates = list(range(1, decoder.num_mask_tokens)) if multimask_output else [0]
    sam_tokens = [1 + i for i in candidates] if uses_sam else []
    output_tokens = [0, *sam_tokens, *([1 + decoder.num_mask_tokens] if uses_hq else [])]
    tokens, image = attend_fast(
        decoder,
        image_projections,
        image_embeddings,
        image_positions,
        dense_prompt_embeddings,
        tokens,
        padding_mask,
        output_tokens,
    )

    scores = decoder.iou_prediction_head(tokens[:, :, 0])[..., candidates]
    scores, order = scores.sort(dim=2, descending=True, stable=True)  # (B, P, M)
    vectors = hq_vectors = None
    if uses_sam:
        mlps = [decoder.output_hypernetworks_mlps[i] for i in candidates]
        vectors = torch.stack([mlp(tokens[:, :, 1 + k]) for k, mlp in enumerate(mlps)], dim=2)  # (B, P, M, c)
        vectors = vectors.gather(2, order[..., None].expand_as(vectors)).flatten(0, 1)
    else:
        scores = scores[:, :, :1]
    if uses_hq:
        hq_vectors = decoder.hq_mask_mlp(tokens[:, :, -1])  # (B, P, c)

    flat_hq_vectors = None if hq_vectors is None else hq_vectors.flatten(0, 1)
    masks = passing_masks(decoder, image, vectors, flat_hq_vectors, scores.flatten(0, 1), min_iou_score)
    masks = masks.unflatten(0, (batch, num_prompts))  # (B, P, M, 16 L)
    if hq_features is not None and hq_vectors is not None:
        masks = masks + (hq_vectors @ hq_features.flatten(2))[:, :, None]
    return masks.unflatten(-1, (4 * height, 4 * width)), scores


def passing_masks(
    decoder: HQSamDecoderParts,
    image: Tensor,
    vectors: Tensor | None,
    hq_vectors: Tensor | None,
    scores: Tensor,
    min_iou_score: float | None,
    finer: "FinerFeatures | None" = None,
    upscaled: Tensor | None = None,
) -> Tensor:
    """Logits (N, M, 16 L) where scores (N, M) are higher than min_iou_score, -inf elsewhere.

    image (N, h, w, C); vectors (N, M, c) of SAM's masks and hq_vectors (N, c) of the HQ mask, which is added to each
    of SAM's. One of both may be None. The part of the HQ mask that depends on the image alone is not added.
    upscaled: the result of `upscale` for the image, if it has been computed already.
    """
    if min_iou_score is None:
        upscaled = upscale(decoder, image, finer) if upscaled is None else upscaled
        return _masks(decoder, upscaled, vectors, hq_vectors)
    passes = scores.float() > min_iou_score
    prompts = passes.any(dim=1).nonzero()[:, 0]
    if upscaled is not None or len(prompts) == len(passes):
        upscaled = upscale(decoder, image, finer) if upscaled is None else upscaled
        masks = _masks(decoder, upscaled, vectors, hq_vectors)
    else:
        masks = image.new_full((*passes.shape, 16 * image.shape[1] * image.shape[2]), float("-inf"))
        if len(prompts) > 0:
            passing_vectors, passing_hq_vectors = (
                None if each is None else each[prompts] for each in (vectors, hq_vectors)
            )
            passing_finer = None if finer is None else finer.of_prompts(prompts)
            upscaled = upscale(decoder, image[prompts], passing_finer)
            masks[prompts] = _masks(decoder, upscaled, passing_vectors, passing_hq_vectors)
    return masks.masked_fill(~passes[..., None], float("-inf"))


def _masks(decoder: HQSamDecoderParts, upscaled: Tensor, vectors: Tensor | None, hq_vectors: Tensor | None) -> Tensor:
    """Logits (N, M, 16 L) of upscaled features (N, 4h + 2, 4w, c), from `upscale`; vectors as in `passing_masks`."""
    masks: Tensor | None = None
    if vectors is not None:
        masks = vectors @ upscaled[:, 1:-1].flatten(1, 2).mT
    if hq_vectors is not None:
        hq_masks = _hq_masks(decoder, upscaled, hq_vectors).flatten(1)[:, None]
        masks = hq_masks if masks is None else masks + hq_masks
    assert masks is not None
    return masks


def fuse_hq_features_fast(decoder: HQSamMaskDecoder, image_embeddings: Tensor, early_embeddings: Tensor) -> Tensor:
    """What `HQSamMaskDecoder.fuse_hq_features` returns, from the same arguments."""
    image = image_embeddings.permute(0, 2, 3, 1)
    final = _upscale_cells(image, decoder.encoder_conv1, decoder.encoder_norm, decoder.encoder_conv2)
    early = _upscale_cells(
        early_embeddings, decoder.compress_vit_conv1, decoder.compress_vit_norm, decoder.compress_vit_conv2
    )
    number, height, width = image.shape[:3]
    features = image.new_empty(number, 4 * height, 4 * width, final.shape[-1])
    _put_cells(final + early, features)
    return features.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class FinerFeatures:
    """The finer feature maps of SAM 2, which are added where the image is upscaled.

    fine (B, 4h, 4w, c); middle (B, 2h, 2w, 2c); image_of (N,): the image of each prompt, or None if B is 1.
    """

    fine: Tensor
    middle: Tensor
    image_of: Tensor | None

    def of_prompts(self, prompts: Tensor) -> "FinerFeatures":
        """Those of some of the prompts, given by number."""
        return FinerFeatures(self.fine, self.middle, None if self.image_of is None else self.image_of[prompts])

    def cells(self, top: int, stop: int) -> tuple[Tensor, Tensor]:
        """Both maps for h' rows of the grid, by cells: (1 or N, h', w, 2, 2, 2c), (1 or N, h', w, 2, 2, 2, 2, c)."""
        middle, fine = self.middle[:, 2 * top : 2 * stop], self.fine[:, 4 * top : 4 * stop]
        if self.image_of is not None:
            middle, fine = middle[self.image_of], fine[self.image_of]
        middle = middle.unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).transpose(2, 3)
        fine = fine.unflatten(1, (-1, 2, 2)).unflatten(4, (-1, 2, 2))  # (N, h', 2, 2, w, 2, 2, c)
        return middle, fine.permute(0, 1, 4, 2, 5, 3, 6, 7)


def upscale(decoder: HQSamDecoderParts, image: Tensor, finer: FinerFeatures | None = None) -> Tensor:
    """Upscaled features (N, 4h + 2, 4w, c) of image (N, h, w, C), with a row of zeros above and below."""
    number, height, width, channels = image.shape
    bordered = image.new_empty(number, 4 * height + 2, 4 * width, channels // 8)
    bordered[:, :1] = 0
    bordered[:, -1:] = 0
    band = band_size(image, height, number * width * 2 * channels)
    for top in range(0, height, band):
        rows = image[:, top : top + band]
        added = None if finer is None else finer.cells(top, top + rows.shape[1])
        cells = _upscale_cells(rows, decoder.upscale_conv1, decoder.upscale_layer_norm, decoder.upscale_conv2, added)
        _put_cells(F.gelu(cells), bordered[:, 1 + 4 * top : 1 + 4 * top + 4 * cells.shape[1]])
    return bordered


def _upscale_cells(
    image: Tensor,
    first: HQSamUpscaleConv,
    norm: nn.Module,
    second: HQSamUpscaleConv,
    added: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """second(GELU(norm(first(image)))) of image (N, h, w, C), each cell by itself: (N, h, w, 2, 2, 2, 2, c).

    The axes of 2 are row and column of a quarter of the cell, then row and column of a quarter of that quarter.

    added: what is added to the results of first and of second.
    """
    quarters = first.to_blocks(image)  # (N, h, w, 2, 2, C / 4)
    if added is not None:
        quarters = quarters + added[0]
    normalised = _norm_channels(norm, quarters.flatten(2, 4)).view_as(quarters)
    cells = second.to_blocks(F.gelu(normalised))
    return cells if added is None else cells + added[1]


def _put_cells(cells: Tensor, image: Tensor) -> None:
    """Write cells from `_upscale_cells` into an image (N, 4h, 4w, c)."""
    number, height, width = cells.shape[:3]
    image.view(number, height, 2, 2, width, 2, 2, -1).copy_(cells.permute(0, 1, 3, 5, 2, 4, 6, 7))


def _hq_masks(decoder: HQSamDecoderParts, upscaled: Tensor, vectors: Tensor) -> Tensor:
    """Products (N, 4h, 4w) of vectors (N, c) with the HQ features of the prompts.

    upscaled (N, 4h + 2, 4w, c), from `upscale`.
    """
    first, norm, second = decoder.mask_conv1, decoder.mask_norm, decoder.mask_conv2
    number, height, width = upscaled.shape[0], upscaled.shape[1] - 2, upscaled.shape[2]
    kernel = second.weight  # (c, 2c, 3, 3)
    taps = (vectors @ kernel.flatten(1)).unflatten(1, (kernel.shape[1], 9)).mT  # (N, 9, 2c), offsets row by row
    products = upscaled.new_zeros(number, 9, height + 2, width + 2)  # of the taps with y, in a border of zeros
    band = band_size(upscaled, height, number * width * taps.shape[2])
    for top in range(0, height, band):
        stop = min(top + band, height)
        rows = upscaled[:, top : stop + 2].permute(0, 3, 1, 2)
        wide = F.conv2d(rows, first.weight, first.bias, padding=(0, 1)).permute(0, 2, 3, 1)  # (N, h', 4w, 2c)
        wide = F.gelu(_norm_channels(norm, wide))  # y
        products[:, :, 1 + top : 1 + stop, 1:-1] = (taps @ wide.flatten(1, 2).mT).unflatten(2, wide.shape[1:3])
    total = products[:, 0, :height, :width]
    for offset in range(1, 9):
        y, x = divmod(offset, 3)
        total = total + products[:, offset, y : y + height, x : x + width]
    return total + (vectors @ second.bias)[:, None, None]  # type: ignore[operator]  # the decoder's layers have a bias


def _norm_channels(norm: nn.Module, positions: Tensor) -> Tensor:
    """Apply a norm for channels first to positions (N, h, w, C)."""
    return norm(positions.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


__all__ = [
    "FinerFeatures",
    "can_use_fast_path",
    "decode_fast",
    "fuse_hq_features_fast",
    "passing_masks",
    "project_image",
    "upscale",
]
