"""What a batch run may write over, names of any length and kind, full disks, and two runs on one folder."""

import errno
import json
import os
import sys
import threading

import datasets
import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.data.reading import read_sample
from hq_sam_hf.labelling import output_folder
from hq_sam_hf.labelling.examples import ImageRecord
from hq_sam_hf.labelling.folder_run import FolderRun, ImagePrompting
from hq_sam_hf.labelling.image_files import find_images
from hq_sam_hf.labelling.output_folder import ExtraOutputs, OutputFolder
from hq_sam_hf.labelling.preparation import Preparation
from hq_sam_hf.model.image_processing_hq_sam import HQSamImageProcessor
from hq_sam_hf.model.image_reading import ImageOptions
from hq_sam_hf.utils.output_lock import LOCK_FILE, output_lock
from support.images import random_image


class OneMask:
    """A specification of a labeller whose masks need no model. `inputs` are files that a run reads."""

    def __init__(self, inputs=()):
        self.files, self.loads = inputs, 0
        self.preparation = Preparation(HQSamImageProcessor(size={"longest_edge": 16}), ImageOptions())

    def as_options(self):
        return {"model": "none"}

    def load(self, device):
        self.loads += 1
        return self

    def label(self, images):
        return [ImageRecord(one.example.key, one.size, [one_mask(one.size)], one.problem) for one in images]


def one_mask(size):
    mask = np.zeros(size, dtype=bool)
    mask[1:3, 1:4] = True
    return {"segmentation": mask, "predicted_iou": 0.5}


ALL = ExtraOutputs(overlays=True, label_maps=True, parquet=True)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The folder `photos` in the current folder, with the image a.png."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    save(tmp_path / "photos" / "a.png")
    return tmp_path / "photos"


def save(path):
    Image.fromarray(random_image((8, 10))).save(path)


def run(output="out", task=None, extra=ALL, source="photos"):
    task = task or OneMask()
    return FolderRun(
        find_images([source], exclude=output), output, task, ImagePrompting(files=task.files), extra
    ).run()


def files(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("stem", ["界" * 83, "a" * 251, "é" * 123 + "."], ids=["three bytes", "one byte", "two bytes"])
def test_a_name_too_long_for_an_output_fails_alone(photos, tmp_path, stem):
    long, longest_possible = f"{stem}.png", "b" * 245 + ".png"  # with ".json", 254 bytes
    save(photos / long)
    save(photos / longest_possible)
    summary = run()
    assert summary.done == 2
    assert list(summary.failed) == [long]
    assert "The file name is too long" in summary.failed[long]
    assert "Choose a shorter name" in summary.failed[long]
    assert ".part" not in summary.failed[long]
    names = [image["file_name"] for image in json.loads((tmp_path / "out" / "coco.json").read_text())["images"]]
    assert names == ["a.png", longest_possible]
    (photos / long).rename(photos / "shorter.png")  # as the message says
    assert not run().failed


def test_an_image_whose_output_is_a_folder_of_another_image_fails_alone(photos):
    (photos / "a.png.json").mkdir()
    save(photos / "a.png.json" / "b.png")
    summary = run()
    assert summary.done == 1
    assert len(summary.failed) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("name", [b"caf\xe9.png", b"\xff\xfe.png", b"x\xc3/y.png"])
def test_a_name_that_is_not_utf_8_gets_every_output(photos, tmp_path, name):
    path = photos / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    save(path)
    assert run().done == 2
    (shard,) = (tmp_path / "out" / "parquet").rglob("*.parquet")
    rows = datasets.load_dataset(
        "parquet", data_files={"train": str(shard)}, split="train", cache_dir=str(tmp_path / "cache")
    )
    escaped = name.decode("utf-8", "backslashreplace")
    assert sorted(rows["name"]) == sorted(["a.png", escaped])
    for row in rows:
        assert np.array_equal(read_sample(row).image, np.asarray(Image.open(path)))
        assert read_sample(row).masks[0].sum() == 6
    assert run().done_before == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("function", ["save_coco", "save_label_map"])
def test_a_full_or_read_only_disk_ends_the_run(photos, monkeypatch, number, function):
    def fail(*_):
        raise OSError(number, os.strerror(number), "out")

    save(photos / "b.png")
    with monkeypatch.context() as patched:
        patched.setattr(output_folder, function, fail)
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            run()
    assert caught.value.errno == number
    summary = run()
    assert summary.done + summary.done_before == 2


def test_a_disk_that_fills_up_in_the_data_set_ends_the_run(photos, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "out")

    monkeypatch.setattr(output_folder, "readable_name", fail)  # called while `datasets` writes the rows
    with pytest.raises(OSError, match="No space left on device") as caught:
        run()
    assert caught.value.errno == errno.ENOSPC


FOREIGN = {
    "options of another program": {"options.json": '{"theme": "dark"}'},
    "options that are no JSON": {"options.json": "theme: dark"},
    "a list": {"options.json": '["root"]'},
    "one more folder, and no options": {"annotations/a.png.json": "{}"},
}


@pytest.mark.parametrize("case", FOREIGN)
def test_files_that_no_run_wrote_are_not_replaced(photos, tmp_path, case):
    for name, text in FOREIGN[case].items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(text)
    with pytest.raises(ValueError, match="is not empty and holds no earlier run. Use another folder"):
        run()
    assert files(tmp_path / "out") == set(FOREIGN[case])
    assert all((tmp_path / "out" / name).read_text() == text for name, text in FOREIGN[case].items())
    assert run("another").done == 1


def test_a_run_that_was_killed_before_its_first_image_can_start_again(photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK_FILE).touch()
    (tmp_path / "out" / ".options.json.0123456789abcdef.part").touch()
    assert run(extra=ExtraOutputs()).done == 1
    assert files(tmp_path / "out") == {"options.json", "coco.json", "annotations/a.png.json"}


@pytest.mark.parametrize("place", ["out/label_maps/a.png.png", "out/options.json", "out/coco.json", "link.png"])
def test_no_input_is_replaced(photos, tmp_path, place):
    run()
    (tmp_path / "link.png").symlink_to("out/label_maps/a.png.png")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*") if path.is_file()}
    with pytest.raises(ValueError, match="is also an input.*Choose another output"):
        run(task=OneMask([tmp_path / place]))
    assert {path: path.read_bytes() for path in before} == before
    assert run("another", OneMask([tmp_path / place])).done == 1


def test_images_in_the_folder_of_the_overlays_are_not_replaced(photos, tmp_path):
    run()
    with pytest.raises(ValueError, match="is also an input"):
        FolderRun(find_images(["out/overlays"]), "out", OneMask(), extra_outputs=ALL).run()


def test_a_second_run_on_the_folder_is_refused_before_anything_is_loaded(photos):
    with output_lock("out"):
        errors, task = [], OneMask()

        def second():
            try:
                run(task=task)
            except ValueError as error:
                errors.append(str(error))

        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert f"'out' is being written by process {os.getpid()}" in errors[0]
    assert task.loads == 0
    assert not os.path.exists("out")


def test_the_lock_lets_other_folders_go_on(photos):
    with output_lock("out"):
        assert run("another").done == 1


def test_a_folder_for_the_output_is_only_made_for_a_run(photos, tmp_path):
    assert run("deep/er/out").done == 1
    assert not (tmp_path / "deep" / "er" / "out" / LOCK_FILE).exists()


def test_the_options_of_a_run_are_recognised(photos, tmp_path):
    folder = OutputFolder(tmp_path / "out", photos)
    folder.prepare({"model": "m", "root": str(photos)})
    folder.prepare({"model": "other", "root": str(photos)})  # no image is done, so nothing was made with the first
    assert json.loads((tmp_path / "out" / "options.json").read_text())["model"] == "other"


def test_options_of_python_are_written_and_recognised_like_those_of_json(photos, tmp_path):
    class Tuples(OneMask):
        def as_options(self):
            return {"model": tmp_path / "m", "range": (0, np.int64(9)), "share": np.float32(0.5)}

    assert run("out", Tuples()).done == 1
    options = json.loads((tmp_path / "out" / "options.json").read_text())
    assert [options[name] for name in ("model", "range", "share")] == [(tmp_path / "m").as_posix(), [0, 9], 0.5]
    assert run("out", Tuples()).done == 0  # done before, with the same options


def test_options_that_json_cannot_hold_are_named_before_the_work(photos, tmp_path):
    class Objects(OneMask):
        def as_options(self):
            return {"callback": print}

    task = Objects()
    with pytest.raises(ValueError, match=r"options\['callback'\] must be a number, text"):
        run("out", task)
    assert task.loads == 0
    assert not (tmp_path / "out" / "options.json").exists()
