"""The command `hq-sam evaluate`."""

import json

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf import HQSamProcessor
from hq_sam_hf.cli import main
from hq_sam_hf.evaluation.command import REPORT_FILES
from hq_sam_hf.evaluation.evaluator import evaluate
from hq_sam_hf.evaluation.worst_cases import save_worst_cases
from hq_sam_hf.scenes import scene_dataset
from support.oracle import SMALL, pair, save_folder
from support.small_hqseg44k import FOLDERS, jpeg, small_files, write_folders


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_folder(pair(SMALL)[1], tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return scene_dataset(4, size=128, split="validation", cache_dir=str(tmp_path_factory.mktemp("scenes")))


@pytest.fixture
def run(model_folder, tmp_path, monkeypatch, capsys):
    """Run the command in an empty folder. Returns the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main(["evaluate", "--model", str(model_folder), "--device", "cpu", *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def test_the_four_sets_are_evaluated_and_reported(run, tmp_path):
    write_folders(tmp_path / "data", small_files())
    code, out, _ = run("--data", "data", "--sets", "dis,coift,hrsod,thin", "-o", "report", "--worst", 2)
    assert code == 0
    assert "| set | masks | SAM | HQ | SAM + HQ |" in out
    assert [line.split("|")[1].strip() for line in out.splitlines()[4:9]] == [
        "dis",
        "coift",
        "hrsod",
        "thin",
        "average",
    ]
    report = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert report["settings"]["images"] == 8
    assert report["settings"]["data"] == "data (validation: dis, coift, hrsod, thin)"
    assert len(report["summary"]) == 5 * 3
    assert (tmp_path / "report" / "evaluation.md").read_text().endswith(out.rstrip("\n") + "\n")
    assert len(list((tmp_path / "report" / "worst").glob("*.png"))) == 2


def test_options_reach_the_evaluation(run, tmp_path):
    write_folders(tmp_path / "data", small_files())
    options = ("--prompts", "points-2, clicks-2", "--outputs", "hq", "--protocol", "aspect", "--trials", 2)
    more = ("--limit", 3, "--seed", 5, "--batch-size", 2, "--workers", 1, "--multimask-output")
    code, out, _ = run("--data", "data", "--sets", "dis", *options, *more, "-o", "report", "--worst", 0)
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("###")] == [
        "### points-2",
        "### clicks-1",
        "### clicks-2",
    ]
    settings = json.loads((tmp_path / "report" / "evaluation.json").read_text())["settings"]
    expected = {"protocol": "aspect", "outputs": ["hq"], "trials": 2, "limit": 3, "seed": 5, "multimask_output": True}
    assert {key: settings[key] for key in expected} == expected
    assert not (tmp_path / "report" / "worst").exists()


def test_custom_images_are_evaluated(run, tmp_path):
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    mask = np.zeros((40, 50), dtype=np.uint8)
    mask[10:30, 10:30] = 255
    Image.fromarray(mask).convert("RGB").save(tmp_path / "photos" / "a.jpg")
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    code, out, _ = run("--images", "photos", "--masks", "masks")
    assert code == 0
    assert " | 1 | " in out
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "masks"}


def test_a_broken_image_is_named_and_the_others_are_reported(run, tmp_path):
    files = small_files()
    image_folder = FOLDERS["validation"]["dis"][0][0]
    files[f"{image_folder}/a.jpg"] = jpeg()[:200]
    write_folders(tmp_path / "data", files)
    code, out, err = run("--data", "data", "--sets", "dis", "-o", "report")
    assert code == 1
    assert "dis/a: cannot read the image" in out
    assert "1 of 2 images could not be read and are not in the results" in err.splitlines()[-1]
    assert json.loads((tmp_path / "report" / "evaluation.json").read_text())["summary"][0]["masks"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "exactly one of --data ROOT, --images and --masks, or --scenes COUNT"),
        (("--data", "data", "--scenes", "2"), "exactly one of --data ROOT"),
        (("--images", "data"), "exactly one of --data ROOT"),
        (("--data", "nowhere"), "'nowhere' is not a folder"),
        (("--scenes", "1", "--prompts", "oval"), "A prompt must be one of box, box-noise-SCALE"),
        (("--scenes", "1", "--outputs", "best"), "`outputs` must be among sam, hq, sum"),
    ],
)
def test_errors_are_one_line_with_exit_code_1(run, arguments, message):
    code, _, err = run(*arguments)
    assert code == 1
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err


def test_the_embedded_model_is_evaluated_and_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    code = main(["evaluate", "--scenes", "1", "--image-size", "64", "--device", "cpu", "--worst", "0", "-o", "r"])
    assert (code, "wrote r" in capsys.readouterr().err) == (0, True)
    report = json.loads((tmp_path / "r/evaluation.json").read_text())
    assert report["settings"]["data"] == "1 scenes (validation)"
    assert isinstance(report["settings"]["model"], str)
    assert {path.name for path in (tmp_path / "r").iterdir()} == set(REPORT_FILES)


def test_scenes_are_grouped_by_set_with_the_worst_cases_drawn(scenes, tmp_path):
    model = pair(SMALL)[1]
    processor = HQSamProcessor.from_config(model.config)
    result = evaluate(model, processor, {"new": scenes}, prompts=("clicks-2",), outputs=("sam", "hq"))
    assert {row["set"] for row in result.summary()} >= {"new/solid", "new/thin"}
    assert all(isinstance(one["families"], str) for one in result.records)
    paths = save_worst_cases(result, model, processor, {"new": scenes}, tmp_path, count=3)
    last = [one for one in result.records if one["prompt"] == "clicks-2" and one["output"] == "hq"]
    worst = sorted(last, key=lambda one: one["boundary_iou"])[:3]
    assert [path.name for path in paths] == [
        f"{i:02d}_{one['set']}_{one['name']}_{one['mask']}.png" for i, one in enumerate(worst, start=1)
    ]
    sheet = Image.open(paths[0])
    assert sheet.height == 360 + 18
    assert sheet.width > 3 * 100
    with pytest.raises(ValueError, match="no records of the prompt 'box'"):
        save_worst_cases(result, model, processor, {"new": scenes}, tmp_path, prompt="box")
