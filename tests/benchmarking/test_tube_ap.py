import numpy as np
import pytest

from hq_sam_hf.benchmarking.tube_ap import side_by_side, video_ap
from hq_sam_hf.masks import mask_to_rle, rle_to_mask
from support.coco_objects import original_boundary
from support.plain_average_precision import plain_average_precision
from support.video_objects import track_rows, video_objects


def plain_tubes(truth, rows):
    """The objects of the plain definition, with a mask or None per frame."""
    lengths = {video["id"]: len(video["file_names"]) for video in truth["videos"]}
    true = [
        {
            "place": one["video_id"],
            "category": one["category_id"],
            "crowd": one["iscrowd"],
            "area": np.mean([area for area in one["areas"] if area] or [0]),
            "frames": [None if rle is None else rle_to_mask(rle) for rle in one["segmentations"]],
        }
        for one in truth["annotations"]
    ]
    predicted = {}
    for one in rows:
        empty = {"place": one["video_id"], "category": one["category_id"], "score": one["score"]}
        own = predicted.setdefault(one["track_id"], {**empty, "frames": [None] * lengths[one["video_id"]]})
        own["frames"][one["frame"]] = rle_to_mask(one)
    for one in predicted.values():
        one["area"] = np.mean([mask.sum() for mask in one["frames"] if mask is not None and mask.any()] or [0])
    return true, list(predicted.values())


def tube_iou(guess, one, edge=lambda mask: mask):
    """Sums over the frames, as the definition says."""
    both = either = 0
    for first, second in zip(guess["frames"], one["frames"]):
        masks = [edge(mask) for mask in (first, second) if mask is not None]
        both += int((masks[0] & masks[1]).sum()) if len(masks) == 2 else 0
        either += int(np.logical_or.reduce(masks).sum()) if masks else 0
    return both / either if either else 0.0


def boundary_tube_iou(guess, one):
    return min(tube_iou(guess, one), tube_iou(guess, one, lambda mask: original_boundary(mask, 0.02)))


@pytest.fixture(scope="module")
def small():
    return video_objects()


@pytest.mark.parametrize(("suffix", "iou"), [("", tube_iou), ("_B", boundary_tube_iou)])
def test_tube_ap_equals_its_definition(small, suffix, iou):
    truth, rows = small
    objects = plain_tubes(truth, rows)
    result = video_ap(truth, rows).metrics
    assert result[f"AP{suffix}"] == pytest.approx(plain_average_precision(*objects, iou), abs=1e-9)
    of_50 = plain_average_precision(*objects, iou, thresholds=[0.5])
    assert result[f"AP50{suffix}"] == pytest.approx(of_50, abs=1e-9)
    small_ones = plain_average_precision(*objects, iou, areas=(0, 128**2))
    assert result[f"APs{suffix}"] == pytest.approx(small_ones, abs=1e-9)
    assert 0 < result["AP_B"] < result["AP"] < 100


def square_video(*corners):
    """A ground-truth object of 10 x 10 pixels in as many frames; None where it is not visible."""
    masks = [None if corner is None else square(*corner) for corner in corners]
    segmentations = [None if mask is None else mask_to_rle(mask) for mask in masks]
    names = [f"v/{i}.jpg" for i in range(len(masks))]
    return {
        "videos": [{"id": 1, "file_names": names, "height": 50, "width": 60}],
        "annotations": [{"id": 1, "video_id": 1, "category_id": 1, "segmentations": segmentations, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cup"}],
    }


def square(x: int, y: int, side: int = 10) -> np.ndarray:
    mask = np.zeros((50, 60), dtype=bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_a_track_that_lacks_a_frame_of_four_has_an_iou_of_three_quarters():
    """It is right at the thresholds 0.5 to 0.75, 6 of 10."""
    corners = [(0, 0), (5, 5), (10, 10), (15, 15)]
    rows = track_rows([square(*corner) for corner in corners[:3]], 1, 9, 1, 0.5)
    assert video_ap(square_video(*corners), rows).metrics["AP"] == pytest.approx(60)


def test_what_is_predicted_where_the_object_is_not_visible_counts_against_a_track():
    """100 of 200 pixels are right: only at the threshold 0.5."""
    rows = track_rows([square(0, 0), square(5, 5)], 1, 9, 1, 0.5)
    assert video_ap(square_video((0, 0), None), rows).metrics["AP"] == pytest.approx(10)


def test_tracks_of_several_videos_may_have_the_same_number():
    truth = square_video((0, 0), (5, 5))
    truth["videos"].append({**truth["videos"][0], "id": 2})
    truth["annotations"].append({**truth["annotations"][0], "id": 2, "video_id": 2})
    rows = [one for video in (1, 2) for one in track_rows([square(0, 0), square(5, 5)], video, 1, 1, 0.5)]
    assert video_ap(truth, rows).metrics["AP"] == 100


def test_tracks_count_by_their_size_on_average():
    """100 pixels on average; the limits of YouTube-VIS are 128 and 256 squared."""
    truth = square_video((0, 0), (5, 5))
    rows = track_rows([square(0, 0), square(5, 5)], 1, 9, 1, 0.5)
    assert video_ap(truth, rows).metrics["APs"] == 100
    truth["annotations"][0]["areas"] = [200**2, 100**2]  # 158 squared on average
    result = video_ap(truth, rows).metrics
    assert (result["APs"], result["APm"], result["APl"]) == (None, 100, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video_id": 3}, "for the video 3, which the ground truth does not have"),
        ({"frame": 2}, r"got the frame 2, .* which has 2 frames of \(50, 60\)"),
        ({"size": [60, 50]}, r"got the frame 0, \(60, 50\), for the video 1"),
    ],
)
def test_predictions_of_other_frames_are_refused(change, message):
    rows = track_rows([square(0, 0)], 1, 9, 1, 0.5)
    with pytest.raises(ValueError, match=message):
        video_ap(square_video((0, 0), (5, 5)), [{**rows[0], **change}])


def test_two_masks_of_a_track_in_a_frame_are_refused_with_what_to_do():
    rows = track_rows([square(0, 0)], 1, 9, 1, 0.5)
    with pytest.raises(ValueError, match="several for the frame 0 of the track 9 .* a track of its own"):
        video_ap(square_video((0, 0)), rows * 2)
    other = {**rows[0], "track_id": 10}  # the advice
    assert video_ap(square_video((0, 0)), [*rows, other]).metrics["AP"] == 100


def test_frames_lie_side_by_side_in_a_tube():
    random = np.random.default_rng(0)
    choices = [None, np.zeros((4, 3), bool), np.ones((4, 3), bool), random.random((4, 3)) < 0.5]
    for numbers in random.integers(0, 4, (50, 3)):
        frames = [choices[i] for i in numbers]
        tube = side_by_side([None if mask is None else mask_to_rle(mask) for mask in frames], (4, 3))
        whole = np.hstack([np.zeros((4, 3), bool) if mask is None else mask for mask in frames])
        assert tube == mask_to_rle(whole)
