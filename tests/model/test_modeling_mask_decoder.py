"""The mask decoder: hooks, gradients, masks left out by their score, cached image features."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from hq_sam_hf import HQSamImageFeatures, HQSamModel
from hq_sam_hf.model import modeling_prompt_parts
from hq_sam_hf.model.key_mapping import keys_from_original
from hq_sam_hf.model.modeling_upscaling import HQSamUpscaleConv
from support.decoder_prompts import (
    KINDS,
    OPTIONS,
    features_of_two_images,
    pixels_of_two_images,
    predict,
    prompts_of,
    wide_model,
)
from support.oracle import SMALL, WIDE, build_original, pair, port


@pytest.mark.parametrize("bias", [True, False])
def test_an_upscaling_layer_equals_a_transposed_convolution(bias):
    """With its gradients, and the same initial weights for the same seed."""
    torch.manual_seed(0)
    reference = torch.nn.ConvTranspose2d(6, 10, kernel_size=2, stride=2)
    torch.manual_seed(0)
    layer = HQSamUpscaleConv(6, 10)
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), reference.parameters(), strict=True))
    if not bias:
        layer.bias = reference.bias = None
    image = torch.randn(2, 6, 4, 5, requires_grad=True)
    pull = torch.randn(2, 10, 8, 10)
    gradients = []
    for each in (layer, reference):
        torch.testing.assert_close(each(image), reference(image), atol=1e-6, rtol=0)
        gradients.append(torch.autograd.grad((each(image) * pull).sum(), [image, *each.parameters()]))
    for actual, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_hooked_layers_are_called_and_give_the_same_masks(kind):
    """Adapters and offloading hook layers. The hooked model takes the plain path, the other the fast one."""
    model = port(build_original(WIDE), WIDE)
    expected = predict(model, kind)
    decoder, called = model.mask_decoder, set()
    layers = {
        name: layer
        for name, layer in decoder.named_modules()
        if name.endswith(("_proj", "_conv1", "_conv2")) and not name.startswith(("compress", "encoder"))
    }
    for name, layer in layers.items():
        layer.register_forward_hook(lambda *_, name=name: called.add(name))
    actual = predict(model, kind)
    assert called == layers.keys()
    torch.testing.assert_close(actual.pred_masks, expected.pred_masks, atol=2e-6, rtol=0)
    torch.testing.assert_close(actual.iou_scores, expected.iou_scores, atol=1e-6, rtol=0)


def test_hooked_layers_of_the_image_are_called_and_give_the_same_features():
    model, called = port(build_original(WIDE), WIDE), set()
    for name in ("compress_vit_conv1", "compress_vit_conv2", "encoder_conv1", "encoder_conv2"):
        model.mask_decoder.get_submodule(name).register_forward_hook(lambda *_, name=name: called.add(name))
    with torch.no_grad():
        hooked = model.get_image_features(pixels_of_two_images())
    assert len(called) == 4
    torch.testing.assert_close(hooked.hq_features, features_of_two_images().hq_features, atol=2e-6, rtol=0)


@pytest.mark.parametrize("arch", [SMALL, WIDE], ids=["small", "wide"])
@pytest.mark.parametrize("hq_token_only", [True, False], ids=["hq", "sum"])
def test_gradients_equal_the_originals(arch, hq_token_only):
    """Of every weight of the decoder, through both kinds of masks, for a box with a mask prompt."""
    sam = build_original(arch).requires_grad_(True)
    model = port(sam, arch)
    pixels = torch.randn(1, 3, arch.image, arch.image, generator=torch.Generator().manual_seed(3))
    boxes = torch.tensor([[10.0, 12.0, 60.0, 70.0], [5.0, 30.0, 90.0, 80.0]])
    side = 4 * arch.image // arch.patch
    masks = torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(4))
    weights = torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(5))

    embeddings, intermediate = sam.image_encoder(pixels)
    sparse, dense = sam.prompt_encoder(points=None, boxes=boxes, masks=masks)
    theirs, scores = sam.mask_decoder(
        image_embeddings=embeddings,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
        hq_token_only=hq_token_only,
        interm_embeddings=intermediate,
    )
    ((theirs * weights).sum() + scores.sum()).backward()
    ours = model(
        pixels,
        input_boxes=boxes[None],
        input_masks=masks[None, :, 0],
        multimask_output=False,
        hq_token_only=hq_token_only,
    )
    ((ours.pred_masks[0] * weights).sum() + ours.iou_scores.sum()).backward()

    names, compared = keys_from_original(sam.state_dict()), 0
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, parameter in sam.named_parameters():
        expected, actual = parameter.grad, gradients[names[name]]
        # A bias of all keys has no effect on a softmax: its gradient is zero, and rounding noise in the original.
        if name.endswith("k_proj.bias"):
            continue
        if expected is None or not expected.any():
            assert actual is None or not actual.any(), name
            continue
        assert ((actual - expected).norm() / expected.norm()).item() < 2e-4, name
        compared += 1
    assert compared > 100


def test_masks_are_the_same_with_and_without_gradients():
    model = wide_model()
    with_gradients = model(image_features=features_of_two_images(), **prompts_of("box"))
    assert with_gradients.pred_masks.requires_grad
    without = predict(model, "box")
    torch.testing.assert_close(without.pred_masks, with_gradients.pred_masks.detach(), atol=2e-6, rtol=0)


@pytest.mark.parametrize("at_once", [2**26, 1], ids=["together", "one by one"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_masks_whose_score_is_not_higher_are_empty_and_the_others_the_same(options, at_once, monkeypatch):
    model = wide_model()
    monkeypatch.setattr(modeling_prompt_parts, "PART_BYTES_ON_CPU", at_once)
    whole = predict(model, "box", **options)
    limit = whole.iou_scores.flatten().sort().values[3].item()  # four fail, and equal is not higher
    some = predict(model, "box", min_iou_score=limit, **options)
    passes = whole.iou_scores > limit
    assert (~passes).sum() == 4
    assert torch.equal(some.iou_scores, whole.iou_scores)
    assert (some.pred_masks[~passes] == float("-inf")).all()
    torch.testing.assert_close(some.pred_masks[passes], whole.pred_masks[passes], atol=1e-6, rtol=0)
    none = predict(model, "box", min_iou_score=float("inf"), **options)
    assert (none.pred_masks == float("-inf")).all()


@pytest.mark.slow  # tracing is slow
def test_a_traced_graph_leaves_out_the_same_masks():
    model = wide_model()
    limit = predict(model, "box").iou_scores.mean().item()
    expected = predict(model, "box", min_iou_score=limit).pred_masks
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    actual = predict(compiled, "box", min_iou_score=limit).pred_masks
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)


def test_features_from_a_file_or_without_projections_give_the_same_masks(tmp_path):
    model, features = wide_model(), features_of_two_images()
    save_file(dict(features), tmp_path / "features.safetensors")
    again = HQSamImageFeatures(**load_file(tmp_path / "features.safetensors"))
    bare = HQSamImageFeatures(image_embeddings=features.image_embeddings, hq_features=features.hq_features)
    for kind in ("box", "box+masks"):
        expected = predict(model, kind).pred_masks
        for other in (again, bare):
            with torch.no_grad():
                assert torch.equal(model(image_features=other, **prompts_of(kind)).pred_masks, expected)


def test_features_of_another_shape_are_refused():
    features = features_of_two_images()
    wrong = HQSamImageFeatures(**{**features, "image_projections": features.image_projections[..., 1:]})
    with pytest.raises(ValueError, match=r"`image_features.image_projections` must have shape \(2, 3, 100, 64\)"):
        wide_model()(image_features=wrong)


def test_cached_positions_follow_the_matrix():
    """Positions are cached between calls. Another matrix, dtype or size must not get the old ones."""
    position = HQSamModel(pair(SMALL)[1].config).shared_image_embedding
    first = position.cells(4, torch.float32)
    assert position.cells(4, torch.float32) is first
    assert torch.equal(first, position.grid(4)[0].flatten(1).T)
    assert position.cells(5, torch.float32).shape[0] == 25
    assert position.cells(4, torch.bfloat16).dtype == torch.bfloat16
    position.load_state_dict({"positional_embedding": torch.randn_like(position.positional_embedding)})
    assert torch.equal(position.cells(4, torch.float32), position.grid(4)[0].flatten(1).T)
    position.positional_embedding = torch.randn_like(position.positional_embedding)
    assert torch.equal(position.cells(4, torch.float32), position.grid(4)[0].flatten(1).T)
    with torch.inference_mode():
        position.positional_embedding = torch.randn_like(position.positional_embedding)
        kept = position.cells(4, torch.float32)
    assert torch.equal(kept, position.grid(4)[0].flatten(1).T)
