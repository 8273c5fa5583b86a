"""What an export to Parquet may replace, and that it leaves the old shards or the new ones whatever fails."""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from hq_sam_hf.cli import main
from hq_sam_hf.data import parquet
from hq_sam_hf.data.parquet import count_rows, export_parquet, find_shards
from hq_sam_hf.utils.output_lock import output_lock
from support.small_hqseg44k import png, small_files, write_folders


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def rows(count, set_name="own"):
    image = {"bytes": png(), "path": None}
    content = {"image": [image] * count, "mask": [image] * count, "set": [set_name] * count, "name": ["a"] * count}
    features = {"image": datasets.Image(), "mask": datasets.Image()}
    features |= {name: datasets.Value("string") for name in ("set", "name")}
    return datasets.Dataset.from_dict(content, features=datasets.Features(features))


def fail_at_line(number, call) -> bool:
    """Call with a Ctrl-C before this line of the functions that replace shards. Whether there was such a line."""
    seen = 0

    def trace(frame, event, argument):
        nonlocal seen
        if frame.f_code not in (parquet._replace_shards.__code__, parquet._export_set.__code__):
            return trace if event == "call" and frame.f_code.co_filename == parquet.__file__ else None
        if event == "line":
            seen += 1
            if seen == number:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        call()
        return False
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new"), [(4, 2), (2, 4), (3, 3), (0, 2)])
def test_an_interrupt_at_any_line_leaves_the_old_or_the_new_shards(tmp_path, monkeypatch, old, new):
    monkeypatch.setattr(parquet, "MEGABYTE", 1)  # a shard per row
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 1)
    first, second, other = rows(old) if old else None, rows(new), rows(1, "other")
    number, outcomes, was_interrupted = 0, set(), True
    while was_interrupted:
        number += 1
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        export_parquet(other, tmp_path / "out", shard_megabytes=1)
        if first is not None:
            export_parquet(first, tmp_path / "out", shard_megabytes=1)
        was_interrupted = fail_at_line(number, lambda: export_parquet(second, tmp_path / "out", shard_megabytes=1))
        found = find_shards(tmp_path / "out", "train")
        assert count_rows(found.get("own", [])) in (old, new), number
        assert count_rows(found["other"]) == 1
        assert not [name for name in os.listdir(tmp_path / "out" / "train") if name.startswith(".")], number
        outcomes.add(count_rows(found.get("own", [])))
    assert number > 10
    assert outcomes == {old, new}


@pytest.mark.parametrize("renames", range(1, 12))
def test_the_next_export_restores_what_a_killed_one_moved(tmp_path, monkeypatch, renames):
    """After a kill nothing is cleaned up, so the hidden folders stay as they were."""
    monkeypatch.setattr(parquet, "MEGABYTE", 1)
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 1)
    export_parquet(rows(3), tmp_path / "out", shard_megabytes=1)
    rename, count = os.rename, 0

    def killed(source, target):
        nonlocal count
        count += 1
        if count == renames:
            raise SystemExit
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", killed)
        original, calls = parquet._clean_up, []
        patched.setattr(parquet, "_clean_up", lambda *given: original(*given) if not calls else None)
        replace = parquet._replace_shards
        patched.setattr(parquet, "_replace_shards", lambda *given: (calls.append(1), replace(*given)))
        if renames <= 9:  # 3 old shards, their folder, 4 new shards, and the end
            with pytest.raises(SystemExit):
                export_parquet(rows(4), tmp_path / "out", shard_megabytes=1)
        else:
            export_parquet(rows(4), tmp_path / "out", shard_megabytes=1)
    parquet._clean_up(tmp_path / "out" / "train", "own")
    found = find_shards(tmp_path / "out", "train")["own"]
    assert count_rows(found) == (3 if renames <= 9 else 4)
    assert not [name for name in os.listdir(tmp_path / "out" / "train") if name.startswith(".")]


def foreign_shard(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({"text": ["mine"]}), path)


def text_file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")


def folder(path):
    path.mkdir(parents=True)


def link(path):
    foreign_shard(path.with_name("elsewhere.parquet"))
    path.symlink_to("elsewhere.parquet")


@pytest.mark.parametrize("make", [foreign_shard, text_file, folder, link])
def test_only_shards_of_an_export_are_replaced(tmp_path, make):
    path = tmp_path / "out" / "train" / "own-00000-of-00002.parquet"
    make(path)
    before = sorted((tmp_path / "out").rglob("*"))
    with pytest.raises(
        ValueError, match="own-00000-of-00002.parquet' would be replaced, but no export has written it"
    ):
        export_parquet(rows(2), tmp_path / "out")
    assert sorted((tmp_path / "out").rglob("*")) == before
    export_parquet(rows(2, "another"), tmp_path / "out")  # a set of another name replaces nothing
    export_parquet(rows(2), tmp_path / "elsewhere")


@pytest.mark.parametrize("content", [b"", b"PAR1 and no footer"])
def test_a_damaged_shard_is_replaced(tmp_path, content):
    export_parquet(rows(2), tmp_path / "out")
    (shard,) = find_shards(tmp_path / "out", "train")["own"]
    shard.write_bytes(content)
    export_parquet(rows(3), tmp_path / "out")
    assert count_rows(find_shards(tmp_path / "out", "train")["own"]) == 3


def test_an_export_does_not_replace_its_source(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path / "data", small_files())
    chosen = ["--split", "validation", "--sets", "dis"]
    assert main(["data", "export", "data", "-o", "out", *chosen]) == 0
    os.symlink("out", "link")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.parquet")}
    columns = "{kind: columns, source: out/validation, image_column: image, mask_column: mask}"
    for source, output in (("out", "out"), ("link", "out"), ("out", "./link"), (columns, "out")):
        assert main(["data", "export", source, "-o", output, *(chosen[:2] if source == columns else chosen)]) == 1
        assert "is also an input" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in before} == before
    assert main(["data", "export", "out", "-o", "another", *chosen]) == 0


def test_two_exports_do_not_write_the_same_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with output_lock("out"), ThreadPoolExecutor(1) as other:
        arguments = ["data", "export", "no-data", "-o", "out"]
        assert other.submit(main, arguments).result() == 1
    assert f"'out' is being written by process {os.getpid()}" in capsys.readouterr().err
    with pytest.raises(ValueError, match="is being written by"), output_lock("out"), ThreadPoolExecutor(1) as other:
        other.submit(export_parquet, rows(1), "out").result()
    assert not os.path.exists("out")
