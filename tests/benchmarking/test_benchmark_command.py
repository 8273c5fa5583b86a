"""`hq-sam evaluate --benchmark`: every benchmark in its own layout, several processes, and runs that are killed."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hq_sam_hf.benchmarking import command
from hq_sam_hf.benchmarking.benchmarks import BENCHMARKS
from hq_sam_hf.cli import main
from hq_sam_hf.cli.benchmark import NAMES
from support import small_benchmarks as small
from support.launched import LAUNCHER, LEFT_OPEN
from support.small_benchmarks import SGINW_SETS
from support.small_detectors import save_grounding_dino
from support.small_shards import start

COCO = "annotations/instances_val2017.json"


def evaluate(*options):
    return main(["evaluate", *map(str, options)])


def metrics(folder):
    return json.loads((folder / "benchmark.json").read_text())["metrics"]


def coco_with_boxes(folder, count=4):
    root = small.write_coco(folder / "coco", count)
    boxes = small.write_detections(folder / "boxes.json", root / COCO)
    return ["--benchmark", "coco", "--root", str(root), "--detections", str(boxes)]


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a run. The report names the model and nothing of the machine, so all of them must be equal."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_coco_with_the_boxes_of_a_detector(tmp_path, capsys):
    assert evaluate(*coco_with_boxes(tmp_path, 3), "--image-size", 128, "-o", tmp_path / "run") == 0
    printed = capsys.readouterr().out
    assert "| solid |" in printed
    assert "FocalNet-L-DINO" in printed
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"options.json", "predictions", "results"}


@pytest.mark.slow
def test_custom_coco_data(tmp_path, capsys):
    root = small.write_coco(tmp_path / "data", 1)
    data = ["--annotations", root / COCO, "--images", root / "val2017", "--prompts", "box", "--image-size", 128]
    assert evaluate(*data, "--outputs", "sam,hq", "--max-dets", 5, "-o", tmp_path / "run") == 0
    assert "| thin |" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "options.json").read_text())["max_dets"] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--benchmark", "coco", "--root", ".", "--scenes", "3"],
            "--scenes goes with --data, --images",
        ),
        (["--scenes", "3", "--max-dets", "7"], "--max-dets goes with --benchmark or --annotations only"),
        (["--benchmark", "coco", "--root", "."], "writes its predictions to a folder; name it with -o"),
        (["--benchmark", "coco", "--root", ".", "--prompts", "box,mask", "-o", "run"], "a benchmark takes one prompt"),
        (["--benchmark", "cocoa"], "invalid choice: 'cocoa'"),
    ],
)
def test_options_of_the_two_ways_to_evaluate_are_not_mixed(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate(*options)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--max-dets", "0", "`max_dets` must be at least 1, got 0. COCO uses 100, LVIS 300"),
        ("--batch-size", "0", "`batch_size` must be at least 1, got 0"),
        ("--outputs", "sam,other", r"`outputs` must be among sam, hq, sum, got ['sam', 'other']"),
        ("--prompts", "box-noise-2", "A prompt must be one of box, box-noise-SCALE"),
    ],
)
def test_wrong_values_are_named_before_the_model_is_loaded(tmp_path, capsys, option, value, message):
    root = small.write_coco(tmp_path / "coco", 1)
    prompts = [] if option == "--prompts" else ["--prompts", "box"]
    assert evaluate("--benchmark", "coco", "--root", root, *prompts, option, value, "-o", tmp_path / "run") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_command_knows_the_names_of_the_benchmarks():
    assert NAMES == tuple(BENCHMARKS)


def test_a_check_of_a_benchmark_prints_a_table_and_fails_for_problems(tmp_path, capsys):
    root = small.write_coco(tmp_path / "coco", 2)
    assert main(["data", "check", str(root), "--benchmark", "coco"]) == 0
    assert re.search(r"coco +2 +0 +0 +192x192 +192x192 +0", capsys.readouterr().out)
    (root / "val2017" / "000000000001.jpg").write_bytes(b"no image")
    assert main(["data", "check", str(root), "--benchmark", "coco"]) == 1
    assert "1 problem in" in capsys.readouterr().err


def test_a_missing_file_is_one_line(tmp_path, capsys):
    assert evaluate("--benchmark", "davis", "--root", tmp_path, "-o", tmp_path / "run") == 1
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert "val.txt' is missing, the names of the videos of val" in error
    assert not (tmp_path / "run").exists()


SETUPS = {
    "coco": lambda folder: coco_with_boxes(folder)[2:],
    "lvis": lambda folder: ["--root", small.write_lvis(folder / "lvis"), "--prompts", "box"],
    "uvo": lambda folder: ["--root", small.write_uvo(folder / "uvo"), "--prompts", "box"],
    "sginw": lambda folder: ["--root", small.write_sginw(folder / "sginw"), "--prompts", "box"],
    "hqseg": lambda folder: ["--root", small.write_hqseg(folder / "hqseg")],
    "big": lambda folder: ["--root", small.write_big(folder / "BIG"), "--prompts", "mask"],
    "hq-ytvis": lambda folder: ["--root", small.write_ytvis(folder / "hq", is_hq=True), "--prompts", "box"],
    "ytvis": lambda folder: [
        "--root",
        small.write_ytvis(folder / "ytvis"),
        "--detections",
        small.write_tracks(folder / "tracks.json", folder / "ytvis" / "annotations" / "valid.json"),
    ],
    "davis": lambda folder: [
        "--root",
        small.write_davis(folder / "DAVIS"),
        "--detections",
        folder / "DAVIS" / "Annotations" / "480p",
    ],
}
BOUNDARY = {"hqseg": "mBIoU", "big": "mBIoU", "davis": "F"}  # the others have a boundary AP


@pytest.mark.slow  # encodes 4 to 25 images per benchmark
@pytest.mark.parametrize("name", SETUPS)
def test_hq_is_above_sam_at_boundaries_in_every_benchmark(tmp_path, name):
    assert evaluate("--benchmark", name, *SETUPS[name](tmp_path), "-o", tmp_path / "run") == 0
    found, metric = metrics(tmp_path / "run"), BOUNDARY.get(name, "AP_B")
    assert found["hq"][metric] > found["sam"][metric] + 1


@pytest.mark.slow
def test_sginw_with_a_zero_shot_detector(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "write_report", lambda *_: "tables")  # measured in the test above
    save_grounding_dino(tmp_path / "dino")
    root = small.write_sginw(tmp_path / "seginw")
    options = ["--root", root, "--detector", tmp_path / "dino", "--max-dets", 2, "--image-size", 128]
    assert evaluate("--benchmark", "sginw", *options, "-o", tmp_path / "run") == 0
    assert sorted(path.name for path in (tmp_path / "run" / "predictions").iterdir()) == sorted(SGINW_SETS)


@pytest.mark.slow
def test_killed_runs_and_several_processes_end_with_the_same_files(tmp_path):
    options = ["evaluate", *coco_with_boxes(tmp_path, 16), "--image-size", "128", "-o"]
    whole, killed, shared = (tmp_path / name for name in ("whole", "killed", "shared"))
    process = start([*options, str(whole)], tmp_path / "printed")
    process.join()
    assert process.exitcode == 0, (tmp_path / "printed").read_text()[-2000:]

    shards = killed / "predictions" / "coco"
    for kills in range(5):  # after one, two, ... shards, and somewhere in the next one
        process = start([*options, str(killed)], tmp_path / "killed.txt")
        while len(list(shards.glob("*.parquet"))) <= kills and process.is_alive():
            time.sleep(0.01)
        time.sleep(0.03 * kills)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert len(list(shards.glob("*.parquet"))) < 8
    process = start([*options, str(killed)], tmp_path / "killed.txt")
    process.join()
    assert process.exitcode == 0
    assert contents(killed) == contents(whole)

    run = [*LAUNCHER, "support.small_shards", *options, str(shared)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert LEFT_OPEN not in done.stderr
    assert contents(shared) == contents(whole)
