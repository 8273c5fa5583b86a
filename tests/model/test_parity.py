"""Masks, scores and embeddings equal the original's, with the same weights."""

import itertools

import numpy as np
import pytest
import torch

from hq_sam_hf import HQSamProcessor
from hq_sam_hf.export.reference import import_original, run_original
from support.oracle import FINE, NARROW, SMALL, VIT_B, WIDE, Architecture, pair

ARCHITECTURES = pytest.mark.parametrize("arch", [SMALL, NARROW, WIDE, FINE], ids=["small", "narrow", "wide", "fine"])
PROMPTS = [
    "point",
    "points",
    "box",
    "box+points",
    "mask",
    "mask+box",
    "5 boxes",
    "5 boxes+5 masks",
    "none",
]


def make_prompts(kind: str, arch: Architecture, seed: int) -> dict[str, torch.Tensor]:
    """Random prompts in model input coordinates: points (P, N, 2), labels, boxes (P, 4), masks (P, 1, h, w)."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    count = 5 if "5" in kind else 1
    prompts = {}
    if "point" in kind:
        number = 3 if "points" in kind else 1
        prompts["points"] = uniform(1, number, 2) * arch.image
        prompts["labels"] = torch.tensor([[1, 0, 1][:number]])
    if "box" in kind:
        corners = uniform(count, 2, 2) * arch.image
        prompts["boxes"] = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    if "mask" in kind:
        side = 4 * arch.image // arch.patch
        prompts["masks"] = 20 * uniform(count, 1, side, side) - 10
    return prompts


def predict_with_original(sam, pixel_values, prompts, **options):
    points = (prompts["points"], prompts["labels"]) if "points" in prompts else None
    return run_original(sam, pixel_values, points, prompts.get("boxes"), prompts.get("masks"), **options)


def predict_with_ours(model, pixel_values, batch_of_prompts, **options):
    """Prompts of the same kind for every image."""

    def stack(name):
        if name not in batch_of_prompts[0]:
            return None
        return torch.stack([prompts[name] for prompts in batch_of_prompts])

    masks = stack("masks")
    with torch.no_grad():
        return model(
            pixel_values,
            input_points=stack("points"),
            input_labels=stack("labels"),
            input_boxes=stack("boxes"),
            input_masks=None if masks is None else masks[:, :, 0],
            **options,
        )


def random_images(arch: Architecture, number: int) -> torch.Tensor:
    return torch.randn(number, 3, arch.image, arch.image, generator=torch.Generator().manual_seed(5))


@ARCHITECTURES
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_encoder_and_early_feature_equal_the_original(arch, attention):
    sam, model = pair(arch, attention)
    images = random_images(arch, 2)
    with torch.no_grad():
        features, intermediate = sam.image_encoder(images)
        ours, ours_intermediate = model.get_image_embeddings(images)
    assert len(ours_intermediate) == len(intermediate)
    torch.testing.assert_close(ours, features, atol=5e-6, rtol=0)
    torch.testing.assert_close(ours_intermediate[0], intermediate[0], atol=5e-6, rtol=0)


@ARCHITECTURES
@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("multimask_output", [False, True], ids=["single", "multi"])
@pytest.mark.parametrize("hq_token_only", [False, True], ids=["sum", "hq"])
def test_masks_and_scores_equal_the_original(arch, kind, multimask_output, hq_token_only):
    sam, model = pair(arch)
    options = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}
    for batch in (1, 2):
        images = random_images(arch, batch)
        prompts = [make_prompts(kind, arch, seed) for seed in range(batch)]
        outputs = predict_with_ours(model, images, prompts, **options)
        for i in range(batch):
            masks, scores = predict_with_original(sam, images[i : i + 1], prompts[i], **options)
            assert masks.std() > 0.01
            torch.testing.assert_close(outputs.pred_masks[i, :, :1], masks, atol=5e-6, rtol=0)
            torch.testing.assert_close(outputs.iou_scores[i, :, :1], scores, atol=1e-6, rtol=0)


def test_the_three_candidates_are_sams_masks_plus_the_hq_mask_by_score():
    sam, model = pair(SMALL)
    images, prompts = random_images(SMALL, 1), make_prompts("box", SMALL, 0)
    ours = predict_with_ours(model, images, [prompts], multimask_output=True)
    assert ours.pred_masks.shape[2] == ours.iou_scores.shape[2] == 3
    assert (ours.iou_scores.diff(dim=2) <= 0).all()
    with torch.no_grad():
        features, intermediate = sam.image_encoder(images)
        sparse, dense = sam.prompt_encoder(points=None, boxes=prompts["boxes"], masks=None)
        decoder = sam.mask_decoder
        hq_features = decoder.embedding_encoder(features)
        hq_features = hq_features + decoder.compress_vit_feat(intermediate[0].permute(0, 3, 1, 2))
        position = sam.prompt_encoder.get_dense_pe()
        five, scores = decoder.predict_masks(features, position, sparse, dense, hq_features)
    order = scores[0, 1:4].argsort(descending=True) + 1
    expected = five[0, order] + five[0, 4]
    torch.testing.assert_close(ours.pred_masks[0, 0], expected, atol=5e-6, rtol=0)
    torch.testing.assert_close(ours.iou_scores[0, 0], scores[0, order], atol=1e-6, rtol=0)


SIZES = [(333, 517), (1500, 700), (97, 1024), (3000, 4000)]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("arch", [SMALL, FINE], ids=["small", "fine"])
def test_photo_to_mask_equals_the_original_predictor(arch, size, photo):
    sam, model = pair(arch)
    check_predictor(sam, model, arch, np.asarray(photo.resize(size[::-1])), atol=5e-6)


@pytest.mark.slow
def test_vit_b_at_1024_equals_the_original_predictor(photo):
    sam, model = pair(VIT_B)
    check_predictor(sam, model, VIT_B, np.asarray(photo), atol=5e-6, encoder_atol=2e-5)


@pytest.mark.slow
def test_vit_b_at_1024_predicts_the_originals_masks_for_every_kind_of_prompt():
    sam, model = pair(VIT_B)
    images = random_images(VIT_B, 2)
    with torch.no_grad():
        encoded = [sam.image_encoder(image[None]) for image in images]
        ours = model.get_image_features(images)
    for i, (features, _) in enumerate(encoded):
        torch.testing.assert_close(ours.image_embeddings[i], features[0], atol=2e-5, rtol=0)
    for kind in PROMPTS:
        prompts = [make_prompts(kind, VIT_B, seed) for seed in range(2)]
        for multimask_output, hq_token_only in itertools.product((False, True), repeat=2):
            options = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}
            outputs = predict_with_ours(model, None, prompts, image_features=ours, **options)
            for i in range(2):
                masks, scores = predict_with_original(sam, None, prompts[i], encoded=encoded[i], **options)
                torch.testing.assert_close(outputs.pred_masks[i, :, :1], masks, atol=5e-6, rtol=0)
                torch.testing.assert_close(outputs.iou_scores[i, :, :1], scores, atol=1e-6, rtol=0)


def check_predictor(sam, model, arch, image, atol, encoder_atol=None):
    """One photo through both, from pixels to final masks."""
    predictor = import_original().SamPredictor(sam)
    processor = HQSamProcessor.from_config(model.config)
    predictor.set_image(image)
    height, width = image.shape[:2]
    box = [0.2 * width, 0.1 * height, 0.7 * width, 0.9 * height]
    points = [[0.5 * width, 0.4 * height], [0.1 * width, 0.8 * height]]

    expected_pixels = sam.preprocess(torch.from_numpy(predictor.transform.apply_image(image)).permute(2, 0, 1)[None])
    inputs = processor(image, input_points=[[points]], input_labels=[[[1, 0]]], input_boxes=[[box]])
    torch.testing.assert_close(inputs["pixel_values"], expected_pixels, atol=1e-6, rtol=0)
    with torch.no_grad():
        features = model.get_image_features(inputs["pixel_values"])
    torch.testing.assert_close(features.image_embeddings, predictor.features, atol=encoder_atol or atol, rtol=0)

    for multimask_output in (False, True):
        for hq_token_only in (False, True):
            options = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}
            expected, expected_score, expected_logits = predictor.predict(
                point_coords=np.array(points), point_labels=np.array([1, 0]), box=np.array(box), **options
            )
            prompts = {key: value for key, value in inputs.items() if key != "pixel_values"}
            with torch.no_grad():
                outputs = model(image_features=features, **prompts, **options)
            logits = outputs.pred_masks[0, 0, :1]
            torch.testing.assert_close(logits, torch.from_numpy(expected_logits), atol=atol, rtol=0)
            torch.testing.assert_close(
                outputs.iou_scores[0, 0, :1], torch.from_numpy(expected_score), atol=1e-6, rtol=0
            )
            # The same logits give the same mask, bit for bit.
            same = processor.post_process_masks(
                torch.from_numpy(expected_logits)[None], inputs["original_sizes"], inputs["reshaped_input_sizes"]
            )[0]
            assert np.array_equal(same.numpy(), expected)
            # End to end, a pixel may only differ where the original's own logit is rounding noise around zero.
            ours = processor.post_process_masks(outputs, inputs)[0][0, :1]
            differing = ours.numpy() != expected
            if differing.any():
                full, _, _ = predictor.predict(
                    point_coords=np.array(points),
                    point_labels=np.array([1, 0]),
                    box=np.array(box),
                    return_logits=True,
                    **options,
                )
                assert np.abs(full[differing]).max() <= 2 * atol
