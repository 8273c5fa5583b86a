"""`HQSamMaskGenerator` with HQ-SAM 2 gives the records of Meta's generator, with its defaults."""

import sys

import numpy as np
import pytest
import torch

from hq_sam_hf import HQSamMaskGenerator
from hq_sam_hf.masks.nms import box_nms
from hq_sam_hf.model.processing_hq_sam2 import HQSam2Processor
from support.images import random_image
from support.lively_sam2 import lively_sam2_pair
from support.oracle_sam2 import import_sam2
from support.plain_components import fake_cv2, plainly_without_small_regions

# Meta's code compiles its preprocessing with a function that PyTorch has deprecated, and says where CUDA is missing.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script:DeprecationWarning", "ignore:(?s).*Skipping the post-processing:UserWarning"
)

LOOSE = {
    "pred_iou_thresh": 0.7,
    "stability_score_thresh": 0.5,
    "box_nms_thresh": 0.98,
    "crop_nms_thresh": 0.98,
    "points_per_batch": 13,
    "points_per_side": 6,
}


def make_generator(**options):
    model = lively_sam2_pair()[1]
    return HQSamMaskGenerator(model, HQSam2Processor.from_config(model.config), **options)


def metas_generator(monkeypatch, **options):
    sam = lively_sam2_pair()[0]
    sam.sam_mask_decoder.source = "sum"
    module = import_sam2().automatic_mask_generator
    monkeypatch.setattr(
        module,
        "batched_nms",
        lambda boxes, scores, categories, iou_threshold: torch.from_numpy(
            box_nms(boxes.numpy(), scores.numpy(), iou_threshold)
        ),
    )
    monkeypatch.setitem(sys.modules, "cv2", fake_cv2())
    generator = module.SAM2AutomaticMaskGenerator(sam, **options)
    size = sam.image_size
    generator.predictor._bb_feat_sizes = [(size // 4, size // 4), (size // 8, size // 8), (size // 16, size // 16)]
    return generator


@pytest.mark.parametrize("crop_n_layers", [0, 1])
@pytest.mark.parametrize("multimask_output", [True, False])
@pytest.mark.slow
def test_records_equal_those_of_metas_generator(monkeypatch, crop_n_layers, multimask_output):
    options = {**LOOSE, "crop_n_layers": crop_n_layers}
    image = random_image((70, 52))
    original = metas_generator(monkeypatch, multimask_output=multimask_output, **options)
    expected = original.generate(image)
    records = make_generator(**options).generate(image, multimask_output=multimask_output)
    assert len(records) == len(expected) >= 5
    for record, reference in zip(records, expected):
        assert list(record) == list(reference)
        for key in ("bbox", "crop_box", "area"):
            assert record[key] == reference[key], key
        assert np.array_equal(record["segmentation"], reference["segmentation"])
        np.testing.assert_allclose(record["point_coords"], reference["point_coords"], atol=1e-9)
        for key in ("predicted_iou", "stability_score"):
            assert record[key] == pytest.approx(reference[key], abs=1e-5)


def test_the_defaults_are_those_of_metas_generator(monkeypatch):
    original, generator = metas_generator(monkeypatch), make_generator()
    for name in ("points_per_batch", "pred_iou_thresh", "stability_score_thresh", "stability_score_offset"):
        assert getattr(generator, name) == getattr(original, name), name
    for name in ("box_nms_thresh", "crop_n_layers", "crop_nms_thresh", "crop_overlap_ratio", "min_mask_region_area"):
        assert getattr(generator, name) == getattr(original, name), name
    assert original.multimask_output
    assert generator.candidates == 3
    assert len(generator.point_grids[0]) == 32 * 32


def test_holes_are_filled_and_small_parts_dropped_on_a_cpu():
    """Meta's generator needs CUDA for it, and skips it elsewhere."""
    image, area = random_image((70, 52)), 30

    def is_clean(record):
        mask = record["segmentation"]
        return np.array_equal(plainly_without_small_regions(mask, area)[0], mask)

    before = make_generator(**LOOSE).generate(image)
    after = make_generator(**LOOSE, min_mask_region_area=area).generate(image)
    assert not all(map(is_clean, before))
    assert after
    assert all(map(is_clean, after))


def test_the_pipeline_takes_hq_sam_2():
    from transformers import pipeline

    generator = make_generator(**LOOSE)
    pipe = pipeline(
        "mask-generation",
        model=generator.model,
        image_processor=generator.processor.image_processor,
    )
    image = random_image((70, 52))
    result = pipe(image, **LOOSE)
    expected = generator.generate(image)
    assert len(result["masks"]) == len(expected) > 0
    for mask, record in zip(result["masks"], expected):
        assert np.array_equal(mask, record["segmentation"])
