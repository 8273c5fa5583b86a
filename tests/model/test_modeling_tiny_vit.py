"""Light HQ-SAM's encoder, against the original on equal weights."""

import numpy as np
import pytest
import torch

from hq_sam_hf import HQSamConfig, HQSamModel, HQSamProcessor
from hq_sam_hf.export.reference import build_original as build_from_config
from hq_sam_hf.export.reference import import_original, run_original
from hq_sam_hf.model.key_mapping import keys_from_original
from hq_sam_hf.model.modeling_tiny_vit import HQSamTinyViTAttention
from support.oracle import TINY, build_original, pair, port

SIDE = 1024


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def small_model(**vision):
    """A small TinyViT of 128 pixels, for tests without the original."""
    torch.manual_seed(0)
    fields = {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 3, 4]}
    return HQSamModel(
        HQSamConfig(
            vision_config={"model_type": "hq_sam_tiny_vit", "image_size": 128, **fields, **vision},
            prompt_encoder_config={"image_size": 128},
            mask_decoder_config={"vit_dim": 24, "mlp_dim": 64},
        )
    )


def test_encoder_and_early_feature_equal_the_original(pixels):
    check_encoder(*pair(TINY), pixels)


def check_encoder(sam, model, pixels):
    with torch.no_grad():
        features, intermediate = sam.image_encoder(pixels)
        ours, ours_intermediate = model.get_image_embeddings(pixels)
    assert ours_intermediate[0].shape == intermediate[0].shape
    assert len(ours_intermediate) == 1
    torch.testing.assert_close(ours, features, atol=2e-5, rtol=0)
    torch.testing.assert_close(ours_intermediate[0], intermediate[0], atol=5e-6, rtol=0)
    assert features.std() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("multimask_output", [False, True], ids=["single", "multi"])
@pytest.mark.parametrize("hq_token_only", [False, True], ids=["sum", "hq"])
def test_masks_and_scores_equal_the_original(pixels, multimask_output, hq_token_only):
    sam, model = pair(TINY)
    options = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}
    boxes = torch.tensor([[100.0, 200, 700, 800], [10, 20, 400, 900]])
    expected, scores = run_original(sam, pixels, boxes=boxes, **options)
    with torch.no_grad():
        output = model(pixels, input_boxes=boxes[None], **options)
    assert expected.std() > 0.01
    torch.testing.assert_close(output.pred_masks[0, :, :1], expected, atol=5e-6, rtol=0)
    torch.testing.assert_close(output.iou_scores[0, :, :1], scores, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_the_published_architecture_equals_the_original_on_a_photo(photo):
    torch.manual_seed(0)
    config = HQSamConfig.from_preset("vit_tiny")
    sam = build_from_config(config)
    with torch.no_grad():
        for name, parameter in sam.named_parameters():
            if "attention_biases" in name or name.endswith(".bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))
    sam.eval()
    model = HQSamModel(config).eval()
    names = keys_from_original(sam.state_dict())
    model.load_state_dict({names[key]: value for key, value in sam.state_dict().items()}, strict=True)
    processor = HQSamProcessor.from_config(config)
    inputs = processor(photo, input_boxes=[[[165, 15, 415, 310]]])
    check_encoder(sam, model, inputs["pixel_values"])
    predictor = import_original().SamPredictor(sam)
    predictor.set_image(np.asarray(photo))
    for options in ({"multimask_output": False}, {"multimask_output": True, "hq_token_only": True}):
        masks, scores, logits = predictor.predict(box=np.array([165, 15, 415, 310]), **options)
        with torch.no_grad():
            outputs = model(**inputs, **options)
        torch.testing.assert_close(outputs.pred_masks[0, 0, :1], torch.from_numpy(logits), atol=5e-6, rtol=0)
        torch.testing.assert_close(outputs.iou_scores[0, 0, :1], torch.from_numpy(scores), atol=1e-6, rtol=0)
        ours = processor.post_process_masks(outputs, inputs)[0][0, :1].numpy()
        assert (ours != masks).mean() < 1e-5


def test_the_attention_bias_of_a_2x2_window():
    attention = HQSamTinyViTAttention(dim=4, num_heads=1, window_size=2)
    with torch.no_grad():
        attention.attention_biases.copy_(torch.tensor([[0.0, 1.0, 10.0, 11.0]]))  # same place, beside, below, diagonal
    expected = [[0, 1, 10, 11], [1, 0, 11, 10], [10, 11, 0, 1], [11, 10, 1, 0]]
    assert attention.bias()[0].tolist() == expected


@pytest.mark.slow
def test_loaded_biases_take_effect_at_once(pixels):
    """The original caches them when it enters evaluation mode, before its builder has loaded any weights."""
    sam, model = pair(TINY)
    stale = build_from_config(model.config)
    stale.load_state_dict(sam.state_dict())
    with torch.no_grad():
        expected = sam.image_encoder(pixels)[0]
        assert (stale.image_encoder(pixels)[0] - expected).abs().max() > 1e-3
        fresh = HQSamModel(model.config).eval()
        fresh.load_state_dict(model.state_dict())
        torch.testing.assert_close(fresh.get_image_embeddings(pixels)[0], expected, atol=2e-5, rtol=0)


def test_batch_norm_keeps_its_statistics_while_the_model_trains():
    model = small_model().train()
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    before = {name: tensor.clone() for name, tensor in model.named_buffers()}
    pixels = torch.randn(2, 3, 128, 128)
    in_training = model(pixels).pred_masks
    torch.testing.assert_close(model.eval()(pixels).pred_masks, in_training)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_buffers())


def test_head_and_encoder_can_be_trained_and_checkpointed():
    gradients = []
    for checkpointing in (False, True):
        model = small_model().train()
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable()
        pixels = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(2))
        labels = torch.zeros(2, 1, 128, 128, dtype=torch.long)
        labels[:, :, 30:80, 20:90] = 1
        torch.manual_seed(3)
        model(pixels, input_boxes=torch.tensor([[[20.0, 30, 90, 80]]] * 2), labels=labels).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    for part in ("hq_token", "compress_vit_conv1", "attention_biases", "stages.0.blocks.0.conv1.conv"):
        assert any(part in name and gradient.abs().sum() > 0 for name, gradient in gradients[0].items()), part
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(dtype, tmp_path):
    model = small_model().eval()
    model.save_pretrained(tmp_path)
    half = HQSamModel.from_pretrained(tmp_path, dtype=dtype)
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        exact, rough = model(pixels).pred_masks, half(pixels).pred_masks
    assert (rough.float() - exact).norm() / exact.norm() < 0.05


@pytest.mark.slow  # tracing is slow; the ViT's graph is traced in the fast part
def test_the_model_compiles_and_exports():
    model = small_model().eval()
    pixels = torch.randn(2, 3, 128, 128)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    expected = model(pixels).pred_masks.detach()  # with gradients the decoder runs as written, as in a graph
    with torch.no_grad():
        torch.testing.assert_close(compiled(pixels).pred_masks, expected, atol=1e-6, rtol=0)
        exported = torch.export.export(model.vision_encoder, (pixels,)).module()
        embedding = model.vision_encoder(pixels).last_hidden_state
        torch.testing.assert_close(exported(pixels).last_hidden_state, embedding, atol=1e-6, rtol=0)


def test_hidden_states_on_request():
    model = small_model()
    pixels = torch.randn(1, 3, 128, 128)
    assert model(pixels).vision_hidden_states is None
    states = model(pixels, output_hidden_states=True).vision_hidden_states
    shapes = [tuple(state.shape[1:]) for state in states]
    assert shapes == [(32, 32, 8), (16, 16, 16), (8, 8, 24), (8, 8, 32), (8, 8, 32)]


def test_the_unused_classifier_exists_only_with_classes():
    assert hasattr(small_model().vision_encoder.unused_head, "classifier")
    assert not hasattr(small_model(num_classes=0).vision_encoder.unused_head, "classifier")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_size", 100),
        ("embed_dims", [64, 128, 160]),
        ("embed_dims", [63, 128, 160, 320]),
        ("depths", [2, 0, 6, 2]),
        ("num_attention_heads", [2, 3, 5, 10]),
        ("window_sizes", [7, 7, -14, 7]),
        ("mlp_ratio", 0),
        ("mbconv_expand_ratio", -1.0),
        ("num_classes", -1),
        ("num_pos_feats", 64),
        ("model_type", "swin"),
    ],
)
def test_invalid_config_values_raise_errors_with_their_name(field, value):
    fields = {"model_type": "hq_sam_tiny_vit", field: value}
    with pytest.raises(Exception, match=f"vision_config.{field}"):
        HQSamConfig(vision_config=fields, mask_decoder_config={"vit_dim": 160})


def test_gradients_reach_the_early_feature():
    model = port(build_original(TINY), TINY)
    embeddings, (early,) = model.get_image_embeddings(torch.randn(1, 3, SIDE, SIDE))
    assert embeddings.requires_grad
    assert early.requires_grad
    assert early.shape == (1, 64, 64, 24)
