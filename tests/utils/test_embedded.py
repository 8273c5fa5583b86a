"""The checkpoint inside the package, and the quality that everything on the way to a mask must keep."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from hq_sam_hf import HQSamMaskGenerator, HQSamModel, HQSamPredictor, HQSamProcessor
from hq_sam_hf.cli import main
from hq_sam_hf.data.prompt_simulation import mask_to_box
from hq_sam_hf.data.reading import read_sample
from hq_sam_hf.masks.metrics import boundary_iou, mask_iou
from hq_sam_hf.utils.embedded import EMBEDDED
from support.quality_gates import BOX, CLICKS, ONE_POINT, failures, measure, scene_generators
from support.real_photos import real_objects

FEW = 20  # scenes of each split


@pytest.fixture(scope="module")
def nano():
    return HQSamModel.from_pretrained(EMBEDDED), HQSamProcessor.from_pretrained(EMBEDDED)


@pytest.fixture(scope="module")
def box_figures(nano):
    return measure(*nano, FEW, ("box",))


def objects(count: int):
    """Picture, true mask and box of every object of some scenes."""
    for scenes in scene_generators(count).values():
        for row in scenes:
            sample = read_sample(row)
            for mask in sample.masks:
                yield sample.image, mask > 0.5, mask_to_box(mask)


def test_it_is_small_and_says_what_it_is():
    assert sum(file.stat().st_size for file in EMBEDDED.iterdir()) < 8e6
    card = (EMBEDDED / "README.md").read_text()
    assert "never seen a photo" in card
    assert "| split / group / prompt |" in card


def test_boxes_reach_the_gates(box_figures):
    assert failures(box_figures, BOX) == []


def test_the_hq_mask_has_better_boundaries_than_sam(box_figures):
    gain = {group: box_figures[f"box/hq{group}"][1] - box_figures[f"box/sam{group}"][1] for group in ("", "/thin")}
    assert gain[""] > 8.0
    assert gain["/thin"] > 9.5


def drop_the_early_feature(model, monkeypatch):
    encode = model.vision_encoder.forward

    def without_early(*arguments, **options):
        encoded = encode(*arguments, **options)
        encoded.intermediate_embeddings = tuple(torch.zeros_like(one) for one in encoded.intermediate_embeddings)
        return encoded

    monkeypatch.setattr(model.vision_encoder, "forward", without_early)


def turn_the_positions(model, monkeypatch):
    grid = model.shared_image_embedding.grid
    monkeypatch.setattr(model.shared_image_embedding, "grid", lambda side: grid(side).mT.contiguous())


def forget_to_normalise(model, monkeypatch):
    encode = model.vision_encoder.forward
    monkeypatch.setattr(model.vision_encoder, "forward", lambda pixels, **options: encode(0.5 * pixels, **options))


@pytest.mark.slow
@pytest.mark.parametrize("damage", [drop_the_early_feature, turn_the_positions, forget_to_normalise])
def test_a_silent_break_turns_the_gates_red(damage, monkeypatch):
    model, processor = HQSamModel.from_pretrained(EMBEDDED), HQSamProcessor.from_pretrained(EMBEDDED)
    damage(model, monkeypatch)
    assert failures(measure(model, processor, FEW, ("box",)), BOX) != []


@pytest.mark.slow
def test_half_precision_keeps_the_quality(nano, box_figures):
    model = HQSamModel.from_pretrained(EMBEDDED, dtype=torch.bfloat16)
    figures = measure(model, nano[1], FEW, ("box",), outputs=("hq", "sum"))
    for name in ("box/hq", "box/sum"):
        assert figures[name] == pytest.approx(box_figures[name], abs=1.0), name


@pytest.mark.slow
def test_the_predictor_refines_with_its_last_mask(nano):
    predictor = HQSamPredictor(*nano)
    first, refined = [], []
    for image, truth, box in objects(6):
        predictor.set_image(image)
        masks, _, logits = predictor.predict(boxes=box)
        first.append(mask_iou(masks[0], truth))
        masks, _, _ = predictor.predict(boxes=box, mask=logits)
        refined.append(mask_iou(masks[0], truth))
    assert np.mean(refined) > np.mean(first) - 0.05


@pytest.mark.slow
def test_automatic_masks_find_most_objects(nano):
    generator = HQSamMaskGenerator(*nano, points_per_side=12, pred_iou_thresh=0.4, stability_score_thresh=0.6)
    found = []
    for image, truth, _ in objects(4):
        records = generator.generate(image)
        assert records
        found.append(max(mask_iou(record["segmentation"], truth) for record in records))
    assert np.mean(np.array(found) > 0.5) > 0.5


@pytest.mark.slow
def test_points_and_clicks_reach_the_gates(nano):
    clicks = measure(*nano, FEW, ("clicks-3",))
    assert failures(clicks, CLICKS) == []
    assert clicks["clicks-3/hq"][0] > clicks["clicks-1/hq"][0]
    single = measure(*nano, FEW, ("centre",), multimask_output=True)
    assert failures(single, ONE_POINT) == []


@pytest.mark.slow
def test_an_exported_model_gives_the_same_masks(nano):
    model, processor = nano
    image, _, box = next(objects(1))
    inputs = processor(image, input_boxes=[[box.tolist()]])

    class FromBoxes(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixel_values, input_boxes):
            return self.model(pixel_values, input_boxes=input_boxes, multimask_output=False).pred_masks

    arguments = (inputs["pixel_values"], inputs["input_boxes"])
    with torch.no_grad():
        exported = torch.export.export(FromBoxes(), arguments).module()
        expected, actual = FromBoxes()(*arguments), exported(*arguments)
    assert ((expected > 0) == (actual > 0)).float().mean() > 0.9999


def test_commands_use_it_where_no_model_is_named(tmp_path, photo_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = ["-o", "mask.png", "--json", "mask.json", "--hq-token-only"]
    assert main(["segment", str(photo_path), "--box", "165,15,415,310", *outputs]) == 0
    assert "score" in capsys.readouterr().out
    mask = np.asarray(Image.open("mask.png")) > 0
    assert mask.shape == (400, 600)
    assert json.loads((tmp_path / "mask.json").read_text())["masks"]


CLEAR = {"coins/large", "coins/third_row", "coins/top_right", "hopper/name_tag", "hopper/ribbons", "astronaut/patch"}


def test_clear_objects_of_real_photos(nano):
    predictor = HQSamPredictor(*nano)
    ious, edges = {}, []
    for one in real_objects():
        if f"{one.photo}/{one.name}" in CLEAR:
            predictor.set_image(one.image)
            masks, _, _ = predictor.predict(boxes=one.box, hq_token_only=True)
            ious[f"{one.photo}/{one.name}"] = float(mask_iou(masks[0], one.mask))
            edges.append(float(boundary_iou(masks[0], one.mask)))
    assert ious.keys() == CLEAR
    assert min(ious.values()) > 0.65, ious
    assert np.mean(edges) > 0.79, edges
