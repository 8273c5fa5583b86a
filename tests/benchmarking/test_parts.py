"""Annotation files of the benchmarks: their published layouts are read, and what is wrong is named."""

import json
import re
import shutil

import numpy as np
import pytest

from hq_sam_hf.benchmarking.benchmarks import BENCHMARKS, SGINW_SETS, load_benchmark
from hq_sam_hf.benchmarking.checking import check_benchmark
from hq_sam_hf.benchmarking.command import BenchmarkData
from hq_sam_hf.benchmarking.parts import annotation_mask
from support import small_benchmarks as small
from support.paths import ROOT
from support.small_benchmarks import FRAMES, SIZE, small_image, video_frames

WRITERS = {
    "coco": small.write_coco,
    "lvis": small.write_lvis,
    "uvo": small.write_uvo,
    "sginw": small.write_sginw,
    "hqseg": small.write_hqseg,
    "big": small.write_big,
    "ytvis": small.write_ytvis,
    "hq-ytvis": lambda root: small.write_ytvis(root, is_hq=True),
    "davis": small.write_davis,
}


def load(name, root):
    return load_benchmark(BENCHMARKS[name], root)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    return {name: write(folder / name) for name, write in WRITERS.items()}


@pytest.fixture
def copy(roots, tmp_path):
    """A copy of a benchmark's folder, to damage it."""
    return lambda name: shutil.copytree(roots[name], tmp_path / name)


def test_every_benchmark_has_a_generated_data_set_in_its_layout():
    assert set(WRITERS) == set(BENCHMARKS)


def test_the_page_on_data_lists_every_file_of_every_benchmark():
    page = (ROOT / "docs" / "data.md").read_text()
    rows = dict(re.findall(r"^\| ([a-z-]+) \| (.*) \|$", page[page.index("## Benchmarks") :], re.MULTILINE))
    for name, benchmark in BENCHMARKS.items():
        for place in benchmark.layout.values():
            assert [one for one in place.names if one not in rows[name]] == [], name


@pytest.mark.parametrize("name", ["coco", "lvis", "uvo"])
def test_coco_annotations_have_the_generated_masks(roots, name):
    (part,) = load(name, roots[name])
    assert [image.id for image in part.images] == [100, 101, 102, 103]
    assert {image.size for image in part.images} == {(SIZE, SIZE)}
    own = [one for one in part.ground_truth["annotations"] if one["image_id"] == 102]
    assert len(own) == len(small_image(2).masks)
    for one, mask in zip(own, small_image(2).masks):
        assert np.array_equal(annotation_mask(one, (SIZE, SIZE)), mask)


def test_lvis_finds_its_images_in_the_folders_of_both_splits(roots):
    (part,) = load("lvis", roots["lvis"])
    assert [image.name for image in part.images[:2]] == ["val2017/000000000000.jpg", "train2017/000000000001.jpg"]


def test_sginw_has_a_part_for_each_of_its_25_data_sets(roots):
    parts = load("sginw", roots["sginw"])
    assert [part.name for part in parts] == list(SGINW_SETS)
    assert len(parts) == 25
    assert parts[0].category_names == {10: "cup", 20: "red spoon"}


@pytest.mark.parametrize(("name", "names"), [("hqseg", ["dis", "coift", "hrsod", "thin"]), ("big", ["big"])])
def test_a_mask_image_is_the_ground_truth_of_its_image(roots, name, names):
    parts = load(name, roots[name])
    assert [part.name for part in parts] == names
    (one,) = [one for one in parts[0].ground_truth["annotations"] if one["image_id"] == 2]
    assert np.array_equal(annotation_mask(one, (SIZE, SIZE)), small_image(1).masks[0])
    with pytest.raises(ValueError, match=r"has the \(height, width\) .* Get both from the same release"):
        annotation_mask(one, (SIZE, SIZE + 1))


@pytest.mark.parametrize("name", ["ytvis", "hq-ytvis", "davis"])
def test_videos_have_the_generated_masks_of_every_frame(roots, name):
    (part,) = load(name, roots[name])
    assert part.is_video
    assert [(image.id, image.video_id, image.frame) for image in part.images] == [
        (1 + video * FRAMES + frame, 1 + video, frame) for video in range(2) for frame in range(FRAMES)
    ]
    own = [one for one in part.ground_truth["annotations"] if one["video_id"] == 2]
    for one, place in zip(own, range(len(video_frames(1)[0].masks))):
        for frame, image in enumerate(video_frames(1)):
            mask = annotation_mask(one, (SIZE, SIZE), frame)
            assert np.array_equal(np.zeros((SIZE, SIZE)) if mask is None else mask, image.masks[place])


def test_a_file_of_the_server_has_no_annotations(tmp_path):
    (part,) = load("ytvis", small.write_ytvis(tmp_path, with_annotations=False))
    assert not part.has_annotations
    assert "has no annotations" in part.notes[0]


@pytest.mark.parametrize(("name", "images"), [("coco", 2), ("ytvis", 2 * FRAMES), ("davis", 2 * FRAMES)])
def test_the_first_images_or_videos_keep_their_ground_truth_only(roots, name, images):
    (part,) = BenchmarkData(name, roots[name], limit=2).load()[1]
    assert len(part.images) == images
    (one,) = BenchmarkData(name, roots[name], limit=1).load()[1]
    owner = "video_id" if one.is_video else "image_id"
    assert {entry[owner] for entry in one.ground_truth["annotations"]} == {1 if one.is_video else 100}


@pytest.mark.parametrize("name", sorted(set(WRITERS) - {"sginw"}))
def test_a_check_reads_every_image(roots, name):
    reports = check_benchmark(name, roots[name], threads=2)
    assert sum(report.read for report in reports) == sum(len(part.images) for part in load(name, roots[name]))
    assert [problem for report in reports for problem in report.problems] == []


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


COCO = "annotations/instances_val2017.json"
WRONG = {
    "no file": (
        "coco",
        lambda root: (root / COCO).unlink(),
        r"instances_val2017.json' is missing, the annotations of",
    ),
    "no folder": ("coco", lambda root: shutil.rmtree(root / "val2017"), r"val2017' .* is missing, the folder with"),
    "an image less": (
        "coco",
        lambda root: (root / "val2017" / "000000000001.jpg").unlink(),
        r"1 of the 4 images that '.*json' lists are missing in '.*val2017', such as '000000000001.jpg'. Put the",
    ),
    "half a file": (
        "coco",
        lambda root: (root / COCO).write_text('{"images": ['),
        r"is not a COCO file with `images`",
    ),
    "another file": ("coco", lambda root: (root / COCO).write_text("[]"), r"is not a COCO file with `images`"),
    "no categories": (
        "coco",
        lambda root: change(root / COCO, lambda content: content.pop("categories")),
        "has no list of `categories`. Add one",
    ),
    "an unknown category": (
        "coco",
        lambda root: change(root / COCO, lambda content: content["annotations"][2].update(category_id=7)),
        "the annotation 3 belongs to the category 7, which the file does not list. Add the category",
    ),
    "two annotations with one id": (
        "coco",
        lambda root: change(root / COCO, lambda content: content["annotations"][2].update(id=1)),
        "two annotations have the id 1. Give each its own",
    ),
    "COCO's file for LVIS": (
        "lvis",
        lambda root: change(
            root / "annotations" / "lvis_v1_val.json", lambda content: content["categories"][0].pop("frequency")
        ),
        "the category 'solid' lacks frequency. Use LVIS v1's own file, lvis_v1_val.json",
    ),
    "LVIS without what was looked for": (
        "lvis",
        lambda root: change(
            root / "annotations" / "lvis_v1_val.json", lambda content: content["images"][0].pop("neg_category_ids")
        ),
        "the image 100 lacks neg_category_ids. Use LVIS v1's own file",
    ),
    "a data set of SGinW less": (
        "sginw",
        lambda root: shutil.rmtree(root / "Chicken"),
        r"1 of the 25 data sets of SGinW are missing in '.*', such as Chicken/valid/_annotations_min1cat.coco.json",
    ),
    "no ground truth of BIG": (
        "big",
        lambda root: (root / "test" / "2009_000002_gt.png").unlink(),
        r"1 of the 4 images in '.*test' have no ground truth, such as '2009_000002_gt.png'. BIG has a NAME_gt.png",
    ),
    "a set of HQSeg less": (
        "hqseg",
        lambda root: shutil.rmtree(root / "DIS5K"),
        r"The set 'dis' \(validation\) is missing: expected pairs of .jpg and .png in DIS5K/DIS-VD/im/",
    ),
    "a frame less": (
        "hq-ytvis",
        lambda root: (root / "train" / "JPEGImages" / "0a2f000001" / "00005.jpg").unlink(),
        r"1 of the 6 frames that '.*ytvis_hq-test.json' lists are missing in '.*', such as '0a2f000001/00005.jpg'",
    ),
    "COCO's file for videos": (
        "ytvis",
        lambda root: change(root / "annotations" / "valid.json", lambda content: content.pop("videos")),
        "valid.json' is not a file of YouTube-VIS with `videos` and `categories`",
    ),
    "masks of too few frames": (
        "ytvis",
        lambda root: change(
            root / "annotations" / "valid.json", lambda content: content["annotations"][0]["segmentations"].pop()
        ),
        "the annotation 1 must have one segmentation, or null, for each of the 3 frames",
    ),
    "no list of DAVIS": (
        "davis",
        lambda root: (root / "ImageSets" / "2017" / "val.txt").unlink(),
        r"val.txt' is missing, the names of the videos of val. The benchmark davis needs in its folder: ImageSets",
    ),
    "a label map less": (
        "davis",
        lambda root: (root / "Annotations" / "480p" / "scene-0" / "00001.png").unlink(),
        "The video 'scene-0' has 3 frames in .* and 2 label maps in .*. DAVIS has a NNNNN.png for each NNNNN.jpg",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_and_missing_files_are_named_with_what_belongs_there(copy, case):
    name, damage, message = WRONG[case]
    root = copy(name)
    damage(root)
    with pytest.raises(ValueError, match=message):
        load(name, root)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(
        ValueError, match="is not a folder. Name the folder of COCO val2017 in its folder: annotations"
    ):
        load("coco", tmp_path / "none")


def test_annotations_without_a_segmentation_are_left_out_and_boxes_are_completed(copy):
    root = copy("coco")

    def edit(content):
        content["annotations"][0]["segmentation"] = []
        del content["annotations"][1]["bbox"]

    before = json.loads((root / COCO).read_text())["annotations"]
    change(root / COCO, edit)
    (part,) = load("coco", root)
    assert [one["id"] for one in part.ground_truth["annotations"]] == [one["id"] for one in before[1:]]
    assert part.ground_truth["annotations"][0]["bbox"] == before[1]["bbox"]
    assert part.notes == ["Annotations without a segmentation are left out (1): 1."]


def test_a_check_names_damaged_images_other_sizes_and_empty_masks(copy):
    root = copy("coco")
    (root / "val2017" / "000000000000.jpg").write_bytes(b"no image")
    small.save_image(root / "val2017" / "000000000001.jpg", np.zeros((30, 40, 3), np.uint8))

    def empty(content):
        one = next(one for one in content["annotations"] if one["image_id"] == 102)
        one["segmentation"] = {"size": [SIZE, SIZE], "counts": [SIZE * SIZE]}

    change(root / COCO, empty)
    (report,) = check_benchmark("coco", root, threads=1)
    assert report.read == 3
    assert report.empty == 1
    text = "\n".join(report.problems)
    assert "coco/000000000000.jpg: cannot read the image" in text
    assert "000000000001.jpg: the file has (30, 40), and the annotations were made for (192, 192)" in text
    assert "000000000002.jpg: the mask of annotation" in text
    assert len(report.problems) == 3
