"""Export to Parquet: original image bytes, complete or not loaded."""

import os
import signal
import subprocess
import sys

import datasets
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from hq_sam_hf.data import parquet
from hq_sam_hf.data.hqseg44k import load_hqseg44k
from hq_sam_hf.data.image_bytes import undecoded
from hq_sam_hf.data.parquet import count_rows, export_parquet, find_shards, load_shards
from support.small_hqseg44k import jpeg, png, write_folders


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def noisy_images(folder, count, set_name="own", **columns):
    """A data set of `count` noisy images of about 3 kB each."""
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    paths = []
    for i, pixels in enumerate(noise):
        paths.append(str(folder / f"{i}.png"))
        Image.fromarray(pixels).save(paths[-1])
    rows = {"image": paths, "mask": paths, "set": [set_name] * count, "name": [str(i) for i in range(count)]}
    features = datasets.Features(
        image=datasets.Image(), mask=datasets.Image(), set=datasets.Value("string"), name=datasets.Value("string")
    )
    return datasets.Dataset.from_dict(rows, features=features)


def test_an_export_holds_the_original_bytes(tmp_path):
    dataset = noisy_images(tmp_path / "p", 3)
    assert export_parquet(dataset, tmp_path / "out") == {"own": 3}
    shards = find_shards(tmp_path / "out", "train")
    assert [path.name for path in shards["own"]] == ["own-00000-of-00001.parquet"]
    for streaming in (False, True):
        rows = list(undecoded(load_shards(shards["own"], "train", streaming)))
        assert [row["name"] for row in rows] == ["0", "1", "2"]
        for i, row in enumerate(rows):
            assert row["image"]["bytes"] == (tmp_path / "p" / f"{i}.png").read_bytes()
            assert row["image"]["path"] == f"{i}.png"


def test_shards_have_the_chosen_size_and_keep_the_order(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MEGABYTE", 20_000)  # 3 rows of 6 kB
    dataset = noisy_images(tmp_path / "p", 10)
    export_parquet(dataset, tmp_path / "out", shard_megabytes=1)
    shards = find_shards(tmp_path / "out", "train")["own"]
    assert [path.name for path in shards] == [f"own-{i:05d}-of-00004.parquet" for i in range(4)]
    assert [pyarrow.parquet.read_metadata(path).num_rows for path in shards] == [3, 3, 3, 1]
    assert all(path.stat().st_size < 25_000 for path in shards)
    assert count_rows(shards) == 10
    assert list(load_shards(shards, "train")["name"]) == [str(i) for i in range(10)]


def test_a_shard_has_several_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 20_000)
    export_parquet(noisy_images(tmp_path / "p", 10), tmp_path / "out")
    [shard] = find_shards(tmp_path / "out", "train")["own"]
    metadata = pyarrow.parquet.read_metadata(shard)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [3, 3, 3, 1]


def test_every_set_has_its_own_shards(tmp_path):
    dataset = datasets.concatenate_datasets([noisy_images(tmp_path / "p", 2, name) for name in ("x", "y", "x")])
    assert export_parquet(dataset, tmp_path / "out", "validation") == {"x": 4, "y": 2}
    shards = find_shards(tmp_path / "out", "validation")
    assert {name: count_rows(paths) for name, paths in shards.items()} == {"x": 4, "y": 2}


def test_an_export_replaces_the_earlier_one_of_the_same_set(tmp_path, monkeypatch):
    export_parquet(noisy_images(tmp_path / "p", 2, "other"), tmp_path / "out")
    with monkeypatch.context() as context:
        context.setattr(parquet, "MEGABYTE", 20_000)
        export_parquet(noisy_images(tmp_path / "p", 10), tmp_path / "out", shard_megabytes=1)
    export_parquet(noisy_images(tmp_path / "p", 5), tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out" / "train").iterdir())
    assert names == ["other-00000-of-00001.parquet", "own-00000-of-00001.parquet"]
    assert count_rows(find_shards(tmp_path / "out", "train")["own"]) == 5


def test_lists_of_masks_are_exported(tmp_path):
    features = datasets.Features(
        image=datasets.Image(), masks=[datasets.Image()], set=datasets.Value("string"), name=datasets.Value("string")
    )
    rows = {
        "image": [{"bytes": jpeg(), "path": None}] * 2,
        "masks": [[{"bytes": png(), "path": None}] * 2, []],
        "set": ["own", "own"],
        "name": ["a", "b"],
    }
    export_parquet(datasets.Dataset.from_dict(rows, features=features), tmp_path)
    loaded = load_shards(find_shards(tmp_path, "train")["own"], "train")
    assert [len(row["masks"]) for row in loaded] == [2, 0]
    assert loaded[0]["masks"][1].size == (8, 6)
    assert undecoded(loaded)[0]["masks"][0]["bytes"] == png()


def test_a_failed_export_writes_nothing_and_keeps_the_earlier_one(tmp_path):
    export_parquet(noisy_images(tmp_path / "p", 4), tmp_path / "out")
    broken = noisy_images(tmp_path / "p", 4)
    (tmp_path / "p" / "2.png").unlink()
    with pytest.raises(FileNotFoundError):
        export_parquet(broken, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "train").iterdir()] == ["own-00000-of-00001.parquet"]
    assert count_rows(find_shards(tmp_path / "out", "train")["own"]) == 4


KILLED = """
import os, signal, sys
from hq_sam_hf.data import hqseg44k, parquet

read, count = parquet.read_bytes, 0

def read_or_die(path):
    global count
    count += 1
    if count == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(path)

parquet.read_bytes = read_or_die
parquet.MEGABYTE = 1000
dataset = hqseg44k.load_hqseg44k(sys.argv[1], sets=["dis"])
parquet.export_parquet(dataset, sys.argv[2], shard_megabytes=1)
"""


@pytest.mark.slow
def test_the_shards_of_a_killed_export_are_not_loaded(tmp_path):
    files = {}
    for i in range(10):
        files |= {f"DIS5K/DIS-TR/im/{i}.jpg": jpeg(), f"DIS5K/DIS-TR/gt/{i}.png": png()}
    root, out = write_folders(tmp_path / "root", files), tmp_path / "out"
    died = subprocess.run([sys.executable, "-c", KILLED, root, out], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert os.listdir(out / "train") == [".dis.part"]
    assert len(os.listdir(out / "train" / ".dis.part")) >= 2  # killed while writing
    assert find_shards(out, "train") == {}
    export_parquet(load_hqseg44k(root, sets=["dis"]), out)
    assert os.listdir(out / "train") == ["dis-00000-of-00001.parquet"]


def test_errors_name_missing_and_truncated_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MEGABYTE", 20_000)
    export_parquet(noisy_images(tmp_path / "p", 10), tmp_path / "out", shard_megabytes=1)
    shards = find_shards(tmp_path / "out", "train")["own"]
    shards[3].write_bytes(shards[3].read_bytes()[:100])
    with pytest.raises(
        ValueError, match=r"own-00003-of-00004\.parquet' is not a complete Parquet file.*Export it again"
    ):
        count_rows(shards)
    shards[3].unlink()
    with pytest.raises(ValueError, match=r"holds 3 shards of the set 'own' \(train\), expected 4\. Export it again"):
        find_shards(tmp_path / "out", "train")


def test_bad_set_names_sizes_and_empty_data_sets_are_errors(tmp_path):
    dataset = noisy_images(tmp_path / "p", 2, "../up")
    with pytest.raises(ValueError, match=r"name of a set becomes part of file names.*got '\.\./up'"):
        export_parquet(dataset, tmp_path / "out")
    with pytest.raises(ValueError, match="`shard_megabytes` must be at least 1, got 0"):
        export_parquet(dataset, tmp_path / "out", shard_megabytes=0)
    with pytest.raises(ValueError, match="has no rows"):
        export_parquet(dataset.select([]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
