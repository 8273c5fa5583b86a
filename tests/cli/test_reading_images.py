"""Options of the commands that say how image and mask files are read, and files that are left out."""

import json

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.cli import main
from hq_sam_hf.data import read_sample
from hq_sam_hf.data.factory import load_rows
from support.oracle import SMALL, pair, save_folder

BOX = ("--box", "10,10,60,50")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_folder(pair(SMALL)[1], tmp_path_factory.mktemp("model"))


@pytest.fixture
def run(model_folder, tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder. Returns the exit code and what was printed."""
    monkeypatch.chdir(tmp_path)

    def command(name: str, *arguments: object) -> tuple[int, str]:
        code = main([name, *map(str, arguments), "--model", str(model_folder), "--device", "cpu"])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return command


@pytest.fixture
def pixels() -> np.ndarray:
    """An image of 12 bits, uint16 (60, 80)."""
    return (np.random.default_rng(0).random((60, 80)) * 4095).astype(np.uint16)


def mask(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_value_range_gives_the_masks_of_the_stretched_image(run, pixels):
    Image.fromarray(pixels).save("deep.tif")
    Image.fromarray(np.rint(pixels / 4095 * 255).astype(np.uint8)).save("plain.png")
    Image.fromarray(pixels.astype(np.int32) - 50).save("signed.tif")
    assert run("segment", "plain.png", *BOX, "-o", "plain_mask.png")[0] == 0
    assert run("segment", "deep.tif", *BOX, "--value-range", "0,4095", "-o", "deep_mask.png")[0] == 0
    assert run("segment", "signed.tif", *BOX, "--value-range=-50,4045", "-o", "signed_mask.png")[0] == 0
    for name in ("deep", "signed"):
        assert np.array_equal(mask(f"{name}_mask.png"), mask("plain_mask.png"))
    code, printed = run("segment", "signed.tif", *BOX, "-o", "x.png")
    assert code == 1
    assert "--value-range LOW,HIGH" in printed


def test_the_limit_of_pixels_is_raised_as_the_message_says(run, pixels, monkeypatch):
    Image.fromarray((pixels // 16).astype(np.uint8)).save("large.png")
    Image.fromarray(np.full((60, 80), 255, np.uint8)).save("mask.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    code, printed = run("segment", "large.png", *BOX, "-o", "x.png")
    assert code == 1
    assert "--max-pixels 4800" in printed
    assert run("segment", "large.png", *BOX, "--max-pixels", 4800, "-o", "x.png")[0] == 0
    assert run("segment", "large.png", "--mask", "mask.png", "--max-pixels", 4800, "-o", "x.png")[0] == 0


def test_a_folder_of_any_formats_and_what_is_left_out(run, pixels, tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.gif", "b.webp", "c.jfif"):
        Image.fromarray((pixels // 16).astype(np.uint8)).save(tmp_path / "photos" / name)
    for name in ("notes.txt", "d.svg"):
        (tmp_path / "photos" / name).write_text("no image")
    code, printed = run("generate", "photos", "-o", "out", "--points-per-side", 2)
    assert code == 0
    assert "images: 3 done, 0 done before, 0 failed; in out" in printed
    assert "2 files are left out" in printed
    assert "d.svg" in printed
    assert "notes.txt" in printed
    assert "other files, left out: 2" in printed
    assert len(json.loads((tmp_path / "out" / "coco.json").read_text())["images"]) == 3


def test_a_run_over_many_images_keeps_its_reading_in_all_its_files(run, pixels, tmp_path):
    (tmp_path / "deep").mkdir()
    Image.fromarray(pixels).save(tmp_path / "deep" / "a.png")
    options = ("generate", "deep", "-o", "out", "--points-per-side", 2, "--parquet", "--overlays")
    assert run(*options, "--value-range", "percentile")[0] == 0
    assert json.loads((tmp_path / "out" / "options.json").read_text())["value_range"] == "percentile"
    assert np.asarray(Image.open(tmp_path / "out" / "overlays" / "a.png.jpg")).mean() > 60  # not nearly black
    rows = load_rows({"kind": "columns", "source": "out/parquet", "mask_column": "masks"}, "train")
    assert read_sample(rows[0]).image.mean() > 60
    code, printed = run(*options, "--value-range", "0,4095")
    assert code == 1
    assert "value_range was 'percentile' and is [0.0, 4095.0]" in printed


def test_an_empty_mask_and_a_label_map_are_no_prompts(run, pixels):
    Image.fromarray((pixels // 16).astype(np.uint8)).save("image.png")
    labels = np.zeros((60, 80), np.uint8)
    for name in ("empty", "labels", "alpha"):
        if name == "labels":
            labels[10:20], labels[30:50] = 90, 200
        image = Image.fromarray(labels)
        if name == "alpha":
            image = Image.fromarray(np.dstack([labels * 0 + 255] * 3 + [np.where(labels, 255, 0).astype(np.uint8)]))
        image.save(f"{name}.png")
    Image.fromarray(labels > 0).save("plain.png")
    for name, message in (("empty", "is empty"), ("labels", "instance map")):
        code, printed = run("segment", "image.png", "--mask", f"{name}.png", "-o", "x.png")
        assert code == 1
        assert message in printed
    for name in ("alpha", "plain"):
        assert run("segment", "image.png", "--mask", f"{name}.png", "-o", f"{name}_mask.png")[0] == 0
    assert np.array_equal(mask("alpha_mask.png"), mask("plain_mask.png"))


def test_evaluate_splits_maps_and_reads_deep_images(run, pixels, tmp_path):
    for folder in ("deep", "maps"):
        (tmp_path / folder).mkdir()
    Image.fromarray(pixels).save(tmp_path / "deep" / "a.png")
    labels = np.zeros((60, 80), np.uint8)
    labels[10:30, 10:40], labels[35:55, 50:70], labels[:5] = 3, 9, 255
    Image.fromarray(labels).save(tmp_path / "maps" / "a.png")
    data = ("--images", "deep", "--masks", "maps")
    code, printed = run("evaluate", *data)
    assert code == 1
    assert "mask_type: instances" in printed
    chosen = ("--mask-type", "instances", "--ignore-index", 255, "--value-range", "0,4095")
    code, printed = run("evaluate", *data, *chosen)
    assert code == 0
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert "| 2 |" in table[-1]
    code, described = run("evaluate", "--data", "{kind: folders, images: deep, masks: maps}", *chosen)
    assert code == 0
    assert [line for line in described.splitlines() if line.startswith("|")] == table
    code, printed = run("evaluate", "--scenes", 1, "--mask-type", "soft")
    assert code == 1
    assert "--mask-type says how files of custom data are read" in printed


@pytest.mark.parametrize("command", ["segment", "generate", "evaluate"])
def test_help_names_the_options(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    printed = capsys.readouterr().out
    assert "--max-pixels N" in printed
    assert "--value-range LOW,HIGH|percentile" in printed


@pytest.mark.parametrize("wrong", ["auto", "5", "5,1", "a,b", "1,2,3"])
def test_a_wrong_range_is_a_usage_error(wrong, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["generate", "photos", "-o", "out", "--value-range", wrong])
    assert exit_info.value.code == 2
    assert "`value_range` must be (low, high)" in capsys.readouterr().err
