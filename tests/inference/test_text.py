"""Text prompts, with small random detectors of two families: from text to boxes to masks."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BatchFeature

from hq_sam_hf import HQSamPredictor, HQSamProcessor, HQSamTextPredictor, ZeroShotDetector
from hq_sam_hf.cli import main
from hq_sam_hf.inference.text import split_labels
from hq_sam_hf.masks.rle import rle_to_mask
from support.images import random_image
from support.oracle import SMALL, lively_pair, save_folder
from support.small_detectors import save_grounding_dino, save_owlvit

IMAGE = random_image((60, 90))
FAMILIES = {"grounding_dino": save_grounding_dino, "owlvit": save_owlvit}


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    """A folder with one detector of each family."""
    folder = tmp_path_factory.mktemp("detectors")
    for name, save in FAMILIES.items():
        save(folder / name)
    return folder


@pytest.fixture(scope="module")
def model():
    return lively_pair(SMALL)[1]


@pytest.fixture(scope="module")
def processor(model):
    return HQSamProcessor.from_config(model.config)


@pytest.mark.parametrize("family", FAMILIES)
def test_records_hold_the_boxes_of_the_detector_and_the_masks_of_hq_sam(family, detectors, model, processor):
    detector = ZeroShotDetector.from_pretrained(detectors / family, box_threshold=0.2, nms_threshold=0.9)
    records = HQSamTextPredictor(model, processor, detector).predict(IMAGE, "red cup. spoon.", multimask_output=True)
    detections = detector.detect(Image.fromarray(IMAGE), ["red cup", "spoon"])
    assert len(records) == len(detections) > 2
    predictor = HQSamPredictor(model, processor)
    predictor.set_image(IMAGE)
    for record, detection in zip(records, detections):
        assert (record["label"], record["score"], record["box"]) == (
            detection.label,
            detection.score,
            list(detection.box),
        )
        assert record["label"] in ("red cup", "spoon", "object")
        assert record["score"] > 0.2
        x1, y1, x2, y2 = record["box"]
        assert 0 <= x1 < x2 <= 90
        assert 0 <= y1 < y2 <= 60
        masks, scores, _ = predictor.predict(boxes=record["box"], multimask_output=True)
        assert (record["segmentation"] != masks[0]).sum() <= 1  # predicted together with others
        assert record["predicted_iou"] == pytest.approx(scores[0], abs=1e-5)
        assert record["area"] == record["segmentation"].sum()
    assert [record["score"] for record in records] == sorted((record["score"] for record in records), reverse=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_thresholds_select_boxes(family, detectors):
    loaded = ZeroShotDetector.from_pretrained(detectors / family)

    def detect(**options):
        return ZeroShotDetector(loaded.model, loaded.processor, **options).detect(IMAGE, "cup. spoon")

    everything = detect(box_threshold=0.0, nms_threshold=1.0)
    middle = everything[len(everything) // 2].score
    assert detect(box_threshold=middle, nms_threshold=1.0) == [one for one in everything if one.score > middle]
    assert len(detect(box_threshold=0.0, nms_threshold=0.05)) < len(everything)
    assert detect(box_threshold=1.0) == []


class FakeDetector:
    """A detector and its processor, which find a given list of objects."""

    device = torch.device("cpu")
    config = None

    def __init__(self, found: list[tuple[str, float, list[float]]]) -> None:
        self.found = found

    def eval(self) -> "FakeDetector":
        return self

    def tokenizer(self, texts: list[str]) -> dict[str, list[list[int]]]:
        return {"input_ids": [[0] for _ in texts]}

    tokenizer.model_max_length = 9

    def __call__(self, images=None, text=None, return_tensors=None) -> BatchFeature:
        return BatchFeature()

    def post_process_grounded_object_detection(self, outputs, threshold=0, target_sizes=None, text_labels=None):
        labels, scores, boxes = zip(*self.found)
        found = {"text_labels": list(labels), "scores": torch.tensor(scores), "boxes": torch.tensor(boxes)}
        return [found]


def test_duplicates_are_dropped_per_label_and_boxes_are_clipped_to_the_image():
    fake = FakeDetector(
        [
            ("cup", 0.5, [10.0, 10.0, 30.0, 30.0]),
            ("cup", 0.9, [11.0, 10.0, 30.0, 30.0]),  # a duplicate of the first, with a better score
            ("red cup", 0.7, [10.0, 10.0, 30.0, 30.0]),  # the same box with another label
            ("a spoon", 0.8, [-20.0, 50.0, 200.0, 70.0]),  # shares a word with a label
            ("spoon", 0.6, [95.0, 5.0, 120.0, 30.0]),  # outside of the image
            (". [SEP]", 0.4, [1.0, 1.0, 5.0, 5.0]),  # no word has a high score
            ("spo", 0.3, [70.0, 1.0, 75.0, 5.0]),  # a part of a word
        ]
    )
    found = ZeroShotDetector(fake, fake).detect(IMAGE, "cup. red cup. spoon.")
    assert [(one.label, round(one.score, 2), one.box) for one in found] == [
        ("cup", 0.9, (11, 10, 30, 30)),
        ("spoon", 0.8, (0, 50, 90, 60)),
        ("red cup", 0.7, (10, 10, 30, 30)),
        ("object", 0.4, (1, 1, 5, 5)),
        ("spoon", 0.3, (70, 1, 75, 5)),
    ]


def test_no_detection_gives_an_empty_list(detectors, model, processor):
    detector = ZeroShotDetector.from_pretrained(detectors / "owlvit", box_threshold=1.0)
    assert HQSamTextPredictor(model, processor, detector).predict(IMAGE, "cup") == []


@pytest.mark.parametrize("family", FAMILIES)
def test_text_that_is_too_long_is_refused(family, detectors):
    detector = ZeroShotDetector.from_pretrained(detectors / family)
    with pytest.raises(ValueError, match="`text` is too long for the detector: .* at most 16"):
        detector.detect(IMAGE, "red " * 15 + "cup. spoon.")


def test_labels_are_split_from_lists_and_from_text():
    assert split_labels("dog. red leash.  ") == split_labels([" dog", "red leash", "dog"]) == ["dog", "red leash"]
    assert split_labels("dog") == ["dog"]
    for nothing in ("", " . .", [], ["", " "], [3]):
        with pytest.raises(ValueError, match="`text` must name objects"):
            split_labels(nothing)
    with pytest.raises(ValueError, match=r"must not contain a full stop, .* got 'dog\. cat'"):
        split_labels(["dog. cat"])


def test_a_text_threshold_is_refused_for_a_detector_without_one(detectors):
    with pytest.raises(ValueError, match="`text_threshold` has no effect with a OwlViTProcessor"):
        ZeroShotDetector.from_pretrained(detectors / "owlvit", text_threshold=0.3)


def test_thresholds_must_be_from_0_to_1():
    for name, value in (("box_threshold", float("nan")), ("nms_threshold", 50), ("box_threshold", -0.1)):
        with pytest.raises(ValueError, match=f"`{name}` must be from 0 to 1, got {value}"):
            ZeroShotDetector(FakeDetector([]), FakeDetector([]), **{name: value})


@pytest.fixture
def segment(detectors, model, processor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save_pretrained("model")
    processor.save_pretrained("model")
    Image.fromarray(IMAGE).save("photo.png")

    def run(*arguments: str, family: str = "owlvit") -> int:
        return main(["segment", "photo.png", "--model", "model", "--detector", str(detectors / family), *arguments])

    return run


@pytest.mark.parametrize("family", FAMILIES)
def test_the_command_finds_objects_by_text(family, segment, detectors, tmp_path, capsys):
    files = ["--json", "found.json", "--overlay", "overlay.png", "-o", "mask.png"]
    assert (
        segment("--text", "cup. spoon.", "--box-threshold", "0.2", "--nms-threshold", "0.9", *files, family=family)
        == 0
    )
    detector = ZeroShotDetector.from_pretrained(detectors / family, box_threshold=0.2, nms_threshold=0.9)
    found = detector.detect(IMAGE, "cup. spoon.")
    records = json.loads((tmp_path / "found.json").read_text())["masks"]
    printed = capsys.readouterr().out
    assert len(records) == len(found) > 2
    for i, (record, detection) in enumerate(zip(records, found), start=1):
        assert record["prompt"]["label"] == detection.label
        assert record["prompt"]["score"] == pytest.approx(detection.score, abs=1e-6)
        assert record["prompt"]["box"] == pytest.approx(detection.box, abs=1e-4)
        mask = np.asarray(Image.open(tmp_path / f"mask_{i}.png"))
        assert np.array_equal(mask, rle_to_mask(record["segmentation"]))
        assert f"mask {i}: {detection.label} ({detection.score:.3f}), {record['area']} pixels" in printed


def test_a_missing_detector_is_named(segment, capsys):
    assert segment("--text", "cup", family="none") == 1
    assert "/none' is neither an existing folder or file nor a Hub repository" in capsys.readouterr().err


def test_the_command_fails_when_nothing_is_found(segment, capsys):
    assert segment("--text", "cup", "--box-threshold", "1") == 1
    assert "Nothing in 'photo.png' was found for 'cup'. Try a lower --box-threshold" in capsys.readouterr().err


@pytest.fixture
def many(detectors, model, processor, tmp_path, monkeypatch):
    """Run `hq-sam segment` in a folder with three images and a broken one below `my photos`. Returns the exit code."""
    monkeypatch.chdir(tmp_path)
    save_folder(model, "model")
    (tmp_path / "my photos" / "früh").mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        Image.fromarray(random_image((60 + seed, 90), seed)).save(tmp_path / "my photos" / name)
    (tmp_path / "my photos" / "broken.png").write_bytes(b"")
    flags = ["--model", "model", "--detector", str(detectors / "owlvit"), "-o", "out", "--box-threshold", "0.2"]

    def run(*arguments: str) -> int:
        return main(["segment", *arguments, *flags])

    return run


NAMES = ["a.png", "b.png", "früh/a.png"]


def test_the_command_finds_objects_in_many_images_and_can_be_continued(
    many, detectors, model, processor, tmp_path, capsys
):
    assert many("my photos", "--text", "cup. spoon.", "--overlays") == 1
    printed = capsys.readouterr()
    assert "images: 3 done, 0 done before, 1 failed; in out" in printed.out
    assert "skipped broken.png" in printed.err
    detector = ZeroShotDetector.from_pretrained(detectors / "owlvit", box_threshold=0.2)
    predictor = HQSamTextPredictor(model, processor, detector)
    content = json.loads((tmp_path / "out" / "coco.json").read_text())
    labels = {category["id"]: category["name"] for category in content["categories"]}
    assert [image["file_name"] for image in content["images"]] == NAMES
    for image in content["images"]:
        entries = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
        records = predictor.predict(tmp_path / "my photos" / image["file_name"], ["cup", "spoon"])
        assert len(entries) == len(records) > 0
        for entry, record in zip(entries, records):
            assert np.array_equal(rle_to_mask(entry["segmentation"]), record["segmentation"])
            assert labels[entry["category_id"]] == record["label"]
            assert (entry["score"], entry["box"]) == (record["score"], record["box"])
    assert len(list((tmp_path / "out" / "overlays").rglob("*.jpg"))) == 3

    (tmp_path / "my photos" / "broken.png").unlink()
    assert many("my photos/**/a.png", "my photos/b.png", "--text", "cup. spoon.") == 0
    assert "images: 0 done, 3 done before, 0 failed" in capsys.readouterr().out
    assert many("my photos", "--text", "cup") == 1
    assert "text was ['cup', 'spoon'] and is ['cup']. Use another folder." in capsys.readouterr().err


def test_many_images_need_an_output_folder_and_refuse_options_for_one_image(detectors, many, capsys):
    for arguments, message in (
        (["my photos", "--text", "cup", "--json", "found.json"], "--json goes with a single IMAGE only"),
        (["my photos"], "--detector, --box-threshold goes with --text only"),
    ):
        with pytest.raises(SystemExit):
            many(*arguments)
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["segment", "my photos", "--text", "cup", "--detector", str(detectors / "owlvit")])
    assert "masks of many images go to a folder; name it with -o" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--detector goes with --text only"),
        (["--text", "cup", "--box", "1,2,3,4"], "--text needs --detector, and excludes other prompts"),
    ],
)
def test_options_that_exclude_each_other_are_wrong_use(segment, arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_info:
        segment(*arguments)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", " . ", [], (), [""], np.array([]), None, 3, [None]])
def test_text_without_labels_is_refused_in_every_form(text):
    with pytest.raises(ValueError, match="`text` must name objects, such as"):
        split_labels(text)
