"""Prompts of benchmarks: boxes of annotations, detectors and trackers, coarse masks, and pairs of query and class."""

import json

import numpy as np
import pytest
import torch

from hq_sam_hf.benchmarking.benchmarks import BENCHMARKS, SGINW_FILE, SGINW_SETS, load_benchmark
from hq_sam_hf.benchmarking.class_detector import ClassDetectorPrompts, best_pairs
from hq_sam_hf.benchmarking.prompt_choice import PromptChoice
from hq_sam_hf.inference.text import DetectorSpec, ZeroShotDetector
from support import small_benchmarks as small
from support.small_benchmarks import FRAMES, SIZE, small_image, video_frames
from support.small_detectors import save_grounding_dino, save_owlvit

PIXELS = np.zeros((SIZE, SIZE, 3), np.uint8)


def prompts_of(name, root, choice, place=0, max_dets=100):
    """The prompts of an image of the first part."""
    benchmark = BENCHMARKS[name]
    parts = load_benchmark(benchmark, root)
    source = choice.sources(benchmark, parts, max_dets)[parts[0].name]
    return source.prompts(parts[0].images[place], PIXELS)


def box_of(mask):
    y, x = np.nonzero(mask)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_boxes_of_annotations_are_prompts_except_those_of_crowds(tmp_path):
    found = prompts_of("coco", small.write_coco(tmp_path), PromptChoice("box"))
    assert [one.box.tolist() for one in found] == [box_of(mask) for mask in small_image(0).masks]
    assert [one.annotation_id for one in found] == list(range(1, len(found) + 1))
    assert {one.score for one in found} == {None}


def test_detections_keep_their_scores_and_categories(tmp_path):
    root = small.write_coco(tmp_path)
    detections = small.write_detections(tmp_path / "boxes.json", root / "annotations" / "instances_val2017.json")
    found = prompts_of("coco", root, PromptChoice(detections=detections))
    entries = [one for one in json.loads(detections.read_text()) if one["image_id"] == 100]
    assert [one.score for one in found] == sorted((one["score"] for one in entries), reverse=True)
    assert {one.annotation_id for one in found} == {-1}
    assert len(prompts_of("coco", root, PromptChoice(detections=detections), max_dets=1)) == 1


def test_sginw_takes_a_file_of_detections_for_each_data_set(tmp_path):
    root, folder = small.write_sginw(tmp_path / "seginw"), tmp_path / "boxes"
    for name in SGINW_SETS:
        small.write_detections(folder / f"{name}.json", root / name / "valid" / SGINW_FILE)
    parts = load_benchmark(BENCHMARKS["sginw"], root)
    sources = PromptChoice(detections=folder).sources(BENCHMARKS["sginw"], parts, 100)
    assert {len(sources[part.name].prompts(part.images[0], PIXELS)) > 1 for part in parts} == {True}
    (folder / "Poles.json").unlink()
    with pytest.raises(ValueError, match="Poles.json' is missing. The folder needs a NAME.json for each data set"):
        PromptChoice(detections=folder).sources(BENCHMARKS["sginw"], parts, 100)


def test_uvo_takes_detections_of_any_category(tmp_path):
    root = small.write_uvo(tmp_path)
    path = small.save_json(
        tmp_path / "boxes.json", [{"image_id": 100, "category_id": 77, "bbox": [1, 2, 30, 40], "score": 0.5}]
    )
    (one,) = prompts_of("uvo", root, PromptChoice(detections=path))
    assert one.category_id == 1


@pytest.mark.parametrize("boxes", [False, True])
def test_tracks_give_a_box_in_the_frames_where_the_object_is_seen(tmp_path, boxes):
    root = small.write_ytvis(tmp_path)
    annotations = root / "annotations" / "valid.json"
    tracks = small.write_tracks(tmp_path / "tracks.json", annotations, boxes)
    count = len(video_frames(0)[0].masks)
    for place, frame in enumerate(video_frames(0)):
        found = prompts_of("ytvis", root, PromptChoice(detections=tracks), place)
        visible = [number for number in range(count) if frame.masks[number].any()]
        assert [one.track_id for one in found] == visible
        assert [one.box.tolist() for one in found] == [box_of(frame.masks[number]) for number in visible]
        assert [one.score for one in found] == pytest.approx([0.9 - 0.1 * number for number in visible])
    second = prompts_of("ytvis", root, PromptChoice(detections=tracks), FRAMES)
    assert min(one.track_id for one in second) == count  # the identities of another video's objects differ


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video_id": 9}, "tracks.json': entry 0 is no track: video_id 9 is not among those of the annotations"),
        ({"category_id": None}, "category_id None is not among"),
        ({"score": None}, "it lacks a score"),
        ({"segmentations": [None]}, "it needs a mask, a box or null for each of the 3 frames, got 1"),
        ({"segmentations": None}, "for each of the 3 frames, got none"),
        ({"segmentations": [None, "x", None]}, "a frame must have an RLE, .* or null, got 'x'"),
    ],
)
def test_wrong_tracks_are_named(tmp_path, change, message):
    root = small.write_ytvis(tmp_path)
    tracks = small.write_tracks(tmp_path / "tracks.json", root / "annotations" / "valid.json")
    entries = json.loads(tracks.read_text())
    entries[0].update(change)
    small.save_json(tracks, entries)
    with pytest.raises(ValueError, match=message):
        prompts_of("ytvis", root, PromptChoice(detections=tracks))


def test_label_maps_of_a_tracker_give_the_objects_numbers(tmp_path):
    root = small.write_davis(tmp_path)
    tracker = root / "Annotations" / "480p"
    found = prompts_of("davis", root, PromptChoice(detections=tracker), place=1)
    labels = small.label_map(video_frames(0)[1].masks)
    assert [one.track_id for one in found] == sorted(set(np.unique(labels).tolist()) - {0})
    for one in found:
        assert np.array_equal(one.region, labels == one.track_id)
    (tracker / "scene-1" / "00002.png").unlink()
    parts = load_benchmark(BENCHMARKS["davis"], small.write_davis(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"1 of the 6 label maps of the tracker are missing in .*scene-1/00002.png"):
        PromptChoice(detections=tracker).sources(BENCHMARKS["davis"], parts, 100)


def test_coarse_masks_lie_beside_the_images_or_in_a_folder(tmp_path):
    root = small.write_big(tmp_path / "BIG")
    (one,) = prompts_of("big", root, PromptChoice("mask"))
    assert one.coarse.shape == (SIZE, SIZE)
    folder = tmp_path / "pspnet"
    folder.mkdir()
    for path in sorted((root / "test").glob("*_seg.png")):
        path.rename(folder / path.name)
    with pytest.raises(ValueError, match="4 of the 4 coarse masks are missing, .* or name their folder"):
        prompts_of("big", root, PromptChoice("mask"))
    (moved,) = prompts_of("big", root, PromptChoice("mask", coarse_masks=folder))
    assert np.array_equal(moved.coarse, one.coarse)


@pytest.mark.parametrize(
    ("name", "choice", "kind"),
    [
        ("hqseg", PromptChoice(), "box"),
        ("big", PromptChoice(), "box"),
        ("big", PromptChoice("mask"), "mask"),
        ("coco", PromptChoice("box-noise-0.2"), "box"),
        ("coco", PromptChoice(detections="x"), "detections"),
        ("davis", PromptChoice(detections="x"), "tracks"),
        ("sginw", PromptChoice(detector=DetectorSpec("x")), "detector"),
    ],
)
def test_what_is_given_decides_the_kind_of_prompts(name, choice, kind):
    assert choice.kind(BENCHMARKS[name]) == kind


@pytest.mark.parametrize(
    ("name", "choice", "message"),
    [
        ("coco", PromptChoice(), "takes one kind of prompts: --detections PATH, .*; or --prompts box"),
        ("coco", PromptChoice("box", detections="x"), "takes one kind of prompts"),
        ("coco", PromptChoice("mask"), "takes one kind of prompts"),
        ("hqseg", PromptChoice(detections="x"), "takes one kind of prompts: --prompts box"),
        ("coco", PromptChoice("points-5"), "takes the prompts box, box-noise-SCALE or mask, got 'points-5'"),
        ("big", PromptChoice("box", coarse_masks="x"), "--coarse-masks goes with --prompts mask only"),
    ],
)
def test_prompts_that_do_not_fit_the_benchmark_are_refused(name, choice, message):
    with pytest.raises(ValueError, match=message):
        choice.kind(BENCHMARKS[name])


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("coco", small.write_coco, "is a folder. Name a file with detections as COCO results"),
        ("ytvis", small.write_ytvis, "is a folder. Name a file with tracks as results of YouTube-VIS"),
        ("davis", small.write_davis, r"none' must be a folder with VIDEO/NNNNN.png, a tracker's label maps"),
    ],
)
def test_a_folder_in_place_of_a_file_is_named(tmp_path, name, write, message):
    path = tmp_path / "none" if name == "davis" else tmp_path
    with pytest.raises(ValueError, match=message):
        prompts_of(name, write(tmp_path / "data"), PromptChoice(detections=path))


def test_boxes_of_a_file_without_annotations_are_refused(tmp_path):
    root = small.write_ytvis(tmp_path, with_annotations=False)
    with pytest.raises(ValueError, match="has no annotations to take boxes from. Use --detections, a tracker's"):
        prompts_of("ytvis", root, PromptChoice("box"))


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dino")
    save_grounding_dino(folder)
    return ZeroShotDetector.from_pretrained(folder, "cpu")


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    root = small.write_sginw(tmp_path_factory.mktemp("sginw"))
    return load_benchmark(BENCHMARKS["sginw"], root)[0]


class TestPairsOfQueryAndClass:
    """SGinW's rule: the mean probability of a class's tokens, the best pairs, without NMS."""

    def test_a_query_may_be_kept_for_several_classes(self):
        logits = torch.logit(torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.6, 0.8]]))
        boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.25, 0.25, 0.5, 0.5]])
        shares = torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5]])  # the second class has two tokens
        found, scores, classes = best_pairs(logits, boxes, shares, 3)
        assert scores.tolist() == pytest.approx([0.9, 0.7, 0.3])
        assert classes.tolist() == [0, 1, 1]
        first, second = [0.4, 0.3, 0.6, 0.7], [0, 0, 0.5, 0.5]
        assert torch.allclose(found, torch.tensor([first, second, first]), atol=1e-6)

    def test_the_caption_lists_all_classes_and_each_token_belongs_to_its_class(self, part, detector):
        source = ClassDetectorPrompts(part, detector, 100)
        assert source.caption == "cup . red spoon ."
        # [CLS] cup . red spoon . [SEP]
        rows = source.token_shares[:, :7].tolist()
        assert rows[0] == pytest.approx([0, 1, 0, 0, 0, 0, 0], abs=1e-5)
        assert rows[1] == pytest.approx([0, 0, 0, 0.5, 0.5, 0, 0], abs=1e-5)

    def test_prompts_are_the_best_pairs_in_pixels(self, part, detector):
        pixels = small_image(0).pixels[:128]
        found = ClassDetectorPrompts(part, detector, 100).prompts(part.images[0], pixels)
        assert len(found) == 12 * 2  # queries and classes
        scores = [one.score for one in found]
        assert scores == sorted(scores, reverse=True)
        assert {one.category_id for one in found} == {10, 20}
        assert found[0].box.shape == (4,)
        best = ClassDetectorPrompts(part, detector, 5).prompts(part.images[0], pixels)
        assert [one.score for one in best] == scores[:5]

    def test_another_kind_of_detector_is_refused(self, part, tmp_path):
        save_owlvit(tmp_path)
        with pytest.raises(ValueError, match="needs a detector that reads all classes as one text, such as"):
            ClassDetectorPrompts(part, ZeroShotDetector.from_pretrained(tmp_path, "cpu"), 100)
