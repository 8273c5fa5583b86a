"""Prompts of every kind on two cached images, for tests of the mask decoder."""

import functools

import torch

from hq_sam_hf import HQSamImageFeatures, HQSamModel

from .oracle import WIDE, pair

# WIDE has 8 heads of 8 inner channels, so up to 8 tokens are "few": two more output tokens than with one box.
SIDE, MASK_SIDE = WIDE.image, 4 * WIDE.image // WIDE.patch

KINDS = ["box", "points", "many points", "box+masks", "box+one mask", "masks"]
OPTIONS = [{}, {"multimask_output": False}, {"hq_token_only": True}, {"sam_only": True}]


@functools.cache
def wide_model() -> HQSamModel:
    """Shared between tests: do not change it."""
    return pair(WIDE)[1]


@functools.cache
def features_of_two_images() -> HQSamImageFeatures:
    with torch.no_grad():
        return wide_model().get_image_features(pixels_of_two_images())


def pixels_of_two_images() -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def prompts_of(kind: str) -> dict[str, torch.Tensor]:
    """Five prompts on each of two images, some of them padding."""
    generator = torch.Generator().manual_seed(2)
    prompts = {}
    if "box" in kind:
        corners = (torch.rand(2, 5, 2, 2, generator=generator) * SIDE).sort(dim=2).values
        prompts["input_boxes"] = corners.flatten(2)
        prompts["input_boxes"][1, 3:] = float("nan")
    if "points" in kind:
        number = 20 if "many" in kind else 2
        prompts["input_points"] = torch.rand(2, 5, number, 2, generator=generator) * SIDE
        prompts["input_labels"] = torch.randint(0, 2, (2, 5, number), generator=generator)
        prompts["input_labels"][0, 2:, 1:] = -10
    if "mask" in kind:
        number = 1 if "one mask" in kind else 5
        prompts["input_masks"] = 9 * torch.randn(2, number, MASK_SIDE, MASK_SIDE, generator=generator)
    return prompts


def predict(model: HQSamModel, kind: str, **options):
    """The model's output for prompts of a kind on the two images, without gradients."""
    with torch.no_grad():
        return model(image_features=features_of_two_images(), **prompts_of(kind), **options)
