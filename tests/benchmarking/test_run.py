"""A benchmark's run: the masks of the predictor, shards that are written once, and a folder that belongs to one "
"run."""

import json
import tracemalloc

import numpy as np
import pytest
import torch
from accelerate import PartialState
from PIL import Image

from hq_sam_hf import HQSamPredictor
from hq_sam_hf.benchmarking import command, run
from hq_sam_hf.benchmarking.command import BenchmarkData, content_digest, run_benchmark
from hq_sam_hf.benchmarking.parts import BenchmarkImage, BenchmarkPart
from hq_sam_hf.benchmarking.predictions import find_shards, read_predictions
from hq_sam_hf.benchmarking.preparation import without_overlap
from hq_sam_hf.benchmarking.prompt_choice import PromptChoice
from hq_sam_hf.benchmarking.prompt_sources import AnnotationPrompts
from hq_sam_hf.benchmarking.run import BenchmarkRun, RunSettings
from hq_sam_hf.benchmarking.run_folder import RunFolder
from hq_sam_hf.evaluation.decoding import Prediction
from hq_sam_hf.inference.loading import ModelSpec, load_model
from hq_sam_hf.masks.rle import rle_to_mask
from support import small_benchmarks as small
from support.small_benchmarks import SIZE, small_image

OUTPUTS = {"sam": {"sam_only": True}, "hq": {"hq_token_only": True}, "sum": {}}
SMALL = ModelSpec(image_size=128, device="cpu")  # the embedded checkpoint at a size that is soon computed


@pytest.fixture(scope="module")
def loaded():
    return load_model(device="cpu", image_size=128)


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return small.write_coco(tmp_path_factory.mktemp("coco"), count=3)


@pytest.fixture(autouse=True)
def two_images_per_shard(monkeypatch):
    monkeypatch.setattr(run, "IMAGES_PER_SHARD", 2)


def predictions(folder, loaded, root, name="coco", settings=RunSettings(), choice=PromptChoice("box")):  # noqa: B008
    """The rows of a run without its report."""
    benchmark, parts = BenchmarkData(name, root).load()
    folder.mkdir(exist_ok=True)
    sources = choice.sources(benchmark, parts, 100)
    BenchmarkRun(*loaded, RunFolder(folder), settings, workers=1).run(parts, sources, PartialState(cpu=True))
    return list(read_predictions(folder / "predictions" / parts[0].name))


def test_masks_and_scores_are_those_of_the_predictor(tmp_path, loaded, coco):
    rows = predictions(tmp_path / "run", loaded, coco)
    predictor = HQSamPredictor(*loaded)
    content = json.loads((coco / "annotations" / "instances_val2017.json").read_text())
    boxes = {one["id"]: one["bbox"] for one in content["annotations"] if not one["iscrowd"]}
    assert [(row["annotation_id"], row["output"]) for row in rows] == [
        (number, output) for number in boxes for output in OUTPUTS
    ]
    for number in range(3):
        predictor.set_image(coco / "val2017" / f"{number:012d}.jpg", str(100 + number))
    for row in rows:
        x, y, width, height = boxes[row["annotation_id"]]
        masks, scores, _ = predictor.predict(
            boxes=[x, y, x + width, y + height], image=str(row["image_id"]), **OUTPUTS[row["output"]]
        )
        assert np.array_equal(rle_to_mask(row), masks[0])
        assert row["predicted_iou"] == row["score"] == pytest.approx(scores[0], abs=1e-6)


def test_images_of_a_batch_have_the_masks_of_single_images(tmp_path, loaded, coco):
    single = predictions(tmp_path / "single", loaded, coco)
    batch = predictions(tmp_path / "batch", loaded, coco, settings=RunSettings(batch_size=2))
    assert len(batch) == len(single)
    for one, other in zip(batch, single):
        assert one["annotation_id"] == other["annotation_id"]
        assert np.mean(rle_to_mask(one) != rle_to_mask(other)) < 1e-3


def test_images_without_prompts_give_no_rows(tmp_path, loaded, coco):
    path = small.save_json(
        tmp_path / "boxes.json", [{"image_id": 102, "category_id": 10, "bbox": [20, 20, 90, 90], "score": 0.5}]
    )
    choice = PromptChoice(detections=path)
    for size in (1, 3):
        rows = predictions(tmp_path / f"run{size}", loaded, coco, "coco", RunSettings(batch_size=size), choice)
        assert [(row["image_id"], row["score"], row["annotation_id"]) for row in rows] == [(102, 0.5, -1)] * 3


def test_noise_of_boxes_depends_on_the_seed_only(tmp_path, loaded, coco):
    folders = {"a": RunSettings(("hq",), noise=0.4), "b": RunSettings(("hq",), noise=0.4, batch_size=2)}
    folders["c"] = RunSettings(("hq",), noise=0.4, seed=1)
    ious = {}
    for name, settings in folders.items():
        rows = predictions(tmp_path / name, loaded, coco, settings=settings)
        ious[name] = [row["predicted_iou"] for row in rows]
    assert ious["a"] == pytest.approx(ious["b"], abs=1e-4)
    assert ious["a"] != pytest.approx(ious["c"], abs=1e-2)


def test_hqseg_has_the_boxes_and_masks_of_the_stretched_image(tmp_path, loaded):
    """The rows of `evaluate`, the paper's protocol, on the same files."""
    from hq_sam_hf.data.hqseg44k import load_hqseg44k
    from hq_sam_hf.evaluation.evaluator import evaluate

    root = small.write_hqseg(tmp_path / "data", count=1)
    rows = predictions(tmp_path / "run", loaded, root, "hqseg", RunSettings(protocol="stretch"), PromptChoice())
    records = evaluate(*loaded, load_hqseg44k(root, "validation", ["dis"])).records
    assert [row["output"] for row in rows] == [record["output"] for record in records]
    for row, record in zip(rows, records):
        ground_truth = small_image(record["index"]).masks[0]
        mask = rle_to_mask(row)
        iou = np.count_nonzero(mask & ground_truth) / np.count_nonzero(mask | ground_truth)
        assert iou == pytest.approx(record["iou"], abs=1e-6)


def test_a_pixel_of_davis_belongs_to_the_best_scored_object():
    masks = torch.zeros(3, 2, 1, 4, dtype=torch.bool)
    masks[0, :, 0, :3] = masks[1, :, 0, 1:] = masks[2, 0, 0, 3] = True
    scores = [[0.9, 0.2], [0.5, 0.2], [0.6, 0.1]]
    found = [Prediction(0, k, "given", 0, [], masks[k], scores[k]) for k in range(3)]
    first, second = without_overlap(found).unbind(1)
    assert first[:, 0].tolist() == [[True, True, True, False], [False] * 4, [False, False, False, True]]
    assert second[:, 0].tolist() == [[True, True, True, False], [False, False, False, True], [False] * 4]


def test_only_missing_shards_are_written(tmp_path, loaded, coco):
    folder = tmp_path / "run" / "predictions" / "coco"
    predictions(tmp_path / "run", loaded, coco)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in find_shards(folder)}
    assert sorted(before) == ["00000.parquet", "00001.parquet"]
    (folder / "00001.parquet").unlink()
    predictions(tmp_path / "run", loaded, coco)
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in find_shards(folder)}
    assert after["00000.parquet"] == before["00000.parquet"]
    assert after["00001.parquet"][0] == before["00001.parquet"][0]


def test_an_image_of_another_size_than_its_annotations_is_named(tmp_path, loaded):
    root = small.write_coco(tmp_path / "data")
    small.save_image(root / "val2017" / "000000000001.jpg", np.zeros((30, 40, 3), np.uint8))
    with pytest.raises(ValueError, match=r"01.jpg: .* \(30, 40\), and the annotations were made for \(192, 192\)"):
        predictions(tmp_path / "run", loaded, root)


@pytest.mark.slow  # reads 640 images
def test_memory_does_not_grow_with_the_number_of_images(tmp_path, loaded, monkeypatch):
    """Peaks of Python's memory while the first and while the last quarter of the images is predicted.

    A row has 4 KiB here, so 480 rows that are kept would be 2 MB. Python's own lists of free objects grow too, by up
    to 40 KB.
    """
    monkeypatch.setattr(run, "IMAGES_PER_SHARD", 16)
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[0, ::2] = True  # each pixel is a run: 4096 bytes of run lengths
    monkeypatch.setattr(run, "predict", lambda *_: [Prediction(0, 0, "given", 0, [], masks, [0.5])])
    file = small.save_image(tmp_path / "image.png", np.zeros((64, 64, 3), np.uint8))
    images = [BenchmarkImage(number, str(file), "image.png") for number in range(1, 641)]
    truth = [{"id": one.id, "image_id": one.id, "category_id": 1, "bbox": [5, 5, 20, 20]} for one in images]
    part = BenchmarkPart("many", images, {"images": [], "annotations": truth, "categories": []})
    peaks, write = [], run.write_shard

    def write_and_measure(folder, number, rows):
        write(folder, number, rows)
        if number % 10 == 9:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.reset_peak()

    monkeypatch.setattr(run, "write_shard", write_and_measure)
    one_run = BenchmarkRun(*loaded, RunFolder(tmp_path / "run"), RunSettings(("hq",)), workers=1)
    (tmp_path / "run").mkdir()
    tracemalloc.start()
    try:
        one_run.run([part], {"many": AnnotationPrompts(part)}, PartialState(cpu=True))
    finally:
        tracemalloc.stop()
    assert len(peaks) == 4
    assert peaks[-1] - peaks[0] < 200_000


class TestFolder:
    def run(self, folder, root, choice=PromptChoice("box"), **options):  # noqa: B008
        return run_benchmark(BenchmarkData("coco", root), folder, SMALL, choice, **options)

    def test_a_finished_run_is_only_measured_again(self, tmp_path, coco, monkeypatch):
        monkeypatch.setattr(command, "write_report", lambda folder, benchmark, parts, settings: str(settings))
        tables = self.run(tmp_path / "run", coco)
        results = {path.name: path.read_bytes() for path in (tmp_path / "run" / "results").iterdir()}
        assert sorted(results) == ["coco.hq.json", "coco.sam.json", "coco.sum.json"]

        def fail(*_):
            pytest.fail("predicted again")

        monkeypatch.setattr(run, "predict", fail)
        assert self.run(tmp_path / "run", coco) == tables
        assert {path.name: path.read_bytes() for path in (tmp_path / "run" / "results").iterdir()} == results

    def test_predictions_of_other_options_weights_or_files_are_not_mixed(self, tmp_path, coco, monkeypatch):
        monkeypatch.setattr(command, "write_report", lambda *_: "tables")
        self.run(tmp_path / "run", coco)
        with pytest.raises(ValueError, match="made with other options: noise was 0.0 and is 0.2, prompts was"):
            self.run(tmp_path / "run", coco, PromptChoice("box-noise-0.2"))
        with pytest.raises(ValueError, match="max_dets was 100 and is 7. Use another folder"):
            self.run(tmp_path / "run", coco, max_dets=7)
        content = json.loads((coco / "annotations" / "instances_val2017.json").read_text())
        content["annotations"][0]["bbox"][2] -= 1
        small.save_json(tmp_path / "changed.json", content)
        changed = BenchmarkData(annotations=tmp_path / "changed.json", images=coco / "val2017")
        with pytest.raises(ValueError, match="benchmark was 'coco' and is 'custom', files was"):
            run_benchmark(changed, tmp_path / "run", SMALL, PromptChoice("box"))
        monkeypatch.setattr(command, "model_digest", lambda model: "other weights")
        with pytest.raises(ValueError, match="weights was '.*' and is 'other weights'"):
            self.run(tmp_path / "run", coco)

    def test_files_count_by_their_content_and_folders_by_all_their_files(self, tmp_path):
        for folder in ("a", "b"):
            small.write_davis(tmp_path / folder, count=1)
        assert content_digest(tmp_path / "a") == content_digest(tmp_path / "b")
        (tmp_path / "b" / "Annotations" / "480p" / "scene-0" / "00001.png").write_bytes(b"another map")
        assert content_digest(tmp_path / "a") != content_digest(tmp_path / "b")

    def test_each_data_set_of_sginw_counts(self, tmp_path, monkeypatch):
        monkeypatch.setattr(command, "write_report", lambda *_: "tables")
        monkeypatch.setattr(BenchmarkRun, "run", lambda *_, **__: 0)
        monkeypatch.setattr(command, "write_result_files", lambda *_: [])
        root = small.write_sginw(tmp_path / "seginw")
        run_benchmark(BenchmarkData("sginw", root), tmp_path / "run", SMALL, PromptChoice("box"))
        files = json.loads((tmp_path / "run" / "options.json").read_text())["files"]
        assert len(files) == 25
        assert "Poles: _annotations_min1cat.coco.json" in files

    def test_a_folder_with_other_files_is_left_alone(self, tmp_path, coco):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis.txt").write_text("mine")
        with pytest.raises(ValueError, match="holds other files than an earlier run, such as 'thesis.txt'"):
            self.run(tmp_path / "run", coco)
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]

    def test_the_data_are_never_the_output(self, tmp_path):
        root = small.write_coco(tmp_path / "data")
        with pytest.raises(ValueError, match="is also an input"):
            self.run(root, root)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ({"name": "coco"}, "by --benchmark NAME and --root FOLDER, or custom COCO data by --annotations"),
            ({"annotations": "a.json"}, "by --annotations FILE and --images FOLDER"),
            ({"name": "cocoa", "root": "x"}, "A benchmark is one of hqseg, coco, lvis"),
            ({"name": "coco", "root": "x", "limit": 0}, "`limit` must be at least 1, got 0. Leave it out"),
        ],
    )
    def test_data_are_named_in_one_of_two_ways(self, data, message):
        with pytest.raises(ValueError, match=message):
            BenchmarkData(**data)


class TestResultsOfVideos:
    def test_tracks_have_a_mask_per_frame_and_the_mean_score(self, tmp_path, monkeypatch):
        monkeypatch.setattr(command, "write_report", lambda *_: "tables")
        root = small.write_ytvis(tmp_path / "data")
        annotations = root / "annotations" / "valid.json"
        tracks = small.write_tracks(tmp_path / "tracks.json", annotations)
        choice = PromptChoice(detections=tracks)
        run_benchmark(BenchmarkData("ytvis", root), tmp_path / "run", SMALL, choice, RunSettings(("hq",)))
        results = json.loads((tmp_path / "run" / "results" / "ytvis.hq.json").read_text())
        given = json.loads(tracks.read_text())
        assert [(one["video_id"], one["category_id"]) for one in results] == [
            (one["video_id"], one["category_id"]) for one in given
        ]
        assert [one["score"] for one in results] == pytest.approx([one["score"] for one in given])
        for one, of_tracker in zip(results, given):
            visible = [mask is not None for mask in one["segmentations"]]
            assert visible == [mask is not None for mask in of_tracker["segmentations"]]

    def test_davis_gets_label_maps_with_the_objects_numbers(self, tmp_path, monkeypatch):
        monkeypatch.setattr(command, "write_report", lambda *_: "tables")
        root = small.write_davis(tmp_path / "data")
        choice = PromptChoice(detections=root / "Annotations" / "480p")
        run_benchmark(BenchmarkData("davis", root), tmp_path / "run", SMALL, choice, RunSettings(("hq",)))
        rows = list(read_predictions(tmp_path / "run" / "predictions" / "davis"))
        folder = tmp_path / "run" / "results" / "davis.hq"
        assert len(list(folder.rglob("*.png"))) == 6
        with Image.open(folder / "scene-1" / "00002.png") as image:
            assert image.mode == "P"
            labels = np.asarray(image)
        own = [row for row in rows if (row["video_id"], row["frame"]) == (2, 2)]
        assert set(np.unique(labels).tolist()) <= {0, *(row["track_id"] for row in own)}
        for row in own:
            assert np.array_equal(labels == row["track_id"], rle_to_mask(row))
        assert labels.shape == (SIZE, SIZE)
