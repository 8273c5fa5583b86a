"""Outputs of one image: none of them is an input or another output."""

import os

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.cli import main
from hq_sam_hf.inference.loading import ModelSpec
from hq_sam_hf.labelling.single import OutputFiles
from support.images import random_image
from support.oracle import SMALL, lively_pair, save_folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_folder(lively_pair(SMALL)[1], tmp_path_factory.mktemp("model"))


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The current folder, with a photo, a rough mask of it and links to both."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(random_image((40, 60))).save("own.png")
    rough = np.zeros((40, 60), dtype=bool)
    rough[5:30, 10:40] = True
    Image.fromarray(rough).save("own_mask.png")
    os.symlink("own.png", "link.png")
    os.link("own.png", "hard.png")
    Image.fromarray(random_image((40, 60))).save("own_2.png")
    return tmp_path


BOX, BOX_2 = ["--box", "5,5,40,30"], ["--box", "1,2,20,39"]
REFUSED = {
    "the image itself": ["own.png", *BOX, "-o", "own.png"],
    "another path to it": ["own.png", *BOX, "-o", "./../{folder}/own.png"],
    "a link to it": ["own.png", *BOX, "-o", "link.png"],
    "the image behind a link": ["link.png", *BOX, "-o", "own.png"],
    "a second name of it": ["own.png", *BOX, "-o", "hard.png"],
    "the overlay": ["own.png", *BOX, "--overlay", "own.png"],
    "the cutout": ["own.png", *BOX, "-o", "a.png", "--cutout", "own.png"],
    "the rough mask, as the default output": ["own.png", "--mask", "own_mask.png"],
    "a numbered mask": ["own_2.png", *BOX, *BOX_2, "-o", "own.png"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_no_output_is_an_input(case, work, monkeypatch, capsys):
    monkeypatch.setattr(ModelSpec, "load", lambda *_: pytest.fail("it loaded the model first"))
    before = {path.name: path.read_bytes() for path in work.iterdir()}
    assert main(["segment", *(part.format(folder=work.name) for part in REFUSED[case])]) == 1
    error = capsys.readouterr().err
    assert "is also an input" in error
    assert "which would be lost. Choose another output." in error
    assert {path.name: path.read_bytes() for path in work.iterdir()} == before


def test_another_output_is_written(work, model_folder):
    before = (work / "own.png").read_bytes()
    assert main(["segment", "own.png", *BOX, "-o", "other.png", "--model", str(model_folder)]) == 0
    assert main(["segment", "own.png", *BOX, "-o", "other.png", "--model", str(model_folder)]) == 0  # its own output
    assert (work / "own.png").read_bytes() == before
    assert Image.open("other.png").mode == "1"


@pytest.mark.parametrize(
    ("outputs", "count"),
    [
        ({"mask": "a.png", "cutout": "a.png"}, 1),
        ({"mask": "a.png", "overlay": "./A.png"}, 1),
        ({"mask": "a.png", "overlay": "a_2.png"}, 2),
        ({"mask": "a_1.png", "cutout": "a.png", "overlay": "a_1_1.png"}, 2),
    ],
)
def test_no_output_is_another_output(work, outputs, count):
    files = OutputFiles(**{name: work / path for name, path in outputs.items()})
    with pytest.raises(ValueError, match="Two outputs have the name '.*a.*png'. Give each output its own name"):
        files.check(["own.png"], count)
    if count > 1:
        files.check(["own.png"], 1)


def test_outputs_that_cannot_be_written_are_refused_before_the_work(work):
    with pytest.raises(ValueError, match="may have 255 bytes, this one has 304. Choose a shorter name"):
        OutputFiles(mask=work / ("界" * 100 + ".png"))
    with pytest.raises(ValueError, match="may have 255 bytes"):
        OutputFiles(mask=work / ("a" * 251 + ".png")).check([], 12)  # with a number
    OutputFiles(mask=work / ("a" * 251 + ".png")).check([], 1)
    (work / "folder.png").mkdir()
    with pytest.raises(ValueError, match="there is a folder of that name. Name a file"):
        OutputFiles(mask=work / "folder.png").check([], 1)
    (work / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(ValueError, match="it is a link to '.*nowhere.png'. Name the place itself"):
        OutputFiles(mask=work / "gone.png").check([], 1)
