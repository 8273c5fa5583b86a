"""The command as a user runs it: files, exit codes, and one line for what went wrong."""

import json
import subprocess
import sys
import time

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
    """Run `hq-sam segment` on the sample photo in an empty folder; gives the exit code."""
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


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")) > 127


def test_one_box_gives_one_mask(segment, photo, tmp_path, capsys):
    assert segment("--box", "165,15,415,310") == 0
    masks, scores = expected_masks(photo, input_boxes=[[[165, 15, 415, 310]]])
    assert np.array_equal(read(tmp_path / "coffee_mask.png"), masks[0])
    printed = capsys.readouterr().out
    assert f"mask 1: {masks[0].sum()} pixels, score {scores[0]:.3f}" in printed
    assert "wrote coffee_mask.png" in printed


def test_a_file_of_the_original_serves_as_model(segment, tmp_path):
    import torch

    torch.save(pair(SMALL)[0].state_dict(), tmp_path / "sam_hq.pth")
    assert segment("--box", "165,15,415,310", "-o", "folder.png") == 0
    assert segment("--box", "165,15,415,310", "-o", "file.png", model="sam_hq.pth") == 0
    assert np.array_equal(read("file.png"), read("folder.png"))


def test_another_input_size(segment, capsys):
    assert segment("--box", "165,15,415,310", "-o", "large.png", "--image-size", "192") == 0
    assert read("large.png").shape == (400, 600)
    assert segment("--box", "165,15,415,310", "-o", "odd.png", "--image-size", "100") == 1
    assert "`image_size` must be a positive multiple of 16" in capsys.readouterr().err


def test_many_boxes_and_all_outputs(segment, photo, tmp_path):
    boxes = [[165, 15, 415, 310], [60, 60, 480, 390], [325, 65, 425, 325]]
    flags = [flag for box in boxes for flag in ("--box", ",".join(map(str, box)))]
    files = ["-o", "m.png", "--overlay", "over.jpg", "--cutout", "cut.png", "--json", "out.json"]
    assert segment(*flags, *files) == 0
    masks, scores = expected_masks(photo, input_boxes=[boxes])
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["size"] == [400, 600]
    assert len(report["masks"]) == 3
    for i, record in enumerate(report["masks"]):
        assert np.array_equal(read(tmp_path / f"m_{i + 1}.png"), masks[i])
        cutout = np.asarray(Image.open(tmp_path / f"cut_{i + 1}.png"))
        assert np.array_equal(cutout[..., 3] > 0, masks[i])
        assert np.array_equal(cutout[masks[i], :3], np.asarray(photo)[masks[i]])
        assert not cutout[~masks[i]].any()  # what was cut away is not in the file
        assert np.array_equal(coco.decode(record["segmentation"]), masks[i])
        assert record["prompt"]["box"] == boxes[i]
        assert record["area"] == masks[i].sum()
        assert record["score"] == pytest.approx(scores[i], abs=1e-6)
    overlay = np.asarray(Image.open(tmp_path / "over.jpg"))
    assert overlay.shape == (400, 600, 3)
    assert not np.array_equal(overlay, np.asarray(photo))


def test_points_mask_and_options(segment, photo, tmp_path):
    rough = np.zeros((400, 600), dtype=bool)
    rough[50:300, 150:420] = True
    Image.fromarray(rough).save(tmp_path / "rough.png")
    flags = ["--point", "290,150", "--point", "300,60", "--negative-point", "20,20", "--mask", "rough.png"]
    assert segment(*flags, "--multimask-output", "--hq-token-only", "-o", "m.png", "--overlay", "o.png") == 0
    masks, _ = expected_masks(
        photo,
        input_points=[[[290, 150], [300, 60], [20, 20]]],
        input_labels=[[1, 1, 0]],
        input_masks=[rough],
        multimask_output=True,
        hq_token_only=True,
    )
    assert np.array_equal(read(tmp_path / "m.png"), masks[0])


def test_box_with_points_and_half_precision(segment, tmp_path):
    assert segment("--box", "165,15,415,310", "--point", "290,150", "--dtype", "bfloat16", "-o", "m.png") == 0
    assert read(tmp_path / "m.png").shape == (400, 600)


def test_no_prompt_is_allowed(segment, tmp_path):
    assert segment("-o", "m.png") == 0
    assert (tmp_path / "m.png").exists()


FAILURES = {
    "missing photo": (["--box", "1,2,3,4"], {"photo": "nothing.jpg"}, "'nothing.jpg', which is not a file"),
    "missing model": (
        ["--box", "1,2,3,4"],
        {"model": "./nothing"},
        "'./nothing' is neither an existing folder or file nor a Hub repository",
    ),
    "an address as photo": ([], {"photo": "https://x.org/a.jpg"}, "got the URL 'https://x.org/a.jpg'. Download"),
    "box outside": (["--box", "900,2,1000,40"], {}, "`input_boxes` must touch the image"),
    "box turned around": (["--box", "30,2,3,40"], {}, "x1 <= x2"),
    "point outside": (["--point", "900,2"], {}, "`input_points` must lie inside"),
    "points and two boxes": (["--box", "1,2,3,4", "--box", "1,2,3,5", "--point", "3,4"], {}, "at most one `--box`"),
    "mask missing": (["--mask", "nothing.png"], {}, "'nothing.png', which is not a file"),
    "output folder missing": (["-o", "no/m.png"], {}, "'no' is not a folder"),
    "mask as jpeg": (["-o", "m.jpg"], {}, "The mask must be a .png file"),
    "overlay as text": (["--overlay", "o.txt"], {}, "The overlay must be a picture"),
    "json as text": (["--json", "o.txt"], {}, "The json must be a .json file"),
    "unknown device": (["--device", "warp"], {}, "The device 'warp' cannot be used"),
    "absent device": (["--device", "cuda:99"], {}, "The device 'cuda:99' cannot be used"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures_are_one_line_and_exit_code_1(case, segment, tmp_path, capsys):
    arguments, replaced, message = FAILURES[case]
    assert segment(*arguments, **replaced) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("hq-sam: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_model_folder_with_a_broken_file_is_one_line(segment, model_folder, tmp_path, capsys):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(model_folder, broken)
    (broken / "model.safetensors").write_bytes(b"not weights")
    assert segment("--box", "1,2,30,40", model=broken) == 1
    (broken / "config.json").write_text("{ nonsense")
    assert segment("--box", "1,2,30,40", model=broken) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 2
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--box", "1,2,3"], "expected x1,y1,x2,y2 in pixels, got '1,2,3'"),
        (["--point", "a,b"], "expected x,y in pixels, got 'a,b'"),
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


def test_help_and_import_are_quick_and_import_nothing_heavy():
    code = "import sys, hq_sam_hf; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["datasets", "accelerate", "gradio", "onnx", "torchvision", "torch"]
    started = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    help_result = subprocess.run([sys.executable, "-m", "hq_sam_hf.cli", "--help"], capture_output=True, text=True)
    assert help_result.returncode == 0
    assert "segment" in help_result.stdout
    assert time.monotonic() - started < 6  # 3 seconds each, where a torch import alone takes 2
