"""Automatic masks: parity with the original's generator, on equal weights and on equal logits."""

import sys

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from torch import Tensor

from hq_sam_hf import HQSamMaskGenerator, HQSamProcessor
from hq_sam_hf.export.reference import import_original
from hq_sam_hf.masks.nms import box_nms
from hq_sam_hf.masks.rle import polygons_to_mask, rle_to_mask
from hq_sam_hf.model.modeling_hq_sam import HQSamImageFeatures, HQSamOutput
from support.images import random_image
from support.oracle import SMALL, TINY, lively_pair
from support.plain_components import fake_cv2


@pytest.fixture
def original_module(monkeypatch):
    """The original's automatic_mask_generator module, with replacements for torchvision and OpenCV."""

    def batched_nms(boxes: Tensor, scores: Tensor, categories: Tensor, iou_threshold: float) -> Tensor:
        assert not categories.any()
        return torch.from_numpy(box_nms(boxes.numpy(), scores.numpy(), iou_threshold))

    def box_area(boxes: Tensor) -> Tensor:
        x1, y1, x2, y2 = boxes.reshape(-1, 4).T
        return (x2 - x1) * (y2 - y1)

    import_original()
    module = sys.modules["segment_anything_hq.automatic_mask_generator"]
    monkeypatch.setattr(module, "batched_nms", batched_nms)
    monkeypatch.setattr(module, "box_area", box_area)
    monkeypatch.setitem(sys.modules, "cv2", fake_cv2())
    return module


def make_generator(model, **options) -> HQSamMaskGenerator:
    return HQSamMaskGenerator(model, HQSamProcessor.from_config(lively_pair(SMALL)[1].config), **options)


LOOSE = {
    "pred_iou_thresh": 0.62,
    "stability_score_thresh": 0.5,
    "box_nms_thresh": 0.9,
    "crop_nms_thresh": 0.9,
    "points_per_batch": 13,
}


def compare(original_module, arch, size: tuple[int, int], at_least: int, **options) -> None:
    """Check that both generators give the same records in the same order, with equal weights on the same image."""
    sam, model = lively_pair(arch)
    options = {**LOOSE, **options}
    original = original_module.SamAutomaticMaskGenerator(sam, **options)
    expected = original.generate(random_image(size))
    records = HQSamMaskGenerator(model, HQSamProcessor.from_config(model.config), **options).generate(
        random_image(size)
    )
    assert len(records) == len(expected) >= at_least
    for record, reference in zip(records, expected):
        assert list(record) == list(reference)
        for key in ("bbox", "crop_box", "area"):
            assert record[key] == reference[key], key
        assert np.array_equal(record["segmentation"], reference["segmentation"])
        assert record["segmentation"].dtype == np.bool_
        np.testing.assert_allclose(record["point_coords"], reference["point_coords"], atol=1e-9)
        for key in ("predicted_iou", "stability_score"):
            assert record[key] == pytest.approx(reference[key], abs=1e-5)


@pytest.mark.parametrize("crop_n_layers", [0, 1])
@pytest.mark.parametrize("min_mask_region_area", [0, 100])
@pytest.mark.slow
def test_records_equal_those_of_the_original(original_module, crop_n_layers, min_mask_region_area):
    compare(
        original_module,
        SMALL,
        (70, 52),
        at_least=15,
        points_per_side=10,
        crop_n_layers=crop_n_layers,
        min_mask_region_area=min_mask_region_area,
    )


@pytest.mark.slow
@pytest.mark.parametrize("crop_n_layers", [0, 1])
@pytest.mark.parametrize("min_mask_region_area", [0, 100])
def test_records_of_light_hq_sam_equal_those_of_the_original(original_module, crop_n_layers, min_mask_region_area):
    compare(
        original_module,
        TINY,
        (70, 52),
        at_least=7,
        points_per_side=5,
        crop_n_layers=crop_n_layers,
        min_mask_region_area=min_mask_region_area,
    )


class Painter:
    """Replaces the model: its masks are rings and blobs near each point, some with small separate parts.

    Its logits depend only on the point and the image. Both generators therefore get the same logits, and their
    records must be equal bit for bit.
    """

    device = torch.device("cpu")
    cells = 32

    def eval(self) -> "Painter":
        return self

    def get_image_features(self, pixel_values: Tensor) -> HQSamImageFeatures:
        return HQSamImageFeatures(image_embeddings=(100 * pixel_values.mean()).round(), hq_features=pixel_values[:0])

    def paint(self, key: Tensor, points: Tensor, multimask_output: bool) -> tuple[Tensor, Tensor]:
        """Logits (P, M, 32, 32) and scores (P, M) for points (P, 2) in an input of 128 pixels, best score first."""
        centres = (points / 20).round().double() * 20 / 4  # neighbouring points lie on the same object
        y, x = torch.meshgrid(*[torch.arange(self.cells, dtype=torch.float64) + 0.5] * 2, indexing="ij")
        kinds = torch.arange(3 if multimask_output else 1, dtype=torch.float64)[:, None]
        seeds = torch.sin(key.double() + centres @ torch.tensor([1.7, 0.9], dtype=torch.float64) + kinds)  # (M, P)
        radii = 3.5 + 2.5 * seeds.T
        distances = (x - centres[:, 0, None, None]) ** 2 + (y - centres[:, 1, None, None]) ** 2
        logits = radii[..., None, None] - distances.sqrt()[:, None]
        logits = logits + torch.sin(2.1 * x) * torch.sin(1.9 * y + key.double())
        rings = torch.sin(5 * seeds.T) > 0
        logits = 4 * torch.where(rings[..., None, None], 1.5 - (logits - 1.5).abs(), logits)
        scores, order = (0.7 + 0.3 * torch.sin(7 * seeds.T)).sort(dim=1, descending=True, stable=True)
        logits = logits.gather(1, order[..., None, None].expand_as(logits))
        return logits.float(), scores.float()

    def __call__(
        self,
        image_features,
        input_points,
        input_labels,
        multimask_output,
        hq_token_only,
        min_iou_score,
        prompt_counts,
    ):
        assert (input_labels == 1).all()
        logits, scores = self.paint(image_features.image_embeddings, input_points[0, :, 0], multimask_output)
        if hq_token_only:
            logits, scores = -logits[:, :1], scores[:, :1]
        if min_iou_score is not None:
            logits = torch.where((scores > min_iou_score)[..., None, None], logits, -torch.inf)
        return HQSamOutput(pred_masks=logits[None], iou_scores=scores[None])


def replace_model(generator, candidates: int) -> None:
    """Let the original's generator use the painter's logits."""
    painter, predictor = Painter(), generator.predictor

    def predict_torch(points, labels, multimask_output, return_logits):
        key = painter.get_image_features(predictor.pixel_values).image_embeddings
        logits, scores = painter.paint(key, points[:, 0].float(), multimask_output)
        masks = predictor.model.postprocess_masks(
            logits[:, :candidates], predictor.input_size, predictor.original_size
        )
        return masks, scores[:, :candidates], logits

    def set_torch_image(image, original_size):
        predictor.original_size, predictor.input_size = original_size, tuple(image.shape[-2:])
        predictor.pixel_values = predictor.model.preprocess(image)

    predictor.predict_torch, predictor.set_torch_image = predict_torch, set_torch_image


PAINTED = {
    "thresholds": {"pred_iou_thresh": 0.7, "stability_score_thresh": 0.6},
    "no thresholds": {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0},
    "overlaps are kept": {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.3, "box_nms_thresh": 1.0},
    "small parts": {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.4, "min_mask_region_area": 30},
    "large parts": {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.4, "min_mask_region_area": 400},
    "offset": {"pred_iou_thresh": 0.6, "stability_score_thresh": 0.5, "stability_score_offset": 0.4},
    "crops": {"pred_iou_thresh": 0.6, "stability_score_thresh": 0.5, "crop_n_layers": 1},
    "two layers": {
        "pred_iou_thresh": 0.6,
        "stability_score_thresh": 0.5,
        "crop_n_layers": 2,
        "crop_n_points_downscale_factor": 2,
        "crop_overlap_ratio": 0.2,
        "crop_nms_thresh": 0.5,
    },
    "crops and parts": {
        "pred_iou_thresh": 0.6,
        "stability_score_thresh": 0.4,
        "crop_n_layers": 1,
        "min_mask_region_area": 60,
        "crop_nms_thresh": 0.9,
    },
    "own points": {
        "points_per_side": None,
        "point_grids": [np.array([[0.5, 0.5], [0.1, 0.9], [0.7, 0.2]]), np.array([[0.3, 0.3]])],
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.3,
        "crop_n_layers": 1,
    },
}


@pytest.mark.parametrize("multimask_output", [True, False], ids=["multi", "single"])
@pytest.mark.parametrize("case", PAINTED)
@pytest.mark.slow
def test_equal_logits_give_equal_records_with_every_option(original_module, case, multimask_output):
    options = {"points_per_side": 9, "points_per_batch": 20, **PAINTED[case]}
    # The plain search for connected components is slow, so its image is small.
    sizes = [(64, 40)] if "min_mask_region_area" in options else [(64, 40), (90, 117)]
    for candidates in (1, 3):
        for size in sizes:
            original = original_module.SamAutomaticMaskGenerator(lively_pair(SMALL)[0], **options)
            replace_model(original, candidates)
            expected = original.generate(random_image(size), multimask_output=multimask_output)
            generator = make_generator(Painter(), candidates=candidates, **options)
            records = generator.generate(random_image(size), multimask_output=multimask_output)
            assert len(records) == len(expected) > 2
            for record, reference in zip(records, expected):
                assert np.array_equal(record.pop("segmentation"), reference.pop("segmentation"))
                np.testing.assert_equal(record, reference)  # also where a score is NaN


def test_all_output_modes_encode_the_same_masks(original_module):
    options = {**LOOSE, "points_per_side": 6}
    model = lively_pair(SMALL)[1]
    records = {
        mode: make_generator(model, output_mode=mode, **options).generate(random_image((70, 52)))
        for mode in ("binary_mask", "uncompressed_rle", "coco_rle", "polygons")
    }
    original = original_module.SamAutomaticMaskGenerator(
        lively_pair(SMALL)[0], output_mode="uncompressed_rle", **options
    )
    expected = [record["segmentation"] for record in original.generate(random_image((70, 52)))]
    assert [record["segmentation"] for record in records["uncompressed_rle"]] == expected
    assert len(expected) > 5
    for binary, runs, text, polygons in zip(*records.values()):
        mask = binary["segmentation"]
        assert np.array_equal(rle_to_mask(runs["segmentation"]), mask)
        assert text["segmentation"]["counts"] == coco.encode(np.asfortranarray(mask))["counts"].decode()
        assert text["segmentation"]["size"] == [70, 52]
        assert np.array_equal(polygons_to_mask(polygons["segmentation"], mask.shape), mask)
        assert binary["area"] == text["area"] == mask.sum()


def test_hq_token_only_and_three_candidates_per_point():
    options = {
        **LOOSE,
        "points_per_side": 5,
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.0,
        "box_nms_thresh": 1,
    }
    model = lively_pair(SMALL)[1]
    image = random_image((70, 52))
    summed = make_generator(model, **options).generate(image)
    alone = make_generator(model, hq_token_only=True, **options).generate(image)
    three = make_generator(model, candidates=3, **options).generate(image)
    assert (len(summed), len(alone), len(three)) == (25, 25, 75)
    assert not all(np.array_equal(a["segmentation"], b["segmentation"]) for a, b in zip(summed, alone))
    processor = HQSamProcessor.from_config(model.config)
    inputs = processor(image, input_points=[[record["point_coords"] for record in alone]])
    outputs = model(**inputs, hq_token_only=True)
    masks = processor.post_process_masks(outputs, inputs)[0][:, 0].numpy()
    assert sum((record["segmentation"] != mask).sum() for record, mask in zip(alone, masks)) <= 1
    best = {tuple(record["point_coords"][0]): record["predicted_iou"] for record in summed}
    assert all(record["predicted_iou"] <= best[tuple(record["point_coords"][0])] + 1e-6 for record in three)


def test_points_below_the_iou_threshold_are_never_resized(monkeypatch):
    import hq_sam_hf.inference.mask_generator as module

    resized = []
    measure = module.stable_masks

    def counted(logits, *arguments):
        resized.append(len(logits))
        return measure(logits, *arguments)

    monkeypatch.setattr(module, "stable_masks", counted)
    generator = make_generator(lively_pair(SMALL)[1], **{**LOOSE, "pred_iou_thresh": 0.9}, points_per_side=10)
    generator.generate(random_image((70, 52)))
    assert 0 < sum(resized) < 40


def test_no_good_mask_gives_an_empty_list(original_module):
    options = {"points_per_side": 3, "pred_iou_thresh": 5.0, "crop_n_layers": 1, "min_mask_region_area": 10}
    assert make_generator(lively_pair(SMALL)[1], **options).generate(random_image((70, 52))) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (300, 7)])
def test_images_of_few_pixels_have_fewer_crops(size):
    generator = make_generator(lively_pair(SMALL)[1], points_per_side=2, crop_n_layers=2, pred_iou_thresh=0)
    for record in generator.generate(random_image(size)):
        assert record["segmentation"].shape == size


def test_a_progress_bar_counts_the_batches_of_all_crops(capsys):
    generator = make_generator(Painter(), points_per_side=4, points_per_batch=10, crop_n_layers=1, progress=True)
    generator.generate(random_image((40, 50)))
    assert "10/10" in capsys.readouterr().err
    generator.progress = False
    generator.generate(random_image((40, 50)))
    assert capsys.readouterr().err == ""


ERRORS = {
    "no points": ({"points_per_side": 0}, "`points_per_side` must be an integer of at least 1, got 0"),
    "neither": ({"points_per_side": None}, "Exactly one of `points_per_side` and `point_grids`"),
    "both": ({"point_grids": [np.zeros((1, 2))]}, "Exactly one of `points_per_side` and `point_grids`"),
    "a layer without grid": (
        {"points_per_side": None, "point_grids": [np.zeros((1, 2))], "crop_n_layers": 1},
        "a grid for each of 2 layers .* got 1",
    ),
    "points in pixels": ({"points_per_side": None, "point_grids": [np.full((4, 2), 7.0)]}, r"x, y in \[0, 1\]"),
    "an unknown mode": ({"output_mode": "png"}, "`output_mode` must be one of binary_mask, .* got 'png'"),
    "two candidates": ({"candidates": 2}, "`candidates` must be 1 .* or 3"),
    "empty batches": ({"points_per_batch": 0}, "`points_per_batch`"),
    "layers without points": (
        {"points_per_side": 4, "crop_n_layers": 3, "crop_n_points_downscale_factor": 2},
        "Crops of layer 3 would have no points",
    ),
    "not a number": ({"pred_iou_thresh": float("nan")}, "`pred_iou_thresh` must be a finite number, got nan"),
    "text": ({"stability_score_thresh": "0.9"}, "`stability_score_thresh` must be a finite number, got '0.9'"),
    "a negative offset": ({"stability_score_offset": -1}, "must be a finite number of at least 0, got -1"),
    "a negative overlap": ({"box_nms_thresh": -0.1}, "`box_nms_thresh` must be a finite number from 0 to 1"),
    "an overlap in per cent": (
        {"crop_nms_thresh": 70},
        "`crop_nms_thresh` must be a finite number from 0 to 1, got 70",
    ),
    "crops that overlap wholly": ({"crop_overlap_ratio": 1.0}, "`crop_overlap_ratio` must be from 0 to below 1"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_wrong_options_are_named(case):
    options, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        make_generator(lively_pair(SMALL)[1], **options)
