"""HQ-SAM 2 as a transformers model: weights, dtypes, caches, gradients, graphs, and errors about inputs."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskGeneration, AutoProcessor, Sam2Config, Sam2Model

from hq_sam_hf import (
    HQSam2Config,
    HQSam2ImageFeatures,
    HQSam2ImageProcessor,
    HQSam2Model,
    HQSam2Processor,
    HQSamImageProcessor,
    HQSamProcessor,
)
from hq_sam_hf.model.key_mapping import POSITIONAL_MATRIX_COPY
from hq_sam_hf.model.key_mapping_sam2 import HQ_HEAD_MODULES_SAM2
from hq_sam_hf.model.modeling_hiera import HQSam2HieraAttention
from support.oracle_sam2 import CONFIGS, build_original_sam2, port_sam2, sam2_pair

SIDE = 128


@pytest.fixture(scope="module")
def model() -> HQSam2Model:
    """With 64 channels, and grids of 32, 16, 8 and 4 cells. Shared: tests must not change it."""
    return sam2_pair("small")[1]


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def own_model() -> HQSam2Model:
    """A model that a test may change."""
    return port_sam2(build_original_sam2(CONFIGS["small"]), CONFIGS["small"])


def is_of_head(name: str) -> bool:
    return name.startswith(tuple(f"mask_decoder.{module}." for module in HQ_HEAD_MODULES_SAM2))


def boxes_for(*counts: int) -> torch.Tensor:
    """Boxes (images, largest count, 4); images with fewer boxes are padded with NaN."""
    boxes = torch.full((len(counts), max(counts), 4), float("nan"))
    for i, count in enumerate(counts):
        for k in range(count):
            boxes[i, k] = torch.tensor([4.0 + k, 6.0 + i, 60.0 + 9 * k, 90.0 - 5 * i])
    return boxes


@pytest.mark.parametrize(
    ("preset", "image_part"),
    [
        ("hiera_tiny", 31_440_721),
        ("hiera_small", 38_538_577),
        ("hiera_base_plus", 73_328_401),
        ("hiera_large", 216_924_865),
    ],
)
def test_a_preset_has_the_image_part_of_sam_2_and_an_hq_head_of_177152_weights(preset, image_part):
    with torch.device("meta"):
        model = HQSam2Model(HQSam2Config.from_preset(preset))
    assert sum(weight.numel() for weight in model.parameters()) == image_part + 177_152
    heads = [getattr(model.mask_decoder, name) for name in HQ_HEAD_MODULES_SAM2]
    assert sum(weight.numel() for head in heads for weight in head.parameters()) == 177_152


def test_the_weights_have_the_names_of_transformers(model):
    theirs = Sam2Model(Sam2Config(**model.config.transformers_sections())).state_dict()
    ours = {name: weight for name, weight in model.state_dict().items() if not is_of_head(name)}
    assert theirs.keys() == ours.keys() | {POSITIONAL_MATRIX_COPY}
    assert all(theirs[name].shape == weight.shape for name, weight in ours.items())


def test_auto_classes_load_what_was_saved_bit_for_bit(model, tmp_path):
    model.save_pretrained(tmp_path)
    HQSam2Processor.from_config(model.config).save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is HQSam2Config
    for auto_class in (AutoModel, AutoModelForMaskGeneration, HQSam2Model):
        again = auto_class.from_pretrained(tmp_path)
        assert type(again) is HQSam2Model
        assert again.state_dict().keys() == model.state_dict().keys()
        assert all(torch.equal(again.state_dict()[name], weight) for name, weight in model.state_dict().items())
    processor = AutoProcessor.from_pretrained(tmp_path)
    assert type(processor) is HQSam2Processor
    assert type(processor.image_processor) is HQSam2ImageProcessor
    processor.check_fit(again.config)


@pytest.mark.parametrize(
    ("dtype", "logit_error", "sign_agreement"), [(torch.bfloat16, 0.05, 0.97), (torch.float16, 0.01, 0.99)]
)
def test_half_precision_is_close_to_float32(model, pixels, tmp_path, dtype, logit_error, sign_agreement):
    model.save_pretrained(tmp_path)
    half = HQSam2Model.from_pretrained(tmp_path, dtype=dtype)
    assert half.shared_image_embedding.positional_embedding.dtype == torch.float32
    with torch.no_grad():
        exact = model(pixels, input_boxes=boxes_for(2, 2)).pred_masks
        rough = half(pixels, input_boxes=boxes_for(2, 2)).pred_masks
    assert rough.dtype == dtype
    assert (rough.float() - exact).norm() / exact.norm() < logit_error
    assert ((rough > 0) == (exact > 0)).float().mean() > sign_agreement


def test_eager_attention_is_transformers_own_and_gives_the_same_masks(model, pixels):
    eager = sam2_pair("small", "eager")[1]
    with torch.no_grad():
        first, second = (each(pixels, input_boxes=boxes_for(2, 2)).pred_masks for each in (eager, model))
    torch.testing.assert_close(first, second, atol=5e-6, rtol=0)
    is_ours = [
        isinstance(each.vision_encoder.backbone.blocks[0].attn, HQSam2HieraAttention) for each in (eager, model)
    ]
    assert is_ours == [False, True]


@pytest.mark.parametrize("multimask_output", [False, True])
@pytest.mark.parametrize("options", [{}, {"hq_token_only": True}, {"sam_only": True}], ids=str)
def test_numbers_of_masks_and_scores_agree(model, pixels, multimask_output, options):
    with torch.no_grad():
        output = model(pixels, input_boxes=boxes_for(3, 3), multimask_output=multimask_output, **options)
    expected = 3 if multimask_output and "hq_token_only" not in options else 1
    assert output.pred_masks.shape == (2, 3, expected, 32, 32)
    assert output.iou_scores.shape == (2, 3, expected)
    assert output.object_score_logits.shape == (2, 3, 1)
    assert (output.iou_scores.diff(dim=2) <= 0).all()


def test_cached_images_give_the_same_masks(model, pixels):
    prompts = {"input_points": torch.tensor([[[[20.0, 30.0]]], [[[40.0, 50.0]]]])}
    with torch.no_grad():
        direct = model(pixels, **prompts)
        as_transformers = model(image_embeddings=model.get_image_embeddings(pixels), **prompts)
        features = model.get_image_features(pixels)
        compact = model(image_features=features, **prompts)
        features.image_projections = None
        without_projections = model(image_features=features, **prompts)
    for cached in (as_transformers, compact, without_projections):
        for name, value in direct.items():
            torch.testing.assert_close(cached[name], value, atol=1e-6, rtol=0, msg=name)


def test_prompts_in_parts_give_the_same_masks(model, pixels, monkeypatch):
    from hq_sam_hf.model import modeling_prompted

    with torch.no_grad():
        whole = model(pixels, input_boxes=boxes_for(5, 3))
        monkeypatch.setattr(modeling_prompted, "prompts_at_once", lambda *_: 2)
        parts = model(pixels, input_boxes=boxes_for(5, 3))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=5e-6, rtol=0, equal_nan=True, msg=name)


def test_masks_below_the_least_score_are_empty(model, pixels):
    with torch.no_grad():
        every = model(pixels, input_boxes=boxes_for(3, 3))
        least = every.iou_scores.median().item()
        some = model(pixels, input_boxes=boxes_for(3, 3), min_iou_score=least)
    passes = every.iou_scores > least
    assert passes.any()
    assert not passes.all()
    assert torch.equal(some.iou_scores, every.iou_scores)
    torch.testing.assert_close(some.pred_masks[passes], every.pred_masks[passes], atol=5e-6, rtol=0)
    assert (some.pred_masks[~passes] == float("-inf")).all()


def test_hidden_states_on_request(model, pixels):
    with torch.no_grad():
        assert model(pixels).vision_hidden_states is None
        states = model(pixels, output_hidden_states=True).vision_hidden_states
    assert len(states) == 1 + 7  # the patch embeddings and seven blocks
    assert states[0].shape == (2, 32, 32, 16)
    assert states[-1].shape == (2, 4, 4, 128)


def test_tuple_output(model, pixels):
    with torch.no_grad():
        masks, scores, objects = model(pixels, return_dict=False)
    assert masks.shape[:3] == scores.shape == (2, 1, 3)
    assert objects.shape == (2, 1, 1)


def test_another_image_size(pixels):
    model = own_model()
    model.resize_image(192)
    assert model.config.mask_size == 48
    with torch.no_grad():
        assert model(torch.randn(1, 3, 192, 192)).pred_masks.shape == (1, 1, 3, 48, 48)
        with pytest.raises(ValueError, match=r"`pixel_values` must have shape \(images, 3, 192, 192\)"):
            model(pixels)
    with pytest.raises(ValueError, match="`image_size` must be a positive multiple of 32, got 100"):
        model.resize_image(100)
    fresh = HQSam2Model(HQSam2Config(**model.config.to_dict()))  # the configuration has the new size
    fresh.load_state_dict(model.state_dict())


def labels_for(pixels: torch.Tensor) -> torch.Tensor:
    labels = torch.zeros(2, 3, SIDE, SIDE)
    labels[..., 16:48, 16:48] = 1
    labels[1, 1:] = -100  # the second image has one object
    return labels


def test_labels_train_the_hq_mask_alone(pixels):
    model = own_model().train().requires_grad_(True)
    model(pixels, input_boxes=boxes_for(3, 1), labels=labels_for(pixels)).loss.backward()
    with_gradient = {name for name, weight in model.named_parameters() if weight.grad is not None}
    head = {name for name, _ in model.named_parameters() if is_of_head(name)}
    assert head <= with_gradient
    assert not any("output_hypernetworks_mlps" in name or "iou_prediction" in name for name in with_gradient)
    assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)


def test_labels_with_sam_only_train_sam(pixels):
    model = own_model().train().requires_grad_(True)
    model(
        pixels, input_boxes=boxes_for(3, 1), labels=labels_for(pixels), sam_only=True, multimask_output=False
    ).loss.backward()
    assert model.mask_decoder.mask_tokens.weight.grad is not None
    assert not any(weight.grad is not None for name, weight in model.named_parameters() if is_of_head(name))


def test_the_loss_is_the_same_for_every_call_in_evaluation_mode(model, pixels):
    losses = {model(pixels, input_boxes=boxes_for(3, 1), labels=labels_for(pixels)).loss.item() for _ in range(2)}
    assert len(losses) == 1


def test_gradient_checkpointing_gives_the_same_gradients(pixels):
    gradients = []
    for checkpointing in (False, True):
        model = own_model().train().requires_grad_(True)
        if checkpointing:
            # transformers 5.2x renamed it
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable()
        model(pixels, input_boxes=boxes_for(2, 2)).pred_masks.square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert model.vision_encoder.backbone.blocks[0].gradient_checkpointing
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_an_hq_head_that_starts_from_sam_has_the_signs_of_sams_mask(pixels):
    model = own_model().train()  # in training mode the single mask is always that of the first token
    model.mask_decoder.start_hq_mask_from_sam()
    features = model.get_image_features(pixels)
    with torch.no_grad():
        both = model(image_features=features, input_boxes=boxes_for(2, 2), multimask_output=False).pred_masks
        hq = model(
            image_features=features, input_boxes=boxes_for(2, 2), multimask_output=False, hq_token_only=True
        ).pred_masks
    assert ((hq > 0) == (both - hq > 0)).float().mean() > 0.999


def test_a_fresh_model_is_initialised_as_the_original():
    model = HQSam2Model(CONFIGS["small"])
    backbone = model.vision_encoder.backbone
    assert not backbone.pos_embed.any()
    assert not backbone.pos_embed_window.any()
    assert model.no_memory_embedding.std().item() == pytest.approx(0.02, rel=0.5)
    # PyTorch's default for a Linear layer is uniform with bound 1 / sqrt(inputs)
    assert backbone.blocks[0].attn.qkv.weight.abs().max().item() == pytest.approx(16**-0.5, rel=0.02)
    assert model.mask_decoder.hq_mask_mlp.proj_in.weight.abs().max().item() == pytest.approx(64**-0.5, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("multimask_output", [True, False])
def test_torch_compile_makes_a_single_graph(model, pixels, multimask_output):
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    arguments = {
        "input_points": torch.rand(2, 2, 3, 2) * SIDE,
        "input_boxes": boxes_for(2, 2),
        "multimask_output": multimask_output,
    }
    with torch.no_grad():
        expected, actual = model(pixels, **arguments), compiled(pixels, **arguments)
    torch.testing.assert_close(actual.pred_masks, expected.pred_masks, atol=5e-6, rtol=0)


class DecoderOnly(torch.nn.Module):
    def __init__(self, model: HQSam2Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, embeddings, fine, middle, points, labels, boxes):
        features = HQSam2ImageFeatures(embeddings, fine, middle)
        prompts = {"input_points": points, "input_labels": labels, "input_boxes": boxes}
        output = self.model(image_features=features, **prompts, multimask_output=False)
        return output.pred_masks, output.iou_scores


@pytest.mark.slow
def test_encoder_and_decoder_export(model, pixels):
    with torch.no_grad():
        encoder = torch.export.export(model.vision_encoder, (pixels,)).module()
        for mine, theirs in zip(encoder(pixels).feature_maps, model.vision_encoder(pixels).feature_maps):
            torch.testing.assert_close(mine, theirs, atol=5e-6, rtol=0)
        features = model.get_image_features(pixels)
        prompts = (torch.rand(2, 2, 3, 2) * SIDE, torch.ones(2, 2, 3, dtype=torch.long), boxes_for(2, 2))
        arguments = (*(features[name] for name in list(features)[:3]), *prompts)
        decoder = DecoderOnly(model)
        exported = torch.export.export(decoder, arguments).module()
        for mine, theirs in zip(exported(*arguments), decoder(*arguments)):
            torch.testing.assert_close(mine, theirs, atol=5e-6, rtol=0)


def part(features: HQSam2ImageFeatures, **changes) -> HQSam2ImageFeatures:
    return HQSam2ImageFeatures(**{**features, **changes})


BAD_CALLS = {
    "no image": (lambda m, x: m(), "Exactly one of .*got none of them"),
    "two images": (
        lambda m, x: m(x, image_features=m.get_image_features(x)),
        "Exactly one of .*got pixel_values and image_features",
    ),
    "image of the wrong size": (
        lambda m, x: m(x[..., :64]),
        r"`pixel_values` must have shape \(images, 3, 128, 128\), got \(2, 3, 128, 64\)",
    ),
    "image without a batch": (lambda m, x: m(x[0]), r"`pixel_values` must have shape"),
    "image as a list": (lambda m, x: m(x.tolist()), "`pixel_values` must have shape .*got a list"),
    "embeddings without the finer maps": (
        lambda m, x: m(image_embeddings=m.get_image_embeddings(x)[2]),
        r"`image_embeddings` must be the three tensors .*got \(2, 64, 8, 8\)",
    ),
    "two of three embeddings": (
        lambda m, x: m(image_embeddings=m.get_image_embeddings(x)[1:]),
        "`image_embeddings` must be the three tensors .*got a list of 2",
    ),
    "embeddings in another order": (
        lambda m, x: m(image_embeddings=m.get_image_embeddings(x)[::-1]),
        r"image_embeddings` must have shape \(images, 64, 8, 8\), got \(2, 8, 32, 32\)",
    ),
    "cache without a finer map": (
        lambda m, x: m(image_features=part(m.get_image_features(x), high_res_features_1=None)),
        "HQSam2ImageFeatures without high_res_features_1",
    ),
    "cache of two batches": (
        lambda m, x: m(
            image_features=part(
                m.get_image_features(x), high_res_features_0=m.get_image_features(x[:1]).high_res_features_0
            )
        ),
        r"`image_features.high_res_features_0` must have shape \(2, 8, 32, 32\)",
    ),
    "cache of something else": (lambda m, x: m(image_features={"a": 1}), "got dict without image_embeddings"),
    "points of rank 3": (
        lambda m, x: m(x, input_points=torch.zeros(2, 1, 2)),
        r"`input_points` must be .*\(2, 1, 2\)",
    ),
    "points as a list": (lambda m, x: m(x, input_points=[[[[1, 2]]]]), "`input_points` must be .*a list"),
    "points for another batch": (
        lambda m, x: m(x, input_points=torch.zeros(1, 1, 1, 2)),
        "`input_points` is for 1 images, but there are 2",
    ),
    "no points": (lambda m, x: m(x, input_points=torch.zeros(2, 0, 1, 2)), "`input_points` holds no prompt"),
    "labels of points without points": (
        lambda m, x: m(x, input_labels=torch.ones(2, 1, 1)),
        "`input_labels` were given without `input_points`",
    ),
    "labels of fewer points": (
        lambda m, x: m(x, input_points=torch.zeros(2, 1, 2, 2), input_labels=torch.ones(2, 1, 1)),
        r"`input_labels` must have shape \(2, 1, 2\)",
    ),
    "boxes of three numbers": (lambda m, x: m(x, input_boxes=torch.zeros(2, 1, 3)), "`input_boxes` must be"),
    "boxes as a list": (lambda m, x: m(x, input_boxes=[[[1, 2, 3, 4]]] * 2), "`input_boxes` must be .*a list"),
    "boxes and points of other numbers": (
        lambda m, x: m(x, input_points=torch.zeros(2, 2, 1, 2), input_boxes=torch.zeros(2, 3, 4)),
        "2 in `input_points`, 3 in `input_boxes`",
    ),
    "masks of another size": (
        lambda m, x: m(x, input_masks=torch.zeros(2, 1, 128, 128)),
        r"`input_masks` must be a tensor of shape \(images, prompts, 32, 32\)",
    ),
    "masks of rank 3": (lambda m, x: m(x, input_masks=torch.zeros(2, 32, 32)), "`input_masks` must be"),
    "masks as a list": (lambda m, x: m(x, input_masks=[[1]]), "`input_masks` must be .*a list"),
    "two masks for three boxes": (
        lambda m, x: m(x, input_boxes=boxes_for(3, 3), input_masks=torch.zeros(2, 2, 32, 32)),
        "3 in `input_boxes`, 2 in `input_masks`",
    ),
    "SAM alone and HQ alone": (
        lambda m, x: m(x, sam_only=True, hq_token_only=True),
        "`sam_only` and `hq_token_only` exclude each other",
    ),
    "labels for three masks of SAM": (
        lambda m, x: m(x, sam_only=True, labels=torch.zeros(2, 1, 8, 8)),
        "`labels` with `sam_only` need multimask_output=False",
    ),
    "labels for more prompts": (
        lambda m, x: m(x, input_boxes=boxes_for(1, 1), labels=torch.zeros(2, 2, 8, 8)),
        r"`labels` must have shape \(2, 1, height, width\)",
    ),
    "labels up to 255": (
        lambda m, x: m(x, labels=torch.full((2, 1, 8, 8), 255)),
        r"`labels` must lie in \[0, 1\].* / 255",
    ),
    "no labels anywhere": (lambda m, x: m(x, labels=torch.full((2, 1, 8, 8), -100)), "negative throughout"),
    "a size that no Hiera has": (lambda m, x: m.resize_image(64.0), "must be a positive multiple of 32, got 64.0"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_a_wrong_input_raises_an_error_with_its_name(model, pixels, case):
    call, message = BAD_CALLS[case]
    with pytest.raises(ValueError, match=message):
        call(model, pixels)


def test_a_processor_of_the_other_family_does_not_fit(model):
    processor = HQSamProcessor(HQSamImageProcessor.from_sizes(128, 32))
    message = "HQSamProcessor prepares .* of the type hq_sam, but .* hq_sam2. Use HQSam2Processor"
    with pytest.raises(ValueError, match=message):
        processor.check_fit(model.config)
    with pytest.raises(ValueError, match=message):
        HQSamProcessor.from_config(model.config)
