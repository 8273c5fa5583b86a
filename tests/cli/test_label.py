"""`hq-sam label` as a user runs it: what it prints, which options exclude each other, and that its output trains."""

import json

import pytest

from hq_sam_hf.cli import main
from hq_sam_hf.labelling.labeller import LabellerSpec
from hq_sam_hf.labelling.run import LabelSummary
from support.labelling import GRID, load_rows, read_json, write_images
from support.oracle import SMALL, lively_pair, save_folder
from support.small_runs import read_log, save_base

FLAGS = [part for name, value in GRID.items() for part in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_folder(lively_pair(SMALL)[1], tmp_path_factory.mktemp("model"))


@pytest.fixture
def label(model_folder, tmp_path, monkeypatch):
    """Run `hq-sam label` on four images in the current folder. Returns the exit code."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images", 4)

    def run(*arguments, source="images"):
        return main(["label", source, "-o", "out", "--model", str(model_folder), "--workers", "1", *arguments])

    return run


def test_a_folder_is_labelled_and_the_second_time_done_already(label, tmp_path, capsys):
    (tmp_path / "images" / "notes.txt").write_text("notes")
    (tmp_path / "images" / "2.png").write_bytes(b"")
    assert label(*FLAGS, "--coco", "--shard-size", "2") == 0
    printed = capsys.readouterr()
    assert "images: 3 done, 0 done before, 1 skipped; in out" in printed.out
    assert "other files, left out: 1" in printed.out
    assert "images/s; decode" in printed.err
    assert printed.err.count("skipped 2.png: ") == 1
    assert len(load_rows(tmp_path / "out", tmp_path / "cache")) == 3
    assert len(read_json(tmp_path / "out" / "coco.json")["images"]) == 3
    assert label(*FLAGS, "--shard-size", "2") == 0
    assert "images: 0 done, 3 done before, 1 skipped" in capsys.readouterr().out


def test_a_dry_run_prints_counts_and_hours(label, tmp_path, capsys):
    assert label(*FLAGS, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "images: 4, of which 0 are done" in printed
    assert "hours) on 1 worker" in printed
    assert not (tmp_path / "out").exists()


def test_prompts_of_a_detector_give_a_single_mask_each(label, tmp_path):
    found = [{"file_name": "1.png", "bbox": [5, 5, 35, 25], "score": score, "label": "cup"} for score in (0.9, 0.1)]
    (tmp_path / "found.json").write_text(json.dumps(found))
    assert label("--prompts", "found.json", "--min-score", "0.5") == 0
    rows = load_rows(tmp_path / "out", tmp_path / "cache")
    assert [len(masks) for masks in rows["masks"]] == [0, 1, 0, 0]
    assert rows[1]["labels"] == ["cup"]
    assert rows[1]["detection_scores"] == pytest.approx([0.9])
    options = read_json(tmp_path / "out" / "options.json")
    assert (options["multimask_output"], options["prompts"]) == (False, "file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "cup"], "--text and --text-column need --detector"),
        (["--detector", "d"], "--text and --text-column need --detector, which goes with them only"),
        (["--text", "cup", "--detector", "d", "--boxes-column", "b"], "columns with prompts and --text are given"),
        (["--prompts", "p.json", "--boxes-column", "b"], "columns with prompts and --prompts are given"),
        (["--boxes-column", "b", "--points-per-side", "3"], "--points-per-side is for automatic masks only"),
    ],
)
def test_options_that_exclude_each_other_are_wrong_use(label, arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_info:
        label(*arguments)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_options_reach_what_they_belong_to(label, monkeypatch, tmp_path):
    from hq_sam_hf.labelling import run

    calls = []
    monkeypatch.setattr(run, "label_images", lambda *arguments: calls.append(arguments) or LabelSummary(0, 4, {}))
    assert label("--images", "reference", "--no-multimask-output", "--batch-size", "3", "--retry-skipped") == 0
    source, output, prompts, spec, outputs, engine, retry = calls[0]
    assert (len(source), output.name, type(prompts).__name__) == (4, "out", "AutomaticPrompts")
    assert isinstance(spec, LabellerSpec)
    assert (spec.embeds, spec.multimask_output, spec.generator_options) == (False, False, {})
    assert (outputs.batch_size, engine.name, engine.workers, retry) == (3, "local", 1, True)
    assert (
        main(["label", "images", "-o", "out", "--engine", "ray", "--address", "auto", "--gpus-per-worker", "1"]) == 0
    )
    assert (calls[1][5].name, calls[1][5].address, calls[1][5].gpus_per_worker) == ("ray", "auto", 1.0)


def test_a_source_that_is_not_there_is_one_line(label, capsys):
    assert label(source="missing/x.png") == 1
    assert capsys.readouterr().err.startswith("hq-sam: 'missing/x.png' names no image")


@pytest.mark.slow
def test_the_output_trains_as_it_is(label, tmp_path):
    """From images over labels to a trained HQ head, without a conversion."""
    assert label(*FLAGS) == 0
    base = save_base(tmp_path / "base")
    config = {
        "model": str(base),
        "data": {"kind": "columns", "source": "out", "mask_column": "masks"},
        "batch_size": 2,
        "accumulation": 1,
        "epochs": 2,
        "num_workers": 0,
        "log_steps": 1,
        "masks_per_image": 2,
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    assert main(["train", "config.yaml", "-o", "trained"]) == 0
    assert (tmp_path / "trained" / "final" / "model.safetensors").is_file()
    losses = [entry["loss"] for entry in read_log(tmp_path / "trained") if "loss" in entry]
    assert len(losses) == 4
    assert all(0 < loss < 100 for loss in losses)
    assert main(["data", "check", "{kind: columns, source: out, mask_column: masks}"]) == 0
