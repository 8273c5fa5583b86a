"""Weights that are no ordinary tensors in memory: quantized ones and other subclasses, and ones that are offloaded."""

import copy
import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import cpu_offload, disk_offload
from torch import Tensor, nn

from hq_sam_hf import HQSamModel, HQSamPredictor, HQSamProcessor
from hq_sam_hf.embedded import EMBEDDED
from hq_sam_hf.model.checkpoint_format import warn_if_not_finite
from hq_sam_hf.model.loading import _check_dispatched
from hq_sam_hf.model.modeling_fast_decoder import can_use_fast_path
from hq_sam_hf.model.modeling_kernels import linear, runs_eagerly_on_cpu
from hq_sam_hf.model.modeling_upscaling import HQSamUpscaleConv
from hq_sam_hf.model.tensor_types import computing_device, is_ordinary, ordinary_values, rows_of
from support.images import random_image
from support.oracle import SMALL, lively_pair, pair


class Opaque(Tensor):
    """A tensor that, like a quantized one, only a few functions of PyTorch can use."""

    LAYERS = ("linear", "conv_transpose2d")
    ALLOWED = (*LAYERS, "__get__", "is_floating_point", "detach", "requires_grad_", "data_ptr", "is_inference")

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func.__name__ not in cls.ALLOWED:
            raise NotImplementedError(f"{func.__name__} of an opaque tensor")
        result = super().__torch_function__(func, types, args, kwargs or {})
        return plain(result) if func.__name__ in cls.LAYERS else result


def plain(tensor):
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.detach().as_subclass(Tensor)


class Quantized(Opaque):
    ALLOWED = (*Opaque.ALLOWED, "dequantize")

    def dequantize(self):
        return plain(self)


def opaque(model, layers=nn.Linear, subclass=Opaque):
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, layers):
            module.weight = nn.Parameter(module.weight.detach().as_subclass(subclass), requires_grad=False)
    return model


def inputs(side=SMALL.image):
    generator = torch.Generator().manual_seed(0)
    return {
        "pixel_values": torch.randn(2, 3, side, side, generator=generator),
        "input_points": torch.rand(2, 3, 2, 2, generator=generator) * side,
        "input_boxes": torch.tensor([[[4.0, 4, 40, 50]]]).expand(2, 3, -1),
    }


def assert_equal_masks(changed, model, side=SMALL.image):
    with torch.no_grad():
        for kind in ("input_points", "input_boxes", None):
            given = {name: value for name, value in inputs(side).items() if name in ("pixel_values", kind)}
            expected = model(**given).pred_masks
            masks = changed(**given).pred_masks
            assert masks.device == expected.device
            assert torch.allclose(masks, expected, atol=1e-5 * float(expected.abs().max())), kind


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["ViT", "TinyViT"])
def test_linear_layers_with_a_tensor_subclass_give_the_same_masks(encoder):
    model = lively_pair(SMALL)[1].eval() if encoder == "ViT" else HQSamModel.from_pretrained(EMBEDDED)
    changed = opaque(model)
    assert not can_use_fast_path(changed.mask_decoder)
    with torch.no_grad():
        assert can_use_fast_path(model.mask_decoder)
    assert_equal_masks(changed, model, model.config.vision_config.image_size)


def test_upscaling_with_a_tensor_subclass_gives_the_same_masks():
    model = lively_pair(SMALL)[1].eval()
    assert_equal_masks(opaque(model, HQSamUpscaleConv), model)


def test_kernels_leave_subclasses_to_pytorch():
    positions, weight = torch.randn(2, 16, 8), torch.randn(4, 8)
    assert torch.allclose(linear(positions, weight.as_subclass(Opaque)), F.linear(positions, weight), atol=1e-6)
    assert torch.allclose(linear(positions.as_subclass(Opaque), weight), F.linear(positions, weight), atol=1e-6)
    assert runs_eagerly_on_cpu(positions)
    assert not runs_eagerly_on_cpu(positions.as_subclass(Opaque))
    assert is_ordinary(positions, nn.Parameter(weight), None)
    assert not is_ordinary(positions, weight.as_subclass(Opaque))


def test_the_check_of_values_reads_quantized_weights_and_passes_unreadable_ones(caplog):
    broken = torch.tensor([1.0, float("nan")])
    warn_if_not_finite({"a": broken.as_subclass(Opaque), "b": broken.to("meta")}, "file")
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "transformers"):
        logging.getLogger("transformers").propagate = True
        warn_if_not_finite({"a": broken.as_subclass(Quantized)}, "file")
    logging.getLogger("transformers").propagate = False
    assert "not finite in 1 weights, such as a" in caplog.text
    assert ordinary_values(torch.ones(2).as_subclass(Opaque)) is None
    assert ordinary_values(torch.ones(2).as_subclass(Quantized)).tolist() == [1, 1]


def test_a_predictor_with_quantized_weights_saves_and_loads_embeddings(tmp_path):
    model = lively_pair(SMALL)[1].eval()
    predictor = make_predictor(opaque(model, subclass=Quantized))
    predictor.set_image(random_image((60, 90)))
    predictor.save_embedding(tmp_path / "image.safetensors")
    assert predictor.load_embedding(tmp_path / "image.safetensors") in predictor.images
    make_predictor(model).load_embedding(tmp_path / "image.safetensors")  # these subclasses lose nothing
    unreadable = make_predictor(opaque(model))
    with pytest.raises(ValueError, match=r"the weight [\w.]+ is offloaded, or its values cannot be read"):
        unreadable.load_embedding(tmp_path / "image.safetensors")


def make_predictor(model):
    return HQSamPredictor(model, HQSamProcessor.from_config(model.config))


def offloaded(part, offload=cpu_offload, **options):
    model = copy.deepcopy(lively_pair(SMALL)[1].eval())
    offload(model if part is None else getattr(model, part), execution_device="cpu", **options)
    return model


@pytest.mark.parametrize("part", ["mask_decoder", "prompt_encoder", "vision_encoder", None])
def test_parts_that_accelerate_offloads_give_the_same_masks(part):
    model = offloaded(part)
    assert model.device.type == "cpu"
    assert_equal_masks(model, lively_pair(SMALL)[1].eval())


@pytest.mark.slow
def test_offloaded_buffers_and_offloading_to_disk_give_the_same_masks(tmp_path):
    model = lively_pair(SMALL)[1].eval()
    assert_equal_masks(offloaded(None, offload_buffers=True), model)
    assert_equal_masks(offloaded(None, disk_offload, offload_dir=tmp_path / "whole"), model)
    assert_equal_masks(offloaded("mask_decoder", disk_offload, offload_dir=tmp_path / "decoder"), model)


@pytest.mark.slow
def test_offloading_by_device_map_gives_the_same_masks(tmp_path):
    model = lively_pair(SMALL)[1].eval()
    model.save_pretrained(tmp_path / "model")
    parts = dict.fromkeys(("vision_encoder", "prompt_encoder", "shared_image_embedding"), "cpu")
    on_disk = dict.fromkeys((*parts, "mask_decoder"), "disk") | {"prompt_encoder": "cpu"}
    for device_map in ({**parts, "mask_decoder": "disk"}, on_disk):
        loaded = HQSamModel.from_pretrained(
            tmp_path / "model", device_map=device_map, offload_folder=tmp_path / "offload"
        )
        assert_equal_masks(loaded, model)


def test_a_model_that_nothing_brings_back_from_the_disk_is_refused():
    config = pair(SMALL)[1].config
    with torch.device("meta"):
        model = HQSamModel(config)
    with pytest.raises(ValueError, match=r"Keep a small part in memory: .*'prompt_encoder': 'cpu'"):
        _check_dispatched(model, {"": "disk"})
    _check_dispatched(model, "meta")
    _check_dispatched(offloaded(None), {"": "disk"})


def test_predictor_with_an_offloaded_model(tmp_path):
    image = random_image((60, 90))
    results, predictor = [], make_predictor(offloaded(None))
    for each in (predictor, make_predictor(lively_pair(SMALL)[1].eval())):
        each.set_image(image)
        results.append(each.predict(boxes=[[10, 5, 60, 50]]))
    assert np.array_equal(results[0][0], results[1][0])
    with pytest.raises(ValueError, match=r"is offloaded.* `vision_encoder` and `mask_decoder` are in memory"):
        predictor.save_embedding(tmp_path / "image.safetensors")
    assert not list(tmp_path.iterdir())
    partly = make_predictor(offloaded("prompt_encoder"))  # which no embedding depends on
    partly.set_image(image)
    partly.save_embedding(tmp_path / "image.safetensors")


def test_the_device_of_a_model_without_weights():
    config = pair(SMALL)[1].config
    with torch.device("meta"):
        model = HQSamModel(config)
    assert model.device == computing_device(model) == torch.device("meta")
    assert rows_of(nn.Embedding(3, 2)).shape == (3, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Int8WeightOnlyConfig", "Float8WeightOnlyConfig"])
def test_torchao_quantizes_on_loading_and_in_place(name, tmp_path):
    quantization = pytest.importorskip("torchao.quantization")
    from transformers import TorchAoConfig

    model = lively_pair(SMALL)[1].eval()
    model.save_pretrained(tmp_path / "model")
    config = getattr(quantization, name)()
    quantization.quantize_(changed := copy.deepcopy(model), config)
    options = {"quantization_config": TorchAoConfig(config), "device_map": "cpu"}
    loaded = HQSamModel.from_pretrained(tmp_path / "model", **options)
    loaded.save_pretrained(tmp_path / "quantized")
    with torch.no_grad():
        expected = model(**inputs()).pred_masks
        for each in (changed, loaded, HQSamModel.from_pretrained(tmp_path / "quantized")):
            assert any(not is_ordinary(weight) for weight in each.parameters())
            difference = (each(**inputs()).pred_masks - expected).norm() / expected.norm()
            assert 0 < difference < 0.5  # eight bits of random weights
