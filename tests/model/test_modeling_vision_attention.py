"""Attention in chunks of scores, compared with attention on the full scores."""

import copy
import itertools

import pytest
import torch
from transformers.models.sam.modeling_sam import SamVisionLayer

from hq_sam_hf.model import modeling_grid_attention, modeling_kernels, modeling_vision_attention
from hq_sam_hf.model.key_mapping import keys_from_original
from hq_sam_hf.model.modeling_grid_attention import _write_biases, attend_in_parts, attend_with_gradients
from hq_sam_hf.model.modeling_kernels import HQSamLinear
from hq_sam_hf.model.modeling_vision_attention import HQSamVisionLayer
from support.oracle import FINE, SMALL, WIDE, config_of, pair


def attend_in_full(query, key, value, row_table, column_table):
    number, height, width, channels = query.shape
    row_bias = (query[..., None, :] * row_table[:, None]).sum(-1)
    column_bias = (query[..., None, :] * column_table).sum(-1)
    scores = query.flatten(1, 2) @ key.flatten(1, 2).mT * channels**-0.5
    scores = scores.view(number, height, width, height, width) + row_bias[..., None] + column_bias[..., None, :]
    return (scores.flatten(3).softmax(-1).flatten(1, 2) @ value.flatten(1, 2)).view(query.shape)


def attention_inputs(number, height, width, channels=8):
    generator = torch.Generator().manual_seed(0)
    grids = torch.randn(3, number, height, width, channels, generator=generator)
    tables = (0.3 * torch.randn(side, side, channels, generator=generator) for side in (height, width))
    return [*grids, *tables]


@pytest.mark.parametrize("at_once", [1, 60, 1000, 2**21])
@pytest.mark.parametrize("shape", [(3, 5, 5), (7, 4, 4), (1, 6, 2), (2, 1, 1)], ids=str)
def test_parts_of_any_size_give_the_same_attention_and_gradients(at_once, shape, monkeypatch):
    monkeypatch.setattr(modeling_grid_attention, "SCORES_AT_ONCE", at_once)
    inputs = attention_inputs(*shape)
    with torch.no_grad():
        torch.testing.assert_close(attend_in_parts(*inputs), attend_in_full(*inputs), atol=1e-6, rtol=0)
    exact = [part.double().requires_grad_() for part in inputs]
    arriving = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1)).double()
    expected = torch.autograd.grad(attend_in_full(*exact), exact, arriving)
    for dtype, error in ((torch.float64, 1e-13), (torch.float32, 1e-5), (torch.bfloat16, 0.06)):
        inputs = [part.detach().to(dtype).requires_grad_() for part in exact]
        found = torch.autograd.grad(attend_with_gradients(*inputs), inputs, arriving.to(dtype))
        for actual, gradient in zip(found, expected):
            assert actual.dtype == dtype
            assert (actual - gradient).norm() <= error * (gradient.norm() + 1)


GRIDS = [(8, 8), (7, 7), (2, 2)]  # transformers' global attention is for square grids


@pytest.mark.parametrize(
    ("grid", "window"), [*itertools.product(GRIDS, (0, 3, 14)), ((5, 8), 3), ((5, 8), 14)], ids=str
)
@pytest.mark.parametrize("variant", [{}, {"qkv_bias": False}, {"use_rel_pos": False}], ids=str)
@pytest.mark.parametrize("at_once", [1, 50, 2048])
def test_a_block_equals_transformers_own(grid, window, variant, at_once, monkeypatch):
    """With and without gradients, with windows past the border, and for any number of positions at a time."""
    monkeypatch.setattr(modeling_vision_attention, "POSITIONS_AT_ONCE", at_once)
    config = config_of(SMALL).vision_config
    for name, value in variant.items():
        setattr(config, name, value)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    config.image_size = 16 * grid[0]
    reference, block = SamVisionLayer(config, window), HQSamVisionLayer(config, window)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    block.load_state_dict(reference.state_dict())
    hidden_state = torch.randn(2, *grid, SMALL.dim)
    with torch.no_grad():
        expected = reference(hidden_state)
        torch.testing.assert_close(block(hidden_state), expected, atol=5e-6, rtol=0)
    torch.testing.assert_close(block(hidden_state), expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("arch", [SMALL, WIDE, FINE], ids=["small", "wide", "fine"])
def test_gradients_of_the_encoder_equal_the_originals(arch):
    """Of a random projection of the output: the norm of a layer norm's output has almost no gradient."""
    original, ours = (copy.deepcopy(model).requires_grad_(True) for model in pair(arch))
    generator = torch.Generator().manual_seed(4)
    pixels = torch.randn(1, 3, arch.image, arch.image, generator=generator)
    embeddings = original.image_encoder(pixels)[0], ours.get_image_embeddings(pixels)[0]
    pull = torch.randn(embeddings[0].shape, generator=generator)
    for embedding in embeddings:
        (embedding * pull).sum().backward()
    names = keys_from_original(original.state_dict())
    found = {name: weight.grad for name, weight in ours.named_parameters()}
    expected = {name: weight.grad for name, weight in original.named_parameters() if weight.grad is not None}
    assert any("rel_pos_h" in name for name in expected)
    for name, gradient in expected.items():
        assert (found[names[name]] - gradient).norm() <= 1e-5 * gradient.norm(), name


@pytest.mark.parametrize("window", [0, 3])
def test_gradients_under_bfloat16_are_those_of_float32_roughly(window):
    torch.manual_seed(0)
    block, hidden_state = HQSamVisionLayer(config_of(FINE).vision_config, window), torch.randn(2, 8, 8, FINE.dim)
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = block(hidden_state)
        gradients.append(torch.autograd.grad(output.float().square().sum(), list(block.parameters())))
    for exact, rough in zip(*gradients):
        assert (rough - exact).norm() <= 0.05 * exact.norm() + 1e-3


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.slow
def test_memory_never_holds_all_scores(with_gradients):
    """At 64 x 64 positions and 4 heads the scores alone would be 268 MB."""
    inputs = [part.requires_grad_(with_gradients) for part in attention_inputs(4, 64, 64)]
    attend = attend_with_gradients if with_gradients else attend_in_parts
    with torch.set_grad_enabled(with_gradients), torch.profiler.profile(profile_memory=True) as profile:
        attended = attend(*inputs)
        if with_gradients:
            attended.sum().backward()
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest <= 4 * modeling_grid_attention.SCORES_AT_ONCE + 2**20


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("width", [5, 40])
def test_the_bias_of_a_score_is_the_sum_of_row_and_column_bias_in_every_precision(dtype, width):
    row_bias, column_bias = torch.randn(3, 2, width, 7).to(dtype), torch.randn(3, 2, width, width).to(dtype)
    scores = torch.empty(3, 2, width, 7, width, dtype=dtype)
    _write_biases(row_bias, column_bias, scores)
    assert torch.equal(scores, row_bias[..., :, None] + column_bias[..., None, :])


@pytest.mark.parametrize("bias", [True, False])
def test_the_linear_layer_equals_nn_linear(bias):
    layer = HQSamLinear(6, 10, bias=bias)
    hidden_state = torch.randn(2, 3, 5, 6, requires_grad=True)
    expected = torch.nn.functional.linear(hidden_state, layer.weight, layer.bias)
    torch.testing.assert_close(layer(hidden_state), expected, atol=1e-6, rtol=0)
    actual_gradient, expected_gradient = (
        torch.autograd.grad(out.square().sum(), layer.weight)[0] for out in (layer(hidden_state), expected)
    )
    torch.testing.assert_close(actual_gradient, expected_gradient, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("large", [1, 2**27], ids=["all large", "all small"])
def test_the_linear_layer_equals_nn_linear_in_bfloat16(large, monkeypatch):
    monkeypatch.setattr(modeling_kernels, "_LARGE", large)
    torch.manual_seed(0)
    layer, hidden_state = HQSamLinear(24, 40).bfloat16(), torch.randn(2, 8, 8, 24).bfloat16()
    with torch.no_grad(), torch.profiler.profile() as profile:
        found = layer(hidden_state)
        exact = torch.nn.functional.linear(hidden_state.double(), layer.weight.double(), layer.bias.double())
    assert ("aten::conv2d" in {event.name for event in profile.events()}) == (large == 1)
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 16, 16), (16, 4, 4), (1, 16, 8), (2, 8, 8), (3, 5, 7)], ids=str)
def test_positions_of_a_permuted_image_give_contiguous_outputs(size):
    """The memory layout of an image embedding must not reach the output, even if reshaping to 16 images keeps it."""
    number, height, width = size
    generator = torch.Generator().manual_seed(0)
    positions = torch.randn(number, 12, height, width, generator=generator).permute(0, 2, 3, 1)
    layer = HQSamLinear(12, 8)
    with torch.no_grad():
        found, expected = layer(positions), torch.nn.functional.linear(positions, layer.weight, layer.bias)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_hooks_on_the_layers_of_a_block_are_called():
    """peft and accelerate replace and hook layers, so no weight may be used without calling its layer."""
    block = HQSamVisionLayer(config_of(SMALL).vision_config, 3)
    hidden_state = torch.randn(1, 8, 8, SMALL.dim)
    calls = []
    for path in ("attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2"):
        block.get_submodule(path).register_forward_hook(lambda layer, *_: calls.append(layer))
    with torch.no_grad():
        block(hidden_state)
    assert {block.attn.qkv, block.attn.proj, block.mlp.lin1, block.mlp.lin2} == set(calls)
