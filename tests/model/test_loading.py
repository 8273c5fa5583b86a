"""Loading of every kind of checkpoint: files, folders of transformers, plain SAMs, HQ heads, other input sizes."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from safetensors.torch import save as save_tensors
from transformers import SamConfig, SamHQConfig, SamHQModel, SamModel

from hq_sam_hf import HQSamModel, HQSamProcessor
from hq_sam_hf.export.reference import build_original as build_from_config
from hq_sam_hf.export.reference import run_original
from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.model.key_mapping import keys_to_original
from hq_sam_hf.model.modeling_vision_encoder import resize_relative_positions
from support.checkpoints import assert_same_weights, decoder_alone, plain_sam, transformers_config
from support.oracle import FINE, SMALL, TINY, WIDE, config_of, pair

# Files of the original's layout


@pytest.mark.slow
@pytest.mark.parametrize("arch", [SMALL, FINE, TINY], ids=["small", "fine", "tiny"])
@pytest.mark.parametrize("form", ["zip", "pickle", "in a container", "with a wrapper prefix", "safetensors"])
def test_an_original_file_loads_without_conversion(arch, form, tmp_path):
    sam, expected = pair(arch)
    weights = sam.state_dict()
    path = tmp_path / "weights_of_anything.pth"
    if form == "pickle":
        torch.save(weights, path, _use_new_zipfile_serialization=False)
    elif form == "in a container":
        torch.save({"model": weights, "epoch": 3}, path)
    elif form == "with a wrapper prefix":
        torch.save({f"module.{key}": tensor for key, tensor in weights.items()}, path)
    elif form == "safetensors":
        path = tmp_path / "x.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in weights.items()}, path)
    else:
        torch.save(weights, path)
    model = HQSamModel.from_pretrained(path)
    assert_same_weights(model, expected)
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    processor = HQSamProcessor.from_pretrained(path)
    assert processor.to_dict() == HQSamProcessor.from_config(model.config).to_dict()


def test_a_file_takes_the_arguments_of_from_pretrained(tmp_path):
    sam, _ = pair(SMALL)
    path = tmp_path / "x.pth"
    torch.save(sam.state_dict(), path)
    half = HQSamModel.from_pretrained(path, dtype="bfloat16", attn_implementation="eager", device_map="cpu", token="x")
    assert half.dtype == torch.bfloat16
    assert half.shared_image_embedding.positional_embedding.dtype == torch.float32
    assert half.config._attn_implementation == "eager"
    assert HQSamModel.from_pretrained(path, dtype=torch.float16).dtype == torch.float16
    assert HQSamModel.from_pretrained(path, dtype="auto", image_size=64).config.vision_config.image_size == 64
    model, info = HQSamModel.from_pretrained(path, output_loading_info=True)
    assert not any(info.values())
    with pytest.raises(TypeError, match="`quantization_config` cannot be given with a single file"):
        HQSamModel.from_pretrained(path, quantization_config={})
    with pytest.raises(ValueError, match="`device_map` must be a single device"):
        HQSamModel.from_pretrained(path, device_map={"": "cpu"})


def test_two_loads_do_not_share_weights(tmp_path):
    path = tmp_path / "x.pth"
    torch.save(pair(SMALL)[0].state_dict(), path)
    first, second = HQSamModel.from_pretrained(path), HQSamModel.from_pretrained(path)
    with torch.no_grad():
        first.mask_decoder.hq_token.weight.zero_()
    assert_same_weights(second, pair(SMALL)[1])
    assert_same_weights(HQSamModel.from_pretrained(path), pair(SMALL)[1])


# Folders of transformers


@pytest.mark.parametrize("sharded", [False, True], ids=["one file", "sharded"])
def test_a_samhq_folder_gives_the_masks_of_the_original(sharded, tmp_path):
    """transformers' own SamHQModel is saved with its own epsilon; the original runs on its weights."""
    torch.manual_seed(0)
    theirs = SamHQModel(transformers_config(SamHQConfig, layer_norm_eps=1e-6))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path, **({"max_shard_size": "300KB"} if sharded else {}))
    assert (tmp_path / "model.safetensors.index.json").exists() == sharded

    model = HQSamModel.from_pretrained(tmp_path)
    assert model.config.mask_decoder_config.layer_norm_eps == 1e-5
    weights = model.state_dict()
    names = keys_to_original(weights)
    original = build_from_config(model.config)
    original.load_state_dict({names[name]: tensor for name, tensor in weights.items()}, strict=True)
    pixels = torch.randn(1, 3, SMALL.image, SMALL.image)
    box = torch.tensor([[10.0, 20, 90, 100]])
    expected, scores = run_original(original, pixels, boxes=box)
    with torch.no_grad():
        outputs = model(pixels, input_boxes=box[None], multimask_output=False)
        wrong_epsilon = theirs(pixels, input_boxes=box[None], multimask_output=False).pred_masks
    torch.testing.assert_close(outputs.pred_masks[0], expected, atol=5e-6, rtol=0)
    torch.testing.assert_close(outputs.iou_scores[0], scores, atol=1e-6, rtol=0)
    assert (wrong_epsilon[0] - expected).abs().max() > 1e-3


def test_a_pytorch_bin_folder_loads(tmp_path):
    model = pair(SMALL)[1]
    model.save_pretrained(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    assert_same_weights(HQSamModel.from_pretrained(tmp_path), model)


@pytest.mark.parametrize("arch", [SMALL, TINY], ids=["small", "tiny"])
def test_a_folder_of_this_package_keeps_every_bit(arch, tmp_path):
    model = pair(arch)[1]
    model.save_pretrained(tmp_path)
    again = HQSamModel.from_pretrained(tmp_path)
    assert_same_weights(again, model)
    stored, expected = (m.config.vision_config.to_dict() for m in (again, model))
    assert {**stored, "dtype": None} == {**expected, "dtype": None}


# A plain SAM


def test_a_fresh_head_on_a_sam_folder_of_transformers(tmp_path, capfd):
    torch.manual_seed(1)
    theirs = SamModel(transformers_config(SamConfig))
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="plain SAM, without the HQ head.*from_sam_pretrained"):
        HQSamModel.from_pretrained(tmp_path)
    model = HQSamModel.from_sam_pretrained(tmp_path)
    assert "MISSING" not in capfd.readouterr().err  # no report of the missing head, which is expected
    base = theirs.state_dict()
    for name, tensor in model.state_dict().items():
        if not is_hq_key(name):
            assert torch.equal(tensor, base[name]), name
    assert model.mask_decoder.hq_token.weight.std() > 0.5  # PyTorch's normal(0, 1), not transformers' 0.02


@pytest.mark.slow
@pytest.mark.parametrize("arch", [SMALL, TINY], ids=["SAM", "MobileSAM"])
def test_a_fresh_head_on_an_original_sam_file(arch, tmp_path):
    sam, hq = pair(arch)
    path = tmp_path / "sam.pth"
    torch.save(plain_sam(sam.state_dict()), path)
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model = HQSamModel.from_sam_pretrained(path)
        heads.append(model.mask_decoder.hq_token.weight)
        for name, tensor in hq.state_dict().items():
            if is_hq_key(name):
                assert model.state_dict()[name].isfinite().all()
            else:
                assert torch.equal(model.state_dict()[name], tensor), name
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.slow
@pytest.mark.parametrize("arch", [WIDE, TINY], ids=["SAM", "MobileSAM"])
def test_a_fresh_head_may_start_as_sams_mask(arch, tmp_path):
    """Its logits have the signs of SAM's logits everywhere, for any image and prompt."""
    torch.save(plain_sam(pair(arch)[0].state_dict()), tmp_path / "sam.pth")
    model = HQSamModel.from_sam_pretrained(tmp_path / "sam.pth", hq_init="sam")
    side = model.config.vision_config.image_size
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "pixel_values": torch.randn(1, 3, side, side, generator=generator),
        "input_boxes": side * torch.tensor([[[0.15, 0.2, 0.8, 0.6], [0.05, 0.4, 0.9, 0.9]]]),
        "multimask_output": False,
    }
    with torch.no_grad():
        hq = model(**inputs, hq_token_only=True).pred_masks
        sam = model(**inputs).pred_masks - hq
    clear = sam.abs() > 1e-4
    assert clear.float().mean() > 0.99
    assert 0.01 < (sam > 0).float().mean() < 0.99
    assert torch.equal(hq[clear] > 0, sam[clear] > 0)
    with pytest.raises(ValueError, match="`hq_init` must be one of random, sam, got 'zero'"):
        HQSamModel.from_sam_pretrained(tmp_path / "sam.pth", hq_init="zero")


def test_the_wrong_call_names_the_right_one(tmp_path):
    sam, model = pair(SMALL)
    model.save_pretrained(tmp_path / "hq")
    torch.save(sam.state_dict(), tmp_path / "hq.pth")
    torch.save(plain_sam(sam.state_dict()), tmp_path / "sam.pth")
    torch.save(decoder_alone(sam.state_dict()), tmp_path / "epoch_11.pth")
    for source in ("hq", "hq.pth"):
        with pytest.raises(ValueError, match="already has an HQ head.*HQSamModel.from_pretrained"):
            HQSamModel.from_sam_pretrained(tmp_path / source)
    with pytest.raises(ValueError, match="plain SAM, ViT 48x4.*without an HQ head.*from_sam_pretrained"):
        HQSamModel.from_pretrained(tmp_path / "sam.pth")
    with pytest.raises(ValueError, match="mask decoder alone.*from_sam_pretrained.*load_hq_head"):
        HQSamModel.from_pretrained(tmp_path / "epoch_11.pth")


# The head alone


def test_the_head_alone_is_saved_and_loaded_into_its_sam(tmp_path):
    sam, model = pair(SMALL)
    model.save_hq_head(tmp_path / "run" / "final")
    torch.save(plain_sam(sam.state_dict()), tmp_path / "sam.pth")
    file = tmp_path / "run" / "final" / "hq_head.safetensors"
    assert all(is_hq_key(name) for name in load_file(file))
    for source in (file, file.parent, str(file)):
        fresh = HQSamModel.from_sam_pretrained(tmp_path / "sam.pth")
        fresh.load_hq_head(source)
        assert_same_weights(fresh, model)


def test_the_head_of_a_vit_l_is_under_7_megabytes(tmp_path):
    from hq_sam_hf import HQSamConfig

    config = HQSamConfig.from_preset("vit_l")
    with torch.device("meta"):
        model = HQSamModel(config)
    for name in ("hq_token", "hq_mask_mlp", "compress_vit_conv1", "compress_vit_norm", "compress_vit_conv2"):
        getattr(model.mask_decoder, name).to_empty(device="cpu")
    for name in ("encoder_conv1", "encoder_norm", "encoder_conv2", "mask_conv1", "mask_norm", "mask_conv2"):
        getattr(model.mask_decoder, name).to_empty(device="cpu")
    model.save_hq_head(tmp_path)
    size = (tmp_path / "hq_head.safetensors").stat().st_size
    assert 4 * 1_333_248 < size < 7e6


def test_a_saved_head_replaces_only_an_earlier_head(tmp_path):
    model, path = pair(SMALL)[1], tmp_path / "hq_head.safetensors"
    model.save_hq_head(tmp_path)
    model.save_hq_head(tmp_path)
    size = path.stat().st_size
    for content in (b"thesis", save_tensors(model.state_dict())):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="hq_head.safetensors' exists already and is not an HQ head, so it would"):
            model.save_hq_head(tmp_path)
        assert path.read_bytes() == content
    path.rename(tmp_path / "other.safetensors")
    path.symlink_to("other.safetensors")
    with pytest.raises(ValueError, match="is a link to '.*other.safetensors'"):
        model.save_hq_head(tmp_path)
    model.save_hq_head(tmp_path / "another")
    assert (tmp_path / "another" / "hq_head.safetensors").stat().st_size == size


@pytest.mark.parametrize("kind", ["decoder", "model"])
def test_a_head_is_loaded_from_a_larger_file(kind, tmp_path, caplog):
    sam, model = pair(SMALL)
    path = tmp_path / "epoch_11.pth"
    torch.save(decoder_alone(sam.state_dict()) if kind == "decoder" else sam.state_dict(), path)
    torch.save(plain_sam(sam.state_dict()), tmp_path / "sam.pth")
    fresh = HQSamModel.from_sam_pretrained(tmp_path / "sam.pth")
    with caplog.at_level(logging.WARNING), _propagating():
        fresh.load_hq_head(path)
        assert not caplog.records
        assert_same_weights(fresh, model)
        weights = {key: tensor + ("iou_token" in key) for key, tensor in decoder_alone(sam.state_dict()).items()}
        torch.save(weights, path)
        fresh.load_hq_head(path)
    assert "trained with another SAM decoder" in caplog.text
    assert "mask_decoder.iou_token.weight" in caplog.text


def test_a_head_for_another_sam_raises_an_error_with_both_sizes(tmp_path):
    pair(SMALL)[1].save_hq_head(tmp_path)
    other = HQSamModel(config_of(WIDE))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match=r"does not fit this base.*early features of 48 channels, this base has 32"):
        other.load_hq_head(tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())
    torch.save(plain_sam(pair(SMALL)[0].state_dict()), tmp_path / "sam.pth")
    with pytest.raises(ValueError, match="is a plain SAM, ViT 48x4, original layout and holds no HQ head"):
        other.load_hq_head(tmp_path / "sam.pth")
    with pytest.raises(ValueError, match="There is no file"):
        other.load_hq_head(tmp_path / "nothing.safetensors")


# Other input sizes


def test_the_native_size_changes_nothing(tmp_path):
    model = pair(SMALL)[1]
    model.save_pretrained(tmp_path)
    assert_same_weights(HQSamModel.from_pretrained(tmp_path, image_size=SMALL.image), model)


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "size"), [(SMALL, 64), (SMALL, 192), (FINE, 96), (TINY, 512), (TINY, 1040)], ids=str)
def test_any_input_size_works_from_image_to_mask(arch, size, tmp_path, photo):
    pair(arch)[1].save_pretrained(tmp_path / "model")
    HQSamProcessor.from_config(config_of(arch)).save_pretrained(tmp_path / "model")
    model = HQSamModel.from_pretrained(tmp_path / "model", image_size=size)
    processor = HQSamProcessor.from_pretrained(tmp_path / "model", image_size=size)
    assert processor.to_dict() == HQSamProcessor.from_config(model.config).to_dict()
    inputs = processor(photo, input_boxes=[[[165, 15, 415, 310]]])
    assert inputs["pixel_values"].shape[-1] == size
    with torch.no_grad():
        output = model(**inputs)
    grid = 4 * size // (8 if arch is FINE else 16)
    assert output.pred_masks.shape[-2:] == (grid, grid)
    assert processor.post_process_masks(output, inputs)[0].shape == (1, 3, 400, 600)
    # The resized model saves and loads, and equals the original built at this size.
    model.save_pretrained(tmp_path / "resized")
    assert_same_weights(HQSamModel.from_pretrained(tmp_path / "resized"), model)
    if arch is not TINY:  # the original's TinyViT runs at 1024 alone
        original = build_from_config(model.config)
        names = keys_to_original(model.state_dict())
        original.load_state_dict({names[k]: v for k, v in model.state_dict().items()}, strict=True)
        expected, _ = run_original(original, inputs["pixel_values"], boxes=inputs["input_boxes"][0])
        single = model(**inputs, multimask_output=False).pred_masks[0]
        torch.testing.assert_close(single, expected, atol=5e-6, rtol=0)


def test_relative_positions_are_interpolated_as_sam_does_on_the_fly():
    from transformers.models.sam.modeling_sam import SamVisionAttention

    table = torch.randn(2 * 8 - 1, 12)
    attention = SamVisionAttention(config_of(SMALL).vision_config, window_size=3)
    for grid in (4, 11, 16):
        resized = resize_relative_positions(table, grid)
        assert resized.shape == (2 * grid - 1, 12)
        on_the_fly = attention.get_rel_pos(grid, grid, table)
        torch.testing.assert_close(attention.get_rel_pos(grid, grid, resized), on_the_fly, atol=1e-6, rtol=0)


def test_absolute_positions_are_interpolated_smoothly():
    model = HQSamModel(config_of(SMALL))
    ramp = torch.arange(8.0)[None, :, None, None].expand(1, 8, 8, SMALL.dim)
    with torch.no_grad():
        model.vision_encoder.pos_embed.copy_(ramp)
    model.resize_image(2 * SMALL.image)
    column = model.vision_encoder.pos_embed[0, :, 3, 5]
    # away from the border, a ramp becomes a ramp with half the slope
    torch.testing.assert_close(column[4:12].diff(), torch.full((7,), 0.5), atol=1e-4, rtol=0)
    assert model.vision_encoder.pos_embed.requires_grad


@pytest.mark.parametrize("size", [100, 0, -128, 64.0, "64"], ids=str)
def test_a_size_that_the_patch_does_not_divide_is_refused(size, tmp_path):
    model = pair(SMALL)[1]
    model.save_pretrained(tmp_path)
    HQSamProcessor.from_config(model.config).save_pretrained(tmp_path)
    for cls in (HQSamModel, HQSamProcessor):
        with pytest.raises(ValueError, match="`image_size` must be a positive multiple of 16"):
            cls.from_pretrained(tmp_path, image_size=size)


# Weights that do not fit


def test_a_config_that_does_not_fit_the_weights_is_named(tmp_path):
    pair(SMALL)[1].save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["mask_decoder_config"]["mlp_dim"] = 256
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"do not fit its config.json: mask_decoder.*mlp.*expected"):
        HQSamModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("form", ["file", "folder"])
def test_a_warning_is_logged_for_weights_that_are_not_finite(form, tmp_path, caplog):
    model = HQSamModel(config_of(SMALL))
    with torch.no_grad():
        model.mask_decoder.mask_conv1.weight[0, 0] = float("nan")
    model.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING), _propagating():
        HQSamModel.from_pretrained(tmp_path / "model.safetensors" if form == "file" else tmp_path)
    assert "not finite in 1 weights, such as mask_decoder.mask_conv1.weight" in caplog.text


class _propagating:
    """Within the block, the loggers pass messages on to the root logger, where pytest captures them."""

    def __enter__(self):
        self.loggers = [logging.getLogger(name) for name in ("hq_sam_hf", "transformers")]
        for logger in self.loggers:
            logger.propagate = True

    def __exit__(self, *_):
        logging.getLogger("transformers").propagate = False
