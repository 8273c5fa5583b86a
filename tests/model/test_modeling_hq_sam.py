import json

import pytest
import torch

from hq_sam_hf import HQSamConfig, HQSamImageFeatures, HQSamModel, HQSamProcessor
from hq_sam_hf.export.reference import run_original
from hq_sam_hf.model.modeling_mask_decoder import HQ_HEAD_MODULES
from support.oracle import SMALL, WIDE, build_original, config_of, pair, port

SIDE = SMALL.image


@pytest.fixture(scope="module")
def model() -> HQSamModel:
    return pair(SMALL)[1]


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def boxes_for(*counts: int) -> torch.Tensor:
    """Boxes (images, largest count, 4); images with fewer boxes are padded with NaN."""
    boxes = torch.full((len(counts), max(counts), 4), float("nan"))
    for i, count in enumerate(counts):
        for k in range(count):
            boxes[i, k] = torch.tensor([4.0 + k, 6.0 + i, 60.0 + 9 * k, 90.0 - 5 * i])
    return boxes


def test_save_and_load_bit_for_bit(model, tmp_path):
    model.save_pretrained(tmp_path)
    for _ in range(2):  # twice, because weights that the file lacks would be random
        again = HQSamModel.from_pretrained(tmp_path)
        assert again.config.to_dict().keys() == model.config.to_dict().keys()
        assert again.state_dict().keys() == model.state_dict().keys()
        for name, weight in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], weight), name


def test_state_dict_names_are_those_of_transformers(model):
    from transformers import SamHQConfig, SamHQModel

    config = config_of(SMALL).to_dict()
    sections = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    theirs = SamHQModel(SamHQConfig(**{section: config[section] for section in sections})).state_dict()
    copy = "prompt_encoder.shared_embedding.positional_embedding"  # tied to the first matrix
    assert theirs.keys() == model.state_dict().keys() | {copy}
    assert all(theirs[name].shape == weight.shape for name, weight in model.state_dict().items())


def test_weights_that_do_not_fit_raise_an_error(model, tmp_path):
    from safetensors.torch import load_file, save_file

    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    plain = {k: v for k, v in weights.items() if k.split(".")[1] not in HQ_HEAD_MODULES}
    save_file(plain, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="missing .*plain SAM, without the HQ head"):
        HQSamModel.from_pretrained(tmp_path)
    save_file({**weights, "mask_decoder.hf_token.weight": torch.zeros(1, 64)}, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="1 unexpected.*hf_token"):
        HQSamModel.from_pretrained(tmp_path)


def test_the_hq_head_has_the_parameters_that_the_original_trains():
    original = build_original(SMALL)
    trained = ("hf_token", "hf_mlp", "compress_vit_feat", "embedding_encoder", "embedding_maskfeature")
    expected = sum(p.numel() for name, p in original.named_parameters() if any(part in name for part in trained))
    head = [p for name, p in pair(SMALL)[1].mask_decoder.named_parameters() if name.split(".")[0] in HQ_HEAD_MODULES]
    assert sum(p.numel() for p in head) == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_positional_matrix_stays_float32_and_is_no_parameter(model, tmp_path, dtype):
    model.save_pretrained(tmp_path)
    matrix = model.shared_image_embedding.positional_embedding
    loaded = HQSamModel.from_pretrained(tmp_path, dtype=dtype)
    cast = HQSamModel.from_pretrained(tmp_path).to(dtype)
    for other in (loaded, cast, HQSamModel.from_pretrained(tmp_path).half()):
        assert other.dtype in (dtype, torch.float16)
        assert other.shared_image_embedding.positional_embedding.dtype == torch.float32
        assert torch.equal(other.shared_image_embedding.positional_embedding, matrix)
    assert not any("positional_embedding" in name for name, _ in model.named_parameters())


def test_autocast_does_not_change_the_positional_codes(model):
    exact = model.get_image_wide_positional_embeddings()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.get_image_wide_positional_embeddings(), exact)


@pytest.mark.parametrize(
    ("dtype", "logit_error", "sign_agreement"), [(torch.bfloat16, 0.05, 0.97), (torch.float16, 0.01, 0.99)]
)
def test_half_precision_is_close_to_float32(model, pixels, tmp_path, dtype, logit_error, sign_agreement):
    model.save_pretrained(tmp_path)
    half = HQSamModel.from_pretrained(tmp_path, dtype=dtype)
    with torch.no_grad():
        exact = model(pixels, input_boxes=boxes_for(2, 2)).pred_masks
        rough = half(pixels, input_boxes=boxes_for(2, 2)).pred_masks
    assert rough.dtype == dtype
    assert (rough.float() - exact).norm() / exact.norm() < logit_error
    assert ((rough > 0) == (exact > 0)).float().mean() > sign_agreement


@pytest.mark.parametrize("arch", [SMALL, WIDE], ids=["small", "wide"])
def test_eager_and_sdpa_attention_agree(arch):
    eager, sdpa = pair(arch, "eager")[1], pair(arch, "sdpa")[1]
    pixels = torch.randn(1, 3, arch.image, arch.image)
    boxes = torch.tensor([[[5.0, 9.0, 70.0, 60.0]]])
    with torch.no_grad():
        first, second = (m(pixels, input_boxes=boxes).pred_masks for m in (eager, sdpa))
    torch.testing.assert_close(first, second, atol=5e-6, rtol=0)
    assert eager.vision_encoder.layers[0].attn.__class__ != sdpa.vision_encoder.layers[0].attn.__class__


def test_number_of_masks_and_scores_always_agree(model, pixels):
    for multimask_output in (False, True):
        for hq_token_only in (False, True):
            output = model(
                pixels, input_boxes=boxes_for(3, 3), multimask_output=multimask_output, hq_token_only=hq_token_only
            )
            expected = 3 if multimask_output and not hq_token_only else 1
            assert output.pred_masks.shape == (2, 3, expected, 32, 32)
            assert output.iou_scores.shape == (2, 3, expected)


@pytest.mark.parametrize("multimask_output", [True, False])
def test_sam_only_gives_the_masks_of_a_plain_sam_with_these_weights(model, pixels, multimask_output):
    from transformers import SamConfig, SamModel

    config = model.config.to_dict()
    vision, prompt, decoder = (config[f"{name}_config"] for name in ("vision", "prompt_encoder", "mask_decoder"))
    decoder["layer_norm_eps"] = 1e-5  # transformers has 1e-6, the original SAM PyTorch's default
    plain = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)).eval()
    lacking = plain.load_state_dict(model.state_dict(), strict=False).missing_keys
    assert lacking == ["prompt_encoder.shared_embedding.positional_embedding"]  # a second name for the same matrix
    plain.prompt_encoder.shared_embedding = plain.shared_image_embedding

    prompts = {
        "input_boxes": torch.tensor([[[10.0, 20, 90, 100], [0, 0, 50, 60]]]),
        "multimask_output": multimask_output,
    }
    with torch.no_grad():
        embeddings = model.get_image_embeddings(pixels[:1])[0]
        expected = plain(image_embeddings=embeddings, **prompts)
        ours = model(image_embeddings=embeddings, sam_only=True, **prompts)
        whole = model(pixel_values=pixels[:1], sam_only=True, **prompts)
    order = expected.iou_scores.argsort(dim=-1, descending=True, stable=True)
    assert torch.allclose(ours.iou_scores, expected.iou_scores.gather(-1, order), atol=1e-6)
    picked = expected.pred_masks.gather(2, order[..., None, None].expand_as(expected.pred_masks))
    assert torch.allclose(ours.pred_masks, picked, atol=2e-6)
    assert torch.equal(whole.pred_masks, ours.pred_masks)


def test_labels_with_sam_only_train_sam(model, pixels):
    labels = torch.zeros(1, 1, 64, 64)
    labels[..., 16:48, 16:48] = 1
    boxes = torch.tensor([[[32.0, 32, 96, 96]]])
    copy = type(model)(model.config)
    copy.load_state_dict(model.state_dict())
    copy(pixels[:1], input_boxes=boxes, labels=labels, sam_only=True, multimask_output=False).loss.backward()
    touched = {name for name, weight in copy.named_parameters() if weight.grad is not None}
    assert "mask_decoder.mask_tokens.weight" in touched
    assert not any(".hq_" in name or "compress" in name or "mask_conv" in name for name in touched)


def test_cached_images_give_the_same_masks(model, pixels):
    prompts = {"input_points": torch.tensor([[[[20.0, 30.0]]], [[[40.0, 50.0]]]])}
    with torch.no_grad():
        direct = model(pixels, **prompts)
        embeddings, intermediate = model.get_image_embeddings(pixels)
        as_transformers = model(image_embeddings=embeddings, intermediate_embeddings=list(intermediate), **prompts)
        compact = model(image_features=model.get_image_features(pixels), **prompts)
    for cached in (as_transformers, compact):
        assert torch.equal(cached.pred_masks, direct.pred_masks)
        assert torch.equal(cached.iou_scores, direct.iou_scores)


def test_image_embeddings_carry_gradients(model, pixels):
    embeddings, _ = model.get_image_embeddings(pixels[:1].clone().requires_grad_())
    assert embeddings.requires_grad


def test_points_without_labels_count_as_points_on_the_object(model, pixels):
    points = torch.tensor([[[[20.0, 30.0], [50.0, 60.0]]]])
    bare = model(pixels[:1], input_points=points)
    labelled = model(pixels[:1], input_points=points, input_labels=torch.tensor([[[1, 1]]]))
    assert torch.equal(bare.pred_masks, labelled.pred_masks)


def test_hidden_states_on_request(model, pixels):
    assert model(pixels).vision_hidden_states is None
    states = model(pixels, output_hidden_states=True).vision_hidden_states
    assert len(states) == 1 + SMALL.depth
    assert states[0].shape == (2, 8, 8, SMALL.dim)


def test_tuple_output(model, pixels):
    masks, scores = model(pixels, return_dict=False)
    assert masks.shape[:3] == scores.shape == (2, 1, 3)


def test_labels_give_the_loss_of_the_hq_mask_alone(model, pixels):
    from hq_sam_hf.model.losses import mask_loss, same_points

    labels = (torch.rand(2, 3, SIDE, SIDE) > 0.5).long()
    labels[1, 1:] = -100  # the second image has one object
    hq = model(pixels, input_boxes=boxes_for(3, 1), hq_token_only=True).pred_masks.flatten(0, 1)[:4]
    ground_truth = labels.flatten(0, 1)[:4, None].float()
    model.train()
    try:
        torch.manual_seed(3)
        output = model(pixels, input_boxes=boxes_for(3, 1), labels=labels)
        assert output.pred_masks.shape == (2, 3, 1, 32, 32)
        torch.manual_seed(3)
        assert output.loss.item() == pytest.approx(mask_loss(hq, ground_truth)[0].item(), rel=1e-6)
    finally:
        model.eval()
    expected = mask_loss(hq, ground_truth, same_points(4))[0]
    assert model(pixels, input_boxes=boxes_for(3, 1), labels=labels).loss.item() == expected.item()
    with pytest.raises(ValueError, match=r"`labels` must have shape \(2, 3, height, width\)"):
        model(pixels, input_boxes=boxes_for(3, 3), labels=labels[:, :2])
    with pytest.raises(ValueError, match="negative throughout"):
        model(pixels, labels=torch.full((2, 1, SIDE, SIDE), -100))


def squares(inside: float, outside: float = 0.0, dtype=torch.float32) -> torch.Tensor:
    labels = torch.full((2, 1, SIDE, SIDE), outside)
    labels[..., 10:40, 10:40] = inside
    return labels.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8, torch.float16])
@pytest.mark.parametrize("value", [255, 2])
def test_labels_above_one_raise(model, pixels, value, dtype):
    with pytest.raises(ValueError, match=rf"must lie in \[0, 1\].* from 0 to {value} for prompt 0 of image 0.*/ 255"):
        model(pixels, labels=squares(value, dtype=dtype))


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (squares(1, -1), "from -1 to 1"),  # a part without ground truth, which counts as no mask nowhere
        (squares(-100, 0), "from -100 to 0"),
        (squares(float("nan")), "from nan to nan"),
        (squares(float("inf")), "from 0 to inf"),
    ],
)
def test_labels_that_are_neither_a_mask_nor_none_raise(model, pixels, labels, values):
    labels[0] = 0
    with pytest.raises(ValueError, match=f"negative throughout .*{values} for prompt 0 of image 1"):
        model(pixels, labels=labels)


def test_labels_of_any_type_give_the_same_loss(model, pixels):
    plain = squares(1)
    losses = [model(pixels, labels=labels).loss.item() for labels in (plain, plain.bool(), plain.byte(), plain.long())]
    assert len(set(losses)) == 1
    scaled = squares(255) / 255  # the advice of the error
    assert model(pixels, labels=scaled).loss.item() == losses[0]


def test_a_device_map_is_accepted(model, tmp_path):
    model.save_pretrained(tmp_path)
    mapped = HQSamModel.from_pretrained(tmp_path, device_map="cpu")
    assert torch.equal(mapped.mask_decoder.hq_token.weight, model.mask_decoder.hq_token.weight)


def test_gradient_checkpointing_gives_the_same_gradients(pixels):
    gradients = []
    for checkpointing in (False, True):
        model = port(build_original(SMALL), SMALL).train()
        if checkpointing:
            # transformers 5.2x renamed it
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable()
        model(pixels, input_boxes=boxes_for(2, 2)).pred_masks.square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert model.vision_encoder.layers[0].gradient_checkpointing
    assert any(name.startswith("vision_encoder.layers.0") for name in gradients[0])
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_padding_brings_no_nan_gradients(pixels):
    model = port(build_original(SMALL), SMALL).train()
    masks = torch.full((2, 3, 32, 32), float("nan"))
    masks[0] = torch.randn(3, 32, 32)
    output = model(pixels, input_boxes=boxes_for(3, 1), input_masks=masks)
    output.pred_masks[0].square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.slow
def test_compile_without_graph_breaks(model, pixels):
    compiled = torch.compile(model, fullgraph=True, backend="inductor")
    arguments = {
        "input_points": torch.rand(2, 2, 3, 2) * SIDE,
        "input_boxes": boxes_for(2, 2),
        "multimask_output": False,
    }
    with torch.no_grad():
        expected, actual = model(pixels, **arguments), compiled(pixels, **arguments)
    torch.testing.assert_close(actual.pred_masks, expected.pred_masks, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_torch_compile_makes_a_single_graph(model, pixels):
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    arguments = {"input_points": torch.rand(2, 2, 3, 2) * SIDE, "input_boxes": boxes_for(2, 2)}
    with torch.no_grad():
        expected, actual = model(pixels, **arguments), compiled(pixels, **arguments)
    torch.testing.assert_close(actual.pred_masks, expected.pred_masks, atol=1e-6, rtol=0)


class DecoderOnly(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image_embeddings, hq_features, points, labels, boxes):
        features = HQSamImageFeatures(image_embeddings=image_embeddings, hq_features=hq_features)
        output = self.model(
            image_features=features,
            input_points=points,
            input_labels=labels,
            input_boxes=boxes,
            multimask_output=False,
        )
        return output.pred_masks, output.iou_scores


@pytest.mark.slow  # tracing is slow; the embedded model is exported in the fast part
def test_encoder_and_decoder_export(model, pixels):
    with torch.no_grad():
        encoder = torch.export.export(model.vision_encoder, (pixels,))
        expected = model.vision_encoder(pixels).last_hidden_state
        actual = encoder.module()(pixels).last_hidden_state
        torch.testing.assert_close(actual, expected, atol=5e-6, rtol=0)

        features = model.get_image_features(pixels)
        prompts = (torch.rand(2, 2, 3, 2) * SIDE, torch.ones(2, 2, 3, dtype=torch.long), boxes_for(2, 2))
        arguments = (features.image_embeddings, features.hq_features, *prompts)
        decoder = DecoderOnly(model)
        exported = torch.export.export(decoder, arguments).module()
        for mine, theirs in zip(exported(*arguments), decoder(*arguments)):
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


def test_a_fresh_model_is_initialised_as_the_original(tmp_path):
    model = HQSamModel(config_of(SMALL))
    assert (model.vision_encoder.pos_embed == 0).all()
    assert (model.vision_encoder.layers[0].attn.rel_pos_h == 0).all()
    assert model.mask_decoder.hq_token.weight.std().item() == pytest.approx(1, rel=0.5)
    # PyTorch's default for a Linear layer is uniform with bound 1 / sqrt(inputs)
    weight = model.mask_decoder.hq_mask_mlp.proj_in.weight
    assert weight.abs().max().item() == pytest.approx(64**-0.5, rel=0.02)


BAD_CALLS = {
    "no image": (lambda m, x: m(), "Exactly one of .*got none of them"),
    "two images": (
        lambda m, x: m(x, image_features=m.get_image_features(x)),
        "Exactly one of .*got pixel_values and image_features",
    ),
    "embedding without its early feature": (
        lambda m, x: m(image_embeddings=m.get_image_embeddings(x)[0]),
        "`image_embeddings` needs `intermediate_embeddings`",
    ),
    "embedding with an empty list": (
        lambda m, x: m(image_embeddings=m.get_image_embeddings(x)[0], intermediate_embeddings=[]),
        "`image_embeddings` needs `intermediate_embeddings`",
    ),
    "early feature alone": (
        lambda m, x: m(x, intermediate_embeddings=m.get_image_embeddings(x)[1]),
        "`intermediate_embeddings` goes with `image_embeddings`",
    ),
    "early feature of another batch": (
        lambda m, x: m(
            image_embeddings=m.get_image_embeddings(x)[0], intermediate_embeddings=m.get_image_embeddings(x[:1])[1]
        ),
        r"`intermediate_embeddings\[0\]` must have shape \(2, 8, 8, 48\)",
    ),
    "cache without its HQ part": (
        lambda m, x: m(image_features=HQSamImageFeatures(image_embeddings=m.get_image_features(x).image_embeddings)),
        "without hq_features",
    ),
    "cache of two batches": (
        lambda m, x: m(
            image_features=HQSamImageFeatures(
                image_embeddings=m.get_image_features(x).image_embeddings,
                hq_features=m.get_image_features(x[:1]).hq_features,
            )
        ),
        r"`image_features.hq_features` must have shape \(2, 8, 32, 32\)",
    ),
    "image of the wrong size": (
        lambda m, x: m(x[..., :64]),
        r"`pixel_values` must have shape \(images, 3, 128, 128\)",
    ),
    "image without a batch": (lambda m, x: m(x[0]), r"`pixel_values` must have shape"),
    "points of rank 3": (
        lambda m, x: m(x, input_points=torch.zeros(2, 1, 2)),
        r"`input_points` must be .*\(2, 1, 2\)",
    ),
    "points as a list": (lambda m, x: m(x, input_points=[[[[1, 2]]]]), "`input_points` must be .*a list"),
    "points for another batch": (
        lambda m, x: m(x, input_points=torch.zeros(1, 1, 1, 2)),
        "`input_points` is for 1 images",
    ),
    "no points": (lambda m, x: m(x, input_points=torch.zeros(2, 0, 1, 2)), "`input_points` holds no prompt"),
    "SAM alone and HQ alone": (
        lambda m, x: m(x, sam_only=True, hq_token_only=True),
        "`sam_only` and `hq_token_only` exclude each other",
    ),
    "labels for three masks": (
        lambda m, x: m(x, sam_only=True, labels=torch.zeros(2, 1, 8, 8)),
        "`labels` with `sam_only` need multimask_output=False",
    ),
    "labels alone": (lambda m, x: m(x, input_labels=torch.ones(2, 1, 1)), "`input_labels` were given without"),
    "labels of the wrong shape": (
        lambda m, x: m(x, input_points=torch.zeros(2, 1, 2, 2), input_labels=torch.ones(2, 1, 1)),
        r"`input_labels` must have shape \(2, 1, 2\)",
    ),
    "boxes of rank 2": (lambda m, x: m(x, input_boxes=torch.zeros(2, 4)), "`input_boxes` must be"),
    "boxes of five numbers": (lambda m, x: m(x, input_boxes=torch.zeros(2, 1, 5)), "`input_boxes` must be"),
    "masks at image size": (
        lambda m, x: m(x, input_masks=torch.zeros(2, 1, 128, 128)),
        r"`input_masks` must be .*\(images, prompts, 32, 32\)",
    ),
    "two boxes and three points": (
        lambda m, x: m(x, input_boxes=boxes_for(2, 2), input_points=torch.zeros(2, 3, 1, 2)),
        "same number of objects per image, got 3 in `input_points`, 2 in `input_boxes`",
    ),
    "three masks for two boxes": (
        lambda m, x: m(x, input_boxes=boxes_for(2, 2), input_masks=torch.zeros(2, 3, 32, 32)),
        "2 in `input_boxes`, 3 in `input_masks`",
    ),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_raise_an_error_with_the_arguments_name(model, pixels, case):
    call, message = BAD_CALLS[case]
    with pytest.raises(ValueError, match=message):
        call(model, pixels)


def test_an_unknown_argument_is_a_type_error(model, pixels):
    with pytest.raises(TypeError, match="input_box"):
        model(pixels, input_box=boxes_for(1, 1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_masks_of_the_cpu(model, pixels):
    with torch.no_grad():
        expected = model(pixels, input_boxes=boxes_for(2, 1)).pred_masks
        on_gpu = HQSamModel(model.config).eval()
        on_gpu.load_state_dict(model.state_dict())
        actual = on_gpu.cuda()(pixels.cuda(), input_boxes=boxes_for(2, 1).cuda()).pred_masks
    torch.testing.assert_close(actual.cpu(), expected, atol=1e-3, rtol=0)


def test_processor_output_feeds_the_model_as_it_is(model, photo):
    inputs = HQSamProcessor.from_config(model.config)([photo, photo], input_boxes=[[[10, 20, 300, 200]], None])
    assert model(**inputs).pred_masks.shape[:2] == (2, 1)


def test_config_json_names_the_model(model, tmp_path):
    model.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["model_type"] == "hq_sam"
    assert stored["architectures"] == ["HQSamModel"]
    assert HQSamConfig.from_pretrained(tmp_path).mask_decoder_config.layer_norm_eps == 1e-5


def test_a_folder_of_transformers_samhq_gives_the_originals_masks(tmp_path, pixels, photo, caplog):
    from transformers import SamHQConfig, SamHQModel

    sam, ours = pair(SMALL)
    config = config_of(SMALL).to_dict()
    config["mask_decoder_config"]["layer_norm_eps"] = 1e-6  # as published
    sections = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    theirs = SamHQModel(SamHQConfig(**{section: config[section] for section in sections}))
    matrix = {"prompt_encoder.shared_embedding.positional_embedding": ours.shared_image_embedding.positional_embedding}
    theirs.load_state_dict({**ours.state_dict(), **matrix})
    theirs.save_pretrained(tmp_path)
    settings = {
        "image_processor_type": "SamImageProcessor",
        "processor_class": "SamHQProcessor",
        "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "size": {"longest_edge": 128},
        "mask_size": {"longest_edge": 32},
        "pad_size": {"height": 128, "width": 128},
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))

    model, processor = HQSamModel.from_pretrained(tmp_path), HQSamProcessor.from_pretrained(tmp_path)
    assert model.config.model_type == "hq_sam"
    assert model.config.mask_decoder_config.layer_norm_eps == 1e-5
    inputs = processor(photo, input_boxes=[[[165, 15, 415, 310]]])
    with torch.no_grad():
        masks = model(**inputs, multimask_output=False).pred_masks
    expected, _ = run_original(sam, inputs["pixel_values"], boxes=inputs["input_boxes"][0])
    torch.testing.assert_close(masks[0], expected, atol=5e-6, rtol=0)
    model.save_pretrained(tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] == "hq_sam"
