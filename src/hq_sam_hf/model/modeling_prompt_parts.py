"""Any number of prompts in bounded memory: how many are decoded together, and putting the parts together."""

from collections.abc import Callable

import torch
from torch import Tensor

from .configuration_hq_sam import HQSamMaskDecoderConfig
from .modeling_kernels import runs_eagerly_on_cpu

# Memory for prompts that are decoded together. On a CPU more than about fits its cache brings nothing.
PART_BYTES_ON_CPU, PART_BYTES = 2**25, 2**32


def prompts_at_once(config: HQSamMaskDecoderConfig, image_embeddings: Tensor, num_tokens: int) -> int:
    """How many prompts on images (B, C, h, w) fit into the budget of a part, at least 1.

    Rule: per cell of the h x w grid, a prompt needs 4 C numbers for its image before and after a layer and its
    upscaled features, or 16 C where these are not made in bands; 2 for each of num_tokens tokens in each head, for
    scores and weights; and 12 for each of 16 mask cells.
    """
    channels, height, width = image_embeddings.shape[1:]
    on_cpu = runs_eagerly_on_cpu(image_embeddings)
    numbers = (4 if on_cpu else 16) * channels + 2 * num_tokens * config.num_attention_heads + 12 * 16
    needed = height * width * numbers * image_embeddings.element_size()
    return max(1, (PART_BYTES_ON_CPU if on_cpu else PART_BYTES) // needed)


def decode_in_parts(
    decode: Callable[[slice, slice, int], tuple[Tensor, Tensor]], batch: int, num_prompts: int, at_once: int
) -> tuple[Tensor, Tensor]:
    """Masks (B, P, M, h, w) and scores (B, P, M), put together from parts of at_once prompts.

    decode(images, prompts, number of prompts) gives those of a part: of several images with all their prompts, or of
    some prompts of one image. The result does not depend on at_once, but for rounding.
    """
    images_at_once = max(1, at_once // num_prompts)
    masks = scores = torch.empty(0)
    for first_image in range(0, batch, images_at_once):
        images = slice(first_image, min(first_image + images_at_once, batch))
        for first_prompt in range(0, num_prompts, at_once):
            prompts = slice(first_prompt, min(first_prompt + at_once, num_prompts))
            some_masks, some_scores = decode(images, prompts, prompts.stop - prompts.start)
            if some_scores.shape[:2] == (batch, num_prompts):
                return some_masks, some_scores
            if first_image == first_prompt == 0:
                masks = some_masks.new_empty(batch, num_prompts, *some_masks.shape[2:])
                scores = some_scores.new_empty(batch, num_prompts, *some_scores.shape[2:])
            masks[images, prompts], scores[images, prompts] = some_masks, some_scores
    return masks, scores


__all__ = ["decode_in_parts", "prompts_at_once"]
