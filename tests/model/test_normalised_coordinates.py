"""Coordinates that look normalised: a warning in Python, and an error on the command line and in prompt files."""

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from hq_sam_hf import HQSamMaskGenerator, HQSamPredictor, HQSamProcessor
from hq_sam_hf.cli import main
from hq_sam_hf.labelling.prompt_files import read_prompts
from support.images import random_image
from support.oracle import SMALL, pair, save_folder

SIZE = (400, 600)
NORMALISED = {
    "boxes": ([[0.275, 0.0375, 0.69, 0.775]], "[[165, 15, 414, 310]]"),
    "points": ([[0.5, 0.25], [0, 1]], "[[300, 100], [0, 400]]"),
}


@pytest.fixture(scope="module")
def processor():
    return HQSamProcessor.from_config(pair(SMALL)[1].config)


@pytest.fixture(scope="module")
def predictor(processor):
    predictor = HQSamPredictor(pair(SMALL)[1], processor)
    predictor.set_image(random_image(SIZE), "image")
    predictor.set_image(random_image((2, 2)), "tiny")
    return predictor


def caught_by(call) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert all(warning.category is UserWarning for warning in caught)
    assert all(warning.filename == __file__ for warning in caught)  # the line of the caller
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("kind", NORMALISED)
@pytest.mark.parametrize("form", [list, np.array, torch.tensor])
def test_processor_and_predictor_warn_once_with_the_pixels_to_pass(processor, predictor, kind, form):
    given, pixels = NORMALISED[kind]
    image = random_image(SIZE)
    for messages in (
        caught_by(lambda: processor(image, **{f"input_{kind}": [form(given)]})),
        caught_by(lambda: processor.prepare_prompts([SIZE], **{f"input_{kind}": [form(given)]})),
        caught_by(lambda: predictor.predict(**{kind: form(given)}, image="image")),
    ):
        (message,) = messages
        assert "look normalised" in message
        assert "600 wide and 400 high" in message
        assert f"In pixels they are {pixels}; pass these" in message


def test_one_warning_for_both_kinds_and_for_several_images(processor):
    (message,) = caught_by(
        lambda: processor(
            [random_image(SIZE)] * 3,
            input_boxes=[[[10, 10, 30, 30]], [[0.1, 0.2, 0.3, 0.4]] * 9, [[0.1, 0.2, 0.3, 0.4]]],
            input_points=[[[[0.5, 0.5]]], [[[0.5, 0.5]]] * 9, None],
        )
    )
    assert "The points [[0.5, 0.5]] look normalised" in message  # those of the first image, whose box is in pixels
    (message,) = caught_by(lambda: processor.prepare_prompts([SIZE], [[[0.5, 0.5]]], None, [[[0.1, 0.2, 0.3, 0.4]]]))
    assert "The points" in message
    assert "The boxes" in message
    (message,) = caught_by(lambda: processor.prepare_prompts([SIZE], input_boxes=[[[0.1, 0.2, 0.3, 0.4]] * 9]))
    assert "and so on" in message


@pytest.mark.parametrize(
    ("size", "prompts"),
    [
        (SIZE, {"boxes": [[0, 0, 1, 1]]}),
        (SIZE, {"boxes": [[0.0, 0.0, 1.0, 1.0]], "points": [[0, 1]]}),
        (SIZE, {"boxes": [[0.2, 0.2, 1.5, 0.9]]}),
        (SIZE, {"points": [[0.5, 0.5], [30, 20]]}),  # a pixel's centre among others
        (SIZE, {"boxes": [[0.5, 0.5, 0.9, 0.9], [10, 10, 50, 50]]}),
        (SIZE, {"points": []}),
        (SIZE, {}),
        ((1, 1), {"boxes": [[0.2, 0.2, 0.9, 0.9]]}),
        ((2, 1), {"points": [[0.5, 0.5]]}),
        ((3, 3), {"points": [[0.5, 0.5]]}),
    ],
)
def test_pixels_are_no_reason_to_warn(processor, size, prompts):
    arguments = {f"input_{name}": [value] for name, value in prompts.items()}
    assert caught_by(lambda: processor.prepare_prompts([size], **arguments)) == []


@pytest.mark.slow
def test_the_grid_of_automatic_masks_is_no_reason_to_warn(processor):
    generator = HQSamMaskGenerator(pair(SMALL)[1], processor, points_per_side=20, points_per_batch=1)
    assert caught_by(lambda: generator.generate(random_image((12, 12)))) == []  # its first point is (0.3, 0.3)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return str(save_folder(pair(SMALL)[1], tmp_path_factory.mktemp("model")))


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--box", "0.275,0.0375,0.69,0.775"], "165,15,414,310"),
        (["--point", "0.5,0.25"], "300,100"),
        (["--point", "0.5,0.25", "--negative-point", "0,1"], "300,100 0,400"),
        (["--box", "165,15,414,310", "--point", "0.5,0.25"], "300,100"),
        (["--box", "165,15,414,310", "--box", "0.275,0.0375,0.69,0.775"], "165,15,414,310"),
    ],
)
def test_the_command_line_refuses_them(arguments, advice, model_folder, tmp_path, photo_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["segment", str(photo_path), "--model", model_folder, *arguments]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("hq-sam: ")
    assert f"In pixels they are {advice}; pass these" in error
    assert list(tmp_path.iterdir()) == []
    if len(arguments) == 2:
        assert main(["segment", str(photo_path), "--model", model_folder, arguments[0], advice]) == 0


def test_the_command_line_takes_whole_numbers_and_images_of_few_pixels(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(random_image((2, 2))).save("tiny.png")
    assert main(["segment", "tiny.png", "--model", model_folder, "--point", "0.5,0.5"]) == 0
    Image.fromarray(random_image((20, 20))).save("small.png")
    assert main(["segment", "small.png", "--model", model_folder, "--box", "0,0,1,1", "--point", "1,1"]) == 0


def write(folder, name: str, prompts: list[dict]):
    """A file of prompts as a detector writes it, in JSON or CSV."""
    path = folder / name
    if path.suffix == ".json":
        path.write_text(json.dumps(prompts))
    else:
        rows = ["image,box,points"]
        for prompt in prompts:
            box = " ".join(map(str, prompt.get("box", [])))
            points = ";".join(" ".join(map(str, point)) for point in prompt.get("points", []))
            rows.append(f"{prompt['image']},{box},{points}")
        path.write_text("\n".join(rows))
    return path


@pytest.mark.parametrize("name", ["detections.json", "detections.csv"])
def test_prompt_files_are_refused_before_any_work(name, tmp_path, capsys):
    Image.fromarray(random_image(SIZE)).save(tmp_path / "a.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # upright it is 400 wide and 600 high
    Image.fromarray(random_image(SIZE)).save(tmp_path / "turned.jpg", exif=turned)
    good = {"image": "a.png", "box": [10, 10, 300, 200]}
    for bad, advice in (
        ({"image": "a.png", "box": [0.275, 0.0375, 0.69, 0.775]}, r"\[\[165, 15, 414, 310\]\]"),
        ({"image": "a.png", "points": [[0.5, 0.25]]}, r"\[\[300, 100\]\]"),
        ({"image": "turned.jpg", "box": [0.5, 0.5, 0.75, 1]}, r"\[\[200, 300, 300, 600\]\]"),
    ):
        path = write(tmp_path, name, [good, bad])
        with pytest.raises(ValueError, match=rf"object 2: .* look normalised: .* they are {advice}; pass these"):
            read_prompts(path)
    assert main(["segment", "--prompts", str(path), "-o", str(tmp_path / "out"), "--model", "./never loaded"]) == 1
    assert "look normalised" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_prompt_files_for_images_that_cannot_be_read_or_have_few_pixels(tmp_path):
    Image.fromarray(random_image((2, 2))).save(tmp_path / "tiny.png")
    path = write(tmp_path, "p.json", [{"image": "tiny.png", "points": [[0.5, 1.5]], "box": [0.2, 0.2, 0.9, 0.9]}])
    assert len(read_prompts(path)) == 1
    path = write(tmp_path, "p.json", [{"image": "none.png", "box": [0.2, 0.2, 0.9, 0.9]}])
    with pytest.raises(ValueError, match="Pass x times the width and y times the height"):
        read_prompts(path)
