"""The fast path gives the masks of the plain decoder, and is taken only where it is exact."""

import copy

import pytest
import torch
from torch import nn

from hq_sam_hf import HQSamModel
from hq_sam_hf.model import modeling_hq_sam, modeling_prompted
from hq_sam_hf.model.modeling_fast_decoder import can_use_fast_path
from support.decoder_prompts import (
    KINDS,
    OPTIONS,
    features_of_two_images,
    pixels_of_two_images,
    predict,
    prompts_of,
    wide_model,
)
from support.oracle import WIDE, build_original, port


@pytest.fixture
def fast_calls(monkeypatch) -> list[str]:
    """The names of the fast path's functions that the model calls."""
    features_of_two_images()  # computed before the calls are recorded
    calls = []
    for module, name in ((modeling_prompted, "decode_fast"), (modeling_hq_sam, "fuse_hq_features_fast")):
        original = getattr(module, name)

        def spy(*args, name=name, original=original, **kwargs):
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, spy)
    return calls


def fresh_model() -> HQSamModel:
    return port(build_original(WIDE), WIDE)


@pytest.mark.parametrize("kind", [*KINDS, "box+points", "none"])
@pytest.mark.parametrize("options", [*OPTIONS, {"sam_only": True, "multimask_output": False}], ids=str)
def test_both_paths_give_the_same_masks(kind, options, fast_calls):
    fast = predict(wide_model(), kind, **options)
    assert set(fast_calls) == {"decode_fast"}
    fast_calls.clear()
    plain = wide_model()(image_features=features_of_two_images(), **prompts_of(kind), **options)
    assert not fast_calls
    assert plain.pred_masks.requires_grad
    torch.testing.assert_close(fast.pred_masks, plain.pred_masks.detach(), atol=2e-6, rtol=0)
    torch.testing.assert_close(fast.iou_scores, plain.iou_scores.detach(), atol=1e-6, rtol=0)


def test_both_paths_give_the_same_image_features(fast_calls):
    plain = wide_model().get_image_features(pixels_of_two_images())
    assert not fast_calls
    assert plain.hq_features.requires_grad
    for name, feature in features_of_two_images().items():
        torch.testing.assert_close(plain[name].detach(), feature, atol=2e-6, rtol=0)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_both_paths_leave_out_the_same_masks(options):
    scores = predict(wide_model(), "box", **options).iou_scores.flatten().sort().values
    limit = scores[3:5].mean().item()  # four masks are left out; no score is so close that rounding decides
    fast = predict(wide_model(), "box", min_iou_score=limit, **options).pred_masks
    plain = wide_model()(image_features=features_of_two_images(), **prompts_of("box"), min_iou_score=limit, **options)
    assert (fast == float("-inf")).any()
    torch.testing.assert_close(fast, plain.pred_masks.detach(), atol=2e-6, rtol=0)  # equal infinities are close


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_inference_takes_the_fast_path(mode, fast_calls):
    with mode():
        wide_model()(pixels_of_two_images(), input_boxes=prompts_of("box")["input_boxes"])
    assert fast_calls[0] == "fuse_hq_features_fast"
    assert set(fast_calls[1:]) == {"decode_fast"}


@pytest.mark.parametrize("trained", ["nothing", "mask_decoder.mask_conv2", "prompt_encoder.point_embed", "input"])
def test_gradients_take_the_plain_path(trained, fast_calls):
    model, embeddings = fresh_model().requires_grad_(False), features_of_two_images().image_embeddings.clone()
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.startswith(trained))
    features = copy.copy(features_of_two_images())
    features.image_embeddings = embeddings.requires_grad_(trained == "input")
    masks = model(image_features=features, **prompts_of("box")).pred_masks
    assert masks.requires_grad == (trained != "nothing")
    assert bool(fast_calls) == (trained == "nothing")


class AdaptedLinear(nn.Linear):
    """A layer that computes something else from the same weights, as an adapter does."""

    def forward(self, tokens):
        return 2 * super().forward(tokens)


def test_a_replaced_layer_counts(fast_calls):
    model, changed = fresh_model(), fresh_model()
    attention = model.mask_decoder.transformer.layers[1].cross_attn_image_to_token
    adapted = AdaptedLinear(attention.v_proj.in_features, attention.v_proj.out_features)
    adapted.load_state_dict(attention.v_proj.state_dict())
    attention.v_proj = adapted
    with torch.no_grad():
        for weight in changed.mask_decoder.transformer.layers[1].cross_attn_image_to_token.v_proj.parameters():
            weight.mul_(2)
    actual = predict(model, "box")
    assert not fast_calls
    expected = predict(changed, "box")
    assert fast_calls
    torch.testing.assert_close(actual.pred_masks, expected.pred_masks, atol=2e-6, rtol=0)


def test_a_replaced_forward_counts(fast_calls):
    """accelerate's offloading wraps the forward of each layer."""
    model, calls = fresh_model(), []
    layer = model.mask_decoder.transformer.final_attn_token_to_image.k_proj
    forward = layer.forward
    layer.forward = lambda tokens: calls.append(1) or forward(tokens)
    predict(model, "box")
    assert calls
    assert not fast_calls


class Quantized(torch.Tensor):
    """A tensor subclass, as quantized and sharded weights are."""


def test_graphs_and_tensor_subclasses_take_the_plain_path(monkeypatch):
    decoder, embeddings = wide_model().mask_decoder, features_of_two_images().image_embeddings
    with torch.no_grad():
        assert can_use_fast_path(decoder, embeddings, None)
        assert not can_use_fast_path(decoder, embeddings.as_subclass(Quantized))
        quantized = copy.deepcopy(decoder)
        weight = quantized.upscale_conv2.weight.detach().as_subclass(Quantized)
        quantized.upscale_conv2.weight = nn.Parameter(weight, requires_grad=False)
        assert not can_use_fast_path(quantized, embeddings)
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        assert not can_use_fast_path(decoder, embeddings)


def test_a_hook_on_any_module_of_the_decoder_is_called_and_the_masks_stay(fast_calls):
    """Embeddings and lists are never called, only what they hold is read."""
    expected = predict(wide_model(), "box+masks"), predict(wide_model(), "box+masks", multimask_output=False)
    fast_calls.clear()
    model, called = fresh_model(), set()
    modules = {
        name: module
        for name, module in model.mask_decoder.named_modules()
        if not isinstance(module, (nn.Embedding, nn.ModuleList))
    }
    for name, module in modules.items():
        module.register_forward_hook(lambda *_, name=name: called.add(name))
    with torch.no_grad():
        model.get_image_features(pixels_of_two_images())
    actual = predict(model, "box+masks"), predict(model, "box+masks", multimask_output=False)
    assert called == modules.keys()
    assert not fast_calls
    for ours, theirs in zip(actual, expected):
        torch.testing.assert_close(ours.pred_masks, theirs.pred_masks, atol=2e-6, rtol=0)
        torch.testing.assert_close(ours.iou_scores, theirs.iou_scores, atol=1e-6, rtol=0)


def test_a_single_hook_on_any_module_rules_out_the_fast_path():
    decoder = fresh_model().mask_decoder
    with torch.no_grad():
        for module in decoder.modules():
            for register in (
                module.register_forward_hook,
                module.register_forward_pre_hook,
                module.register_full_backward_hook,
            ):
                hook = register(lambda *_: None)
                assert not can_use_fast_path(decoder)
                hook.remove()
        assert can_use_fast_path(decoder)
