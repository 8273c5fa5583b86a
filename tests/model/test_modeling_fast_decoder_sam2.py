"""The fast path of HQ-SAM 2 gives the masks of the plain decoder, and is taken only where it is exact."""

import copy

import pytest
import torch

from hq_sam_hf import HQSam2ImageFeatures, HQSam2Model
from hq_sam_hf.model import modeling_hq_sam2
from hq_sam_hf.model.modeling_fast_decoder import can_use_fast_path
from support.oracle_sam2 import sam2_pair

SIDE = 128
KINDS = ["box", "points", "many points", "box+masks", "box+one mask", "masks"]
OPTIONS = [
    {"multimask_output": multimask_output, **source}
    for multimask_output in (True, False)
    for source in ({}, {"hq_token_only": True}, {"sam_only": True})
]


@pytest.fixture(scope="module")
def model() -> HQSam2Model:
    """About half of its single masks are stable."""
    return sam2_pair("stable")[1]


@pytest.fixture(scope="module")
def features(model) -> HQSam2ImageFeatures:
    with torch.no_grad():
        return model.get_image_features(torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)))


@pytest.fixture
def fast_calls(monkeypatch) -> list[int]:
    calls, original = [], modeling_hq_sam2.decode_fast_sam2

    def spy(*args, **kwargs):
        calls.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(modeling_hq_sam2, "decode_fast_sam2", spy)
    return calls


def prompts_of(kind: str) -> dict[str, torch.Tensor]:
    """Five prompts on each of two images, some of them padding."""
    generator = torch.Generator().manual_seed(2)
    prompts = {}
    if "box" in kind:
        prompts["input_boxes"] = (torch.rand(2, 5, 2, 2, generator=generator) * SIDE).sort(dim=2).values.flatten(2)
        prompts["input_boxes"][1, 3:] = float("nan")
    if "points" in kind:
        number = 20 if "many" in kind else 2
        prompts["input_points"] = torch.rand(2, 5, number, 2, generator=generator) * SIDE
        prompts["input_labels"] = torch.randint(0, 2, (2, 5, number), generator=generator)
        prompts["input_labels"][0, 2:, 1:] = -10
    if "mask" in kind:
        number = 1 if "one mask" in kind else 5
        prompts["input_masks"] = 9 * torch.randn(2, number, 32, 32, generator=generator)
    return prompts


def check_both_paths(model, features, kind, fast_calls, **options):
    with torch.no_grad():
        fast = model(image_features=features, **prompts_of(kind), **options)
    assert fast_calls
    fast_calls.clear()
    plain = model(image_features=features, **prompts_of(kind), **options)
    assert not fast_calls
    assert plain.pred_masks.requires_grad
    for name, value in plain.items():
        torch.testing.assert_close(
            fast[name], value.detach(), atol=2e-6, rtol=0, msg=name
        )  # equal infinities are close
    return fast


@pytest.fixture(autouse=True)
def with_gradients(model):
    model.requires_grad_(True)
    yield
    model.requires_grad_(False)


@pytest.mark.parametrize("kind", [*KINDS, "box+points", "none"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_both_paths_give_the_same_masks(model, features, kind, options, fast_calls):
    check_both_paths(model, features, kind, fast_calls, **options)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_both_paths_leave_out_the_same_masks(model, features, options, fast_calls):
    with torch.no_grad():
        scores = model(image_features=features, **prompts_of("box"), **options).iou_scores.flatten().sort().values
    limit = scores[3:5].mean().item()  # four masks are left out; no score is so close that rounding decides
    fast = check_both_paths(model, features, "box", fast_calls, min_iou_score=limit, **options)
    assert (fast.pred_masks == float("-inf")).any()


def test_a_hooked_layer_takes_the_plain_path(model, features, fast_calls):
    changed, calls = copy.deepcopy(model), []
    changed.mask_decoder.transformer.layers[0].self_attn.o_proj.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        changed(image_features=features, **prompts_of("box"))
    assert calls
    assert not fast_calls


def test_a_decoder_of_a_subclass_takes_the_plain_path(model):
    class OtherDecoder(type(model.mask_decoder)):
        pass

    other = copy.deepcopy(model.mask_decoder).requires_grad_(False)
    assert can_use_fast_path(other)
    other.__class__ = OtherDecoder
    assert not can_use_fast_path(other)
