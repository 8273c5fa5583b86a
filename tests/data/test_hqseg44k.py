"""Find, pair, count and read the published sets, in folders, archives and Parquet."""

import logging
import multiprocessing
import zipfile

import datasets
import numpy as np
import pytest

from hq_sam_hf.data.hqseg44k import SETS, PublishedSet, load_hqseg44k
from hq_sam_hf.data.image_bytes import undecoded
from hq_sam_hf.data.parquet import export_parquet
from hq_sam_hf.data.reading import read_sample
from support.small_hqseg44k import FOLDERS, OBJECT, jpeg, png, small_files, write_archives, write_folders

COUNTS = {
    "train": {"dis": 3000, "thin": 4748, "fss": 10000, "duts": 15572, "ecssd": 1000, "msra": 10000},
    "validation": {"dis": 470, "coift": 280, "hrsod": 287, "thin": 500},
}


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def dis_root(tmp_path):
    """A root with only the training set dis, which has the pairs a, b and c."""
    return write_folders(tmp_path / "root", dis_files("a", "b", "c"))


def dis_files(*names):
    return {
        **{f"DIS5K/DIS-TR/im/{name}.jpg": jpeg() for name in names},
        **{f"DIS5K/DIS-TR/gt/{name}.png": png() for name in names},
    }


LAYOUTS = {
    "folders": write_folders,
    "folders in data": lambda root, files: write_folders(root, {f"data/{n}": c for n, c in files.items()}),
    "archives": write_archives,
    "archives in data": lambda root, files: write_archives(root / "data", files).parent,
    "archives without the top folder": lambda root, files: write_archives(root, files, above=""),
    "archives with more folders": lambda root, files: write_archives(root, files, above="home/me/data/"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("streaming", [False, True])
def test_all_sets_of_a_split(layout, split, streaming, tmp_path):
    root = LAYOUTS[layout](tmp_path / "root", small_files())
    dataset = load_hqseg44k(root, split, streaming=streaming)
    assert isinstance(dataset, datasets.IterableDataset if streaming else datasets.Dataset)
    for column in ("image", "mask"):
        assert isinstance(dataset.features[column], datasets.Image)
    samples = [read_sample(row) for row in undecoded(dataset)]
    expected = [(name, stem) for name, pairs in FOLDERS[split].items() for _ in pairs for stem in "ab"]
    assert [(sample.set, sample.name) for sample in samples] == expected
    for sample in samples:
        assert sample.image.shape == (6, 8, 3)
        assert np.array_equal(sample.masks[0], OBJECT)


def test_datasets_decodes_the_images_of_a_row(dis_root, tmp_path):
    archives = write_archives(tmp_path / "zips", dis_files("1#Accessories#1#Bag#22_o&c"))
    for root in (dis_root, archives):
        row = load_hqseg44k(root, sets=["dis"])[0]
        assert row["image"].size == (8, 6)
        assert np.array_equal(np.asarray(row["mask"]) > 127, OBJECT)
        assert np.array_equal(read_sample(row).masks[0], OBJECT)


def test_counts_equal_those_of_the_paper():
    assert {split: {name: one.counts[0] for name, one in sets.items()} for split, sets in SETS.items()} == COUNTS
    assert sum(COUNTS["train"].values()) == 44_320
    assert sum(COUNTS["validation"].values()) == 1_537


@pytest.mark.slow
def test_a_set_with_too_few_or_too_many_pairs_is_logged(tmp_path, caplog):
    write_folders(tmp_path, {f"cascade_psp/ecssd/{i:04d}.{kind}": b"" for i in range(1000) for kind in ("jpg", "png")})
    with caplog.at_level(logging.WARNING, logger="hq_sam_hf"):
        assert len(load_hqseg44k(tmp_path, sets=["ecssd"])) == 1000
        assert caplog.messages == []
        (tmp_path / "cascade_psp/ecssd/0500.png").unlink()
        (tmp_path / "cascade_psp/ecssd/0500.jpg").unlink()
        load_hqseg44k(tmp_path, sets=["ecssd"])
        assert caplog.messages == ["ecssd (train): found 999 pairs, expected 1000."]
        write_folders(tmp_path, {f"cascade_psp/ecssd/new{i}.{kind}": b"" for i in range(2) for kind in ("jpg", "png")})
        load_hqseg44k(tmp_path, sets=["ecssd"])
        assert caplog.messages[1:] == ["ecssd (train): found 1001 pairs, expected 1000."]


def test_files_without_partner_are_logged(dis_root, caplog):
    write_folders(dis_root, {"DIS5K/DIS-TR/im/lonely.jpg": jpeg()})
    write_folders(dis_root, {f"DIS5K/DIS-TR/gt/m{i}.png": png() for i in range(7)})
    dataset = load_hqseg44k(dis_root, sets=["dis"])
    assert list(dataset["name"]) == ["a", "b", "c"]
    assert "dis (train): 1 images without mask in DIS5K/DIS-TR/im: lonely." in caplog.messages
    expected = "dis (train): 7 masks without image in DIS5K/DIS-TR/gt: m0, m1, m2, m3, m4, ...."
    assert expected in caplog.messages


def test_a_missing_half_of_duts_is_logged(tmp_path, caplog):
    write_folders(tmp_path, {"cascade_psp/DUTS-TR/a.jpg": jpeg(), "cascade_psp/DUTS-TR/a.png": png()})
    assert len(load_hqseg44k(tmp_path, sets=["duts"])) == 1
    assert "duts (train): cascade_psp/DUTS-TE is missing or empty." in caplog.messages


@pytest.mark.parametrize("layout", LAYOUTS)
def test_known_broken_items_are_left_out_by_default(layout, tmp_path):
    stems = {"fss_all": ["bamboo_slip_7", "bamboo_slip_17", "zebra_1"], "MSRA_10K": ["97915", "97916"]}
    files = {}
    for folder, names in stems.items():
        for name in names:
            files |= {f"cascade_psp/{folder}/{name}.jpg": jpeg(), f"cascade_psp/{folder}/{name}.png": png()}
    root = LAYOUTS[layout](tmp_path / "root", files)
    kept = load_hqseg44k(root, sets=["fss", "msra"])
    assert list(kept["name"]) == ["bamboo_slip_17", "zebra_1", "97916"]
    assert len(load_hqseg44k(root, sets=["fss", "msra"], skip_broken=False)) == 5


def test_rows_are_in_the_fixed_order_of_sets_and_names(tmp_path):
    root = write_folders(tmp_path, small_files(("z", "B", "a10", "a9")))
    rows = load_hqseg44k(root, "validation", sets=["hrsod", "dis"])
    assert list(rows["set"]) == ["dis"] * 4 + ["hrsod"] * 4
    assert list(rows["name"]) == ["B", "a10", "a9", "z"] * 2


def test_hidden_and_other_files_are_ignored(dis_root, tmp_path, caplog):
    extra = {"DIS5K/DIS-TR/im/._a.jpg": b"", "DIS5K/DIS-TR/im/Thumbs.db": b"", "DIS5K/DIS-TR/gt/notes.txt": b""}
    write_folders(dis_root, extra)
    archives = write_archives(tmp_path / "zips", {**dis_files("a", "b", "c"), **extra})
    with zipfile.ZipFile(archives / "DIS5K.zip", "a") as archive:
        archive.writestr("__MACOSX/DIS5K/DIS-TR/im/d.jpg", b"")
    for root in (dis_root, archives):
        assert list(load_hqseg44k(root, sets=["dis"])["name"]) == ["a", "b", "c"]
    assert caplog.messages == ["dis (train): found 3 pairs, expected 3000."] * 2


def test_file_suffixes_in_capitals(tmp_path):
    root = write_folders(tmp_path, {"DIS5K/DIS-TR/im/a.v2.JPG": jpeg(), "DIS5K/DIS-TR/gt/a.v2.PNG": png()})
    assert list(load_hqseg44k(root, sets=["dis"])["name"]) == ["a.v2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"'thin' \(train\) is missing: expected pairs of .jpg and .png in thin_object_detection/ThinObject5K/"),
        ({"sets": ["ecssd"]}, r"'ecssd'.*in cascade_psp/ecssd/, in a folder or in cascade_psp\.zip, below '.*root'"),
        ({"split": "validation", "sets": ["dis"]}, r"in DIS5K/DIS-VD/im/ and DIS5K/DIS-VD/gt/.*DIS5K\.zip"),
        ({"split": "test"}, "`split` must be 'train' or 'validation', got 'test'"),
        ({"sets": ["coift"]}, r"`sets` of the split 'train' must be among dis, thin, fss.*got \['coift'\]"),
        ({"sets": []}, "must be among"),
    ],
)
def test_missing_and_unknown_sets_are_errors(dis_root, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_hqseg44k(dis_root, **arguments)


def test_a_root_that_is_not_a_folder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"nothing' is not a folder\. `hq-sam data download`"):
        load_hqseg44k(tmp_path / "nothing")


def test_images_without_any_mask_are_an_error(tmp_path):
    write_folders(tmp_path, {"DIS5K/DIS-TR/im/a.jpg": jpeg()})
    with pytest.raises(ValueError, match="'dis'.*is missing: expected pairs"):
        load_hqseg44k(tmp_path, sets=["dis"])


def test_the_error_names_a_truncated_archive(tmp_path):
    root = write_archives(tmp_path, dis_files("a"))
    content = (root / "DIS5K.zip").read_bytes()
    (root / "DIS5K.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"DIS5K\.zip' is not a complete zip archive.*Download it again"):
        load_hqseg44k(root, sets=["dis"])


def test_the_error_names_a_damaged_member_of_an_archive(tmp_path):
    root = write_archives(tmp_path, dis_files("a", "b"))
    archive = root / "DIS5K.zip"
    archive.write_bytes(archive.read_bytes().replace(jpeg(), jpeg()[:-20] + b"\0" * 20, 1))
    rows = undecoded(load_hqseg44k(root, sets=["dis"]))
    with pytest.raises(ValueError, match=r"dis/a: cannot read the image .*DIS5K/DIS-TR/im/a\.jpg.*Bad CRC"):
        read_sample(rows[0])
    assert read_sample(rows[1]).name == "b"


def _read_many(arguments):
    rows, indices = arguments
    return [(i, read_sample(rows[i]).image[0, 0, 0].item()) for i in indices]


def test_forked_workers_read_the_same_archive(tmp_path):
    files = {}
    for i in range(40):
        files |= {f"DIS5K/DIS-TR/im/{i:02d}.jpg": jpeg(5 * i), f"DIS5K/DIS-TR/gt/{i:02d}.png": png()}
    rows = undecoded(load_hqseg44k(write_archives(tmp_path, files), sets=["dis"]))
    expected = _read_many((rows, range(40)))  # opens the archive before the fork
    with multiprocessing.get_context("fork").Pool(2) as pool:
        parts = pool.map(_read_many, [(rows, range(start, 40, 4)) for start in range(4)])
    assert sorted(pair for part in parts for pair in part) == expected
    assert len({value for _, value in expected}) > 30


def test_an_exported_root_gives_the_same_rows(tmp_path, caplog):
    root = write_archives(tmp_path / "root", small_files())
    for split in ("train", "validation"):
        export_parquet(load_hqseg44k(root, split), tmp_path / "parquet", split)
        original = [read_sample(row) for row in load_hqseg44k(root, split)]
        for streaming in (False, True):
            dataset = load_hqseg44k(tmp_path / "parquet", split, streaming=streaming)
            assert isinstance(dataset.features["image"], datasets.Image)
            again = [read_sample(row) for row in undecoded(dataset)]
            assert [(s.set, s.name) for s in again] == [(s.set, s.name) for s in original]
            assert all(
                np.array_equal(a.image, b.image) and np.array_equal(a.masks, b.masks) for a, b in zip(again, original)
            )
    chosen = load_hqseg44k(tmp_path / "parquet", "train", sets=["msra", "thin"])
    assert list(chosen["set"]) == ["thin", "thin", "msra", "msra"]
    assert "msra (train): found 2 pairs, expected 10000." in caplog.messages


def test_only_the_broken_items_may_be_missing_from_an_export(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(SETS["train"], "msra", PublishedSet(SETS["train"]["msra"].folders, (3,)))
    for name in ("97915", "1", "2"):
        write_folders(
            tmp_path, {f"cascade_psp/MSRA_10K/{name}.jpg": jpeg(), f"cascade_psp/MSRA_10K/{name}.png": png()}
        )
    dataset = load_hqseg44k(tmp_path, sets=["msra"])
    assert len(dataset) == 2
    export_parquet(dataset, tmp_path / "parquet")
    load_hqseg44k(tmp_path / "parquet", sets=["msra"])
    assert caplog.messages == []
    export_parquet(dataset.select([0]), tmp_path / "parquet")
    load_hqseg44k(tmp_path / "parquet", sets=["msra"])
    assert caplog.messages == ["msra (train): found 1 pairs, expected 3."]


def test_a_set_that_was_not_exported_is_an_error(dis_root, tmp_path):
    export_parquet(load_hqseg44k(dis_root, sets=["dis"]), tmp_path / "parquet")
    with pytest.raises(ValueError, match=r"'thin' \(train\) is missing: expected train/thin-\*\.parquet.*has dis"):
        load_hqseg44k(tmp_path / "parquet")
