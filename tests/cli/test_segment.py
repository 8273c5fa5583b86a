"""`hq-sam segment` on one image: the files it writes, its exit codes, and one line for each error."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from hq_sam_hf import HQSamProcessor
from hq_sam_hf.cli import main
from support.oracle import SMALL, pair, save_folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_folder(pair(SMALL)[1], tmp_path_factory.mktemp("model"))


@pytest.fixture
def segment(model_folder, photo_path, tmp_path, monkeypatch):
    """Run `hq-sam segment` on the sample image in an empty folder. Returns the exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, photo: object = photo_path, model: object = model_folder) -> int:
        return main(["segment", str(photo), "--model", str(model), *map(str, arguments)])

    return run


def expected_masks(photo, **prompts):
    model = pair(SMALL)[1]
    processor = HQSamProcessor.from_config(model.config)
    options = {key: prompts.pop(key) for key in ("multimask_output", "hq_token_only") if key in prompts}
    inputs = processor(photo, **prompts)
    output = model(**inputs, **{"multimask_output": False, **options})
    return processor.post_process_masks(output, inputs)[0][:, 0].numpy(), output.iou_scores[0, :, 0].tolist()


def error_line(capsys) -> str:
    """The only line on standard error, apart from the one about the step that failed."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("loading ")]
    return line


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")) > 127


def test_one_box_gives_one_mask(segment, model_folder, photo, tmp_path, capsys):
    assert segment("--box", "165,15,415,310") == 0
    masks, scores = expected_masks(photo, input_boxes=[[[165, 15, 415, 310]]])
    assert np.array_equal(read(tmp_path / "coffee_mask.png"), masks[0])
    printed = capsys.readouterr()
    assert printed.out.startswith(f"mask 1: {masks[0].sum()} pixels, score {scores[0]:.3f}")
    assert printed.out.count("\n") == 1
    assert printed.err.splitlines() == [f"loading the model {model_folder} ...", "wrote coffee_mask.png"]


def test_the_model_may_be_a_checkpoint_file_of_the_original(segment, tmp_path):
    import torch

    torch.save(pair(SMALL)[0].state_dict(), tmp_path / "sam_hq.pth")
    assert segment("--box", "165,15,415,310", "-o", "folder.png") == 0
    assert segment("--box", "165,15,415,310", "-o", "file.png", model="sam_hq.pth") == 0
    assert np.array_equal(read("file.png"), read("folder.png"))


def test_image_size_sets_the_model_input_size(segment, capsys):
    assert segment("--box", "165,15,415,310", "-o", "large.png", "--image-size", "192") == 0
    assert read("large.png").shape == (400, 600)
    assert segment("--box", "165,15,415,310", "-o", "odd.png", "--image-size", "100") == 1
    assert "`image_size` must be a positive multiple of 16" in capsys.readouterr().err


def test_several_boxes_give_numbered_files_of_every_kind(segment, photo, tmp_path):
    boxes = [[165, 15, 415, 310], [60, 60, 480, 390], [325, 65, 425, 325]]
    options = [word for box in boxes for word in ("--box", ",".join(map(str, box)))]
    files = ["-o", "m.png", "--overlay", "over.jpg", "--cutout", "cut.png", "--json", "out.json"]
    assert segment(*options, *files) == 0
    masks, scores = expected_masks(photo, input_boxes=[boxes])
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["size"] == [400, 600]
    assert len(report["masks"]) == 3
    for i, record in enumerate(report["masks"]):
        assert np.array_equal(read(tmp_path / f"m_{i + 1}.png"), masks[i])
        cutout = np.asarray(Image.open(tmp_path / f"cut_{i + 1}.png"))
        assert np.array_equal(cutout[..., 3] > 0, masks[i])
        assert np.array_equal(cutout[masks[i], :3], np.asarray(photo)[masks[i]])
        assert not cutout[~masks[i]].any()  # the file holds no pixel of the background
        assert np.array_equal(coco.decode(record["segmentation"]), masks[i])
        assert record["prompt"]["box"] == boxes[i]
        assert record["area"] == masks[i].sum()
        assert record["score"] == pytest.approx(scores[i], abs=1e-6)
    overlay = np.asarray(Image.open(tmp_path / "over.jpg"))
    assert overlay.shape == (400, 600, 3)
    assert not np.array_equal(overlay, np.asarray(photo))


def test_points_and_a_rough_mask_describe_one_object(segment, photo, tmp_path):
    rough = np.zeros((400, 600), dtype=bool)
    rough[50:300, 150:420] = True
    Image.fromarray(rough).save(tmp_path / "rough.png")
    options = ["--point", "290,150", "--point", "300,60", "--negative-point", "20,20", "--mask", "rough.png"]
    assert segment(*options, "--multimask-output", "--hq-token-only", "-o", "m.png", "--overlay", "o.png") == 0
    masks, _ = expected_masks(
        photo,
        input_points=[[[290, 150], [300, 60], [20, 20]]],
        input_labels=[[1, 1, 0]],
        input_masks=[rough],
        multimask_output=True,
        hq_token_only=True,
    )
    assert np.array_equal(read(tmp_path / "m.png"), masks[0])


def test_a_box_with_points_in_half_precision(segment, tmp_path):
    assert segment("--box", "165,15,415,310", "--point", "290,150", "--dtype", "bfloat16", "-o", "m.png") == 0
    assert read(tmp_path / "m.png").shape == (400, 600)


def test_prompts_may_be_left_out(segment, tmp_path):
    assert segment("-o", "m.png") == 0
    assert (tmp_path / "m.png").exists()


FAILURES = {
    "missing image": (["--box", "1,2,3,4"], {"photo": "nothing.jpg"}, "'nothing.jpg', which is not a file"),
    "missing model": (
        ["--box", "1,2,3,4"],
        {"model": "./nothing"},
        "'./nothing' is neither an existing folder or file nor a Hub repository",
    ),
    "a web address": ([], {"photo": "https://x.org/a.jpg"}, "got the URL 'https://x.org/a.jpg'. Download"),
    "box outside": (["--box", "900,2,1000,40"], {}, "`input_boxes` must touch the image"),
    "corners of the box swapped": (["--box", "30,2,3,40"], {}, "x1 <= x2"),
    "point outside": (["--point", "900,2"], {}, "`input_points` must lie inside"),
    "points and two boxes": (["--box", "1,2,3,4", "--box", "1,2,3,5", "--point", "3,4"], {}, "at most one `--box`"),
    "mask missing": (["--mask", "nothing.png"], {}, "'nothing.png', which is not a file"),
    "output folder missing": (["-o", "no/m.png"], {}, "'no' is not a folder"),
    "mask as jpeg": (["-o", "m.jpg"], {}, "The mask must be a .png file"),
    "overlay as text": (["--overlay", "o.txt"], {}, "The overlay must be an image file"),
    "json as text": (["--json", "o.txt"], {}, "The json must be a .json file"),
    "empty mask name": (["--mask", ""], {}, "which is not a file"),
    "empty text": (["--text", "", "--detector", "./never loaded"], {}, "`text` must name objects, such as"),
    "text of full stops": (["--text", " . ", "--detector", "./never loaded"], {}, "`text` must name objects, such as"),
    "unknown device": (["--device", "warp"], {}, "got 'warp'"),
    "missing device": (["--device", "cuda:99"], {}, "got 'cuda:99'"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures_are_one_line_and_exit_code_1(case, segment, tmp_path, capsys):
    arguments, replaced, message = FAILURES[case]
    assert segment(*arguments, **replaced) == 1
    error = error_line(capsys)
    assert message in error
    assert error.startswith("hq-sam: ")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_model_file_is_one_line(segment, model_folder, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(model_folder, broken)
    (broken / "model.safetensors").write_bytes(b"not weights")
    assert segment("--box", "1,2,30,40", model=broken) == 1
    assert error_line(capsys).startswith("hq-sam: ")
    (broken / "config.json").write_text("{ nonsense")
    assert segment("--box", "1,2,30,40", model=broken) == 1
    assert error_line(capsys).startswith("hq-sam: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--box", "1,2,3"], "expected x1,y1,x2,y2 in pixels, got '1,2,3'"),
        (["--point", "a,b"], "expected x,y in pixels, got 'a,b'"),
        (["--box", ""], "expected x1,y1,x2,y2 in pixels, got ''"),
        (["--point", " "], "expected x,y in pixels, got ' '"),
        (["--negative-point", ""], "expected x,y in pixels, got ''"),
        (["--dtype", "int8"], "invalid choice: 'int8'"),
        (["--boxes", "1,2,3,4"], "unrecognized arguments"),
    ],
)
def test_wrong_use_is_exit_code_2(segment, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_info:
        segment(*arguments)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_help_names_the_published_models(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["segment", "--help"])
    assert exit_info.value.code == 0
    printed = capsys.readouterr().out
    assert "syscv-community/sam-hq-vit-base" in printed
    assert "hq-sam segment coffee.jpg --model MODEL" in printed
