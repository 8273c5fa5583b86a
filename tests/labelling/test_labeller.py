"""`label_batch`: many images at once give what each image gives alone, and a bad image stops no other one."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from hq_sam_hf import HQSamMaskGenerator, HQSamPredictor, HQSamProcessor
from hq_sam_hf.inference.text import Detection, DetectorSpec, HQSamTextPredictor
from hq_sam_hf.labelling import Example, ImagePlace, ObjectPrompt, label_batch
from hq_sam_hf.labelling.labeller import Labeller
from hq_sam_hf.masks.rle import mask_to_bbox, mask_to_rle, rle_to_mask
from hq_sam_hf.model.modeling_hq_sam2 import HQSam2Model
from hq_sam_hf.model.processing_hq_sam2 import HQSam2Processor
from support.images import random_image
from support.labelling import GRID, small_spec, write_images
from support.oracle_sam2 import CONFIGS
from support.small_detectors import save_grounding_dino

BOX, OTHER = [5.0, 5.0, 40.0, 30.0], [1.0, 2.0, 20.0, 39.0]


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", 4)


def example(images, i, prompts=None, **fields):
    return Example(f"{i}.png", ImagePlace(str(images / f"{i}.png")), prompts, **fields)


def rough_mask(height):
    mask = np.zeros((height, 60), dtype=bool)
    mask[5:30, 10:40] = True
    return mask


def prompts_of_all_kinds(height):
    """Objects with every kind of prompt, and more than one call takes."""
    points = [[20.0, 10.0], [50.0, 30.0]]
    return [
        ObjectPrompt(box=BOX, label="cup"),
        ObjectPrompt(points=points, labels=[1, 0]),
        ObjectPrompt(points=points[:1], box=OTHER, score=0.75),
        ObjectPrompt(mask=json.dumps(mask_to_rle(rough_mask(height)))),
        *[ObjectPrompt(box=[1.0 * k, 2.0, 30.0 + k, 35.0]) for k in range(18)],
    ]


def test_prompts_of_several_images_give_the_masks_of_the_predictor(images, labeller):
    counts = (22, 0, 3, 1)
    batch = [example(images, i, prompts_of_all_kinds(40 + i)[:count]) for i, count in enumerate(counts)]
    records = label_batch(batch, labeller)
    predictor = HQSamPredictor(labeller.model, HQSamProcessor.from_config(labeller.model.config))
    for i, (one, record) in enumerate(zip(batch, records)):
        assert record.problem is None
        assert (record.key, record.size) == (f"{i}.png", (40 + i, 60))
        assert len(record.masks) == counts[i]
        predictor.set_image(images / f"{i}.png")
        for prompt, mask in zip(one.prompts, record.masks):
            rough = None if prompt.mask is None else rough_mask(40 + i)
            masks, scores, _ = predictor.predict(
                prompt.points, prompt.labels, prompt.box, rough, multimask_output=True
            )
            found = rle_to_mask(mask["segmentation"])
            assert (found != masks[0]).sum() <= 1  # rounding, because they are predicted together with others
            assert mask["predicted_iou"] == pytest.approx(scores[0], abs=1e-5)
            assert mask["bbox"] == mask_to_bbox(found)
            assert mask["area"] == found.sum()
            assert mask.get("label") == prompt.label
            assert mask.get("score") == prompt.score
    assert records[0].masks[0]["prompt"] == {"box": BOX}
    assert records[0].masks[3]["prompt"] == {}  # a mask as text is not repeated


def test_the_stability_of_a_prompted_mask_compares_two_thresholds(images, labeller):
    (record,) = label_batch([example(images, 0, [ObjectPrompt(box=BOX)])], labeller)
    predictor = HQSamPredictor(labeller.model, HQSamProcessor.from_config(labeller.model.config))
    predictor.set_image(images / "0.png")
    logits, _, _ = predictor.predict(boxes=BOX, multimask_output=True, return_logits=True)
    expected = (logits[0] > 1).sum() / (logits[0] > -1).sum()
    assert record.masks[0]["stability_score"] == pytest.approx(expected, abs=0.01)


def test_automatic_masks_are_those_of_the_generator(images, labeller):
    records = label_batch([example(images, i) for i in range(4)], labeller)
    generator = HQSamMaskGenerator(labeller.model, HQSamProcessor.from_config(labeller.model.config), **GRID)
    for i, record in enumerate(records):
        expected = generator.generate(images / f"{i}.png")
        assert len(record.masks) == len(expected) > 0
        for mask, other in zip(record.masks, expected):
            found = rle_to_mask(mask["segmentation"])
            assert (found != other["segmentation"]).sum() <= 1
            assert mask["bbox"] == mask_to_bbox(found)
            assert mask["stability_score"] == pytest.approx(other["stability_score"], abs=0.01)


def test_crops_are_searched_at_the_full_size_of_the_image(images, model_folder):
    options = {**GRID, "crop_n_layers": 1}
    crops = small_spec(model_folder, generator_options=options).load()
    (record,) = label_batch([example(images, 1)], crops)
    generator = HQSamMaskGenerator(crops.model, HQSamProcessor.from_config(crops.model.config), **options)
    expected = generator.generate(images / "1.png")
    assert [mask["crop_box"] for mask in record.masks] == [mask["crop_box"] for mask in expected]
    assert record.size == (41, 60)


def test_text_gives_the_records_of_the_text_predictor(images, model_folder, tmp_path):
    save_grounding_dino(tmp_path / "detector")
    spec = small_spec(model_folder, detector=DetectorSpec(tmp_path / "detector", 0.0), multimask_output=False)
    labeller = spec.load()
    records = label_batch([example(images, i, text=["cup", "spoon"]) for i in range(2)], labeller)
    processor = HQSamProcessor.from_config(labeller.model.config)
    predictor = HQSamTextPredictor(labeller.model, processor, labeller.detector)
    for i, record in enumerate(records):
        expected = predictor.predict(images / f"{i}.png", "cup. spoon.")
        assert [mask["label"] for mask in record.masks] == [one["label"] for one in expected]
        assert [mask["score"] for mask in record.masks] == pytest.approx([one["score"] for one in expected])
        for mask, other in zip(record.masks, expected):
            assert (rle_to_mask(mask["segmentation"]) != other["segmentation"]).sum() <= 1
    assert len(records[0].masks) > 0
    assert records[0].place.content == (images / "0.png").read_bytes()


def test_images_are_encoded_and_their_prompts_decoded_together(images, labeller, monkeypatch):
    calls = {"encoder": [], "decoder": []}
    encode, forward = labeller.model.get_image_features, labeller.model.forward

    def count_encoder(pixel_values):
        calls["encoder"].append(len(pixel_values))
        return encode(pixel_values)

    def count_decoder(**arguments):
        calls["decoder"].append(tuple(arguments["input_boxes"].shape[:2]))
        return forward(**arguments)

    monkeypatch.setattr(labeller.model, "get_image_features", count_encoder)
    monkeypatch.setattr(labeller.model, "forward", count_decoder)
    label_batch([example(images, i, [ObjectPrompt(box=BOX)] * (i + 1)) for i in range(4)], labeller)
    # The images have 1, 2, 3 and 4 objects, and are decoded with others of up to twice as many.
    assert calls == {"encoder": [4], "decoder": [(1, 1), (1, 2), (2, 4)]}


BAD = {
    "no content": (lambda path: path.write_bytes(b""), "cannot read"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:200]), "cannot read"),
    "text": (lambda path: path.write_text("not an image"), "not an image file"),
    "missing": (lambda path: path.unlink(), "is not a file"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_image_stops_no_other_one(images, labeller, case):
    spoil, message = BAD[case]
    expected = label_batch([example(images, i) for i in (0, 2, 3)], labeller)
    spoil(images / "1.png")
    records = label_batch([example(images, i) for i in range(4)], labeller)
    assert message in records[1].problem
    assert records[1].masks == []
    assert [records[i].masks for i in (0, 2, 3)] == [record.masks for record in expected]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (ObjectPrompt(box=[100.0, 5.0, 140.0, 30.0]), "`boxes` must touch the image"),
        (ObjectPrompt(box=[40.0, 5.0, 5.0, 30.0]), "x1 <= x2"),
        (ObjectPrompt(points=[[61.0, 5.0]]), "`points` must lie inside the image"),
        (ObjectPrompt(box=[0.1, 0.1, 0.6, 0.5]), "normalised"),
        (ObjectPrompt(mask="{}"), "must be a COCO segmentation"),
        (ObjectPrompt(mask="missing.png"), "which is not a file"),
    ],
)
def test_a_bad_prompt_stops_no_other_image(images, labeller, prompt, message):
    good = [ObjectPrompt(box=BOX)]
    records = label_batch([example(images, 0, good), example(images, 1, [*good, prompt])], labeller)
    assert message in records[1].problem
    assert records[1].masks == []
    assert len(records[0].masks) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_the_smallest_and_the_narrowest_images_are_labelled(images, labeller, size):
    Image.fromarray(random_image(size)).save(images / "1.png")
    prompts = [ObjectPrompt(points=[[0.0, 0.0]])]
    records = label_batch([example(images, 1, prompts), example(images, 1)], labeller)
    assert [record.problem for record in records] == [None, None]
    assert records[0].masks[0]["segmentation"]["size"] == list(size)


def test_a_batch_that_needs_too_much_memory_is_divided(images, labeller, monkeypatch):
    prompts = [ObjectPrompt(box=BOX)]
    batch = [example(images, i, prompts) for i in range(4)]
    expected = label_batch(batch, labeller)
    sizes, encode = [], labeller.model.get_image_features

    def limited(pixel_values):
        sizes.append(len(pixel_values))
        if len(pixel_values) > 1 or torch.equal(pixel_values[0], third):
            raise torch.OutOfMemoryError("out of memory")
        return encode(pixel_values)

    third = labeller.image_processor.preprocess(images / "2.png")["pixel_values"][0]
    monkeypatch.setattr(labeller.model, "get_image_features", limited)
    records = label_batch(batch, labeller)
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    assert [record.problem for record in records] == [None, None, "out of memory", None]
    for i in (0, 1, 3):
        assert records[i].masks[0]["area"] == pytest.approx(expected[i].masks[0]["area"], abs=1)


def test_the_bytes_of_images_travel_only_if_they_are_wanted(images, model_folder, labeller):
    content = (images / "0.png").read_bytes()
    place = ImagePlace("a.png", content)  # as a table has it: the address only names the image
    batch = [Example("a", place, [ObjectPrompt(box=BOX)]), example(images, 0, [ObjectPrompt(box=BOX)])]
    assert [record.place.content for record in label_batch(batch, labeller)] == [content, content]
    by_reference = Labeller(
        small_spec(model_folder, embeds=False),
        labeller.model,
        HQSamProcessor.from_config(labeller.model.config),
        small_spec(model_folder, embeds=False).load_preparation(),
    )
    records = label_batch(batch, by_reference)
    assert [(record.place.content, record.problem) for record in records] == [(None, None), (None, None)]


def test_a_small_box_of_a_detector_is_in_pixels(images, model_folder, labeller):
    found = [Detection("cup", 0.9, (0.0, 0.0, 0.9, 0.9))]
    detector = SimpleNamespace(detect=lambda image, text: found)
    processor = labeller.generator.processor
    own = Labeller(small_spec(model_folder), labeller.model, processor, labeller.preparation, detector)
    (record,) = label_batch([example(images, 0, text=["cup"])], own)
    assert (record.problem, len(record.masks)) == (None, 1)


def test_text_without_a_detector_is_a_problem_of_the_image(images, labeller):
    (record,) = label_batch([example(images, 0, text=["cup"])], labeller)
    assert "Text needs a detector" in record.problem


def test_hq_sam_2_labels_as_its_predictor_and_generator(images, tmp_path):
    model = HQSam2Model(CONFIGS["small"]).eval()
    model.save_pretrained(tmp_path / "sam2")
    HQSam2Processor.from_config(model.config).save_pretrained(tmp_path / "sam2")
    options = {"points_per_side": 2, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    labeller = small_spec(tmp_path / "sam2", generator_options=options).load()
    prompts = [ObjectPrompt(box=BOX), ObjectPrompt(points=[[20.0, 10.0]])]
    batch = [example(images, 0, prompts), example(images, 1), example(images, 2, prompts[:1])]
    records = label_batch(batch, labeller)
    assert [record.problem for record in records] == [None] * 3
    predictor = HQSamPredictor(labeller.model, HQSam2Processor.from_config(model.config))
    predictor.set_image(images / "2.png")
    masks, scores, _ = predictor.predict(boxes=BOX, multimask_output=True)
    assert (rle_to_mask(records[2].masks[0]["segmentation"]) != masks[0]).sum() <= 1
    assert records[2].masks[0]["predicted_iou"] == pytest.approx(scores[0], abs=1e-5)
    generator = HQSamMaskGenerator(labeller.model, HQSam2Processor.from_config(model.config), **options)
    assert len(records[1].masks) == len(generator.generate(images / "1.png"))
