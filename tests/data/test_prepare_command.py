"""`hq-sam data`: tables, exit codes and one-line errors."""

import json
import re

import datasets
import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from hq_sam_hf.cli import main
from hq_sam_hf.data import hqseg44k
from hq_sam_hf.data.factory import load_rows
from hq_sam_hf.data.hqseg44k import PublishedSet, load_hqseg44k
from hq_sam_hf.data.parquet import find_shards
from hq_sam_hf.data.reading import read_sample
from support.small_hqseg44k import OBJECT, jpeg, png, small_files, write_archives, write_folders


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def two_pairs_expected(monkeypatch):
    """Change the expected counts to two pairs per published folder."""
    small = {
        split: {name: PublishedSet(one.folders, (2 * len(one.folders),)) for name, one in sets.items()}
        for split, sets in hqseg44k.SETS.items()
    }
    for split, sets in small.items():
        monkeypatch.setitem(hqseg44k.SETS, split, sets)


@pytest.fixture
def root(tmp_path):
    return write_folders(tmp_path / "root", small_files())


def run(*arguments: object) -> int:
    return main(["data", *map(str, arguments)])


class TestCheck:
    @pytest.mark.parametrize("write", [write_folders, write_archives])
    def test_complete_data_have_no_problems(self, write, tmp_path, two_pairs_expected, capsys):
        assert run("check", write(tmp_path / "root", small_files())) == 0
        printed = capsys.readouterr()
        lines = printed.out.splitlines()
        assert lines[0].split("  ")[0] == "split"
        assert len(lines) == 1 + 6 + 4
        assert lines[4].split() == ["train", "duts", "4", "0", "0", "6x8", "6x8", "0"]
        assert printed.err == ""

    def test_every_kind_of_problem_is_reported(self, root, two_pairs_expected, capsys):
        dis, hrsod = "DIS5K/DIS-TR", "thin_object_detection/HRSOD"
        write_folders(root, {f"{dis}/im/a.jpg": jpeg()[:100], f"{dis}/im/c.jpg": jpeg(), f"{dis}/gt/d.png": png()})
        write_folders(root, {f"{hrsod}/masks_max255/a.png": png(np.zeros_like(OBJECT))})
        write_folders(root, {f"{hrsod}/masks_max255/b.png": png(np.ones((3, 4), bool))})
        write_folders(root, {f"{hrsod}/images/e.jpg": jpeg(size=(20, 10)), f"{hrsod}/masks_max255/e.png": b""})
        write_folders(root, {f"{hrsod}/images/f.jpg": jpeg(size=(20, 10))})
        write_folders(root, {f"{hrsod}/masks_max255/f.png": png(np.ones((10, 20), bool))})
        write_folders(root, {"cascade_psp/MSRA_10K/97915.jpg": b"", "cascade_psp/MSRA_10K/97915.png": b""})
        for path in (root / "cascade_psp" / "ecssd").iterdir():
            path.unlink()
        assert run("check", root) == 1
        printed = capsys.readouterr()
        table = {tuple(line.split()[:2]): line.split()[2:] for line in printed.out.splitlines()[1:11]}
        assert table["train", "dis"] == ["1", "0", "0", "6x8", "6x8", "3"]
        assert table["train", "ecssd"] == ["0", "0", "0", "-", "-", "1"]
        assert table["train", "msra"] == ["2", "1", "0", "6x8", "6x8", "1"]
        assert table["validation", "hrsod"] == ["2", "0", "1", "6x8", "10x20", "4"]
        assert table["validation", "coift"] == ["2", "0", "0", "6x8", "6x8", "0"]
        for line in (
            "dis (train): 1 images without mask in DIS5K/DIS-TR/im: c.",
            "dis (train): 1 masks without image in DIS5K/DIS-TR/gt: d.",
            "dis/a: cannot read the image",
            "The set 'ecssd' (train) is missing",
            "msra (train): found 3 pairs, expected 2.",
            "hrsod (validation): found 4 pairs, expected 2.",
            "hrsod/a: the mask is empty.",
            "hrsod/b: image and mask must have the same size",
            "hrsod/e: cannot read the mask",
        ):
            assert line in printed.out
        assert printed.err == f"hq-sam: 9 problems in {root}, listed above.\n"

    def test_chosen_sets_are_checked(self, root, two_pairs_expected, capsys):
        assert run("check", root, "--split", "validation", "--sets", "thin,dis", "--threads", "1") == 0
        assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]] == ["dis", "thin"]
        assert run("check", root, "--sets", "dis") == 0  # of both splits
        assert len(capsys.readouterr().out.splitlines()) == 3


class TestExport:
    def test_an_export_can_be_loaded(self, root, tmp_path, two_pairs_expected, capsys):
        assert run("export", root, "-o", tmp_path / "out") == 0
        printed = capsys.readouterr().out
        assert "duts (train): 4 rows" in printed
        assert "hrsod (validation): 2 rows" in printed
        for split, rows in (("train", 14), ("validation", 8)):
            assert len(load_hqseg44k(tmp_path / "out", split)) == rows
        assert run("check", tmp_path / "out") == 0

    def test_chosen_sets_are_exported(self, root, tmp_path):
        flags = ["--split", "train", "--sets", "dis,msra", "--shard-size", "1"]
        assert run("export", root, "-o", tmp_path / "out", *flags) == 0
        assert set(find_shards(tmp_path / "out", "train")) == {"dis", "msra"}
        assert not (tmp_path / "out" / "validation").exists()

    def test_a_missing_set_is_an_error_before_writing(self, root, tmp_path, capsys):
        for path in (root / "thin_object_detection" / "COIFT" / "masks").iterdir():
            path.unlink()
        assert run("export", root, "-o", tmp_path / "out") == 1
        assert capsys.readouterr().err.startswith("hq-sam: The set 'coift' (validation) is missing: expected pairs")
        assert not (tmp_path / "out").exists()


@pytest.fixture
def custom_data(tmp_path, monkeypatch):
    """Descriptions of two images as folders and as COCO instances. A third image of the folders has no mask."""
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path, {f"photos/{name}.jpg": jpeg() for name in "abc"})
    write_folders(tmp_path, {"masks/a.png": png(), "masks/b.png": png(np.zeros_like(OBJECT))})
    height, width = OBJECT.shape
    square = {"iscrowd": 0, "segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]]}
    content = {
        "images": [
            {"id": i, "file_name": f"{name}.jpg", "height": height, "width": width} for i, name in enumerate("ab")
        ],
        "annotations": [{"id": i, "image_id": i // 2, **square} for i in range(4)] + [{"id": 4, "image_id": 0}],
    }
    write_folders(tmp_path, {"cups.json": json.dumps(content).encode()})
    return {
        "folders": "{kind: folders, images: photos, masks: masks}",
        "coco": "{kind: coco, annotations: cups.json, images: photos}",
        "columns": "{kind: columns, source: parquet, mask_column: masks}",
    }


class TestCustomData:
    def test_check_reports_problems(self, custom_data, tmp_path, capsys):
        assert run("check", custom_data["folders"]) == 1
        printed = capsys.readouterr()
        assert printed.out.splitlines()[1].split() == ["-", tmp_path.name, "2", "0", "1", "6x8", "6x8", "2"]
        assert "1 images without mask, such as 'c'." in printed.out
        assert "/b: the mask is empty." in printed.out
        assert "2 problems in kind: folders, images: photos, masks: masks, listed above" in printed.err
        assert run("check", custom_data["coco"]) == 1
        assert "Annotations without a segmentation are left out (1): 4." in capsys.readouterr().out

    def test_coco_instances_are_exported_loaded_and_evaluated(self, custom_data, capsys):
        assert run("export", custom_data["coco"], "-o", "parquet") == 0
        assert "cups (train): 2 rows" in capsys.readouterr().out
        assert run("check", custom_data["columns"]) == 0
        assert capsys.readouterr().out.splitlines()[1].split() == ["-", "cups", "2", "0", "0", "6x8", "6x8", "0"]
        rows = load_rows({"kind": "columns", "source": "parquet", "mask_column": "masks"}, "train")
        assert [read_sample(row).masks.sum() for row in rows] == [18, 18]
        assert main(["evaluate", "--data", custom_data["coco"], "--device", "cpu"]) == 0
        assert "| cups | 4 | " in capsys.readouterr().out

    def test_named_columns_are_loaded_with_the_split_they_are_used_for(self, custom_data):
        run("export", custom_data["coco"], "-o", "parquet")
        data = {"kind": "columns", "source": "parquet", "mask_column": "masks"}
        assert len(load_rows(data, "train")) == 2
        with pytest.raises(ValueError, match="validation"):  # instead of falling back to the split train
            load_rows(data, "validation")
        assert len(load_rows({**data, "split": "train"}, "validation")) == 2

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ("{kind: films}", "must be hqseg44k, folders, columns, coco, scenes or cutouts, got 'films'"),
            ("{kind: folders, images: photos}", "do not fit their kind: .*masks"),
            ("{kind: columns, source: nothing}", "nothing"),
        ],
    )
    def test_wrong_descriptions_are_one_line_errors(self, custom_data, data, message, capsys):
        for action in (["check"], ["export", "-o", "out"]):
            assert run(action[0], data, *action[1:]) == 1
            error = capsys.readouterr().err.splitlines()
            assert re.search(message, error[-1])

    def test_only_hqseg44k_has_sets_to_choose_from(self, custom_data, capsys):
        assert run("check", custom_data["folders"], "--sets", "dis") == 1
        assert "Only HQSeg-44K has sets to choose from" in capsys.readouterr().err

    def test_scenes_can_be_checked_but_not_exported(self, capsys):
        assert run("check", "{kind: scenes, count: 3, size: 64}") == 0
        assert run("export", "{kind: scenes, count: 3, size: 64}", "-o", "out") == 1
        assert "are not exported" in capsys.readouterr().err

    def test_invalid_yaml_is_a_usage_error(self):
        with pytest.raises(SystemExit) as exit_info:
            run("check", "{kind: folders")
        assert exit_info.value.code == 2


class TestDownload:
    def test_the_three_archives_are_downloaded_to_where_they_are_loaded_from(self, tmp_path, monkeypatch, capsys):
        downloads = []

        def fetch(repo_id, filename, local_dir):
            downloads.append((repo_id, filename))
            write_archives(tmp_path / "all", small_files())
            target = local_dir / filename
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((tmp_path / "all" / target.name).read_bytes())
            return str(target)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
        assert run("download", tmp_path / "root") == 0
        names = ["data/DIS5K.zip", "data/cascade_psp.zip", "data/thin_object_detection.zip"]
        assert downloads == [("sam-hq-team/sam-hq-training", name) for name in names]
        assert (
            capsys.readouterr().err
            == "downloaded " + ", ".join(str(tmp_path / "root" / name) for name in names) + "\n"
        )
        assert len(load_hqseg44k(tmp_path / "root")) == 14

    def test_being_offline_is_a_one_line_error(self, tmp_path, capsys):
        assert run("download", tmp_path / "root") == 1
        error = capsys.readouterr().err
        assert "Cannot fetch data/DIS5K.zip of the Hub repository sam-hq-team/sam-hq-training" in error
        assert f"put the archives into {tmp_path / 'root' / 'data'} yourself" in error
        assert error.count("\n") == 1

    @pytest.mark.parametrize(
        "error", [LocalEntryNotFoundError("no\nnet"), ConnectionError("reset"), OSError(28, "full")]
    )
    def test_failed_downloads_are_one_line_errors(self, error, tmp_path, monkeypatch, capsys):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        assert run("download", tmp_path) == 1
        printed = capsys.readouterr().err
        assert printed.startswith("hq-sam: Cannot fetch data/DIS5K.zip")
        assert type(error).__name__ in printed
        assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nothing"], "'nothing' is not a folder"),
        (["export", "nothing", "-o", "out"], "'nothing' is not a folder"),
        (
            ["check", ".", "--sets", "dis,cats"],
            "among coift, dis, duts, ecssd, fss, hrsod, msra, thin; got cats",
        ),
        (["check", ".", "--split", "train", "--sets", "coift"], "Sets must be among dis, duts"),
        (
            ["export", ".", "-o", "out", "--sets", "dis", "--shard-size", "0"],
            "`shard_megabytes` must be at least 1, got 0",
        ),
    ],
)
def test_errors_are_one_line_and_exit_code_1(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(write_folders(tmp_path, small_files()))
    capsys.readouterr()
    assert run(*arguments) == 1
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert error[-1].startswith("hq-sam: ")


@pytest.mark.parametrize("arguments", [[], ["check"], ["export", "."], ["check", ".", "--split", "test"], ["clean"]])
def test_usage_errors_are_exit_code_2(arguments):
    with pytest.raises(SystemExit) as exit_info:
        run(*arguments)
    assert exit_info.value.code == 2


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as exit_info:
        run("--help")
    assert exit_info.value.code == 0
    assert "examples: hq-sam data download hqseg44k" in capsys.readouterr().out
