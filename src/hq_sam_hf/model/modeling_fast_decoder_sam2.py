"""The mask decoder of HQ-SAM 2 rearranged for inference: the masks of `HQSam2MaskDecoder.forward` in less time.

The rearrangements are those of `modeling_fast_decoder`. The finer feature maps, which SAM 2 adds while it upscales,
are added to the cells of each band.

Letters in shapes: as in `modeling_mask_decoder`.
"""

import torch
from torch import Tensor

from .modeling_decoder_parts import MaskSource
from .modeling_fast_decoder import FinerFeatures, attend_fast, passing_masks, upscale
from .modeling_hq_sam2_mask_decoder import HQSam2MaskDecoder


def decode_fast_sam2(
    decoder: HQSam2MaskDecoder,
    image_projections: Tensor | None,
    image_embeddings: Tensor,
    image_positions: Tensor,
    high_res_features_0: Tensor,
    high_res_features_1: Tensor,
    prompt_tokens: Tensor | None,
    prompt_padding_mask: Tensor | None,
    dense_prompt_embeddings: Tensor,
    num_prompts: int,
    multimask_output: bool,
    mask_source: MaskSource = MaskSource.HQ_AND_SAM,
    min_iou_score: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Masks, scores and object scores as `HQSam2MaskDecoder.forward` returns them, from the same arguments.

    image_projections: `project_image` of image_embeddings + dense_prompt_embeddings if all prompts share the latter.
    With None they are computed here.
    """
    batch, _, height, width = image_embeddings.shape
    uses_sam, uses_hq = mask_source is not MaskSource.HQ_ONLY, mask_source is not MaskSource.SAM_ONLY
    tokens, padding_mask = decoder.concatenate_tokens(
        uses_hq, (batch, num_prompts), prompt_tokens, prompt_padding_mask
    )
    tokens, image = attend_fast(
        decoder,
        image_projections,
        image_embeddings,
        image_positions,
        dense_prompt_embeddings,
        tokens,
        padding_mask,
        list(range(2 + decoder.num_mask_tokens + uses_hq)),
    )
    finer = FinerFeatures(
        high_res_features_0.permute(0, 2, 3, 1),
        high_res_features_1.permute(0, 2, 3, 1),
        None if batch == 1 else torch.arange(batch, device=image.device).repeat_interleave(num_prompts),
    )

    scores = decoder.iou_prediction_head(tokens[:, :, 1])  # (B, P, masks of SAM)
    vectors = torch.stack(  # (B, P, masks of SAM, c)
        [mlp(tokens[:, :, 2 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=2
    )
    hq_vectors = decoder.hq_mask_mlp(tokens[:, :, 2 + decoder.num_mask_tokens]).flatten(0, 1) if uses_hq else None
    is_judged = decoder.judges_stability(multimask_output)
    upscaled = upscale(decoder, image, finer) if is_judged else None  # (N, 4h + 2, 4w, c)
    pixels = None if upscaled is None else upscaled[:, 1:-1].flatten(1, 2).mT.unflatten(0, (batch, num_prompts))
    chosen = decoder.choose_masks(scores, multimask_output, vectors, pixels)  # (B, P, M)
    scores = scores.gather(2, chosen)
    sam_vectors = None
    if uses_sam:
        sam_vectors = vectors.gather(2, chosen[..., None].expand(-1, -1, -1, vectors.shape[-1])).flatten(0, 1)
    else:
        scores = scores[:, :, :1]
    arguments = (sam_vectors, hq_vectors, scores.flatten(0, 1), min_iou_score)
    masks = passing_masks(decoder, image, *arguments, finer, upscaled).unflatten(0, (batch, num_prompts))
    masks = masks.unflatten(-1, (4 * height, 4 * width))
    return masks, scores, decoder.pred_obj_score_head(tokens[:, :, 0])


__all__ = ["decode_fast_sam2"]
