"""The decoder's rearranged formulas give the same masks in parts and bands, and the same gradients."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from hq_sam_hf import HQSamConfig, HQSamImageFeatures, HQSamModel
from hq_sam_hf.model import modeling_kernels, modeling_prompt_parts
from hq_sam_hf.model.key_mapping import keys_from_original
from support.oracle import SMALL, WIDE, build_original, pair, port

# WIDE has 8 heads of 8 inner channels, so that up to 8 tokens are "few": two output tokens more than one box needs.
SIDE, GRID = WIDE.image, 4 * WIDE.image // WIDE.patch


@pytest.fixture(scope="module")
def model() -> HQSamModel:
    return pair(WIDE)[1]


@pytest.fixture(scope="module")
def features(model) -> HQSamImageFeatures:
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.get_image_features(pixels)


def prompts_of(kind: str) -> dict[str, torch.Tensor]:
    """Five prompts on each of two images, some absent."""
    generator = torch.Generator().manual_seed(2)
    prompts = {}
    if "box" in kind:
        corners = (torch.rand(2, 5, 2, 2, generator=generator) * SIDE).sort(dim=2).values
        prompts["input_boxes"] = corners.flatten(2)
        prompts["input_boxes"][1, 3:] = float("nan")
    if "points" in kind:
        number = 2 if kind == "points" else 20
        prompts["input_points"] = torch.rand(2, 5, number, 2, generator=generator) * SIDE
        prompts["input_labels"] = torch.randint(0, 2, (2, 5, number), generator=generator)
        prompts["input_labels"][0, 2:, 1:] = -10
    if "mask" in kind:
        prompts["input_masks"] = 9 * torch.randn(2, 1 if "one mask" in kind else 5, GRID, GRID, generator=generator)
    return prompts


KINDS = ["box", "points", "many points", "box+masks", "box+one mask", "masks"]


def answer(model, features, kind, **options):
    with torch.no_grad():
        return model(image_features=features, **prompts_of(kind), **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"multimask_output": False}, {"hq_token_only": True}, {"sam_only": True}], ids=str
)
def test_parts_and_bands_of_any_size_give_the_same_masks(model, features, kind, options, monkeypatch):
    expected = answer(model, features, kind, **options)
    for bytes_of_part, numbers_of_band in ((1, 1), (3 * 2**20, 3000), (2**40, 2**40)):
        monkeypatch.setattr(modeling_prompt_parts, "PART_BYTES_ON_CPU", bytes_of_part)
        monkeypatch.setattr(modeling_kernels, "BAND_NUMBERS", numbers_of_band)
        actual = answer(model, features, kind, **options)
        torch.testing.assert_close(actual.pred_masks, expected.pred_masks, atol=2e-6, rtol=0)
        torch.testing.assert_close(actual.iou_scores, expected.iou_scores, atol=1e-6, rtol=0)


def test_a_part_holds_whole_images_or_some_prompts_of_one():
    parts = []

    def decode(images, prompts, count):
        parts.append((images.start, images.stop, prompts.start, prompts.stop))
        shape = (images.stop - images.start, count)
        number = 10 * torch.arange(images.start, images.stop)[:, None] + torch.arange(prompts.start, prompts.stop)
        return number[..., None, None, None].expand(*shape, 1, 2, 2).float(), number[..., None].float()

    for at_once, expected in (
        (2, [(0, 1, 0, 2), (0, 1, 2, 3), (1, 2, 0, 2), (1, 2, 2, 3), (2, 3, 0, 2), (2, 3, 2, 3)]),
        (7, [(0, 2, 0, 3), (2, 3, 0, 3)]),
        (9, [(0, 3, 0, 3)]),
    ):
        parts.clear()
        masks, scores = modeling_prompt_parts.decode_in_parts(decode, 3, 3, at_once)
        assert parts == expected
        assert scores[..., 0].tolist() == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]
        assert torch.equal(masks, scores[..., None, None].expand(3, 3, 1, 2, 2))


@pytest.mark.parametrize(("grid", "expected"), [(64, 1), (32, 6), (16, 24), (8, 98)])
def test_the_budget_of_a_part_is_that_of_the_rule(model, grid, expected):
    """32 MiB over 1,328 numbers of 4 bytes per cell: 4 * 256 + 2 * 7 * 8 + 12 * 16."""
    config = type(model.config.mask_decoder_config)()
    assert modeling_prompt_parts.prompts_at_once(config, torch.empty(1, 256, grid, grid), num_tokens=7) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_are_hooked_are_called_and_give_the_same_masks(features, kind):
    """As adapters and offloading do it; and so every rearrangement is compared with the formulas as written."""
    model = port(build_original(WIDE), WIDE)
    expected = answer(model, features, kind)
    decoder, called = model.mask_decoder, set()
    layers = {
        name: layer
        for name, layer in decoder.named_modules()
        if name.endswith(("_proj", "_conv1", "_conv2")) and not name.startswith(("compress", "encoder"))
    }
    for name, layer in layers.items():
        layer.register_forward_hook(lambda *_, name=name: called.add(name))
    actual = answer(model, features, kind)
    assert called == layers.keys()
    torch.testing.assert_close(actual.pred_masks, expected.pred_masks, atol=2e-6, rtol=0)
    torch.testing.assert_close(actual.iou_scores, expected.iou_scores, atol=1e-6, rtol=0)


def test_hooked_layers_of_the_image_are_called_and_give_the_same_features(features):
    model, called = port(build_original(WIDE), WIDE), set()
    for name in ("compress_vit_conv1", "compress_vit_conv2", "encoder_conv1", "encoder_conv2"):
        model.mask_decoder.get_submodule(name).register_forward_hook(lambda *_, name=name: called.add(name))
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        hooked = model.get_image_features(pixels)
    assert len(called) == 4
    torch.testing.assert_close(hooked.hq_features, features.hq_features, atol=2e-6, rtol=0)


@pytest.mark.parametrize("arch", [SMALL, WIDE], ids=["small", "wide"])
@pytest.mark.parametrize("hq_token_only", [True, False], ids=["hq", "sum"])
def test_gradients_equal_the_originals(arch, hq_token_only):
    """Of every weight of the decoder, through both kinds of masks, with a box and a mask prompt."""
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
        # Keys have no say in the bias that the softmax does not see: zero in truth, rounding in the original.
        if name.endswith("k_proj.bias"):
            continue
        if expected is None or not expected.any():
            assert actual is None or not actual.any(), name
            continue
        assert ((actual - expected).norm() / expected.norm()).item() < 2e-4, name
        compared += 1
    assert compared > 100


def test_with_and_without_gradients_the_masks_are_the_same(model, features):
    with_gradients = model(image_features=features, **prompts_of("box"))
    assert with_gradients.pred_masks.requires_grad
    without = answer(model, features, "box")
    torch.testing.assert_close(without.pred_masks, with_gradients.pred_masks, atol=1e-6, rtol=0)


@pytest.mark.parametrize("at_once", [2**26, 1], ids=["together", "one by one"])
@pytest.mark.parametrize(
    "options", [{}, {"multimask_output": False}, {"hq_token_only": True}, {"sam_only": True}], ids=str
)
def test_masks_of_no_higher_score_are_empty_and_the_others_the_same(model, features, options, at_once, monkeypatch):
    monkeypatch.setattr(modeling_prompt_parts, "PART_BYTES_ON_CPU", at_once)
    whole = answer(model, features, "box", **options)
    limit = whole.iou_scores.flatten().sort().values[3].item()  # four fail, and equal is not higher
    some = answer(model, features, "box", min_iou_score=limit, **options)
    passes = whole.iou_scores > limit
    assert (~passes).sum() == 4
    assert torch.equal(some.iou_scores, whole.iou_scores)
    assert (some.pred_masks[~passes] == float("-inf")).all()
    torch.testing.assert_close(some.pred_masks[passes], whole.pred_masks[passes], atol=1e-6, rtol=0)
    none = answer(model, features, "box", min_iou_score=float("inf"), **options)
    assert (none.pred_masks == float("-inf")).all()


@pytest.mark.slow  # tracing is slow
def test_a_traced_graph_empties_the_same_masks(model, features):
    limit = answer(model, features, "box").iou_scores.mean().item()
    expected = answer(model, features, "box", min_iou_score=limit).pred_masks
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    actual = answer(compiled, features, "box", min_iou_score=limit).pred_masks
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)


def test_features_from_a_file_and_without_what_may_be_left_out(model, features, tmp_path):
    save_file(dict(features), tmp_path / "features.safetensors")
    again = HQSamImageFeatures(**load_file(tmp_path / "features.safetensors"))
    bare = HQSamImageFeatures(image_embeddings=features.image_embeddings, hq_features=features.hq_features)
    for kind in ("box", "box+masks"):
        expected = answer(model, features, kind).pred_masks
        for other in (again, bare):
            assert torch.equal(answer(model, other, kind).pred_masks, expected)


def test_features_of_another_shape_are_refused(model, features):
    wrong = HQSamImageFeatures(**{**features, "image_projections": features.image_projections[..., 1:]})
    with pytest.raises(ValueError, match=r"`image_features.image_projections` must have shape \(2, 3, 100, 64\)"):
        model(image_features=wrong)


def test_positions_follow_the_matrix(features):
    """They are kept from call to call; another matrix, dtype or size must not get the old ones."""
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


def test_memory_does_not_grow_with_the_number_of_prompts():
    """On a grid of 32 x 32, 40 prompts at once would hold 160 MB of upscaled features and their like."""
    config = HQSamConfig(
        vision_config={
            "hidden_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "image_size": 512,
            "global_attn_indexes": [0],
        },
        prompt_encoder_config={"image_size": 512},
        mask_decoder_config={"vit_dim": 48},
    )
    model = HQSamModel(config).eval()
    embeddings, hq_features = torch.randn(1, 256, 32, 32), torch.randn(1, 32, 128, 128)
    features = HQSamImageFeatures(image_embeddings=embeddings, hq_features=hq_features)
    with torch.no_grad(), torch.profiler.profile(profile_memory=True) as profile:
        model(image_features=features, input_boxes=torch.rand(1, 40, 4) * 512, multimask_output=False)
    held = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    answers = 40 * 128 * 128 * 4
    assert answers < peak < answers + 1.2 * modeling_prompt_parts.PART_BYTES_ON_CPU
