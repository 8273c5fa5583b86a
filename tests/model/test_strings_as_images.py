"""Which strings are images: paths of files. Every other string is refused in a short sentence, and never OSError."""

import base64

import numpy as np
import pytest
from PIL import Image
from transformers import image_utils

from hq_sam_hf import HQSamMaskGenerator, HQSamPredictor, HQSamProcessor, load_image
from hq_sam_hf.cli import main
from hq_sam_hf.model.mask_reading import read_binary_mask
from support.images import random_image
from support.oracle import SMALL, pair

LONG = "x" * 5000


@pytest.fixture(scope="module")
def readers(processor):
    predictor = HQSamPredictor(pair(SMALL)[1], processor)
    predictor.set_image(random_image((60, 90)))
    return {
        "load_image": load_image,
        "processor": processor,
        "predictor": predictor.set_image,
        "generator": HQSamMaskGenerator(pair(SMALL)[1], processor, points_per_side=1).generate,
        "mask": lambda text: read_binary_mask(text, "mask"),
        "mask prompt": lambda text: processor(random_image((60, 90)), input_masks=[text]),
        "embedding": predictor.load_embedding,
    }


@pytest.fixture(scope="module")
def processor():
    return HQSamProcessor.from_config(pair(SMALL)[1].config)


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("image") / "image.png"
    Image.fromarray(random_image((60, 90))).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("text", [LONG, f"{LONG}/{LONG}.png", "a\0b.png", "", "none.png", "data:,", "file:///x.png"])
def test_strings_that_are_no_files_are_refused_by_everything_that_reads_them(readers, text):
    for name, read in readers.items():
        with pytest.raises(ValueError, match="file") as caught:
            read(text)
        assert len(str(caught.value)) < 500, name


@pytest.mark.parametrize("start", ["", "data:image/png;base64,"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.encodebytes])
def test_base64_is_recognised_and_its_reader_named(readers, processor, content, start, encode):
    text = start + encode(content).decode()
    for name in ("load_image", "processor", "predictor", "generator"):
        with pytest.raises(
            ValueError, match="`images` must be local files, got .*base64.* `transformers.image_utils.load_image`"
        ):
            readers[name](text)
    read = processor(image_utils.load_image(text))["pixel_values"]  # as the error says
    assert np.array_equal(read, processor(random_image((60, 90)))["pixel_values"])


def test_a_url_is_refused_with_its_reader_named(readers):
    for name in ("load_image", "processor", "predictor", "generator"):
        with pytest.raises(ValueError, match="got the URL 'https://x.org/a.png'. Download the image first, or read"):
            readers[name]("https://x.org/a.png")


def test_docstrings_say_which_strings_are_taken():
    for documented in (load_image, HQSamProcessor.__call__):
        assert "transformers.image_utils.load_image` reads URLs, data URIs and base64" in " ".join(
            documented.__doc__.split()
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ["segment", LONG],
        ["segment", "IMAGE", "--mask", LONG],
        ["segment", "IMAGE", "--model", LONG],
        ["segment", "--prompts", LONG, "-o", "out"],
        ["segment", "IMAGE", "-o", f"{LONG}.png"],
        ["generate", LONG, "-o", "out"],
    ],
    ids=lambda arguments: " ".join(arguments).replace(LONG, "LONG"),
)
def test_long_strings_on_the_command_line_are_one_line(arguments, tmp_path, monkeypatch, content, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.png").write_bytes(content)
    assert main([argument.replace("IMAGE", "image.png") for argument in arguments]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("hq-sam: ")
    assert len(lines) <= 2  # the other one says that the model is loaded
