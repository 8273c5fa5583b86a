"""HQ-SAM 2: features, masks and scores equal those of Meta's code, and of transformers where it is right."""

import numpy as np
import pytest
import torch
from transformers import Sam2Config, Sam2Model

from hq_sam_hf import HQSam2Config, HQSam2Processor
from hq_sam_hf.model.key_mapping import POSITIONAL_MATRIX_COPY
from support.oracle_sam2 import (
    CASES,
    CONFIGS,
    SOURCES,
    build_original_sam2,
    encode_original,
    import_sam2,
    port_sam2,
    run_original_sam2,
    sam2_pair,
)

# Meta's code compiles its preprocessing with a function that PyTorch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")

NAMES = pytest.mark.parametrize("name", CONFIGS)
KINDS = ["point", "points", "box", "box+point", "mask", "mask+box", "5 boxes", "5 boxes+5 masks", "none"]


def make_prompts(kind: str, side: int, seed: int) -> dict[str, torch.Tensor]:
    """Random prompts in model input coordinates: points (P, N, 2), labels, boxes (P, 4), masks (P, 1, m, m)."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    count = 5 if "5" in kind else 1
    prompts = {}
    if "point" in kind:
        number = 3 if "points" in kind else 1
        prompts["points"] = uniform(1, number, 2) * side
        prompts["labels"] = torch.tensor([[1, 0, 1][:number]])
    if "box" in kind:
        corners = uniform(count, 2, 2) * side
        prompts["boxes"] = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    if "mask" in kind:
        prompts["masks"] = 20 * uniform(count, 1, side // 4, side // 4) - 10
    return prompts


def run_ours(model, batch_of_prompts, **options):
    """Prompts of the same kind for every image."""

    def stack(name):
        if name not in batch_of_prompts[0]:
            return None
        return torch.stack([prompts[name] for prompts in batch_of_prompts])

    masks = stack("masks")
    with torch.no_grad():
        return model(
            input_points=stack("points"),
            input_labels=stack("labels"),
            input_boxes=stack("boxes"),
            input_masks=None if masks is None else masks[:, :, 0],
            **options,
        )


def run_oracle(sam, encoded, prompts, **options):
    points = (prompts["points"], prompts["labels"]) if "points" in prompts else None
    return run_original_sam2(sam, encoded, points, prompts.get("boxes"), prompts.get("masks"), **options)


def best_first(masks: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks (..., M, h, w) and scores (..., M) in the order of the scores. One HQ mask has the best of the scores."""
    order = scores.argsort(dim=-1, descending=True, stable=True)
    scores = scores.gather(-1, order)[..., : masks.shape[-3]]
    if masks.shape[-3] > 1:
        masks = masks.gather(-3, order[..., None, None].expand_as(masks))
    return masks, scores


def random_images(side: int, number: int) -> torch.Tensor:
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(5))


def check_cases(sam, model, encoded, kind, **images):
    """Every case of one kind of prompt, for as many images as are encoded."""
    side = model.config.vision_config.image_size
    prompts = [make_prompts(kind, side, seed) for seed in range(len(encoded))]
    for multimask_output, source in CASES:
        ours = run_ours(model, prompts, multimask_output=multimask_output, **SOURCES[source], **images)
        for i, one in enumerate(encoded):
            masks, scores, objects = run_oracle(sam, one, prompts[i], multimask_output=multimask_output, source=source)
            masks, scores = best_first(masks, scores)
            assert masks.std() > 0.01
            torch.testing.assert_close(ours.pred_masks[i], masks, atol=5e-6, rtol=0)
            torch.testing.assert_close(ours.iou_scores[i], scores, atol=1e-6, rtol=0)
            torch.testing.assert_close(ours.object_score_logits[i], objects, atol=5e-6, rtol=0)


@NAMES
@pytest.mark.parametrize(("attention", "atol"), [("sdpa", 1e-6), ("eager", 5e-6)])
def test_image_features_equal_the_original(name, attention, atol):
    sam, model = sam2_pair(name, attention)
    images = random_images(model.config.vision_config.image_size, 2)
    with torch.no_grad():
        ours = model.get_image_embeddings(images)
    for feature, expected in zip(ours, encode_original(sam, images), strict=True):
        torch.testing.assert_close(feature, expected, atol=atol, rtol=0)


@pytest.mark.parametrize(("name", "batch"), [("small", 1), ("uneven", 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_masks_and_scores_equal_the_original(name, kind, batch):
    sam, model = sam2_pair(name)
    images = random_images(model.config.vision_config.image_size, batch)
    check_cases(sam, model, [encode_original(sam, image[None]) for image in images], kind, pixel_values=images)


def test_a_single_mask_is_the_best_candidate_where_the_first_is_not_stable():
    sam, model = sam2_pair("stable")
    side = model.config.vision_config.image_size
    images = random_images(side, 1)
    points = torch.rand(1, 20, 1, 2, generator=torch.Generator().manual_seed(1)) * side
    with torch.no_grad():
        ours = model(images, input_points=points, multimask_output=False)
        candidates = model(images, input_points=points)
    labels = torch.ones(20, 1, dtype=torch.int)
    masks, scores, _ = run_original_sam2(sam, encode_original(sam, images), (points[0], labels))
    torch.testing.assert_close(ours.pred_masks[0], masks, atol=5e-6, rtol=0)
    torch.testing.assert_close(ours.iou_scores[0], scores, atol=1e-6, rtol=0)
    is_best = torch.isclose(ours.iou_scores, candidates.iou_scores[:, :, :1]).sum().item()
    assert 0 < is_best < 20  # both branches are taken


def test_in_training_mode_a_single_mask_is_that_of_the_first_token():
    sam, model = sam2_pair("small")
    images = random_images(model.config.vision_config.image_size, 1)
    box = torch.tensor([[[20.0, 30.0, 90.0, 100.0]]])
    encoded = encode_original(sam, images)
    sam.sam_mask_decoder.train()
    model.train()
    try:
        expected = run_original_sam2(sam, encoded, boxes=box[0])[0]
        with torch.no_grad():
            ours = model(images, input_boxes=box, multimask_output=False).pred_masks[0]
    finally:
        sam.sam_mask_decoder.eval()
        model.eval()
    torch.testing.assert_close(ours, expected, atol=5e-6, rtol=0)


def predictor_of(sam, side: int):
    predictor = import_sam2().sam2_image_predictor.SAM2ImagePredictor(sam)
    predictor._bb_feat_sizes = [(side // stride,) * 2 for stride in (4, 8, 16)]  # set for 1024 pixels only
    return predictor


@pytest.mark.parametrize("size", [(128, 128), (97, 300), (400, 250)], ids=str)
def test_pixels_and_full_size_masks_equal_the_original_predictor(size, photo):
    sam, model = sam2_pair("small")
    image = np.asarray(photo.resize(size[::-1]))
    predictor, processor = predictor_of(sam, 128), HQSam2Processor.from_config(model.config)
    predictor.set_image(image)
    inputs = processor(image, input_boxes=[[[20, 10, 80, 90]]])
    torch.testing.assert_close(inputs["pixel_values"][0], predictor._transforms(image), atol=0, rtol=0)
    sam.sam_mask_decoder.source = "sum"
    expected, scores, logits = predictor.predict(box=np.array([20, 10, 80, 90]))
    with torch.no_grad():
        outputs = model(**inputs)
    order = scores.argsort()[::-1].copy()
    torch.testing.assert_close(outputs.pred_masks[0, 0], torch.from_numpy(logits[order]), atol=5e-6, rtol=0)
    # The same logits give the same masks, bit for bit.
    same = processor.post_process_masks(torch.from_numpy(logits[None, None]), [size])[0][0]
    assert np.array_equal(same.numpy(), expected.astype(bool))
    full = processor.post_process_masks(outputs, inputs, binarize=False)[0][0]
    wide = predictor.predict(box=np.array([20, 10, 80, 90]), return_logits=True)[0][order]
    torch.testing.assert_close(full, torch.from_numpy(wide), atol=5e-6, rtol=0)


def test_sequences_of_clicks_with_refinement_equal_the_original_predictor(photo):
    """Each click adds to the earlier ones, with the logits of the best mask so far, beyond the limit of 32 too."""
    sam = build_original_sam2(CONFIGS["small"])
    for mlp in sam.sam_mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight.mul_(300)
    model = port_sam2(sam, CONFIGS["small"])
    image = np.asarray(photo.resize((150, 100)))
    predictor, processor = predictor_of(sam, 128), HQSam2Processor.from_config(model.config)
    predictor.set_image(image)
    with torch.no_grad():
        features = model.get_image_features(processor(image)["pixel_values"])
    rng = np.random.default_rng(0)
    beyond = 0
    for _ in range(5):
        points, labels = np.zeros((0, 2)), np.zeros(0, dtype=int)
        theirs = ours = None
        for step in range(4):
            points = np.concatenate([points, rng.random((1, 2)) * (150, 100)])
            labels = np.append(labels, int(step == 0 or rng.random() < 0.5))
            masks, scores, logits = predictor.predict(points, labels, mask_input=theirs, multimask_output=step == 0)
            best = scores.argmax()
            prompts = processor.prepare_prompts(
                [(100, 150)], [[points.tolist()]], [[labels.tolist()]], input_masks=ours
            )
            with torch.no_grad():
                outputs = model(image_features=features, **prompts, multimask_output=step == 0)
            mask = processor.post_process_masks(outputs.pred_masks, [(100, 150)])[0][0, 0]
            differing = (mask.numpy() != masks[best].astype(bool)).mean()
            assert differing <= 1e-4  # one pixel, whose logit is zero but for rounding
            beyond += int(outputs.pred_masks.abs().max() > 32)
            theirs, ours = logits[best][None], [outputs.pred_masks[0, 0, :1]]
    assert beyond > 0


def transformers_pair(name: str):
    """transformers' Sam2Model and ours with equal weights."""
    model = sam2_pair(name)[1]
    sections = model.config.transformers_sections()
    peer = Sam2Model(Sam2Config(**sections)).eval()
    weights = model.state_dict()
    weights[POSITIONAL_MATRIX_COPY] = weights["shared_image_embedding.positional_embedding"]
    result = peer.load_state_dict(weights, strict=False)
    assert not result.missing_keys
    assert all(".hq_" in key or ".mask_conv" in key or ".mask_norm" in key for key in result.unexpected_keys)
    return peer, model


@pytest.mark.parametrize("name", ["small", "uneven"])
@pytest.mark.parametrize("multimask_output", [False, True], ids=["single", "multi"])
@pytest.mark.parametrize("kind", ["point", "points", "box", "box+point", "mask+box"])
def test_sam_only_equals_transformers(name, multimask_output, kind):
    peer, model = transformers_pair(name)
    side = model.config.vision_config.image_size
    images, prompts = random_images(side, 2), [make_prompts(kind, side, seed) for seed in range(2)]
    ours = run_ours(model, prompts, pixel_values=images, sam_only=True, multimask_output=multimask_output)
    stacked = {name: torch.stack([each[name] for each in prompts]) for name in prompts[0]}
    with torch.no_grad():
        theirs = peer(
            images,
            input_points=stacked.get("points"),
            input_labels=stacked.get("labels"),
            input_boxes=stacked.get("boxes"),
            input_masks=stacked["masks"][:, 0] if "masks" in stacked else None,
            multimask_output=multimask_output,
        )
    masks, scores = best_first(theirs.pred_masks, theirs.iou_scores)
    torch.testing.assert_close(ours.pred_masks, masks, atol=5e-6, rtol=0)
    torch.testing.assert_close(ours.iou_scores, scores, atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.object_score_logits, theirs.object_score_logits, atol=5e-6, rtol=0)


def test_a_mask_prompt_alone_has_no_points_as_in_the_original_unlike_transformers():
    peer, model = transformers_pair("small")
    sam = sam2_pair("small")[0]
    images, prompts = random_images(128, 1), make_prompts("mask", 128, 0)
    ours = run_ours(model, [prompts], pixel_values=images, sam_only=True).pred_masks[0]
    masks, scores, _ = run_oracle(sam, encode_original(sam, images), prompts, multimask_output=True, source="sam")
    torch.testing.assert_close(ours, best_first(masks, scores)[0], atol=5e-6, rtol=0)
    with torch.no_grad():
        theirs = peer(images, input_masks=prompts["masks"])
    difference = (ours - best_first(theirs.pred_masks, theirs.iou_scores)[0][0]).abs().max()
    assert difference > 1e-3


@pytest.mark.slow
def test_hiera_t_at_1024_equals_the_original():
    config = HQSam2Config.from_preset("hiera_tiny")
    sam = build_original_sam2(config)
    model = port_sam2(sam, config)
    images = random_images(1024, 1)
    encoded = encode_original(sam, images)
    with torch.no_grad():
        ours = model.get_image_embeddings(images)
    for feature, expected in zip(ours, encoded, strict=True):
        torch.testing.assert_close(feature, expected, atol=1e-6, rtol=0)
    for kind in ("points", "mask+box", "5 boxes", "none"):
        check_cases(sam, model, [encoded], kind, image_embeddings=ours)
