"""The report folder of `hq-sam evaluate`: what it may replace, names of any length, and two runs on one folder."""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet
import pytest
from PIL import Image

from hq_sam_hf.cli import main
from hq_sam_hf.evaluation import command
from hq_sam_hf.evaluation.results import Evaluation
from hq_sam_hf.utils.output_lock import output_lock
from support.images import random_image
from support.oracle import SMALL, pair, save_folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_folder(pair(SMALL)[1], tmp_path_factory.mktemp("model"))


@pytest.fixture
def run(model_folder, tmp_path, monkeypatch, capsys):
    """Run the command on one image in an empty folder. Returns the exit code and stderr."""
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path, "a.png")

    def call(*arguments: object) -> tuple[int, str]:
        given = ["--images", "photos", "--masks", "masks", "--worst", 1, *arguments]
        code = main(["evaluate", "--model", str(model_folder), "--device", "cpu", *map(str, given)])
        return code, capsys.readouterr().err

    return call


def write_data(folder, *names):
    for kind in ("photos", "masks"):
        (folder / kind).mkdir(exist_ok=True)
    for name in names:
        image = random_image((64, 64))
        Image.fromarray(image).save(folder / "photos" / name)
        mask = image[..., 0] * 0
        mask[10:40, 10:40] = 255
        Image.fromarray(mask).save(folder / "masks" / name)


def tree(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def worst_cases(report) -> set[str]:
    """The last 7 characters of the names of the worst cases: image, mask and suffix."""
    return {name[-7:] for name in tree(report) if name.startswith("worst/")}


FILES = {"evaluation.md", "evaluation.json", "records.parquet"}


@pytest.mark.slow
def test_a_report_replaces_an_earlier_one_with_its_worst_cases(run, tmp_path):
    assert run("-o", "report")[0] == 0
    assert worst_cases(tmp_path / "report") == {"a_0.png"}
    assert set(tree(tmp_path / "report")) > FILES
    write_data(tmp_path, "b.png", "c.png")
    (tmp_path / "photos" / "a.png").unlink()
    (tmp_path / "masks" / "a.png").unlink()
    (tmp_path / "report" / ".evaluation.json.0123456789abcdef.part").touch()  # of a killed run
    assert run("-o", "report", "--worst", 3)[0] == 0
    assert worst_cases(tmp_path / "report") == {"b_0.png", "c_0.png"}
    assert run("-o", "report", "--worst", 0)[0] == 0
    assert set(tree(tmp_path / "report")) == FILES


FOREIGN = {
    "another file": {"thesis.tex": "mine"},
    "a table of another program": {"evaluation.md": "# my evaluation"},
    "data of another program": {"evaluation.json": "{}"},
    "other images in worst": {"worst/holiday.png": "mine"},
    "a folder": {"records.parquet/a": "mine"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "after_a_report"),
    [*((case, False) for case in FOREIGN), ("another file", True), ("other images in worst", True)],
)
def test_only_an_earlier_report_is_replaced(run, tmp_path, case, after_a_report):
    report = tmp_path / "report"
    if after_a_report:
        assert run("-o", "report")[0] == 0
    for name, text in FOREIGN[case].items():
        (report / name).parent.mkdir(parents=True, exist_ok=True)
        (report / name).write_text(text)
    before = tree(report)
    code, error = run("-o", "report")
    assert code == 1
    assert "'report' is not empty and holds other files than an earlier report, such as" in error
    assert tree(report) == before
    assert run("-o", "another")[0] == 0


def test_no_input_is_replaced(run, tmp_path):
    for output in ("photos", "masks", "."):
        before = tree(tmp_path)
        code, error = run("-o", output)
        assert code == 1
        assert "is also an input" in error or "lies inside the output folder" in error
        assert tree(tmp_path) == before


def test_the_lock_is_taken_before_the_model_is_loaded(run, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "load_model", lambda *_: pytest.fail("it loaded the model first"))
    with output_lock("report"), ThreadPoolExecutor(1) as other:
        code, error = other.submit(run, "-o", "report").result()
    assert code == 1
    assert f"'report' is being written by process {os.getpid()}" in error
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("stem", ["界" * 83, "a" * 251], ids=["three bytes", "one byte"])
def test_a_long_name_gets_a_shorter_one_among_the_worst_cases(run, tmp_path, stem):
    write_data(tmp_path, f"{stem}.png")
    assert run("-o", "report", "--worst", 2)[0] == 0
    names = [name for name in tree(tmp_path / "report") if name.startswith("worst/")]
    assert len(names) == 2
    assert any(f"_{stem[:40]}" in name and name.endswith("_0.png") for name in names)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_report_holds_names_that_are_not_utf_8(tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9")
    record = {
        "dataset": "",
        "set": "s",
        "name": name,
        "index": 0,
        "mask": 0,
        "prompt": "box",
        "trial": 0,
        "output": "hq",
    }
    failure = {"dataset": "", "set": "s", "name": name, "reason": "broken"}
    settings = {"prompts": ["box"], "outputs": ["hq"], "data": name, "protocol": "stretch"}
    evaluation = Evaluation(
        records=[{**record, "iou": 0.5, "boundary_iou": 0.5}], settings=settings, failures=[failure]
    )
    evaluation.save(tmp_path)
    assert pyarrow.parquet.read_table(tmp_path / "records.parquet")["name"].to_pylist() == ["caf\\xe9"]
    assert "caf\\xe9: broken" in (tmp_path / "evaluation.md").read_text()
    assert json.loads((tmp_path / "evaluation.json").read_text())["failures"][0]["name"] == name
    print(evaluation.markdown())
    assert "caf\\xe9: broken" in capsys.readouterr().out
