"""`label_images`: the data set that it writes, how a run goes on, and what is wrong with its input or its folder."""

import errno
import json
import os
import shutil
import tracemalloc

import datasets
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from hq_sam_hf.data.coco import load_coco
from hq_sam_hf.data.factory import load_rows as load_rows_of_description
from hq_sam_hf.data.reading import read_sample
from hq_sam_hf.labelling import (
    ColumnPrompts,
    EngineOptions,
    OutputOptions,
    SourceOptions,
    dry_run,
    label_images,
    open_source,
)
from hq_sam_hf.labelling import job as job_module
from hq_sam_hf.labelling.detections import read_prompt_file
from hq_sam_hf.labelling.labeller import Labeller, LabellerSpec
from hq_sam_hf.labelling.prompt_sources import AutomaticPrompts
from hq_sam_hf.masks.rle import mask_to_bbox, rle_to_mask
from hq_sam_hf.utils.output_lock import output_lock
from support.images import random_image
from support.labelling import load_rows, read_json, shards_of, small_spec, write_images

SMALL_SHARDS = OutputOptions(shard_size=2, batch_size=2)
ALONE = EngineOptions(workers=1)


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", 5)


@pytest.fixture
def spec(model_folder, labeller, monkeypatch):
    """The small model's specification, whose model is loaded already."""
    monkeypatch.setattr(LabellerSpec, "load", lambda self, device=None: reuse(self, labeller))
    return small_spec(model_folder)


def reuse(spec, labeller):
    return Labeller(spec, labeller.model, labeller.generator.processor, spec.load_preparation())


def label(source, output, spec, prompts=AutomaticPrompts(), outputs=SMALL_SHARDS, **options):  # noqa: B008
    return label_images(source, output, prompts, spec, outputs, ALONE, **options)


def test_the_output_is_a_data_set_with_a_row_per_image(images, spec, tmp_path):
    summary = label(open_source([images]), tmp_path / "out", spec, outputs=OutputOptions(2, 2, with_coco=True))
    assert (summary.done, summary.done_before, summary.skipped) == (5, 0, {})
    assert list(shards_of(tmp_path / "out")) == [f"train-0000{i}-of-00003.parquet" for i in range(3)]
    rows = load_rows(tmp_path / "out", tmp_path / "cache")
    from_coco = load_coco(tmp_path / "out" / "coco.json", images)
    assert rows["name"] == [f"{i}.png" for i in range(5)]
    for i, row in enumerate(rows):
        sample = read_sample(row)
        assert np.array_equal(sample.image, np.asarray(Image.open(images / f"{i}.png")))
        assert (row["height"], row["width"]) == (40 + i, 60)
        assert len(sample.masks) == len(row["scores"]) == len(row["stability_scores"]) > 0
        assert np.array_equal(sample.masks, read_sample(from_coco[i]).masks)
        assert row["boxes"] == [mask_to_bbox(mask.astype(bool)) for mask in sample.masks]
        assert all(0.6 < score <= 1.1 for score in row["scores"])
        assert set(row["labels"]) == {"object"}
    stored = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "out/data/*"), split="train", cache_dir=str(tmp_path / "cache")
    )
    stored = stored.cast_column("image", datasets.Image(decode=False))
    assert stored[0]["image"] == {"bytes": (images / "0.png").read_bytes(), "path": str(images / "0.png")}


def test_two_folders_of_one_name_are_two_data_sets(images, spec, tmp_path):
    """`datasets` must not take its cache of one for the other."""
    for place, name in (("a", "0.png"), ("b", "3.png")):
        label(open_source([images / name]), tmp_path / place / "labels", spec)
        assert load_rows(tmp_path / place / "labels", tmp_path / "cache")["name"] == [name]


def test_images_by_reference(images, spec, model_folder, tmp_path):
    label(open_source([images]), tmp_path / "out", small_spec(model_folder, embeds=False))
    rows = load_rows(tmp_path / "out", tmp_path / "cache")
    assert rows.cast_column("image", datasets.Image(decode=False))[3]["image"]["bytes"] is None
    assert rows[3]["image"].size == (60, 43)
    described = {"kind": "columns", "source": str(tmp_path / "out"), "mask_column": "masks"}
    with pytest.raises(ValueError, match="name the folder of its images as `image_folder`"):
        load_rows_of_description(described, "train")
    sample = read_sample(load_rows_of_description({**described, "image_folder": str(images)}, "train")[3])
    assert sample.masks.shape == (len(rows[3]["masks"]), 43, 60)


def test_prompts_from_columns_give_labels_and_scores(images, spec, tmp_path):
    rows = [
        {
            "image": (images / f"{i}.png").read_bytes(),
            "id": f"img{i}",
            "boxes": [[5, 5, 40, 30]] * i,
            "kinds": ["cup"] * i,
        }
        for i in range(5)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    prompts = ColumnPrompts(boxes="boxes", labels="kinds")
    label(open_source([tmp_path / "a.parquet"]), tmp_path / "out", spec, prompts)
    found = load_rows(tmp_path / "out", tmp_path / "cache")
    assert found["name"] == [f"img{i}" for i in range(5)]
    assert [len(row) for row in found["masks"]] == [0, 1, 2, 3, 4]
    assert found["labels"][2] == ["cup", "cup"]
    with pytest.raises(ValueError, match="no column 'bboxes'. Its columns are id, boxes, kinds"):
        label(open_source([tmp_path / "a.parquet"]), tmp_path / "other", spec, ColumnPrompts(boxes="bboxes"))
    assert not (tmp_path / "other").exists()


def bad_images(folder):
    """Eight images, of which four cannot be labelled, and what is said of each of those."""
    write_images(folder, 3)
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("not an image")
    Image.fromarray(random_image((1, 1))).save(folder / "tiny.png")
    (folder / "deep.png").write_bytes(whole.replace(b"IHDR", b"IHDX"))
    problems = {"cut.png": "cannot read", "empty.png": "cannot read", "text.png": "cannot read"}
    return {**problems, "deep.png": "cannot read"}


def test_each_bad_image_is_named_once_and_counted(spec, tmp_path, caplog):
    problems = bad_images(tmp_path / "images")
    summary = label(open_source([tmp_path / "images"]), tmp_path / "out", spec)
    assert (summary.done, len(summary.skipped)) == (4, 4)
    assert summary.skipped.keys() == problems.keys()
    for name, message in problems.items():
        assert message in summary.skipped[name]
        assert caplog.text.count(f"skipped {name}: ") == 1
    assert read_json(tmp_path / "out" / "skipped.json") == summary.skipped
    rows = load_rows(tmp_path / "out", tmp_path / "cache")
    assert sorted(rows["name"]) == ["0.png", "1.png", "2.png", "tiny.png"]
    again = label(open_source([tmp_path / "images"]), tmp_path / "out", spec)
    assert (again.done, again.done_before, again.skipped) == (0, 4, summary.skipped)


@pytest.mark.slow
def test_an_image_of_50_megapixels_among_small_ones_takes_the_memory_of_one(images, spec, tmp_path):
    """The masks of its objects are made one at a time: all at once they would take 300 MB."""
    Image.new("L", (10_000, 5_000)).save(images / "large.png")
    boxes = [[100.0 * i, 100.0 * i, 9_000.0, 4_500.0] for i in range(6)]
    found = [{"image": "large.png", "bbox": box} for box in boxes] + [{"image": "0.png", "bbox": [5, 5, 35, 25]}]
    (tmp_path / "found.json").write_text(json.dumps(found))
    source = open_source([images])
    prompts = read_prompt_file(tmp_path / "found.json", source)
    tracemalloc.start()
    summary = label(source, tmp_path / "out", spec, prompts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (summary.done, summary.skipped) == (6, {})
    rows = load_rows(tmp_path / "out", tmp_path / "cache")
    (row,) = (row for row in rows if row["name"] == "large.png")
    assert (row["height"], len(row["masks"])) == (5_000, 6)
    assert peak < 260 * 2**20


def test_images_over_the_limit_of_pixels_are_skipped(spec, model_folder, images, tmp_path):
    from hq_sam_hf.model.image_reading import ImageOptions

    small = small_spec(model_folder, image_options=ImageOptions(max_pixels=41 * 60))
    summary = label(open_source([images]), tmp_path / "out", small)
    assert sorted(summary.skipped) == ["2.png", "3.png", "4.png"]
    assert read_sample(load_rows(tmp_path / "out", tmp_path / "cache")[0]).masks.shape[1:] == (40, 60)


def test_a_second_image_with_a_key_is_named_and_the_first_one_labelled(images, spec, tmp_path):
    rows = [{"image": (images / f"{i}.png").read_bytes(), "key": f"{i % 3}"} for i in range(5)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    summary = label(open_source([tmp_path / "a.parquet"]), tmp_path / "out", spec)
    assert summary.done == 3
    assert list(summary.skipped) == ["0 (row 3)", "1 (row 4)"]
    assert "another image has the same key, '0'. Give each image its own key." in summary.skipped["0 (row 3)"]
    assert load_rows(tmp_path / "out", tmp_path / "cache")["name"] == ["0", "1", "2"]


def test_bad_prompts_are_problems_of_their_images(images, spec, tmp_path):
    boxes = [[[5, 5, 40, 30]], [[900, 5, 940, 30]], [[5, 5]], [[0.1, 0.1, 0.5, 0.5]], []]
    rows = [{"image": (images / f"{i}.png").read_bytes(), "id": str(i), "boxes": boxes[i]} for i in range(5)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    summary = label(open_source([tmp_path / "a.parquet"]), tmp_path / "out", spec, ColumnPrompts(boxes="boxes"))
    assert list(summary.skipped) == ["1", "2", "3"]
    for key, message in (("1", "must touch the image"), ("2", "must be 4 numbers"), ("3", "normalised")):
        assert message in summary.skipped[key]
    assert summary.done == 2


def test_skipped_images_can_be_tried_again(images, spec, tmp_path):
    whole = (images / "3.png").read_bytes()
    (images / "3.png").write_bytes(b"")
    assert list(label(open_source([images]), tmp_path / "out", spec).skipped) == ["3.png"]
    before = shards_of(tmp_path / "out")
    (images / "3.png").write_bytes(whole)
    assert list(label(open_source([images]), tmp_path / "out", spec).skipped) == ["3.png"]
    summary = label(open_source([images]), tmp_path / "out", spec, retry_skipped=True)
    assert (summary.done, summary.done_before, summary.skipped) == (2, 3, {})  # a shard of two images
    after = shards_of(tmp_path / "out")
    assert [before[name] == after[name] for name in before] == [True, False, True]


def stop_after(monkeypatch, writes, error):
    """Let the run fail at its next write after so many shards."""
    whole, done = job_module.write_shard, []

    def limited(*arguments):
        if len(done) == writes:
            raise error
        done.append(whole(*arguments))

    monkeypatch.setattr(job_module, "write_shard", limited)


@pytest.mark.parametrize("writes", [0, 1, 2])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_ends_the_run_and_the_next_one_gives_the_same_bits(images, spec, tmp_path, writes, number):
    label(open_source([images]), tmp_path / "whole", spec)
    with pytest.MonkeyPatch.context() as patched:
        stop_after(patched, writes, OSError(number, os.strerror(number), "out"))
        with pytest.raises(OSError, match=os.strerror(number)):
            label(open_source([images]), tmp_path / "out", spec)
    assert len(shards_of(tmp_path / "out")) == writes
    summary = label(open_source([images]), tmp_path / "out", spec)
    assert summary.done + summary.done_before == 5
    assert shards_of(tmp_path / "out") == shards_of(tmp_path / "whole")


def test_a_run_that_is_interrupted_leaves_whole_shards(images, spec, tmp_path, monkeypatch):
    label(open_source([images]), tmp_path / "whole", spec)
    with pytest.MonkeyPatch.context() as patched:
        stop_after(patched, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            label(open_source([images]), tmp_path / "out", spec)
    (tmp_path / "out" / "data" / ".train-00001-of-00003.parquet.0123456789abcdef.part").write_bytes(b"x")
    label(open_source([images]), tmp_path / "out", spec)
    assert shards_of(tmp_path / "out") == shards_of(tmp_path / "whole")
    assert not list((tmp_path / "out").rglob("*.part"))


def test_other_options_and_other_images_need_another_folder(images, spec, model_folder, tmp_path):
    label(open_source([images]), tmp_path / "out", spec)
    before = shards_of(tmp_path / "out")
    other = small_spec(model_folder, hq_token_only=True)
    with pytest.raises(ValueError, match="other options: hq_token_only was False and is True. Use another folder"):
        label(open_source([images]), tmp_path / "out", other)
    with pytest.raises(ValueError, match="batch_size was 2 and is 4"):
        label(open_source([images]), tmp_path / "out", spec, outputs=OutputOptions(2, 4))
    (images / "4.png").unlink()
    with pytest.raises(ValueError, match="had 5 images and has 4. Use another folder"):
        label(open_source([images]), tmp_path / "out", spec)
    assert shards_of(tmp_path / "out") == before


def test_a_folder_with_other_files_is_not_written_to(images, spec, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no earlier run. Use another folder"):
        label(open_source([images]), tmp_path / "out", spec)
    assert os.listdir(tmp_path / "out") == ["thesis.txt"]
    with pytest.raises(ValueError, match="is a file. Name a folder"):
        label(open_source([images]), images / "0.png", spec)
    with pytest.raises(ValueError, match="is also an input"):
        label(open_source([images]), images, spec)
    shutil.copytree(images, tmp_path / "more" / "images")
    with pytest.raises(ValueError, match="lies inside the output folder .* Choose another output"):
        label(open_source([tmp_path / "more" / "images"]), tmp_path / "more", spec)


def test_two_runs_on_one_folder_are_refused(images, spec, tmp_path):
    import threading

    errors = []

    def second():
        try:
            label(open_source([images]), tmp_path / "out", spec)
        except ValueError as error:
            errors.append(str(error))

    with output_lock(tmp_path / "out"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "is being written by process" in errors[0]


def test_a_launcher_is_refused(images, spec, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="one of 2 processes .* Start a single one"):
        label(open_source([images]), tmp_path / "out", spec)


def test_the_images_of_a_table_have_no_paths_to_refer_to(images, spec, model_folder, tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"image": [b"x"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="Use `--images embed`"):
        label(open_source([tmp_path / "a.parquet"]), tmp_path / "out", small_spec(model_folder, embeds=False))


def test_rows_say_how_their_images_were_read(model_folder, spec, tmp_path):
    from hq_sam_hf.model.image_reading import ImageOptions

    (tmp_path / "images").mkdir()
    Image.fromarray(random_image((40, 60)).astype(np.uint16)[:, :, 0] * 16).save(tmp_path / "images" / "a.png")
    own = small_spec(model_folder, image_options=ImageOptions(value_range=(0, 4095)))
    label(open_source([tmp_path / "images"]), tmp_path / "out", own)
    (row,) = load_rows(tmp_path / "out", tmp_path / "cache")
    assert json.loads(row["reading_options"]) == {"value_range": [0, 4095]}


def test_a_dry_run_counts_measures_and_writes_nothing(images, spec, tmp_path):
    (images / "3.png").write_bytes(b"")
    arguments = (AutomaticPrompts(), spec, SMALL_SHARDS, EngineOptions(workers=2))
    estimate = dry_run(open_source([images]), tmp_path / "out", *arguments)
    assert (estimate.images, estimate.missing, estimate.duplicates, estimate.workers) == (5, 5, 0, 2)
    assert estimate.sampled == 5  # three batches, which are all
    assert list(estimate.skipped) == ["3.png"]
    assert estimate.seconds == pytest.approx(5 * estimate.seconds_per_image / 2)
    assert estimate.seconds_per_image > 0
    assert not (tmp_path / "out").exists()
    lines = list(estimate.lines())
    assert lines[0] == "images: 5, of which 0 are done and 0 have the key of another"
    assert lines[2].startswith("skipped 3.png: ")
    label(open_source([images]), tmp_path / "out", spec)
    finished = dry_run(open_source([images]), tmp_path / "out", *arguments)
    assert finished.missing == 0
    assert list(finished.lines())[1:] == ["estimate: nothing is left to do"]


def test_the_output_can_be_uploaded(images, spec, tmp_path, monkeypatch):
    import huggingface_hub

    calls = {}

    class Url(str):
        repo_id = "me/labels"

    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "create_repo",
        lambda self, name, **options: calls.update(created=name, **options) or Url("https://hub/me/labels"),
    )
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", lambda self, **options: calls.update(options))
    outputs = OutputOptions(2, 2, with_coco=True, push_to_hub="labels", private=True)
    summary = label(open_source([images]), tmp_path / "out", spec, outputs=outputs)
    assert summary.repository == "https://hub/me/labels"
    assert (calls["created"], calls["repo_type"], calls["private"]) == ("labels", "dataset", True)
    assert calls["allow_patterns"] == ["data/*.parquet", "README.md", "skipped.json", "coco.json"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "n<1K" in card
    assert "5 images with masks" in card


def test_a_source_option_names_the_image_folder(images, spec, tmp_path):
    entries = [{"id": i, "file_name": f"{i}.png", "height": 40 + i, "width": 60} for i in range(5)]
    annotations = [{"id": i, "image_id": i, "bbox": [5, 5, 35, 25], "category_id": 1} for i in range(5)]
    coco = {"images": entries, "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}
    (tmp_path / "a.json").write_text(json.dumps(coco))
    source = open_source([tmp_path / "a.json"], SourceOptions(image_folder=images))
    label(source, tmp_path / "out", spec, ColumnPrompts(boxes="boxes", labels="labels"))
    rows = load_rows(tmp_path / "out", tmp_path / "cache")
    assert rows["labels"] == [["cup"]] * 5
    assert rle_to_mask(json.loads(rows[2]["masks"][0])).shape == (42, 60)


def test_wrong_options_of_the_generator_end_the_run(images, model_folder, tmp_path):
    wrong = small_spec(model_folder, generator_options={"points_per_side": 0})
    with pytest.raises(ValueError, match="`points_per_side` must be an integer of at least 1"):
        label(open_source([images]), tmp_path / "out", wrong)
