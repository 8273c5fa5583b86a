import json

import pytest

from hq_sam_hf import HQSamModel, HQSamProcessor
from hq_sam_hf.data.factory import load_rows
from hq_sam_hf.evaluation.evaluator import evaluate
from hq_sam_hf.scenes import SceneGenerator
from hq_sam_hf.training.trainer import train
from hq_sam_hf.training.validation import first_of_each_set
from support.small_hqseg44k import small_files, write_folders
from support.small_runs import read_log, small_run

SCENES = {"kind": "scenes", "count": 12, "size": 64}


@pytest.mark.slow
def test_validation_gives_metrics_overlays_curves_and_the_best_weights(base, tmp_path):
    final = train(small_run(base, tmp_path / "run", validation=SCENES, eval_overlays=3))
    lines = [line for line in read_log(tmp_path / "run") if "val_hq_mbiou" in line]
    assert [line["step"] for line in lines] == [2, 4]  # after each epoch
    assert {"val_sam_miou", "val_hq_miou", "val_sum_mbiou", "val_hq_mbiou_thin"} <= lines[0].keys()
    metrics = json.loads((final / "metrics.json").read_text())
    assert metrics == {name: value for name, value in lines[-1].items() if name != "step"}
    for step in (2, 4):
        assert len(list((tmp_path / "run" / "overlays" / f"step-{step:08d}").glob("*.png"))) == 3
    best = max(lines, key=lambda line: line["val_hq_mbiou"])
    best_metrics = json.loads((tmp_path / "run" / "best" / "metrics.json").read_text())
    assert best_metrics["val_hq_mbiou"] == best["val_hq_mbiou"]
    model, processor = HQSamModel.from_pretrained(tmp_path / "run" / "best"), HQSamProcessor.from_pretrained(final)
    again = evaluate(model, processor, {"validation": load_rows(SCENES, "validation")}, outputs=("hq",))
    average = [row for row in again.summary() if row["set"] == "average"][0]
    assert average["mbiou"] == pytest.approx(best["val_hq_mbiou"], abs=1e-3)
    assert (tmp_path / "run" / "curves.png").stat().st_size > 5000


def test_validation_takes_the_first_images_of_each_set(tmp_path):
    rows = load_rows(str(write_folders(tmp_path / "hq", small_files(("a", "b", "c")))), "validation")
    few = first_of_each_set(rows, 2)
    assert [(row["set"], row["name"]) for row in few] == [
        (name, item) for name in ("dis", "coift", "hrsod", "thin") for item in "ab"
    ]
    assert len(first_of_each_set(rows, None)) == 12
    scenes = SceneGenerator(5, size=64)
    assert [row["name"] for row in first_of_each_set(scenes, 3)] == [scenes[i]["name"] for i in range(3)]
    assert len(first_of_each_set(scenes, 9)) == 5


@pytest.mark.slow
def test_training_stops_after_validations_without_progress(base, tmp_path, monkeypatch):
    falling = iter(range(100, 0, -1))
    monkeypatch.setattr("hq_sam_hf.training.trainer.validate", lambda *_: {"val_hq_mbiou": float(next(falling))})
    fields = {"validation": {**SCENES, "count": 2}, "eval_steps": 1, "eval_overlays": 0, "patience": 2}
    train(small_run(base, tmp_path / "run", epochs=5, **fields))
    assert read_log(tmp_path / "run")[-1]["step"] == 3
    assert json.loads((tmp_path / "run" / "best" / "metrics.json").read_text()) == {"val_hq_mbiou": 100.0}
    card = (tmp_path / "run" / "final" / "README.md").read_text()
    assert "| val_hq_mbiou | 98.00 |" in card
    # A resumed run is still over and has the same metrics.
    train(small_run(base, tmp_path / "run", epochs=5, resume=True, **fields))
    assert read_log(tmp_path / "run")[-1]["step"] == 3
    assert (tmp_path / "run" / "final" / "README.md").read_text() == card.replace("resume: false", "resume: true")


def test_unreadable_validation_images_are_named_and_training_continues(base, tmp_path, caplog):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"not an image")
    (tmp_path / "masks" / "a.png").write_bytes(b"not an image")
    data = {"kind": "folders", "images": tmp_path / "images", "masks": tmp_path / "masks"}
    final = train(small_run(base, tmp_path / "run", validation=data, epochs=1))
    assert "left out of the validation: " in caplog.text
    assert "/a: cannot read the image" in caplog.text
    assert "no mask of the validation data could be measured" in caplog.text
    assert json.loads((final / "metrics.json").read_text()) == {}
    assert not (tmp_path / "run" / "best").exists()
