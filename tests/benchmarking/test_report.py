import base64
import json
import re
import sys

import pyarrow.parquet
import pytest
from PIL import Image

from hq_sam_hf.benchmarking import published
from hq_sam_hf.benchmarking.average_precision import image_ap
from hq_sam_hf.benchmarking.benchmarks import BENCHMARKS
from hq_sam_hf.benchmarking.case_pictures import choose_cases
from hq_sam_hf.benchmarking.command import BenchmarkData, run_benchmark
from hq_sam_hf.benchmarking.comparison import category_changes, category_tables, compared_results
from hq_sam_hf.benchmarking.measurement import BenchmarkResult, PartResult, measure_benchmark
from hq_sam_hf.benchmarking.object_iou import ObjectRecord
from hq_sam_hf.benchmarking.parts import BenchmarkPart
from hq_sam_hf.benchmarking.predictions import read_predictions, write_shard
from hq_sam_hf.benchmarking.prompt_choice import PromptChoice
from hq_sam_hf.benchmarking.region_contour import j_and_f
from hq_sam_hf.benchmarking.report import REPORT_FILES, write_report
from hq_sam_hf.benchmarking.tube_ap import video_ap
from support.benchmark_runs import coco_run, options, with_outputs
from support.video_objects import video_objects


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of COCO and its report."""
    folder = tmp_path_factory.mktemp("run")
    part, settings = coco_run(folder)
    patch = pytest.MonkeyPatch()
    patch.setitem(published._IMAGES, "coco", 8)
    text = write_report(folder / "run", BENCHMARKS["coco"], [part], settings, cases=2)
    patch.undo()
    return folder / "run", part, text


def test_the_report_has_these_files_and_nothing_else(run):
    folder, _, text = run
    assert sorted(path.name for path in folder.iterdir()) == sorted([*REPORT_FILES, "predictions"])
    assert (folder / "benchmark.md").read_text() == text


def test_the_tables_have_the_metrics_of_each_output(run):
    folder, part, text = run
    results = {
        output: image_ap(part.ground_truth, read_predictions(folder / "predictions" / "coco", output)).metrics
        for output in ("sam", "hq")
    }
    before, after = results["sam"]["AP_B"], results["hq"]["AP_B"]
    start = f"| AP boundary | {before:.1f} | {after:.1f} | {after:.1f} | +{after - before:.1f} |"
    assert f"{start} 33.3 (−{33.3 - before:.1f}) | 34.4 (−{34.4 - after:.1f}) |" in text
    assert text.startswith("# COCO val2017: some/model\n")
    assert "| HQ-SAM ViT-H | 34.9 | 49.9 |" in text
    report = json.loads((folder / "benchmark.json").read_text())
    assert report["metrics"]["sam"]["AP_B"] == before
    assert report["metrics"]["hq"]["AP_B_strict"] == results["hq"]["AP_B_strict"]
    assert report["settings"]["backbone"] == "vit_l"
    assert [one["name"] for one in report["parts"][0]["by_category"]["hq"]] == ["c0", "c1", "c2", "c3", "c4"]


def test_the_html_page_holds_everything_itself(run):
    folder, _, _ = run
    page = (folder / "benchmark.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    pictures = re.findall(r'src="data:image/([a-z+]+);base64,([^"]+)" alt="([^"]+)"', page)
    titles = [title for kind, _, title in pictures if kind == "svg+xml"]
    assert titles == [
        "Recall by boundary IoU",
        "Recall by IoU",
        "AP by size of the object",
        "AP boundary by category, by gain",
    ]
    assert sum(kind == "jpeg" for kind, _, _ in pictures) == len(list((folder / "cases").iterdir()))
    assert all(base64.b64decode(content) for _, content, _ in pictures)
    assert "<h2>Most improved objects</h2>" in page
    assert "<td>max_dets</td><td>100</td>" in page


def test_pictures_of_cases_are_linked_from_the_markdown(run):
    folder, _, text = run
    links = re.findall(r"\((cases/[^)]+)\)", text)
    assert [link for link in links if "improved" in link] == links[:2]
    for link in links:
        with Image.open(folder / link) as picture:
            assert picture.height == 240 + 18  # panels and captions
    report = json.loads((folder / "benchmark.json").read_text())
    assert [one["picture"] for one in report["cases"]] == links


def test_objects_are_saved_with_their_iou(run):
    folder, _, text = run
    rows = pyarrow.parquet.read_table(folder / "objects.parquet").to_pylist()
    of_sam = [row for row in rows if row["output"] == "sam"]
    mean = 100 * sum(row["boundary_iou"] for row in of_sam) / len(of_sam)
    assert f"| mBIoU | {mean:.1f} |" in text
    assert f"those of the {len(of_sam)} objects" in text


@pytest.mark.slow
def test_a_report_is_the_same_when_written_again(run, tmp_path):
    folder, part, _ = run
    before = {name: (folder / name).read_bytes() for name in REPORT_FILES if name != "cases"}
    patch = pytest.MonkeyPatch()
    patch.setitem(published._IMAGES, "coco", 8)
    write_report(folder, BENCHMARKS["coco"], [part], options(), cases=2)
    patch.undo()
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    "other",
    [
        {"limit": 10},
        {"backbone": "vit_b"},
        {"prompts": "box"},
        {"multimask_output": True},
        {"image_size": 512},
        {"protocol": "stretch"},
        {"max_dets": 10},
        {"backbone": None},
    ],
)
def test_results_are_compared_only_with_published_ones_of_the_same_settings(other):
    part = PartResult("coco", 5000, 9)
    usual, changed = (BenchmarkResult("coco", "COCO", options(**one), [part]) for one in ({}, other))
    assert [one.method for one in compared_results(usual)] == ["SAM ViT-L", "HQ-SAM ViT-L"]
    methods = [one.method for one in compared_results(changed)]
    assert methods == (["SAM ViT-B", "HQ-SAM ViT-B"] if other.get("backbone") else [])
    smaller = BenchmarkResult("coco", "COCO", options(), [PartResult("coco", 4999, 9)])
    assert compared_results(smaller) == []


def record(annotation_id: int, **boundary_iou: float) -> ObjectRecord:
    return ObjectRecord(1, -1, annotation_id, 1, 0, {}, boundary_iou)


def test_cases_are_the_objects_that_changed_most_and_the_worst():
    part = PartResult("x", 1, 4)
    part.records = [
        record(1, sam=0.1, sum=0.9),
        record(2, sam=0.5, sum=0.4),
        record(3, sam=0.2, sum=0.2),
        record(4, sam=0.6, sum=0.7),
    ]
    result = BenchmarkResult("custom", "", {"outputs": ["sam", "sum"]}, [part])
    cases = [(case.kind, case.rank, case.record.annotation_id) for case in choose_cases(result, 2)]
    assert cases == [
        ("improved", 1, 1),
        ("improved", 2, 4),
        ("worsened", 1, 2),
        ("worst", 1, 3),
        ("worst", 2, 2),
    ]
    only_sam = BenchmarkResult("custom", "", {"outputs": ["sam"]}, [part])
    assert [case.record.annotation_id for case in choose_cases(only_sam, 1)] == [1]


def test_the_mean_of_several_data_sets_is_the_plain_mean():
    parts = [
        PartResult("a", 10, 1, metrics={"hq": {"AP": 20.0, "AP_B": None}}),
        PartResult("b", 1, 1, metrics={"hq": {"AP": 50.0, "AP_B": 7.0}}),
    ]
    result = BenchmarkResult("sginw", "", {"outputs": ["hq"]}, parts)
    assert result.metrics == {"hq": {"AP": 35.0, "AP_B": 7.0}}


@pytest.mark.slow
def test_several_data_sets_have_a_table_and_a_plot_of_their_own(tmp_path):
    made = [coco_run(tmp_path, 3, name, seed, 2) for seed, name in enumerate(("Cows", "Poles"))]
    settings = options(benchmark="sginw", prompts="detector", backbone="vit_h")
    text = write_report(tmp_path / "run", BENCHMARKS["sginw"], [part for part, _ in made], settings, cases=1)
    assert "### AP by data set" in text
    assert "### AP boundary by data set" in text
    assert re.search(r"\| Poles \| 3 \|", text)
    assert "### Categories of Cows" in text
    assert "48.7 (" in text
    assert re.search(r"\[(Cows|Poles), \d\.jpg: c\d\]", text)
    page = (tmp_path / "run" / "benchmark.html").read_text()
    for title in ("AP boundary by data set", "Recall by boundary IoU", "Recall by boundary IoU, Poles"):
        assert f'alt="{title}"' in page


def test_videos_are_measured_by_the_metrics_of_their_benchmark():
    truth, rows = video_objects(4)
    rows = with_outputs(sorted(rows, key=lambda one: (one["video_id"], one["frame"])))
    part = BenchmarkPart("v", [], truth)
    read = lambda part, output: [one for one in rows if output in (None, one["output"])]  # noqa: E731
    settings = options()
    result = measure_benchmark(BENCHMARKS["hq-ytvis"], [part], read, settings)
    assert result.metrics["hq"]["AP_B"] == video_ap(truth, read("v", "hq")).metrics["AP_B"]
    assert result.parts[0].objects == len(truth["annotations"])
    assert result.parts[0].records
    result = measure_benchmark(BENCHMARKS["davis"], [part], read, settings)
    assert result.metrics["sam"]["J&F"] == j_and_f(truth, read("v", "sam")).metrics["J&F"]


def test_a_part_without_annotations_is_not_measured(tmp_path):
    part, settings = coco_run(tmp_path, 2)
    part.ground_truth["annotations"] = []
    text = write_report(tmp_path / "run", BENCHMARKS["ytvis"], [part], settings)
    assert "Without annotations, and so not measured: coco." in text
    assert json.loads((tmp_path / "run" / "benchmark.json").read_text())["metrics"]["hq"] == {}
    assert "### Published results" in text


def test_of_many_categories_the_largest_gains_and_losses_are_listed():
    rows = {
        output: [{"name": f"c{i}", "annotations": i, "AP": 1.0, "AP_B": value(i)} for i in range(121)]
        for output, value in (("sam", lambda i: 50.0), ("hq", lambda i: float(i)))
    }
    part = PartResult("x", 1, 1, metrics={"hq": {}}, by_category=rows)
    result = BenchmarkResult("custom", "", {"outputs": ["sam", "hq"]}, [part])
    assert len(category_changes(result, part)) == 120  # c0 has no object
    (table,) = category_tables(result, part)
    assert [row[0] for row in table.rows] == [f"c{i}" for i in (*range(120, 100, -1), *range(20, 0, -1))]
    assert table.rows[0][-1] == "+70.0"
    assert table.note == "The JSON file has all of them."


@pytest.mark.parametrize("missing", ["faster_coco_eval.core", "matplotlib.figure"])
def test_missing_packages_are_named_before_the_work(missing, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, missing, None)
    part, _ = coco_run(tmp_path, 1)
    (tmp_path / "instances.json").write_text(json.dumps(part.ground_truth))
    data = BenchmarkData(annotations=tmp_path / "instances.json", images=tmp_path / "images" / "coco")
    with pytest.raises(ValueError, match=r'pip install "hq-sam-hf\[benchmarks\]"'):
        run_benchmark(data, tmp_path / "new", prompts=PromptChoice("box"))
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_run_without_predictions_has_a_report(tmp_path):
    part, settings = coco_run(tmp_path, 2)
    write_shard(tmp_path / "run" / "predictions" / "coco", 0, [])
    text = write_report(tmp_path / "run", BENCHMARKS["coco"], [part], settings)
    assert "| AP | 0.0 | 0.0 | 0.0 | 0.0 |" in text
    assert list((tmp_path / "run" / "cases").iterdir()) == []
