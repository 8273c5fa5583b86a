"""Chunked prompt decoding under a memory budget."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .modeling_kernels import runs_eagerly_on_cpu

# Memory for the prompts that are decoded together. On a CPU, more than about fits its cache brings no speed.
PART_BYTES_ON_CPU, PART_BYTES = 2**25, 2**32


def prompts_at_once(config: Any, image_embeddings: Tensor, num_tokens: int, fast_path: bool = True) -> int:
    """How many prompts on image_embeddings (B, C, h, w) fit into the memory budget; at least 1.

    Per cell of the h x w grid, a prompt needs 4 C numbers for its image before and after a block and its upscaled
    features, or 16 C where these are not computed by bands, as the fast path does on a CPU; 2 per token and head, for
    scores and weights; and 12 for each of 16 mask pixels.
    """
    channels, height, width = image_embeddings.shape[1:]
    on_cpu = runs_eagerly_on_cpu(image_embeddings)
    by_bands = on_cpu and fast_path
    numbers = (4 if by_bands else 16) * channels + 2 * num_tokens * config.num_attention_heads + 12 * 16
    needed = height * width * numbers * image_embeddings.element_size()
    return max(1, (PART_BYTES_ON_CPU if on_cpu else PART_BYTES) // needed)


def decode_in_parts(
    decode: Callable[[slice, slice, int], tuple[Tensor, ...]], batch: int, num_prompts: int, at_once: int
) -> tuple[Tensor, ...]:
    """Masks (B, P, M, h, w), scores (B, P, M) and so on, concatenated from parts of at most at_once prompts.

    decode(images, prompts, number of prompts per image) returns the same of one part. A part is several images
    with all their prompts, or some prompts of one image. Apart from rounding, the result does not depend on at_once.
    """
    images_at_once = max(1, at_once // num_prompts)
    whole: tuple[Tensor, ...] = ()
    for first_image in range(0, batch, images_at_once):
        images = slice(first_image, min(first_image + images_at_once, batch))
        for first_prompt in range(0, num_prompts, at_once):
            prompts = slice(first_prompt, min(first_prompt + at_once, num_prompts))
            part = decode(images, prompts, prompts.stop - prompts.start)
            if part[0].shape[:2] == (batch, num_prompts):
                return part
            if first_image == first_prompt == 0:
                whole = tuple(each.new_empty(batch, num_prompts, *each.shape[2:]) for each in part)
            for tensor, each in zip(whole, part):
                tensor[images, prompts] = each
    return whole


__all__ = ["decode_in_parts", "prompts_at_once"]
