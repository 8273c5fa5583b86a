"""Batch runs over many images: what they write, how they continue, and what happens to unreadable images."""

import json
import os
import signal
import subprocess
import sys
import time

import datasets
import numpy as np
import pytest
from PIL import Image

from hq_sam_hf import HQSamMaskGenerator, HQSamPredictor, HQSamProcessor
from hq_sam_hf.cli import main
from hq_sam_hf.data import load_coco
from hq_sam_hf.data.reading import read_sample
from hq_sam_hf.inference.loading import ModelSpec
from hq_sam_hf.masks.rle import rle_to_mask
from support.images import random_image
from support.launched import LAUNCHER, LEFT_OPEN
from support.oracle import SMALL, lively_pair, save_folder

OPTIONS = {"points_per_side": 5, "pred_iou_thresh": 0.6, "stability_score_thresh": 0.5}
FLAGS = [part for name, value in OPTIONS.items() for part in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_folder(lively_pair(SMALL)[1], tmp_path_factory.mktemp("model"))


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The folder `photos` in the current folder, with three images, one in a subfolder, and two other files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.png", "more/a.png")):
        Image.fromarray(random_image((40 + i, 60), seed=i)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    (tmp_path / "photos" / ".hidden.png").write_bytes(b"")
    return tmp_path / "photos"


@pytest.fixture
def generate(model_folder, photos):
    """Run `hq-sam generate` on the photos. Returns the exit code."""

    def run(*arguments: str, sources: tuple[str, ...] = ("photos",), flags: list[str] = FLAGS) -> int:
        return main(["generate", *sources, "-o", "out", "--model", str(model_folder), *flags, *arguments])

    return run


def read(path) -> dict:
    return json.loads(path.read_text())


def files(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_images_gets_the_records_of_the_generator(generate, photos, tmp_path, capsys):
    assert generate("--overlays", "--label-maps", "--min-mask-region-area", "20") == 0
    assert "images: 3 done, 0 done before, 0 failed; in out" in capsys.readouterr().out
    names = ["a.png", "b.png", "more/a.png"]
    assert files(tmp_path / "out") == {
        "options.json",
        "coco.json",
        *[f"annotations/{name}.json" for name in names],
        *[f"overlays/{name}.jpg" for name in names],
        *[f"label_maps/{name}.png" for name in names],
    }
    model = lively_pair(SMALL)[1]
    generator = HQSamMaskGenerator(model, HQSamProcessor.from_config(model.config), min_mask_region_area=20, **OPTIONS)
    content = read(tmp_path / "out" / "coco.json")
    assert [image["file_name"] for image in content["images"]] == names
    for image in content["images"]:
        records = generator.generate(photos / image["file_name"])
        found = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
        assert len(found) == len(records) > 2
        for mine, record in zip(found, records):
            assert np.array_equal(rle_to_mask(mine["segmentation"]), record["segmentation"])
            assert mine["predicted_iou"] == record["predicted_iou"]
            assert mine["point_coords"] == record["point_coords"]
        size = (image["height"], image["width"])
        assert np.asarray(Image.open(tmp_path / "out" / "overlays" / f"{image['file_name']}.jpg")).shape == (*size, 3)
        labels = np.asarray(Image.open(tmp_path / "out" / "label_maps" / f"{image['file_name']}.png"))
        assert labels.shape == size
        assert labels.max() == len(records)
    assert len({entry["id"] for entry in content["annotations"]}) == len(content["annotations"])


def test_the_masks_are_a_data_set_for_training(generate, photos, tmp_path, capfd):
    assert generate("--parquet") == 0
    assert "Generating" not in capfd.readouterr().err  # the progress bars of datasets
    assert not datasets.are_progress_bars_disabled()
    rows = datasets.load_dataset(str(tmp_path / "out" / "parquet"), split="train", cache_dir=str(tmp_path / "cache"))
    from_coco = load_coco(tmp_path / "out" / "coco.json", photos)
    content = read(tmp_path / "out" / "coco.json")
    assert [row["name"] for row in rows] == ["a.png", "b.png", "more/a.png"]
    for row, other, image in zip(rows, from_coco, content["images"]):
        sample = read_sample(row)
        assert np.array_equal(sample.image, np.asarray(Image.open(photos / row["name"])))
        assert np.array_equal(sample.masks, read_sample(other).masks)
        scores = [entry["predicted_iou"] for entry in content["annotations"] if entry["image_id"] == image["id"]]
        np.testing.assert_allclose(row["scores"], scores, rtol=1e-6)
        assert row["labels"] == ["object"] * len(sample.masks)
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_second_run_predicts_only_missing_images(generate, photos, tmp_path, capsys, monkeypatch):
    assert generate() == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "annotations").rglob("*.json")}
    Image.fromarray(random_image((40, 40))).save(photos / "new.png")
    (tmp_path / "out" / "annotations" / "b.png.json").unlink()
    (tmp_path / "out" / "annotations" / ".c.png.json.x1y2.part").write_bytes(
        b'{"annotations'
    )  # as a killed run leaves it
    (tmp_path / "out" / ".parquet.x1y2.part").mkdir()
    assert generate() == 0
    assert "images: 2 done, 2 done before, 0 failed" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.name for path in before if before[path] != after[path]} == {"b.png.json"}
    assert not list((tmp_path / "out").rglob("*.part"))

    def no_model(*_):
        raise AssertionError("all images are done, so no model is needed")

    monkeypatch.setattr(ModelSpec, "load", no_model)
    assert not (tmp_path / "out" / "overlays").exists()
    coco = (tmp_path / "out" / "coco.json").read_bytes()
    assert generate("--overlays") == 0  # overlays of masks that are there
    assert "images: 0 done, 4 done before" in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "overlays").rglob("*.jpg"))) == 4
    assert (tmp_path / "out" / "coco.json").read_bytes() == coco


def test_an_unreadable_image_is_named_and_the_others_are_done(generate, photos, tmp_path, capsys):
    whole = (photos / "a.png").read_bytes()
    (photos / "b.png").write_bytes(whole[:200])
    (photos / "more" / "c.png").write_bytes(b"")
    assert generate() == 1
    printed = capsys.readouterr()
    assert "images: 2 done, 0 done before, 2 failed" in printed.out
    errors = printed.err.splitlines()
    assert [line for line in errors if line.startswith("skipped b.png: `images`: cannot read")]
    assert [line for line in errors if line.startswith("skipped more/c.png:")]
    assert errors[-1] == "hq-sam: 2 images failed (b.png, more/c.png). The lines above say why."
    content = read(tmp_path / "out" / "coco.json")
    assert [image["file_name"] for image in content["images"]] == ["a.png", "more/a.png"]
    (photos / "b.png").write_bytes(whole)
    (photos / "more" / "c.png").unlink()
    assert generate() == 0
    assert "images: 1 done, 2 done before, 0 failed" in capsys.readouterr().out


def test_an_image_that_needs_too_much_memory_is_skipped(generate, capsys, monkeypatch):
    whole = HQSamMaskGenerator.generate_from_features

    def limited(self, features, size, *options):
        if size[0] == 41:
            raise MemoryError
        return whole(self, features, size, *options)

    monkeypatch.setattr(HQSamMaskGenerator, "generate_from_features", limited)
    assert generate() == 1
    printed = capsys.readouterr()
    assert "skipped b.png: MemoryError" in printed.err
    assert "images: 2 done" in printed.out


def test_other_options_need_another_folder(generate, tmp_path, capsys):
    assert generate("--points-per-side", "0") == 1
    assert "`points_per_side` must be an integer of at least 1" in capsys.readouterr().err
    assert generate() == 0  # the wrong options made no masks, so other options may follow
    before = files(tmp_path / "out")
    assert generate("--points-per-side", "4") == 1
    error = capsys.readouterr().err
    assert "holds masks made with other options: points_per_side was 5 and is 4. Use another folder." in error
    assert generate("--min-mask-region-area", "4") == 1
    assert "min_mask_region_area was not given and is 4." in capsys.readouterr().err
    assert files(tmp_path / "out") == before


def test_a_folder_with_other_files_is_not_written_to(generate, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    (tmp_path / "out" / ".thesis.part").write_text("mine too")
    assert generate() == 1
    assert "'out' is not empty and holds no earlier run" in capsys.readouterr().err
    (tmp_path / "file").write_text("mine")
    assert generate("-o", "file") == 1
    assert "The output must be a folder, but 'file' is a file. Name a folder." in capsys.readouterr().err
    assert files(tmp_path / "out") == {"thesis.txt", ".thesis.part"}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "hq_sam_hf.cli", "generate", *map(str, arguments)]


@pytest.mark.slow
def test_a_killed_run_leaves_complete_files_and_the_next_run_continues(model_folder, photos, tmp_path):
    for i in range(17):
        Image.fromarray(random_image((90, 120), seed=i)).save(photos / f"{i}.png")
    run = command("photos", "-o", "out", "--model", model_folder, *FLAGS, "--points-per-side", 16, "--overlays")
    process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = tmp_path / "out" / "annotations"
    while len(list(done.rglob("*.json"))) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in done.rglob("*.json")}
    assert 3 <= len(finished) < 20
    for path in finished:
        assert read(path)["images"]
    result = subprocess.run(run, capture_output=True, text=True, check=True)
    assert f"images: {20 - len(finished)} done, {len(finished)} done before" in result.stdout
    assert all(path.stat().st_mtime_ns == then for path, then in finished.items())
    assert len(read(tmp_path / "out" / "coco.json")["images"]) == len(list(done.rglob("*.json"))) == 20
    assert not list((tmp_path / "out").rglob("*.part"))


@pytest.mark.slow
def test_two_processes_share_the_images_and_write_the_files_of_one(model_folder, photos, tmp_path):
    for i in range(5):
        Image.fromarray(random_image((50, 70), seed=10 + i)).save(photos / f"{i}.png")
    (photos / "broken.png").write_bytes(b"")
    flags = ["--model", str(model_folder), *FLAGS, "--parquet"]
    alone = subprocess.run(command("photos", "-o", "alone", *flags), capture_output=True, text=True)
    # `accelerate launch --cpu` would start a single process. Two processes that did not share would both report.
    shared = subprocess.run(
        [*LAUNCHER, *command("photos", "-o", "shared", *flags)[2:]],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert alone.returncode == 1
    assert shared.returncode != 0  # the launcher reports that a process ended with 1
    assert LEFT_OPEN not in shared.stderr
    for result in (alone, shared):
        assert result.stdout.count("images: 8 done, 0 done before, 1 failed") == 1
        assert result.stderr.count("skipped broken.png") == 1
    assert files(tmp_path / "alone") == files(tmp_path / "shared")
    assert read(tmp_path / "alone" / "coco.json") == read(tmp_path / "shared" / "coco.json")


@pytest.fixture
def segment(model_folder, photos):
    def run(*arguments: str) -> int:
        return main(["segment", "--model", str(model_folder), *arguments])

    return run


PROMPTS = [
    {"image": "photos/a.png", "box": [5, 5, 40, 30], "label": "cup"},
    {"image": "photos/a.png", "box": [1, 2, 20, 39], "label": "plate"},
    {"image": "photos/more/a.png", "points": [[20, 10], [50, 30]], "labels": [1, 0]},
    {"image": "photos/a.png", "points": [[20, 10]], "box": [5, 5, 40, 30]},
    {"image": "photos/a.png", "mask": "rough.png", "label": "cup"},
]
AS_CSV = """\
image,box,x1,y1,x2,y2,points,labels,mask,label
photos/a.png,,5,5,40,30,,,,cup
photos/a.png,"1, 2, 20, 39",,,,,,,,plate
photos/more/a.png,,,,,,20 10; 50 30,1 0,,
photos/a.png,5 5 40 30,,,,,"20,10",,,
photos/a.png,,,,,,,,rough.png,cup
"""


@pytest.mark.parametrize("form", ["json", "csv"])
def test_prompts_for_many_images(segment, photos, tmp_path, form):
    rough = np.zeros((40, 60), dtype=bool)
    rough[5:30, 10:40] = True
    Image.fromarray(rough).save(tmp_path / "rough.png")
    (tmp_path / f"prompts.{form}").write_text(AS_CSV if form == "csv" else json.dumps(PROMPTS))
    assert segment("--prompts", f"prompts.{form}", "-o", "out", "--multimask-output", "--label-maps") == 0
    content = read(tmp_path / "out" / "coco.json")
    assert [image["file_name"] for image in content["images"]] == ["a.png", "more/a.png"]
    categories = {category["id"]: category["name"] for category in content["categories"]}
    assert [categories[entry["category_id"]] for entry in content["annotations"]] == [
        "cup",
        "plate",
        "object",
        "cup",
        "object",
    ]
    model = lively_pair(SMALL)[1]
    predictor = HQSamPredictor(model, HQSamProcessor.from_config(model.config))
    for entry, given in zip(content["annotations"], [PROMPTS[i] for i in (0, 1, 3, 4, 2)]):
        predictor.set_image(tmp_path / given["image"])
        mask = rough if "mask" in given else None
        masks, scores, _ = predictor.predict(
            given.get("points"), given.get("labels"), given.get("box"), mask, multimask_output=True
        )
        assert (rle_to_mask(entry["segmentation"]) != masks[0]).sum() <= 1  # predicted together with others
        assert entry["score"] == pytest.approx(scores[0], abs=1e-5)
        assert entry["area"] == rle_to_mask(entry["segmentation"]).sum()
        assert entry["prompt"].get("box") == given.get("box")
        assert entry["prompt"].get("points") == given.get("points")
    assert files(tmp_path / "out" / "label_maps") == {"a.png.png", "more/a.png.png"}


def test_only_images_with_changed_prompts_are_predicted_again(segment, tmp_path, capsys):
    def run(prompts, *flags):
        (tmp_path / "prompts.json").write_text(json.dumps(prompts))
        code = segment("--prompts", "prompts.json", "-o", "out", "--overlays", *flags)
        return code, capsys.readouterr()

    prompts = [{"image": f"photos/{name}.png", "box": [5, 5, 40, 30]} for name in ("a", "b", "more/a")]
    assert run(prompts)[0] == 0
    overlay = (tmp_path / "out" / "overlays" / "b.png.jpg").read_bytes()
    prompts[1]["box"] = [30, 2, 59, 39]
    prompts[2]["box"] = [300, 2, 590, 39]
    code, printed = run(prompts)
    assert code == 1
    assert "images: 1 done, 1 done before, 1 failed" in printed.out
    assert "skipped more/a.png: `boxes` must touch the image" in printed.err
    assert (tmp_path / "out" / "overlays" / "b.png.jpg").read_bytes() != overlay
    code, printed = run(prompts[:2], "--hq-token-only")
    assert code == 1
    assert "hq_token_only was False and is True" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give an IMAGE, or --prompts"),
        (["photos/a.png", "--prompts", "p.csv", "-o", "out"], "IMAGE goes with a single IMAGE only"),
        (
            ["--prompts", "p.csv", "-o", "out", "--box", "1,2,3,4", "--json", "x.json"],
            "--box, --json goes with a single",
        ),
        (["--prompts", "p.csv"], "--prompts writes to a folder"),
        (["photos/a.png", "--image-folder", "photos", "--box", "1,2,3,4"], "--image-folder goes with --prompts only"),
        (["photos/a.png", "--overlays"], "--overlays goes with --prompts or many images only"),
        (
            ["photos/a.png", "photos/b.png", "--box", "1,2,3,4"],
            "many images need --text; give boxes and points of many",
        ),
        (["photos", "--box", "1,2,3,4"], "many images need --text"),
    ],
)
def test_options_that_exclude_each_other_are_wrong_use(segment, arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_info:
        segment(*arguments)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err
